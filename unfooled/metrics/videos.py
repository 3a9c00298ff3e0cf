"""From frames to videos: one logit per video, by a named rule."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfooled.errors import DataError
from unfooled.metrics.functions import Array, check
from unfooled.registry import lookup


@dataclass(frozen=True)
class Videos:
    """One row per video: key, logit, label, and the place of its first frame (for its person and manipulation)."""

    keys: list[str]
    logits: Array
    y: NDArray[np.int64]
    first: NDArray[np.int64]


def _mean_logit(logits: Array, starts: NDArray[np.int64], frames: Array) -> Array:
    return np.asarray(np.add.reduceat(logits, starts) / frames, np.float64)


def _mean_probability(logits: Array, starts: NDArray[np.int64], frames: Array) -> Array:
    # The logit of the mean score, from the logarithms of both means: scores saturate at 1, these do not.
    fake, real = (np.logaddexp.reduceat(-np.logaddexp(0, -z), starts) for z in (logits, -logits))
    return np.asarray(fake - real, np.float64)


def _max(logits: Array, starts: NDArray[np.int64], frames: Array) -> Array:
    return np.asarray(np.maximum.reduceat(logits, starts), np.float64)


RULES: Mapping[str, Callable[[Array, NDArray[np.int64], Array], Array]] = {
    "max": _max,
    "mean_logit": _mean_logit,
    "mean_probability": _mean_probability,
}


def by_video(logits: ArrayLike, y: ArrayLike, video: Sequence[str], rule: str = "mean_logit") -> Videos:
    """One logit for each video, in the order of the keys.

    Args:
        logits: (N,) of frames.
        y: (N,) labels of frames.
        video: key of each frame's video, dataset/manipulation/name: bare names repeat across manipulations.
        rule: ``mean_logit``, ``mean_probability`` (given back as its logit) or ``max`` (of the frames' logits).

    Raises:
        DataError: two frames of one key have different labels, so two videos share a name.
    """
    aggregate = lookup("video rule", RULES, rule)
    z, labels = check(logits, y, both_classes=False)
    if len(video) != len(z):
        raise DataError(f"video must name the video of each of the {len(z)} frames, got {len(video)} names")
    keys, first, place = np.unique(np.asarray(video, dtype=str), return_index=True, return_inverse=True)
    if (mixed := labels != labels[first][place]).any():
        key = str(keys[place[mixed][0]])
        raise DataError(f"video {key!r} has real and fake frames; name videos dataset/manipulation/name")
    # Sorted inside each video, so that equal frames give equal sums (and ties stay ties) in any order.
    order = np.lexsort((z, place))
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    frames = np.diff(np.append(starts, len(z))).astype(np.float64)
    return Videos(keys.tolist(), aggregate(z[order], starts, frames), labels[first].astype(np.int64), first)
