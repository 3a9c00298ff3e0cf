"""Points of curves from scores alone, in plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby, pairwise

Point = tuple[float, float]


def roc(logits: Sequence[float], labels: Sequence[int], most: int = 160) -> list[Point]:
    """(false alarm rate, detection rate) from (0, 0) to (1, 1); [] where a class is missing or a score is not a number.

    Args:
        logits: N scores, higher means fake.
        labels: N labels, 0 real and 1 fake.
        most: corners to keep; a longer curve is thinned at equal lengths of its path.
    """
    fakes = sum(labels)
    reals = len(labels) - fakes
    if not fakes or not reals or any(math.isnan(z) for z in logits):
        return []
    points: list[Point] = [(0.0, 0.0)]
    alarms = hits = 0
    ranked = sorted(zip(logits, labels, strict=True), key=lambda row: -row[0])
    for _, ties in groupby(ranked, key=lambda row: row[0]):
        found = [label for _, label in ties]
        hits += sum(found)
        alarms += len(found) - sum(found)
        points.append((alarms / reals, hits / fakes))
    return thin(_corners(points), most)


def _corners(points: list[Point]) -> list[Point]:
    kept = points[:1]
    for middle, after in pairwise(points[1:]):
        (a, b), (c, d), (e, f) = kept[-1], middle, after
        if abs((c - a) * (f - b) - (d - b) * (e - a)) > 1e-12:
            kept.append(middle)
    return [*kept, points[-1]]


def thin(points: list[Point], most: int) -> list[Point]:
    """At most ``most`` of the points of a rising curve, at about equal lengths x + y of the path, both ends kept."""
    if len(points) <= most:
        return points
    start, end = sum(points[0]), sum(points[-1])
    step = (end - start) / (most - 1)
    kept = [points[0]]
    for point in points[1:-1]:
        if sum(point) - start >= step * len(kept) and len(kept) < most - 1:
            kept.append(point)
    return [*kept, points[-1]]


def spread(count: int, most: int) -> list[int]:
    """``most`` of the numbers 0 .. count - 1, evenly spread; all of them where they are fewer."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def score(logit: float) -> float:
    """Sigmoid; exact at any size of ``logit``."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else 1 - 1 / (1 + math.exp(logit))
