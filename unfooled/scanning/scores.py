"""From crops to logits: of every point, of a track, of the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from unfooled.attack_files.clips import BATCH, to_input
from unfooled.data.images import Pixels
from unfooled.errors import DataError
from unfooled.models.detector import Detector
from unfooled.scanning.points import Shape
from unfooled.scanning.verdict import Rule

Change = Callable[[Tensor], Tensor]


def logits_of(
    detector: Detector,
    shown: Pixels,
    shape: Shape,
    device: torch.device | str = "cpu",
    change: Change | None = None,
) -> list[float]:
    """The logits of the points of a track.

    Args:
        detector: in evaluation mode on ``device``.
        shown: (N, T, S, S, 3) RGB.
        shape: what the detector is shown.
        change: done to the crops (B, 3, ...) in [0, 1] before.

    Raises:
        DataError: one of them is no number.
    """
    found: list[float] = []
    step = BATCH if shape.clip is None else 1
    with torch.no_grad():
        for k in range(0, len(shown), step):
            x = to_input(shown[k : k + step], shape.clip, device)
            found += detector(x if change is None else change(x)).tolist()
    if not all(map(math.isfinite, found)):
        raise DataError("the detector gave no number for a face (NaN or infinity)")
    return found


def mean(logits: list[float]) -> float:
    """The logit of a track; correctly rounded, so that no order of its points matters."""
    return math.fsum(logits) / len(logits)


def speaker(tracks: Mapping[str, float], areas: Mapping[str, float], rule: Rule) -> str:
    """The track whose logit is the file's: the highest (``max``), or that of the ``largest`` face; the first of equals.

    Args:
        tracks: logit of each.
        areas: of each, the sum over its frames.
        rule: which of them speaks.
    """
    return max(tracks, key=tracks.__getitem__ if rule == "max" else areas.__getitem__)
