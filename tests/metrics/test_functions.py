"""Metrics against golden numbers, scikit-learn, closed forms and their limits."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from unfooled import metrics as m
from unfooled.errors import ConfigError, DataError

EVERY = {
    "auc": m.auc, "average_precision": m.average_precision, "eer": m.eer, "accuracy": m.accuracy,
    "precision": m.precision, "recall": m.recall, "f1": m.f1, "brier": m.brier, "log_loss": m.log_loss, "ece": m.ece,
}  # fmt: skip
RANKING = [m.auc, m.average_precision, m.eer, m.precision, m.recall, m.f1]


@pytest.fixture(scope="module")
def reference(golden: Callable[[str], Path]) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    content = json.loads(golden("metrics.json").read_text())
    return np.array(content["inputs"]["logit"]), np.array(content["inputs"]["label"]), content["expected"]


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits with many ties, both classes."""
    n = draw(st.integers(2, 40))
    z = draw(st.lists(st.integers(-6, 6), min_size=n, max_size=n))
    y = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda y: len(set(y)) == 2))
    return np.array(z) / 2, np.array(y)


def test_golden_ranking(reference: tuple[np.ndarray, np.ndarray, dict[str, Any]]) -> None:
    z, y, expected = reference
    assert m.auc(z, y) == pytest.approx(expected["frame_auc"], abs=1e-12)
    assert m.average_precision(z, y) == pytest.approx(expected["frame_ap"], abs=1e-12)
    assert m.eer(z, y) == pytest.approx(expected["frame_eer_interpolated"], abs=1e-12)
    fpr, tpr, thresholds = m.roc_curve(z, y)
    np.testing.assert_allclose(fpr, expected["roc_fpr"], atol=1e-12)
    np.testing.assert_allclose(tpr, expected["roc_tpr"], atol=1e-12)
    assert len(thresholds) == expected["n_distinct_logits"] + 1


@pytest.mark.parametrize("q", [0.01, 0.05, 0.1])
def test_golden_tpr_at_fpr(reference: tuple[np.ndarray, np.ndarray, dict[str, Any]], q: float) -> None:
    z, y, expected = reference
    step = m.tpr_at_fpr(z, y, q, min_real=0)
    assert step == pytest.approx(expected[f"frame_tpr_at_fpr_{q}_step"], abs=1e-12)
    between = m.tpr_at_fpr(z, y, q, interpolate=True, min_real=0)
    assert between == pytest.approx(expected[f"frame_tpr_at_fpr_{q}_interp"], abs=1e-12)


def test_tpr_at_fpr_needs_one_over_q_reals() -> None:
    y = np.array([0] * 99 + [1] * 5)
    z = np.arange(104.0)
    assert np.isnan(m.tpr_at_fpr(z, y, 0.01))
    assert m.tpr_at_fpr(np.append(z, -1), np.append(y, 0), 0.01) == 1
    with pytest.raises(ConfigError, match="q must be in"):
        m.tpr_at_fpr(z, y, 1.5)


