"""Draws of a clip, and how the frames of it differ."""

from __future__ import annotations

import numpy as np
import pytest

from unfooled.synthesis.flicker import ALIGNMENT, Flicker
from unfooled.synthesis.landmarks import MEAN_SHAPE


def flicker(frame: int, share: float, clip: int = 0) -> Flicker:
    return Flicker(np.random.default_rng(clip), np.random.default_rng(1000 + frame), share)


@pytest.mark.parametrize("share", [0.0, 0.15, 0.6, 1.0])
def test_amounts_stay_in_range_and_within_their_share_of_it(share: float) -> None:
    for clip in range(20):
        drawn = np.array([flicker(k, share, clip).uniform(2, 5, 4) for k in range(30)])
        assert drawn.min() >= 2
        assert drawn.max() <= 5
        assert np.ptp(drawn, 0).max() <= 3 * share + 1e-9


def test_no_share_is_the_clip_and_all_of_it_the_frame() -> None:
    assert flicker(3, 0.0).uniform(0, 1) == flicker(8, 0.0).uniform(0, 1) == np.random.default_rng(0).uniform(0, 1)
    assert flicker(3, 1.0).uniform(0, 1) == np.random.default_rng(1003).uniform(0, 1)
    np.testing.assert_array_equal(flicker(3, 0.0).normal(1, 2, 5), np.random.default_rng(0).normal(1, 2, 5))


def test_a_sign_belongs_to_the_clip() -> None:
    for clip in range(40):
        drawn = np.array([flicker(k, 0.5, clip).uniform(-1, 1, 4) for k in range(20)])
        assert (np.sign(drawn) == np.sign(drawn[0])).all()
    assert len({np.sign(flicker(0, 0.5, clip).uniform(-1, 1)) for clip in range(10)}) == 2


def test_coins_and_choices_belong_to_the_clip() -> None:
    def coins(frame: int, clip: int) -> tuple[float, int, float]:
        draws = flicker(frame, 0.9, clip)
        return draws.random(), draws.integers(4), draws.choice([0.75, 1.0])

    assert len({coins(frame, 0) for frame in range(10)}) == 1
    assert len({coins(0, clip) for clip in range(10)}) == 10
    plain = np.random.default_rng(0)
    assert coins(0, 0) == (plain.random(), plain.integers(4), plain.choice([0.75, 1.0]))


def test_normal_draws_keep_their_spread_over_clips() -> None:
    drawn = np.array([flicker(k, 0.6, k).normal(3, 2) for k in range(2000)])
    assert drawn.mean() == pytest.approx(3, abs=0.15)
    assert drawn.std() == pytest.approx(2, abs=0.1)


def test_alignment_misses_by_its_share_of_an_eye_distance() -> None:
    face = MEAN_SHAPE * 40
    np.testing.assert_array_equal(flicker(0, 0.0).misaligned(face), face)
    errors = np.array([flicker(k, 0.5).misaligned(face) - face for k in range(400)])
    whole, each = (0.5 * 40 * a for a in ALIGNMENT)
    assert errors.mean(1).std() == pytest.approx(whole, rel=0.15)
    assert (errors - errors.mean(1, keepdims=True)).std() == pytest.approx(each, rel=0.1)
