"""Where an attack moves the features: some samples in two dimensions, clean and attacked."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfooled.models.detector import Detector
from unfooled.results import Projection


class FeatureSpace:
    """Collects the features of some rows before and after an attack.

    Args:
        rows: numbers of the manifest's rows to keep.
    """

    def __init__(self, rows: NDArray[np.int64]) -> None:
        self.wanted = set(rows.tolist())
        self.rows: list[int] = []
        self.pairs: list[Tensor] = []

    def see(self, detector: Detector, rows: Sequence[int], x: Tensor, x_adv: Tensor) -> None:
        """Keep the features of the wanted ones among ``rows`` (of the manifest, one for each row of ``x``)."""
        chosen = [k for k, row in enumerate(rows) if row in self.wanted]
        if chosen:
            with torch.no_grad():
                both = torch.cat([detector.features(x[chosen]), detector.features(x_adv[chosen])])
            self.pairs.append(both.double().cpu().reshape(2, len(chosen), -1))
            self.rows += [rows[k] for k in chosen]

    def projection(self, kept: NDArray[np.int64]) -> Projection | None:
        """The first two principal axes of clean and attacked features together; None below three samples.

        Args:
            kept: rows of the manifest that have a score; the projection counts samples by their place in it.
        """
        place = {row: k for k, row in enumerate(kept.tolist())}
        known = [k for k, row in enumerate(self.rows) if row in place]
        if len(known) < 3:
            return None
        features = torch.cat(self.pairs, dim=1)[:, known]
        centred = features - features.mean((0, 1))
        _, sizes, axes = torch.linalg.svd(centred.flatten(0, 1), full_matrices=False)
        clean, attacked = (centred @ axes[:2].T).tolist()
        if len(axes) == 1:
            clean, attacked = ([(point[0], 0.0) for point in points] for points in (clean, attacked))
        total = float(sizes.square().sum())
        explained = float(sizes[:2].square().sum()) / total if total > 0 else None
        return Projection(
            rows=[place[self.rows[k]] for k in known], clean=clean, attacked=attacked, explained=explained
        )
