"""What distortions do on the average: mean AUC over the five levels of a type, and over all types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from unfooled import metrics
from unfooled.attacks import describe
from unfooled.distortions import ALL, DISTORTIONS, LEVELS, family
from unfooled.evaluation.conditions import THEN, Condition
from unfooled.evaluation.tables import MODES, Array, Level, Tables, mix
from unfooled.results import ConditionResult, Metric

APPLIED_TO = "crops"
"""What a condition distorts. The published protocol distorts whole frames before faces are cut out of them, which
``data prepare --distortion`` does."""
Curve = tuple[Level, Array]


def level_means(
    conditions: Sequence[Condition], results: Sequence[ConditionResult], tables: Tables
) -> dict[str, dict[str, Metric]]:
    """Mean AUC over the levels of each distortion that was run at all five, and over everything, with intervals.

    Args:
        conditions: with the clean one.
        results: of the conditions, in their order.
        tables: of the same samples; the means stand on its resamples.

    Returns:
        Metrics (``frame/auc``, ``robust/both/frame_auc``) by the name of the distortion without its level; behind an
        attack by both names; ``all`` where every type was run.
    """
    plain = {c.unattacked: np.asarray(r.logits) for c, r in zip(conditions, results, strict=True) if c.attack is None}
    found: dict[str, dict[str, dict[int, dict[str, Curve]]]] = {}
    for condition, result in zip(conditions, results, strict=True):
        distortion = condition.distortion
        if condition.defense is not None or distortion is None or distortion.level is None:
            continue
        if (name := family(distortion)) is None:
            continue
        before = f"{describe(condition.attack)}{THEN}" if condition.attack else ""
        curves = _curves(result, plain[condition.unattacked], tables)
        found.setdefault(before, {}).setdefault(name, {})[distortion.level] = curves
    means: dict[str, dict[str, Metric]] = {}
    for before, by_family in found.items():
        whole = {name: list(levels.values()) for name, levels in by_family.items() if set(levels) == set(LEVELS)}
        means |= {before + name: _means(levels) for name, levels in whole.items()}
        if set(DISTORTIONS) <= set(whole):
            means[before + ALL] = _means([level for name in DISTORTIONS for level in whole[name]])
    return {name: mean for name, mean in means.items() if mean}


def _curves(result: ConditionResult, unattacked: Array, tables: Tables) -> dict[str, Curve]:
    """What is averaged of one condition: the logits behind each of its AUCs."""
    logits = np.asarray(result.logits)
    if result.attack is None:
        return {"frame/auc": (tables.frames, logits), "video/auc": (tables.videos, tables.video_logits(logits))}
    curves: dict[str, Curve] = {}
    for mode in MODES:
        if f"robust/{mode}/frame_auc" in result.metrics:
            z = mix(mode, tables.frames.y, unattacked, logits)
            curves[f"robust/{mode}/frame_auc"] = tables.frames, z
            curves[f"robust/{mode}/video_auc"] = tables.videos, tables.video_logits(z)
    return curves


def _means(levels: Sequence[Mapping[str, Curve]]) -> dict[str, Metric]:
    return {name: _mean([curves[name] for curves in levels]) for name in levels[0]}


def _mean(curves: Sequence[Curve]) -> Metric:
    level = curves[0][0]
    values = [metrics.auc(z, level.y) for _, z in curves]
    drawn = [level.resamples.apply(metrics.auc, z, level.y) for _, z in curves]
    low, high = metrics.interval(np.mean(drawn, axis=0), level.resamples.groups_of())
    return Metric(
        value=float(np.mean(values)),
        low=low,
        high=high,
        n_real=int((level.y == 0).sum()),
        n_fake=int((level.y == 1).sum()),
        note=f"mean over {len(curves)} conditions",
    )
