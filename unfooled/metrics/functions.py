"""Metrics of a two-class detector; positive class = fake. Each is written once, for many weightings of the samples."""

from __future__ import annotations

from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfooled.errors import ConfigError, DataError

Array = NDArray[np.float64]
Core = Callable[..., Array]


class Metric:
    """A number from logits (N,) and y (N,); ``replicates`` gives it for many weightings at once.

    ``balanced=True`` weighs the classes to equal totals first: the figure at half real, half fake.
    """

    def __init__(self, core: Core, both_classes: bool) -> None:
        self.core = core
        self.both_classes = both_classes
        update_wrapper(self, core)

    def __call__(self, logits: ArrayLike, y: ArrayLike, *args: Any, balanced: bool = False, **options: Any) -> float:
        z, labels = check(logits, y, self.both_classes or balanced)
        return float(self.replicates(z, labels, np.ones((1, len(z))), *args, balanced=balanced, **options)[0])

    def replicates(
        self, logits: Array, y: Array, weights: Array, *args: Any, balanced: bool = False, **options: Any
    ) -> Array:
        """(R,) values under the R weightings (R, N); nan where a weighting leaves the metric undefined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            if balanced:
                fakes, reals = (weights @ y)[:, None], (weights @ (1 - y))[:, None]
                weights = weights * np.where(y == 1, 0.5 / fakes, 0.5 / reals)
            return self.core(logits, y, weights, *args, **options)


def metric(both_classes: bool) -> Callable[[Core], Metric]:
    """Make a Metric of a function (logits (N,), y (N,), weights (R, N)) -> (R,)."""
    return lambda core: Metric(core, both_classes)


def check(logits: ArrayLike, y: ArrayLike, both_classes: bool) -> tuple[Array, Array]:
    """``logits`` and ``y`` as float64 arrays (N,).

    Raises:
        DataError: shapes differ, nothing there, a logit is not finite, a label is not 0 or 1, or a class is missing.
    """
    z, labels = np.asarray(logits, np.float64), np.asarray(y, np.float64)
    if z.ndim != 1 or z.shape != labels.shape:
        raise DataError(f"logits and y must be two rows of equal length, got shapes {z.shape} and {labels.shape}")
    if not len(z):
        raise DataError("logits must hold at least one sample, got none")
    if bad := int((~np.isfinite(z)).sum()):
        raise DataError(f"logits must be finite, got {bad} of {len(z)} that are not; leave such samples out by name")
    if not np.isin(labels, (0, 1)).all():
        raise DataError(f"y must be 0 (real) or 1 (fake), got {sorted(set(labels.tolist()) - {0.0, 1.0})[:5]}")
    if both_classes and labels.min() == labels.max():
        only = "fakes" if labels[0] else "reals"
        raise DataError(f"y must hold reals and fakes, got {len(z)} {only} only; a metric of one class means nothing")
    return z, labels


def sigmoid(logits: ArrayLike) -> Array:
    """Score in [0, 1] of each logit, without overflow."""
    z = np.asarray(logits, np.float64)
    small = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + small), small / (1 + small))


def _sweep(logits: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    """Weight of fakes and of reals at or above each distinct logit, falling; (R, K+1), starting at 0."""
    order = np.argsort(-logits, kind="stable")
    z, fake = logits[order], y[order]
    ends = np.flatnonzero(np.append(z[1:] != z[:-1], True))
    weights = weights[:, order]
    fakes, reals = (np.cumsum(weights * one, axis=1)[:, ends] for one in (fake, 1 - fake))
    return tuple(np.pad(total, ((0, 0), (1, 0))) for total in (fakes, reals))  # type: ignore[return-value]


def _rates(logits: Array, y: Array, weights: Array) -> tuple[Array, Array]:
    fakes, reals = _sweep(logits, y, weights)
    return reals / reals[:, -1:], fakes / fakes[:, -1:]


@metric(both_classes=True)
def auc(logits: Array, y: Array, weights: Array) -> Array:
    """Chance that a fake scores above a real, a tie counting half; in [0, 1], 0.5 for scores that know nothing.

    Raises:
        DataError: one class only; there is no AUC then, least of all 0.5.
    """
    fakes, reals = _sweep(logits, y, weights)
    area = np.einsum("rk,rk->r", np.diff(reals), fakes[:, 1:] + fakes[:, :-1]) / 2
    return np.asarray(area / (fakes[:, -1] * reals[:, -1]), np.float64)


@metric(both_classes=True)
def average_precision(logits: Array, y: Array, weights: Array) -> Array:
    """Precision averaged over the gains in recall (a step curve); in (0, 1], the share of fakes at chance."""
    fakes, reals = _sweep(logits, y, weights)
    found = fakes + reals
    precisions = np.divide(fakes, found, out=np.zeros_like(fakes), where=found > 0)
    total = np.einsum("rk,rk->r", np.diff(fakes), precisions[:, 1:])
    return np.asarray(total / fakes[:, -1], np.float64)


@metric(both_classes=True)
def eer(logits: Array, y: Array, weights: Array) -> Array:
    """Equal error rate: where the straight lines between ROC points meet fpr = 1 - tpr; in [0, 1]."""
    fpr, tpr = _rates(logits, y, weights)
    gap = fpr + tpr - 1
    after = np.argmax(gap >= 0, axis=1)
    rows = np.arange(len(gap))
    before = np.maximum(after - 1, 0)
    rise = gap[rows, after] - gap[rows, before]
    part = np.divide(-gap[rows, before], rise, out=np.zeros_like(rise), where=rise > 0)
    value: Array = fpr[rows, before] + part * (fpr[rows, after] - fpr[rows, before])
    return np.where(np.isnan(gap[:, -1]), np.nan, value)


@metric(both_classes=True)
def tpr_at_fpr(
    logits: Array, y: Array, weights: Array, q: float, interpolate: bool = False, min_real: float | None = None
) -> Array:
    """Share of fakes found while at most a share ``q`` of the reals is accused; in [0, 1].

    Args:
        q: false positive rate, in (0, 1].
        interpolate: draw straight lines between the best points of neighbouring FPRs, instead of taking the best
            point with FPR <= q; the two differ greatly when reals are few.
        min_real: nan when there are fewer reals; None means 1/q, below which one real already oversteps q.
    """
    if not 0 < q <= 1:
        raise ConfigError(f"q must be in (0, 1], got {q:g}; write 0.01 for 1 %")
    if (y == 0).sum() < (1 / q - 1e-9 if min_real is None else min_real):
        return np.full(len(weights), np.nan)
    fpr, tpr = _rates(logits, y, weights)
    rows = np.arange(len(fpr))
    last = np.maximum((fpr <= q + 1e-12).sum(1) - 1, 0)
    value: Array = tpr[rows, last]
    if interpolate:
        beyond = fpr[rows, np.minimum(last + 1, fpr.shape[1] - 1)]
        after = (fpr <= beyond[:, None] + 1e-12).sum(1) - 1
        run = fpr[rows, after] - fpr[rows, last]
        part = np.divide(q - fpr[rows, last], run, out=np.zeros_like(run), where=run > 0)
        value = value + part * (tpr[rows, after] - value)
    return np.where(np.isnan(fpr[:, -1] + tpr[:, -1]), np.nan, value)


def roc_curve(logits: ArrayLike, y: ArrayLike, points: int | None = None) -> tuple[Array, Array, Array]:
    """False and true positive rates, rising from 0 to 1, and the logit from which on a sample counts as fake.

    Args:
        points: keep about so many, evenly along the curve, both ends among them (None: one per distinct logit).
    """
    z, labels = check(logits, y, both_classes=True)
    fpr, tpr = (rate[0] for rate in _rates(z, labels, np.ones((1, len(z)))))
    thresholds = np.append(np.inf, np.unique(z)[::-1])
    if points is not None and len(fpr) > points:
        keep = np.unique(np.searchsorted(fpr + tpr, np.linspace(0, 2, max(points, 2)) - 1e-12).clip(0, len(fpr) - 1))
        fpr, tpr, thresholds = fpr[keep], tpr[keep], thresholds[keep]
    return fpr, tpr, thresholds


def _mean(values: NDArray[Any], weights: Array) -> Array:
    return np.asarray((weights @ values) / weights.sum(1), np.float64)


@metric(both_classes=False)
def share(flags: Array, y: Array, weights: Array) -> Array:
    """Mean of ``flags`` (0 or 1 for each sample, in the place of the logits); y only says who is who."""
    return _mean(flags, weights)


@metric(both_classes=False)
def accuracy(logits: Array, y: Array, weights: Array, threshold: float = 0.0) -> Array:
    """Share of samples on their side of ``threshold`` (a logit; fake if logit > threshold); in [0, 1]."""
    return _mean((logits > threshold) == y, weights)


@metric(both_classes=True)
def precision(logits: Array, y: Array, weights: Array, threshold: float = 0.0) -> Array:
    """Share of fakes among the samples called fake; nan when none is."""
    called = logits > threshold
    return np.asarray((weights @ (called * y)) / (weights @ called), np.float64)


@metric(both_classes=True)
def recall(logits: Array, y: Array, weights: Array, threshold: float = 0.0) -> Array:
    """Share of the fakes that are called fake; in [0, 1]."""
    return np.asarray((weights @ ((logits > threshold) * y)) / (weights @ y), np.float64)


@metric(both_classes=True)
def f1(logits: Array, y: Array, weights: Array, threshold: float = 0.0) -> Array:
    """Harmonic mean of precision and recall; in [0, 1], 0 when no fake is found."""
    called = logits > threshold
    return np.asarray(2 * (weights @ (called * y)) / (weights @ (called + y)), np.float64)


@metric(both_classes=False)
def brier(logits: Array, y: Array, weights: Array) -> Array:
    """Mean squared distance of score and label; in [0, 1], 0.25 for scores of 0.5."""
    return _mean((sigmoid(logits) - y) ** 2, weights)


@metric(both_classes=False)
def log_loss(logits: Array, y: Array, weights: Array) -> Array:
    """Mean binary cross-entropy in nats, >= 0; exact at logits of +-100 and far beyond."""
    return _mean(np.logaddexp(0, logits) - y * logits, weights)


@metric(both_classes=False)
def ece(
    logits: Array, y: Array, weights: Array, bins: int = 15, form: Literal["p_fake", "confidence"] = "p_fake"
) -> Array:
    """Expected calibration error: distance of promise and outcome, averaged over equal bins (lo, hi]; in [0, 1].

    Args:
        bins: >= 1.
        form: ``p_fake`` bins the score and compares it with the share of fakes; ``confidence`` bins
            max(score, 1 - score) and compares it with the accuracy of score >= 0.5.
    """
    if bins < 1 or form not in ("p_fake", "confidence"):
        raise ConfigError(f"ece needs bins >= 1 and form p_fake or confidence, got {bins} and {form!r}")
    score = sigmoid(logits)
    promise, outcome = (score, y) if form == "p_fake" else (np.maximum(score, 1 - score), (score >= 0.5) == y)
    place = np.clip(np.ceil(promise * bins) - 1, 0, bins - 1).astype(int)
    gaps = np.zeros((len(y), bins))
    gaps[np.arange(len(y)), place] = promise - outcome
    return np.asarray(np.abs(weights @ gaps).sum(1) / weights.sum(1), np.float64)