def test_golden_decisions_and_calibration(reference: tuple[np.ndarray, np.ndarray, dict[str, Any]]) -> None:
    z, y, expected = reference
    at = expected["at0_gt"]
    for name in ("accuracy", "precision", "recall", "f1"):
        assert EVERY[name](z, y) == pytest.approx(at[name], abs=1e-12)
    assert m.accuracy(z, y, balanced=True) == pytest.approx(at["balanced_accuracy"], abs=1e-12)
    just_below = np.nextafter(0, -1)
    for name in ("accuracy", "precision", "recall", "f1"):
        assert EVERY[name](z, y, threshold=just_below) == pytest.approx(expected["at0_ge"][name], abs=1e-12)
    assert m.brier(z, y) == pytest.approx(expected["brier"], abs=1e-12)
    assert m.log_loss(z, y) == pytest.approx(expected["bce_mean"], abs=1e-12)
    assert m.ece(z, y) == pytest.approx(expected["ece15_pfake"], abs=1e-12)
    assert m.ece(z, y, form="confidence") == pytest.approx(expected["ece15_confidence"], abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(scored())
def test_equal_to_scikit_learn_with_ties(data: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = data
    assert m.auc(z, y) == pytest.approx(sk.roc_auc_score(y, z), abs=1e-12)
    assert m.average_precision(z, y) == pytest.approx(sk.average_precision_score(y, z), abs=1e-12)
    assert m.brier(z, y) == pytest.approx(sk.brier_score_loss(y, m.sigmoid(z)), abs=1e-12)
    assert m.log_loss(z, y) == pytest.approx(sk.log_loss(y, m.sigmoid(z)), abs=1e-9)
    assert m.f1(z, y) == pytest.approx(sk.f1_score(y, z > 0, zero_division=0), abs=1e-12)
    assert m.accuracy(z, y, balanced=True) == pytest.approx(sk.balanced_accuracy_score(y, z > 0), abs=1e-12)
    fpr, tpr, thresholds = m.roc_curve(z, y)
    for ours, theirs in zip((fpr, tpr, thresholds), sk.roc_curve(y, z, drop_intermediate=False), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-12)


@settings(max_examples=40, deadline=None)
@given(scored(), st.data())
def test_weights_are_repetitions(data: tuple[np.ndarray, np.ndarray], draw: st.DataObject) -> None:
    z, y = data
    w = np.array(draw.draw(st.lists(st.integers(1, 3), min_size=len(z), max_size=len(z))))
    again = np.repeat(np.arange(len(z)), w)
    for metric in EVERY.values():
        weighted = metric.replicates(z, y.astype(float), w[None].astype(float))[0]
        np.testing.assert_allclose(weighted, metric(z[again], y[again]), atol=1e-12)
    weighted = m.tpr_at_fpr.replicates(z, y.astype(float), w[None].astype(float), q=0.2, min_real=0)[0]
    assert weighted == pytest.approx(m.tpr_at_fpr(z[again], y[again], 0.2, min_real=0), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(scored())
def test_eer_is_half_where_scores_know_nothing_and_mirrors(data: tuple[np.ndarray, np.ndarray]) -> None:
    z, y = data
    assert 0 <= m.eer(z, y) <= 1
    assert m.eer(-z, 1 - y) == pytest.approx(m.eer(z, y), abs=1e-9)
    assert m.eer(np.zeros_like(z), y) == pytest.approx(0.5)
    assert m.eer(2 * y - 1.0, y) == 0
    assert m.eer(1 - 2.0 * y, y) == 1


@settings(max_examples=30, deadline=None)
@given(scored(), st.randoms(use_true_random=False))
def test_order_does_not_matter(data: tuple[np.ndarray, np.ndarray], random: Any) -> None:
    z, y = data
    order = list(range(len(z)))
    random.shuffle(order)
    for metric in EVERY.values():
        np.testing.assert_allclose(metric(z[order], y[order]), metric(z, y), atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(scored(), st.integers(2, 4))
def test_balanced_does_not_move_with_the_share_of_fakes(data: tuple[np.ndarray, np.ndarray], times: int) -> None:
    z, y = data
    more = np.concatenate([np.arange(len(z)), *[np.flatnonzero(y == 1)] * times])
    for metric in EVERY.values():
        balanced = metric(z[more], y[more], balanced=True)
        np.testing.assert_allclose(balanced, metric(z, y, balanced=True), atol=1e-9)


@pytest.mark.parametrize("metric", RANKING, ids=lambda f: f.core.__name__)
@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_an_error_never_a_half(metric: m.Metric, label: int) -> None:
    with pytest.raises(DataError, match="reals and fakes"):
        metric([0.5, 1.5, 2.5], [label] * 3)


def test_accuracy_and_log_loss_allow_one_class() -> None:
    assert m.accuracy([1.0, -1.0], [1, 1]) == 0.5
    assert m.share([1.0, 0.0, 1.0, 1.0], [1, 1, 1, 1]) == 0.75
    with pytest.raises(DataError):
        m.accuracy([1.0, -1.0], [1, 1], balanced=True)


@pytest.mark.parametrize(
    ("z", "y", "match"),
    [
        ([float("nan"), 1.0], [0, 1], "1 of 2"),
        ([1.0, float("inf")], [0, 1], "finite"),
        ([1.0, 2.0], [0, 2], "0 \\(real\\) or 1"),
        ([1.0], [0, 1], "equal length"),
        ([], [], "at least one"),
    ],
)
def test_bad_input_is_named(z: list[float], y: list[int], match: str) -> None:
    with pytest.raises(DataError, match=match):
        m.auc(z, y)


def test_extreme_logits_do_not_overflow() -> None:
    z, y = np.array([100.0, -100.0, 1000.0, -1000.0]), np.array([0, 1, 1, 0])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert m.log_loss(z, y) == pytest.approx(50.0)
        assert m.brier(z, y) == pytest.approx(0.5)
        assert m.ece(z, y) == pytest.approx(0.5)
        assert m.sigmoid(z).tolist() == [1.0, pytest.approx(0, abs=1e-40), 1.0, 0.0]


def test_precision_is_nan_when_nothing_is_called_fake() -> None:
    assert np.isnan(m.precision([-1.0, -2.0], [0, 1]))
    assert m.f1([-1.0, -2.0], [0, 1]) == 0


def test_options_change_something_and_bad_ones_are_refused() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    z = rng.normal(size=300) + y
    assert m.ece(z, y, bins=5) != m.ece(z, y)
    assert m.ece(z, y, form="confidence") != m.ece(z, y)
    assert m.precision(z, y, threshold=1.0) > m.precision(z, y)
    with pytest.raises(ConfigError, match="form"):
        m.ece(z, y, form="other")
    with pytest.raises(ConfigError, match="bins"):
        m.ece(z, y, bins=0)


def test_a_thinned_curve_keeps_its_ends_and_its_area() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 3000)
    z = rng.normal(size=3000) + y
    fpr, tpr, thresholds = m.roc_curve(z, y, points=100)
    assert len(fpr) == len(tpr) == len(thresholds) <= 101
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)
    assert np.trapezoid(tpr, fpr) == pytest.approx(m.auc(z, y), abs=2e-3)
