from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from unfooled.reports.curves import roc, score, spread, thin

scores = st.lists(st.integers(-20, 20).map(lambda i: i / 4), min_size=4, max_size=60)


def area(points: list[tuple[float, float]]) -> float:
    return sum((c - a) * (b + d) / 2 for (a, b), (c, d) in pairwise(points))


@given(scores, st.randoms(use_true_random=False))
def test_roc_is_that_of_sklearn_with_ties(logits: list[float], rng: object) -> None:
    labels = [i % 2 for i in range(len(logits))]
    points = roc(logits, labels)
    assert area(points) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)
    fpr, tpr, _ = roc_curve(labels, logits)
    assert {(round(x, 9), round(y, 9)) for x, y in points} <= {
        (round(x, 9), round(y, 9)) for x, y in zip(fpr, tpr, strict=True)
    }


def test_roc_of_one_class_or_of_nan_is_empty() -> None:
    assert roc([1.0, 2.0], [1, 1]) == []
    assert roc([1.0, math.nan], [0, 1]) == []


def test_a_thinned_roc_keeps_its_ends_and_its_area() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 4000)
    logits = rng.normal(size=4000) + labels
    points = roc(logits.tolist(), labels.tolist())
    assert len(points) <= 160
    assert points[0] == (0, 0)
    assert points[-1] == (1, 1)
    assert area(points) == pytest.approx(roc_auc_score(labels, logits), abs=2e-3)


def test_thinning_keeps_order_and_short_curves() -> None:
    line = [(i / 999, i / 999) for i in range(1000)]
    few = thin(line, 10)
    assert len(few) == 10
    assert few == sorted(few)
    assert thin(line[:5], 10) == line[:5]


@given(st.integers(0, 500), st.integers(1, 50))
def test_spread_takes_different_numbers_in_order(count: int, most: int) -> None:
    chosen = spread(count, most)
    assert len(chosen) == min(count, most)
    assert chosen == sorted(set(chosen))
    assert all(0 <= i < count for i in chosen)


def test_score_does_not_overflow() -> None:
    assert score(0.0) == 0.5
    assert score(1e4) == 1.0
    assert score(-700.0) == pytest.approx(0.0, abs=1e-15)
    assert score(2.0) + score(-2.0) == pytest.approx(1.0)
