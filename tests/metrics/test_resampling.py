"""Intervals cover what they promise, on people rather than frames, and never invent."""

from __future__ import annotations

import time

import numpy as np
import pytest

from unfooled import metrics as m
from unfooled.errors import ConfigError, DataError


def planted(rng: np.random.Generator, people: int, frames: int, spread: float) -> tuple[np.ndarray, ...]:
    """People with a real and a fake video each, whose frames share the person's offset."""
    person = np.repeat(np.arange(people), 2 * frames)
    y = np.tile(np.repeat([0, 1], frames), people)
    offset = spread * rng.normal(size=(people, 2))[person, y]
    return offset + rng.normal(size=len(y)) + 1.5 * y, y, person


def test_intervals_cover_the_truth_when_drawn_over_people_and_not_over_frames() -> None:
    rng = np.random.default_rng(0)
    truth = m.auc(*planted(rng, 4000, 5, 1.5)[:2])
    covered = {"people": 0, "frames": 0}
    for trial in range(60):
        z, y, person = planted(rng, 40, 10, 1.5)
        for name, groups in (("people", person), ("frames", np.arange(len(y)))):
            low, high = m.bootstrap(m.auc, z, y, groups, 100, seed=trial)
            covered[name] += low <= truth <= high
    assert covered["people"] >= 50
    assert covered["frames"] <= 45


@pytest.mark.parametrize("people", [7, 900])
def test_both_ways_to_resample_an_auc_agree_with_repeating_rows(people: int) -> None:
    rng = np.random.default_rng(1)
    person, y = rng.integers(0, people, 400), rng.integers(0, 2, 400)
    z = rng.normal(size=400).round(1) + y
    resamples = m.Resamples(y, person, replicates=50, seed=3)
    fast = resamples.apply(m.auc, z, y)
    slow = resamples.apply(lambda z, y: m.auc(z, y), z, y)
    np.testing.assert_allclose(fast, slow, atol=1e-12)
    rows = np.flatnonzero(person < people // 2 + 1)
    fast, slow = (resamples.apply(f, z[rows], y[rows], rows) for f in (m.auc, lambda z, y: m.auc(z, y)))
    np.testing.assert_allclose(fast, slow, atol=1e-12)


@pytest.mark.parametrize("metric", [m.average_precision, m.eer, m.accuracy, m.ece, m.f1])
def test_weighted_replicates_equal_repeated_rows(metric: m.Metric) -> None:
    rng = np.random.default_rng(2)
    person, y = rng.integers(0, 30, 200), rng.integers(0, 2, 200)
    z = rng.normal(size=200).round(1) + y
    assert m.bootstrap(metric, z, y, person, 60) == pytest.approx(
        m.bootstrap(lambda z, y: metric(z, y), z, y, person, 60), abs=1e-12
    )


def test_no_resample_loses_a_class() -> None:
    y = np.array([0] * 3 + [1] * 60)
    groups = np.arange(63)
    values = m.Resamples(y, groups, 500).apply(m.auc, np.arange(63.0), y)
    assert np.isfinite(values).all()


def test_one_group_per_class_gives_no_interval() -> None:
    y, z = np.array([0, 0, 1, 1]), np.array([0.0, 1.0, 2.0, 0.5])
    assert np.isnan(m.bootstrap(m.auc, z, y, ["a", "a", "b", "c"])).all()
    assert np.isfinite(m.bootstrap(m.auc, z, y, ["a", "d", "b", "c"])).all()


def test_a_subset_that_often_loses_a_class_gives_no_interval() -> None:
    y = np.array([0, 1] * 20)
    groups = np.arange(40)
    resamples = m.Resamples(y, groups, 300)
    rows = np.array([0, 1, 2])
    values = resamples.apply(m.auc, np.array([0.0, 1.0, 2.0]), y[rows], rows)
    assert np.isnan(values).any()
    assert np.isnan(m.interval(values)).all()
    assert np.isnan(m.interval(np.array([0.5, 0.6]), groups=1)).all()


def test_a_paired_difference_is_narrower_than_two_intervals() -> None:
    rng = np.random.default_rng(0)
    z, y, person = planted(rng, 40, 10, 1.5)
    other = z + 0.3 * rng.normal(size=len(z))
    difference, low, high = m.paired_difference(m.auc, z, other, y, person)
    assert difference == pytest.approx(m.auc(z, y) - m.auc(other, y))
    assert low <= difference <= high
    width = np.ptp(m.bootstrap(m.auc, z, y, person))
    assert high - low < width / 2
    assert m.paired_difference(m.auc, z, z, y, person) == (0, 0, 0)
    mirrored = m.paired_difference(m.auc, other, z, y, person)
    assert mirrored == pytest.approx((-difference, -high, -low))


def test_seed_and_options_matter() -> None:
    z, y, person = planted(np.random.default_rng(0), 20, 5, 1.0)
    assert m.bootstrap(m.auc, z, y, person, seed=0) == m.bootstrap(m.auc, z, y, person, seed=0)
    assert m.bootstrap(m.auc, z, y, person, seed=0) != m.bootstrap(m.auc, z, y, person, seed=1)
    assert m.bootstrap(m.accuracy, z, y, person) != m.bootstrap(m.accuracy, z, y, person, threshold=1.0)
    with pytest.raises(ConfigError, match="replicates"):
        m.Resamples(y, person, -1)
    with pytest.raises(DataError, match="groups"):
        m.bootstrap(m.auc, z, y, person[:-1])


def test_a_thousand_replicates_of_4000_rows_are_quick() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 4000)
    z = rng.normal(size=4000) + y
    for people in (60, 4000):
        started = time.process_time()
        m.bootstrap(m.auc, z, y, rng.integers(0, people, 4000))
        assert time.process_time() - started < 3
