"""Shares that were counted: exact binomial tails and intervals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from unfooled.errors import ConfigError


def clopper_pearson(count: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval for a share of which ``count`` of ``of`` were seen; (0, 1) where ``of`` is 0.

    Each end leaves (1 - confidence) / 2: at the lower end so many or more, at the upper so few or fewer, are that
    unlikely. Found by bisection over the binomial tails.

    Raises:
        ConfigError: ``count`` is not in 0 to ``of``, or ``confidence`` not in (0, 1).

    Source: Clopper and Pearson 1934, doi:10.1093/biomet/26.4.404. Deviation: none.
    """
    if not 0 <= count <= of or not 0 < confidence < 1:
        raise ConfigError(f"need 0 <= count <= of and confidence in (0, 1), got {count}, {of} and {confidence:g}")
    tail = (1 - confidence) / 2
    low = 0.0 if count == 0 else _solve(lambda p: at_most(count - 1, of, p) < 1 - tail)
    high = 1.0 if count == of else _solve(lambda p: at_most(count, of, p) < tail)
    return low, high


def at_most(count: int, of: int, p: float) -> float:
    """P(X <= count) of a binomial distribution; the smaller side is summed, from logarithms."""
    if p <= 0 or p >= 1:
        return 1.0 if p <= 0 else float(count >= of)
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, of + 1)))])
    lower = count + 1 <= of - count
    k = np.arange(0, count + 1) if lower else np.arange(count + 1, of + 1)
    terms = logs[of] - logs[k] - logs[of - k] + k * math.log(p) + (of - k) * math.log1p(-p)
    total = float(np.exp(terms).sum())
    return total if lower else 1 - total


def _solve(is_above: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_above(middle) else (middle, high)
    return (low + high) / 2
