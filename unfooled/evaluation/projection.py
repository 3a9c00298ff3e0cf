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

    def among(self, rows: Sequence[int]) -> list[int]:
        """Places of the wanted ones among ``rows`` of the manifest."""
        return [k for k, row in enumerate(rows) if row in self.wanted]

    @staticmethod
    def features(detector: Detector, x: Tensor, x_adv: Tensor) -> Tensor:
        """(2, B, D) features of ``x`` and ``x_adv``, in float64 on the CPU."""
        if not len(x):
            return torch.zeros(2, 0, 0, dtype=torch.float64)
        with torch.no_grad():
            both = torch.cat([detector.features(x), detector.features(x_adv)])
        return both.double().cpu().reshape(2, len(x), -1)

    def add(self, rows: Sequence[int], features: Tensor) -> None:
        """Keep the ``features`` of ``rows`` of the manifest."""
        if len(rows):
            self.rows += rows
            self.pairs.append(features)

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
