"""From the logits of all samples to named metrics with intervals: frames and videos, modes, manipulations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfooled import metrics
from unfooled.errors import DataError
from unfooled.results import Metric, Samples

Array = NDArray[np.float64]
Rows = NDArray[np.int64]

MODES: Mapping[str, tuple[int, ...]] = {"both": (0, 1), "fakes_only": (1,), "reals_only": (0,)}
"""Which classes are attacked; fakes_only is evasion, reals_only defamation."""

RADII = (0.1, 0.25, 0.5, 1.0, 2.0)
"""L2 lengths of a change, in units of [0, 1], at which a shortest-change attack's robust accuracy is told."""


def mix(mode: str, y: NDArray[np.int64], clean: Array, attacked: Array) -> Array:
    """Attacked logits for the classes of ``mode``, clean ones for the rest: three modes from one attack run."""
    return np.where(np.isin(y, MODES[mode]), attacked, clean)


@dataclass(frozen=True, eq=False)
class Level:
    """Frames or videos with their people, and one set of resamples for all metrics on them."""

    y: NDArray[np.int64]
    people: NDArray[np.str_]
    manipulation: NDArray[np.str_]
    collection: NDArray[np.str_]
    replicates: int
    seed: int
    resamples: metrics.Resamples = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "resamples", metrics.Resamples(self.y, self.people, self.replicates, self.seed))

    def take(self, rows: Rows) -> Level:
        """The same for some of the rows (videos: the rows of their first frames)."""
        text = (self.people[rows], self.manipulation[rows], self.collection[rows])
        return Level(self.y[rows], *text, self.replicates, self.seed)

    def measure(self, metric: metrics.Metric, values: Array, rows: Rows | None = None, **options: Any) -> Metric:
        """``metric`` with its interval over people; value None and a note where it is not defined."""
        rows = np.arange(len(self.y)) if rows is None else rows
        y = self.y[rows]
        counts = {"n_real": int((y == 0).sum()), "n_fake": int((y == 1).sum())}
        try:
            value = metric(values[rows], y, **options)
        except DataError:
            return Metric(value=None, note="n/a: reals and fakes are needed", **counts)
        if np.isnan(value):
            return Metric(value=None, note=_reason(options, counts["n_real"]), **counts)
        drawn = self.resamples.apply(metric, values[rows], y, rows, **options)
        groups = self.resamples.groups_of(rows)
        low, high = metrics.interval(drawn, groups)
        note = "" if groups > 1 else "no interval: a class has fewer than 2 people"
        return Metric(value=value, low=low, high=high, note=note, **counts)

    def macro(self, values: Array, parts: Mapping[str, Rows]) -> Metric:
        """Mean of the AUCs of ``parts``, all on the same resamples."""
        counts = {"n_real": int((self.y == 0).sum()), "n_fake": int((self.y == 1).sum())}
        value = np.mean([metrics.auc(values[rows], self.y[rows]) for rows in parts.values()])
        drawn = [self.resamples.apply(metrics.auc, values[rows], self.y[rows], rows) for rows in parts.values()]
        groups = min(self.resamples.groups_of(rows) for rows in parts.values())
        low, high = metrics.interval(np.mean(drawn, axis=0), groups)
        return Metric(value=float(value), low=low, high=high, note=f"mean over {len(parts)} manipulations", **counts)

    def by_manipulation(self) -> dict[str, Rows]:
        """All reals and one manipulation each; none where reals or fakes are missing."""
        fakes = sorted(set(self.manipulation[self.y == 1].tolist()))
        real = self.y == 0
        return (
            {m: np.flatnonzero(real | ((self.y == 1) & (self.manipulation == m))) for m in fakes} if real.any() else {}
        )

    def by_collection(self) -> dict[str, Rows]:
        """The samples of each collection that holds both classes."""
        rows = {c: np.flatnonzero(self.collection == c) for c in sorted(set(self.collection.tolist())) if c}
        return {c: r for c, r in rows.items() if len(set(self.y[r].tolist())) == 2}


def _reason(options: Mapping[str, Any], n_real: int) -> str:
    if "q" in options:
        return f"n/a: {n_real} reals are too few for a false positive rate of {options['q']:g}"
    return "n/a: nothing is called fake"


