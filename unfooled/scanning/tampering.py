"""A cheap sign of adversarial noise: an honest file keeps its score through a mild change, a forced one often not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch.nn.functional as F
from torch import Tensor

from unfooled.codecs import quantise, round_trip
from unfooled.data.images import Pixels
from unfooled.models.detector import Detector
from unfooled.scanning.points import Shape
from unfooled.scanning.scores import logits_of, mean, speaker
from unfooled.scanning.verdict import Rule

SHARE = 0.75
"""Of the side, down to which crops are made smaller before they are made large again."""


def saved_as_jpeg(x: Tensor, quality: int = 75) -> Tensor:
    """Every crop (B, 3, ...) as JPEG of a quality gives it back."""
    return round_trip(x, "jpeg", quality)


def resized(x: Tensor) -> Tensor:
    """Every crop (B, 3, ...) reduced to ``SHARE`` of its side and back, rounded to 8 bits."""
    frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
    side = frames.shape[-1]
    small = max(1, round(SHARE * side))
    reduced = F.interpolate(frames, (small, small), mode="bilinear", antialias=True)
    back = quantise(F.interpolate(reduced, (side, side), mode="bilinear").clamp(0, 1))
    return back if x.dim() == 4 else back.reshape(len(x), -1, *back.shape[1:]).transpose(1, 2)


MILD: Mapping[str, Callable[[Tensor], Tensor]] = {
    "jpeg_90": partial(saved_as_jpeg, quality=90), "jpeg_75": saved_as_jpeg, "resize": resized,
}  # fmt: skip
"""Changes that leave an honest picture alone, by name."""


def after_mild_changes(
    detector: Detector,
    shown: Mapping[str, Pixels],
    logits: Mapping[str, float],
    areas: Mapping[str, float],
    shape: Shape,
    rule: Rule,
    device: str = "cpu",
) -> dict[str, float]:
    """The file's logit as it is, and after each of ``MILD`` was done to the crops of all tracks.

    Args:
        shown: crops of each track as in ``logits_of``.
        logits: of each track as it is.
        areas: of each track.
        shape: what the detector is shown.
        rule: how tracks make a file.
        device: of the detector.
    """
    found = {"as_is": logits[speaker(logits, areas, rule)]}
    for name, change in MILD.items():
        changed = {track: mean(logits_of(detector, crops, shape, device, change)) for track, crops in shown.items()}
        found[name] = changed[speaker(changed, areas, rule)]
    return found


def moves(logits: Mapping[str, float]) -> dict[str, float]:
    """How far each mild change moves a file's logit: of ``after_mild_changes``, >= 0."""
    return {name: abs(z - logits["as_is"]) for name, z in logits.items() if name != "as_is"}


def jump(logits: Mapping[str, float], usual: Mapping[str, float] | None = None) -> float:
    """The largest move of a file's logit, >= 0.

    Args:
        logits: of ``after_mild_changes``.
        usual: what is usual for each change, > 0: a detector of fine traces jumps at every reduction and hardly at a
            JPEG. None: 1, so that the answer is in logits.
    """
    return max(move / (1.0 if usual is None else usual[name]) for name, move in moves(logits).items())
