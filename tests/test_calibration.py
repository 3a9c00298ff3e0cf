"""Calibration: closed forms, intervals against published values, refusals, and the file that it is kept in."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfooled.calibration import (
    COLDEST,
    FILE_NAME,
    HOTTEST,
    Calibration,
    Scale,
    clopper_pearson,
    fit,
    halves,
    quantile_limit,
    read,
    temperature,
    thresholds,
    uncalibrated,
    write,
)
from unfooled.errors import ConfigError, DataError
from unfooled.metrics.functions import log_loss


def drawn(n: int = 4000, scale: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are true log-odds at equal classes, times ``scale``."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    return (rng.normal(size=n) + (2 * y - 1) * 0.5) * scale, y


def test_the_temperature_of_true_log_odds_is_one() -> None:
    assert temperature(*drawn(60_000)) == pytest.approx(1, abs=0.03)


@pytest.mark.parametrize("scale", [0.2, 3.0, 7.0])
def test_the_temperature_scales_with_the_logits(scale: float) -> None:
    z, y = drawn()
    assert temperature(scale * z, y) == pytest.approx(scale * temperature(z, y), rel=1e-6)


def test_the_temperature_in_closed_form() -> None:
    # Three of four are right at |z| = 2: the likelihood is highest where sigmoid(2 / T) = 3/4.
    z, y = [2, 2, 2, -2, -2, -2, -2, 2], [1, 1, 1, 1, 0, 0, 0, 0]
    assert temperature(z, y) == pytest.approx(2 / math.log(3), rel=1e-9)


def test_no_other_temperature_has_a_lower_loss() -> None:
    z, y = drawn(500, 4.0)
    best = temperature(z, y)
    losses = [log_loss(z / (best * k), y, balanced=True) for k in (1, 0.9, 0.97, 1.03, 1.1)]
    assert min(losses) == losses[0]


def test_the_temperature_does_not_depend_on_the_share_of_fakes() -> None:
    z, y = drawn(2000)
    more = np.concatenate([z, *[z[y == 1]] * 4]), np.concatenate([y, *[y[y == 1]] * 4])
    assert temperature(*more) == pytest.approx(temperature(z, y), rel=1e-9)


def test_the_temperature_at_its_ends() -> None:
    assert temperature([-1, -2, 1, 2], [0, 0, 1, 1]) == COLDEST
    assert temperature([1, 2, -1, -2], [0, 0, 1, 1]) == HOTTEST


def test_thresholds_of_whole_numbers() -> None:
    z, y = np.concatenate([np.arange(100), np.arange(100) + 50.0]), np.repeat([0, 1], 100)
    # Two of a hundred reals may lie above: 98 and 99 do. Two of a hundred fakes below: 50 and 51.
    assert thresholds(z, y, 0.02) == (52.0, 97.0)


def test_thresholds_of_classes_far_apart_meet_in_the_middle() -> None:
    lower, upper = thresholds([0, 1, 2, 8, 9, 10], [0, 0, 0, 1, 1, 1], 0.01)
    assert lower == upper == 5


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=2, max_size=60), st.floats(0.001, 0.5), st.integers(0, 9))
def test_thresholds_keep_their_promise(values: list[int], target: float, seed: int) -> None:
    z = np.array(values, float)
    y = np.random.default_rng(seed).permutation(np.arange(len(z)) % 2)
    lower, upper = thresholds(z, y, target)
    assert lower <= upper
    assert (z[y == 0] > upper).sum() <= target * (y == 0).sum() + 1e-9
    assert (z[y == 1] < lower).sum() <= target * (y == 1).sum() + 1e-9


@pytest.mark.parametrize("target", [0, -0.1, 0.6, math.nan])
def test_a_target_out_of_range_is_refused(target: float) -> None:
    with pytest.raises(ConfigError, match="target_fpr must be in"):
        thresholds([0, 1], [0, 1], target)


@pytest.mark.parametrize(
    ("count", "of", "low", "high"),
    # Textbook values of the exact interval at 95 %.
    [(5, 20, 0.0866, 0.4910), (1, 10, 0.0025, 0.4450), (50, 100, 0.3983, 0.6017), (3, 214, 0.00290, 0.04042)],
)
def test_intervals_as_published(count: int, of: int, low: float, high: float) -> None:
    assert clopper_pearson(count, of) == (pytest.approx(low, abs=6e-5), pytest.approx(high, abs=6e-5))


@pytest.mark.parametrize("of", [1, 10, 500])
def test_intervals_in_closed_form(of: int) -> None:
    assert clopper_pearson(0, of) == (0, pytest.approx(1 - 0.025 ** (1 / of), rel=1e-9))
    assert clopper_pearson(of, of) == (pytest.approx(0.025 ** (1 / of), rel=1e-9), 1)


def test_intervals_mirror_each_other_and_hold_the_share() -> None:
    for count in range(0, 31, 5):
        low, high = clopper_pearson(count, 30)
        assert low <= count / 30 <= high
        mirrored = clopper_pearson(30 - count, 30)
        assert (1 - high, 1 - low) == (pytest.approx(mirrored[0], abs=1e-9), pytest.approx(mirrored[1], abs=1e-9))
    assert clopper_pearson(0, 0) == (0, 1)
    wide, narrow = clopper_pearson(3, 30, 0.99), clopper_pearson(3, 30, 0.8)
    assert wide[0] < narrow[0] < narrow[1] < wide[1]
    assert clopper_pearson(1000, 100_000)[1] < 0.0107


def test_impossible_counts_are_refused() -> None:
    for count, of, confidence in ((3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)):
        with pytest.raises(ConfigError):
            clopper_pearson(count, of, confidence)


def test_a_scale_turns_logits_into_words() -> None:
    scale = Scale(2.0, -1.0, 3.0)
    assert [scale.word(z) for z in (-1.1, -1, 0, 3, 3.1)] == ["real", "undecided", "undecided", "undecided", "fake"]
    assert scale.probability(2 * math.log(3)) == pytest.approx(0.75)
    assert scale.probability(-1e30) == 0
    plain = uncalibrated(0.7)
    assert (plain.word(0.8), plain.word(0.6)) == ("fake", "real")
    assert plain.probability(0) == 0.5


def fitted(**options: object) -> Calibration:
    z, y = drawn(400, 3.0)
    return fit(z, y, detector="d" * 32, data="set/manifest.parquet", **options)  # type: ignore[arg-type]


def test_what_a_fit_says_is_true_of_its_files() -> None:
    z, y = drawn(400, 3.0)
    found = fitted(target_fpr=0.05, subgroups={"where": ["a", "b"] * 100 + ["c", "c"] * 100}, made_by=["Y", "X"])
    scale = found.scale
    assert (found.n_real, found.n_fake, found.made_by) == (200, 200, ["X", "Y"])
    called = np.array([scale.word(v) for v in z])
    assert found.false_positives.count == ((called == "fake") & (y == 0)).sum() == 10
    assert found.false_negatives.count == ((called == "real") & (y == 1)).sum() == 10
    assert found.undecided_real.count == ((called == "undecided") & (y == 0)).sum()
    assert found.undecided_fake.count == ((called == "undecided") & (y == 1)).sum()
    # Only the reals of a group are counted; "b" has none.
    assert {k: r.of for k, r in found.subgroups["where"].items()} == {"a": 100, "c": 100}
    assert sum(r.count for r in found.subgroups["where"].values()) == 10
    assert found.fake_above == pytest.approx(scale.probability(found.fake_above_logit))
    assert found.false_positives.value == 0.05
    assert found.false_positives.low < 0.05 < found.false_positives.high
    assert "5 %" in found.sentence()
    assert "X, Y" in found.sentence()


def test_a_smaller_target_makes_more_undecided() -> None:
    strict, loose = fitted(target_fpr=0.01), fitted(target_fpr=0.1)
    assert strict.fake_above > loose.fake_above
    assert strict.real_below < loose.real_below
    assert strict.undecided_real.count > loose.undecided_real.count


def test_the_crossed_rate_judges_people_who_did_not_set_the_threshold() -> None:
    z, y = drawn(2000, 3.0)
    crossed = fitted(target_fpr=0.05).false_positives_crossed
    assert crossed.of == 200
    assert crossed.low < 0.05 < crossed.high
    # One person is all of the reals that score high: with the person in one half, the other half does not know.
    who = [f"p{k % 40}" for k in range(2000)]
    odd = np.where((np.array(who) == "p0") & (y == 0), 50.0, z)
    known = fit(odd, y, detector="d", data="s", people=who, target_fpr=0.05)
    assert known.false_positives_crossed.count >= ((np.array(who) == "p0") & (y == 0)).sum()


def test_halves_belong_to_names() -> None:
    names = [f"n{k}" for k in range(200)]
    found = halves(names)
    assert 60 < found.sum() < 140
    assert halves(names[50:60]).tolist() == found[50:60].tolist()
    assert len(set(halves(["a"] * 5).tolist())) == 1


def test_what_can_not_be_known_is_noted() -> None:
    z, y = drawn(60)
    notes = fit(z, y, detector="d", data="s", target_fpr=0.01).notes
    assert any("30 real files can not show a false-positive rate of 1 %" in note for note in notes)
    sure = fit([-3.0, 3.0] * 200, [0, 1] * 200, detector="d", data="s", target_fpr=0.01)
    assert sure.temperature == COLDEST
    assert any("right by a wide margin" in note for note in sure.notes)
    assert not fitted(target_fpr=0.05).notes


def test_test_and_single_classes_are_refused() -> None:
    with pytest.raises(ConfigError, match="never fitted on test"):
        fitted(split="test")
    with pytest.raises(DataError, match="reals and fakes"):
        fit([1.0, 2.0], [1, 1], detector="d", data="s")
    with pytest.raises(DataError, match="finite"):
        fit([1.0, math.nan], [0, 1], detector="d", data="s")


def test_a_quantile_limit_lets_no_more_than_its_share_beyond() -> None:
    values = np.arange(300.0)
    assert quantile_limit(values, 0.01) == 296
    assert quantile_limit(values, 0.001) == 299
    assert quantile_limit([4.0], 0.01) == 4


def test_it_is_kept_beside_the_weights(tmp_path: Path) -> None:
    found = fitted()
    assert read(tmp_path, found.detector) is None
    assert write(found, tmp_path) == tmp_path / FILE_NAME
    assert read(tmp_path, found.detector) == found
    assert read(tmp_path / "best.safetensors", found.detector) == found
    assert write(found, tmp_path).read_bytes() == (tmp_path / FILE_NAME).read_bytes()


def test_a_calibration_of_other_weights_is_refused(tmp_path: Path) -> None:
    write(fitted(), tmp_path)
    with pytest.raises(DataError, match=r"belongs to other weights \(dddddddd, here are eeeeeeee\); run unfooled cal"):
        read(tmp_path, "e" * 32)


@pytest.mark.parametrize(
    ("change", "reason"),
    [(lambda d: "{", "is no calibration"), (lambda d: json.dumps({**d, "extra": 1}), "extra"),
     (lambda d: json.dumps({**d, "format": 2}), "format 2"), (lambda d: json.dumps([1]), "is no calibration"),
     (lambda d: json.dumps({k: v for k, v in d.items() if k != "n_real"}), "n_real")],
)  # fmt: skip
def test_a_damaged_file_is_refused_in_one_line(change: object, reason: str, tmp_path: Path) -> None:
    path = write(fitted(), tmp_path)
    path.write_text(change(json.loads(path.read_text())))  # type: ignore[operator]
    with pytest.raises(DataError, match=reason) as caught:
        read(tmp_path, "d" * 32)
    assert "\n" not in str(caught.value)