@dataclass(frozen=True, eq=False)
class Tables:
    """Names every metric of a condition; the same resamples serve all conditions.

    Args:
        samples: the evaluated rows.
        threshold: of the detector, a logit.
        rule: how frames make a video, a key of ``metrics.RULES``.
        replicates: of the bootstrap, >= 0.
        seed: of the bootstrap.
    """

    samples: Samples
    threshold: float = 0.0
    rule: str = "mean_logit"
    replicates: int = 1000
    seed: int = 0
    frames: Level = field(init=False)
    videos: Level = field(init=False)

    def __post_init__(self) -> None:
        s = self.samples
        y = np.asarray(s.label, np.int64)
        columns = [np.asarray(c, dtype=np.str_) for c in (people(s), s.manipulation, s.collection)]
        frames = Level(y, columns[0], columns[1], columns[2], self.replicates, self.seed)
        first = metrics.by_video(np.zeros(len(y)), y, s.video).first
        object.__setattr__(self, "frames", frames)
        object.__setattr__(self, "videos", frames.take(first))

    def video_logits(self, logits: Array) -> Array:
        """One logit per video, in the order of ``videos``."""
        return metrics.by_video(logits, self.frames.y, self.samples.video, self.rule).logits

    def clean(self, logits: Array) -> dict[str, Metric]:
        """Every metric of the samples as they are."""
        frames, at = self.frames, self.threshold
        found: dict[str, Metric] = {}
        for name, level, z in (("frame", frames, logits), ("video", self.videos, self.video_logits(logits))):
            found |= {
                f"{name}/auc": level.measure(metrics.auc, z),
                f"{name}/average_precision": level.measure(metrics.average_precision, z),
                f"{name}/average_precision_balanced": level.measure(metrics.average_precision, z, balanced=True),
                f"{name}/eer": level.measure(metrics.eer, z),
                f"{name}/tpr_at_fpr_0.01": level.measure(metrics.tpr_at_fpr, z, q=0.01),
                f"{name}/tpr_at_fpr_0.001": level.measure(metrics.tpr_at_fpr, z, q=0.001),
            }
        for metric in (metrics.accuracy, metrics.precision, metrics.recall, metrics.f1):
            found[metric.core.__name__] = frames.measure(metric, logits, threshold=at)
        for metric in (metrics.brier, metrics.ece, metrics.log_loss):
            found[metric.core.__name__] = frames.measure(metric, logits)
        found["ece_confidence"] = frames.measure(metrics.ece, logits, form="confidence")
        for metric in (metrics.accuracy, metrics.precision):
            found[f"{metric.core.__name__}_balanced"] = frames.measure(metric, logits, balanced=True, threshold=at)
        for metric in (metrics.brier, metrics.ece):
            found[f"{metric.core.__name__}_balanced"] = frames.measure(metric, logits, balanced=True)
        return found | self._parts("", logits)

    def attacked(
        self,
        clean: Array,
        logits: Array,
        saved: Mapping[str, Array] | None = None,
        modes: Iterable[str] = tuple(MODES),
        distance: Array | None = None,
    ) -> dict[str, Metric]:
        """Robust AUC of each mode, the three accuracies and the success rate.

        Args:
            clean: (N,) logits of x.
            logits: (N,) of x_adv.
            saved: (N,) of x_adv after it was saved, by the name of the file format: ``png``, ``jpeg90``.
            modes: those that the attacked samples allow.
            distance: (N,) of x_adv, from an attack that looks for the shortest change: it stops at the boundary, so its
                logits order nothing and there is no AUC, but one run gives the robust accuracy at every radius.
        """
        saved = saved or {}
        frames, y = self.frames, self.frames.y
        found: dict[str, Metric] = {}
        modes = tuple(modes)
        for mode in modes if distance is None else ():
            z = mix(mode, y, clean, logits)
            found[f"robust/{mode}/frame_auc"] = frames.measure(metrics.auc, z)
            found[f"robust/{mode}/video_auc"] = self.videos.measure(metrics.auc, self.video_logits(z))
            for form, after in saved.items():
                found[f"robust/{mode}/{form}_frame_auc"] = frames.measure(metrics.auc, mix(mode, y, clean, after))
            # The plain names belong to the condition as it was run; the other modes carry theirs.
            found |= self._parts("" if mode == modes[0] else f"robust/{mode}/", z)
        attacked = mix(modes[0], y, clean, logits)
        right, right_adv = ((z > self.threshold) == (y == 1) for z in (clean, attacked))
        found["accuracy"] = frames.measure(metrics.share, right.astype(float))
        found["accuracy_adv"] = frames.measure(metrics.share, right_adv.astype(float))
        found["robust_accuracy"] = frames.measure(metrics.share, (right & right_adv).astype(float))
        flipped = (right & ~right_adv).astype(float)
        if distance is not None:
            for radius in RADII:
                holds = right & ~((flipped == 1) & (distance <= radius))
                found[f"robust_accuracy/eps={radius:g}"] = frames.measure(metrics.share, holds.astype(float))
        for name, classes in {"": (0, 1), "/fakes": (1,), "/reals": (0,)}.items():
            rows = np.flatnonzero(right & np.isin(y, classes) & np.isin(y, MODES[modes[0]]))
            none = Metric(value=None, note="n/a: no sample was right before the attack", n_real=0, n_fake=0)
            rate = frames.measure(metrics.share, flipped, rows) if len(rows) else none
            found[f"attack_success_rate{name}"] = rate
        rows = np.flatnonzero(right & np.isin(y, MODES[modes[0]]))
        for form, after in saved.items() if len(rows) else ():
            still = flipped * ((after > self.threshold) != (y == 1))
            found[f"attack_success_rate_{form}"] = frames.measure(metrics.share, still, rows)
        return found

    def _parts(self, prefix: str, logits: Array) -> dict[str, Metric]:
        found: dict[str, Metric] = {}
        for suffix, level, z in (("auc", self.frames, logits), ("video_auc", self.videos, self.video_logits(logits))):
            parts = level.by_manipulation()
            for name, rows in parts.items():
                found[f"{prefix}manipulation/{name}/{suffix}"] = level.measure(metrics.auc, z, rows)
            if parts:
                found[f"{prefix}manipulation/macro/{suffix}"] = level.macro(z, parts)
            for name, rows in level.by_collection().items():
                found[f"{prefix}collection/{name}/{suffix}"] = level.measure(metrics.auc, z, rows)
        return found


def people(samples: Samples) -> list[str]:
    """The group of each sample: its target person where known, else its video."""
    return [f"person {p}" if p else f"video {v}" for p, v in zip(samples.identity, samples.video, strict=True)]
