"""Two evaluations of the same samples: paired differences with intervals over the people they share."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from unfooled import metrics
from unfooled.errors import DataError
from unfooled.evaluation.conditions import CLEAN
from unfooled.evaluation.tables import MODES, Array, Level, Tables, mix, people
from unfooled.results import Comparison, ConditionResult, Difference, Evaluation


def compare(a: Evaluation, b: Evaluation, condition: str, *, replicates: int = 1000, seed: int = 0) -> Comparison:
    """AUC of ``a`` minus AUC of ``b`` under one condition, each with a 95 % interval of the difference.

    Args:
        a, b: of the same samples, in any order of rows.
        condition: ``clean``, or the name of an attack, a distortion or defense that the two were put to.
        replicates: of the paired bootstrap, >= 0.
        seed: of the bootstrap.

    Raises:
        DataError: the samples, the video rule or the condition differ; the text says in what.
    """
    order = _order(a, b)
    if a.video_rule != b.video_rule:
        raise DataError(f"{a.name} and {b.name} make videos by {a.video_rule} and {b.video_rule}; use one rule")
    seen = [e.provenance.get("pixel_digest") for e in (a, b)]
    if all(seen) and seen[0] != seen[1]:
        raise DataError(
            f"{a.name} and {b.name} were shown other pictures (or sizes) under the same ids; evaluate both on one set"
        )
    theirs = [e.condition(condition) for e in (a, b)]
    facts = [(c.eps, c.norm, c.steps, c.seed, c.distortion, c.applied_to) for c in theirs]
    if facts[0] != facts[1]:
        raise DataError(
            f"condition {condition!r} is not the same attack (eps, norm, steps, seed) or distortion: {facts[0]} and"
            f" {facts[1]}"
        )
    tables = Tables(a.samples, 0.0, a.video_rule, replicates, seed)
    z = [np.asarray(theirs[0].logits), np.asarray(theirs[1].logits)[order]]
    if theirs[0].attack is None:
        pairs = {"": (z[0], z[1])}
    else:
        clean = [np.asarray(_unattacked(a, theirs[0]).logits), np.asarray(_unattacked(b, theirs[1]).logits)[order]]
        y = tables.frames.y
        modes = [m for m in MODES if all(f"robust/{m}/frame_auc" in c.metrics for c in theirs)]
        pairs = {f"robust/{m}/": (mix(m, y, clean[0], z[0]), mix(m, y, clean[1], z[1])) for m in modes}
    differences = {}
    for prefix, (left, right) in pairs.items():
        join = "_" if prefix else "/"
        differences[f"{prefix}frame{join}auc"] = _difference(tables.frames, left, right)
        videos = (tables.video_logits(left), tables.video_logits(right))
        differences[f"{prefix}video{join}auc"] = _difference(tables.videos, *videos)
    return Comparison(
        a=a.name, b=b.name, condition=condition, n_people=len(set(people(a.samples))), differences=differences
    )


def _unattacked(evaluation: Evaluation, attacked: ConditionResult) -> ConditionResult:
    """The condition without the attack, equally distorted and defended."""
    asked = attacked.distortion, attacked.defense
    if asked == (None, None):
        return evaluation.condition(CLEAN)
    same = [c for c in evaluation.conditions if c.attack is None and (c.distortion, c.defense) == asked]
    if not same:
        behind = " and ".join(repr(part) for part in asked if part)
        raise DataError(f"{evaluation.name} has {attacked.name!r} but not {behind} without the attack")
    return same[0]


def compare_all(evaluations: Sequence[Evaluation], *, replicates: int = 1000, seed: int = 0) -> list[Comparison]:
    """Every pair under every condition that both have on the same samples; pairs that do not fit are left out.

    So are distorted conditions: there are too many for anybody to read, and ``compare`` gives each.
    """
    found = []
    for a, b in combinations(evaluations, 2):
        names = {c.name for c in b.conditions}
        for condition in (c.name for c in a.conditions if c.name in names and c.distortion is None):
            try:
                found.append(compare(a, b, condition, replicates=replicates, seed=seed))
            except DataError:
                continue
    return found


def _order(a: Evaluation, b: Evaluation) -> list[int]:
    place = {name: row for row, name in enumerate(b.samples.id)}
    only_a = [i for i in a.samples.id if i not in place]
    only_b = sorted(set(place) - set(a.samples.id))
    if only_a or only_b:
        example = (only_a or only_b)[0]
        raise DataError(
            f"{a.name} and {b.name} must be of the same samples: {len(only_a)} only in the first, {len(only_b)} only in"
            f" the second, such as {example!r}; evaluate both on one manifest"
        )
    order = [place[i] for i in a.samples.id]
    if wrong := [i for i, row in enumerate(order) if a.samples.label[i] != b.samples.label[row]]:
        example = a.samples.id[wrong[0]]
        raise DataError(f"{a.name} and {b.name} label {len(wrong)} samples differently, such as {example!r}")
    return order


def _difference(level: Level, a: Array, b: Array) -> Difference:
    values = [metrics.auc(z, level.y) for z in (a, b)]
    drawn = [level.resamples.apply(metrics.auc, z, level.y) for z in (a, b)]
    low, high = metrics.interval(drawn[0] - drawn[1], level.resamples.groups_of())
    return Difference(
        value=values[0] - values[1],
        low=low,
        high=high,
        a=values[0],
        b=values[1],
        n_real=int((level.y == 0).sum()),
        n_fake=int((level.y == 1).sum()),
    )
