"""95 % intervals and paired differences by bootstrap over groups: target people where known, else videos."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfooled.errors import ConfigError, DataError
from unfooled.metrics.functions import Array, Metric, auc, check

AnyMetric = Metric | Callable[..., float]
# Weights in work at a time: small enough for the cache, large enough for numpy.
CHUNK = 1 << 19


class Resamples:
    """The same draws of groups for every metric, subset and detector, so that their differences are paired.

    Groups are drawn with replacement among those that hold the same classes (reals, fakes, both), so no resample
    of the whole set loses a class.

    Args:
        y: (N,) labels.
        groups: (N,) name of each sample's group.
        replicates: number of resamples, >= 1; 0 means that no intervals are wanted.
        seed: equal seeds give equal draws.
    """

    def __init__(self, y: ArrayLike, groups: ArrayLike, replicates: int = 1000, seed: int = 0) -> None:
        labels, names = np.asarray(y), np.asarray(groups)
        if names.shape != labels.shape:
            raise DataError(f"groups must name the group of each of the {len(labels)} samples, got {names.shape}")
        if replicates < 0:
            raise ConfigError(f"replicates must be >= 0, got {replicates}; 1000 is usual")
        self.labels = labels
        _, self.groups = np.unique(names, return_inverse=True)
        number = int(self.groups.max(initial=-1)) + 1
        holds = sum(2**c * (np.bincount(self.groups, labels == c, number) > 0) for c in (0, 1))
        rng = np.random.default_rng(seed)
        self.counts = np.zeros((replicates, number))
        for kind in np.unique(holds):
            members = np.flatnonzero(holds == kind)
            self.counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), replicates)

    def _chunks(self, rows: NDArray[np.int64]) -> Iterator[Array]:
        step = max(1, CHUNK // max(1, len(rows)))
        for start in range(0, len(self.counts), step):
            yield self.counts[start : start + step, self.groups[rows]]

    def apply(
        self, metric: AnyMetric, logits: ArrayLike, y: ArrayLike, rows: ArrayLike | None = None, **options: Any
    ) -> Array:
        """(R,) values of ``metric`` over the resamples; nan where a subset lost a class.

        Args:
            logits: (n,) of the samples at ``rows``.
            y: (n,) their labels.
            rows: (n,) places among the N samples; None means all.
            options: of the metric.
        """
        places = np.arange(len(self.groups)) if rows is None else np.asarray(rows)
        if isinstance(metric, Metric):
            z, labels = check(logits, y, metric.both_classes)
            if metric is auc and not options and 2 * self.counts.shape[1] <= len(self.counts):
                return self._auc(z, labels, places)
            parts = [metric.replicates(z, labels, weights, **options) for weights in self._chunks(places)]
            return np.concatenate(parts) if parts else np.empty(0)
        z, labels = np.asarray(logits), np.asarray(y)
        drawn = (np.repeat(np.arange(len(z)), w.astype(int)) for chunk in self._chunks(places) for w in chunk)
        return np.array([_or_nan(metric, z[i], labels[i], options) for i in drawn])

    def _auc(self, logits: Array, y: Array, rows: NDArray[np.int64]) -> Array:
        # Which group's fakes beat which group's reals is counted once; a resample only weighs these counts.
        number = self.counts.shape[1]
        fake = np.flatnonzero(y == 1)
        fake = fake[np.argsort(logits[fake])]
        z, groups = logits[fake], self.groups[rows]
        wins = np.zeros((number, number))
        for group in np.unique(groups[y == 0]):
            reals = np.sort(logits[(groups == group) & (y == 0)])
            beaten = np.searchsorted(reals, z, "left") + np.searchsorted(reals, z, "right")
            wins[:, group] = np.bincount(groups[fake], beaten / 2, number)
        fakes, reals = (self.counts @ np.bincount(groups, y == c, number) for c in (1, 0))
        with np.errstate(invalid="ignore"):
            return np.asarray(((self.counts @ wins) * self.counts).sum(1) / (fakes * reals), np.float64)

    def groups_of(self, rows: ArrayLike | None = None) -> int:
        """Number of groups that the rarer class has among ``rows``; one group has no spread to show."""
        places = np.arange(len(self.groups)) if rows is None else np.asarray(rows)
        labels, groups = self.labels[places], self.groups[places]
        return min((len(np.unique(groups[labels == c])) for c in np.unique(labels)), default=0)


def _or_nan(metric: Callable[..., float], logits: Array, y: Array, options: dict[str, Any]) -> float:
    try:
        return metric(logits, y, **options)
    except DataError:
        return float("nan")


def interval(values: Array, groups: int = 2) -> tuple[float, float]:
    """95 % percentile interval of resampled values; (nan, nan) where it would be invented.

    Args:
        values: (R,); nan (a resample without the metric) is left out, up to a tenth of them.
        groups: number of groups behind them; fewer than 2 say nothing about other people.
    """
    known = values[np.isfinite(values)]
    if groups < 2 or not len(known) or len(known) < 0.9 * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(known, (0.025, 0.975))
    return float(low), float(high)


def bootstrap(
    metric: AnyMetric,
    logits: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    **options: Any,
) -> tuple[float, float]:
    """95 % interval of ``metric(logits, y, **options)`` over groups; (nan, nan) when a class has fewer than 2.

    Args:
        metric: one of this package (all replicates in a few sorted passes) or any function of (logits, y).
        logits: (N,).
        y: (N,).
        groups: (N,) target person of each sample, or its video.
    """
    resamples = Resamples(y, groups, replicates, seed)
    return interval(resamples.apply(metric, logits, y, **options), resamples.groups_of())


def paired_difference(
    metric: AnyMetric,
    logits_a: ArrayLike,
    logits_b: ArrayLike,
    y: ArrayLike,
    groups: ArrayLike,
    replicates: int = 1000,
    seed: int = 0,
    **options: Any,
) -> tuple[float, float, float]:
    """(difference, low, high) of ``metric`` on a minus b, both on the same resamples of the same people.

    Args:
        logits_a: (N,) of one detector or condition.
        logits_b: (N,) of the other, for the same samples in the same order.
        y, groups: as in ``bootstrap``.
    """
    resamples = Resamples(y, groups, replicates, seed)
    a, b = (resamples.apply(metric, z, y, **options) for z in (logits_a, logits_b))
    difference = metric(logits_a, y, **options) - metric(logits_b, y, **options)
    return difference, *interval(a - b, resamples.groups_of())
