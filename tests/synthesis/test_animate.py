"""A still photograph in motion: smooth, its points exact, every frame by itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from unfooled.synthesis.animate import CLOSER, FPS, AnimatedFrame, Motion, animate, grain, view
from unfooled.synthesis.landmarks import MEAN_SHAPE, eye_distance
from unfooled.synthesis.photographs import Photograph, read_photographs
from unfooled.synthesis.warps import grid

REST = Motion(np.zeros(2), 1.0, 0.0, np.zeros(2), 0.0, 0.0, 0.0)


@pytest.fixture
def photograph(tmp_path: Path, album: Callable[..., Path]) -> Photograph:
    return read_photographs(album(tmp_path / "album", {"one": 2}, points=68))[0]


def motions(seed: int, count: int = 100) -> list[Motion]:
    return [Motion.at(k / FPS, np.random.default_rng(seed)) for k in range(count)]


def test_a_frame_is_the_same_alone_and_in_any_clip(photograph: Photograph) -> None:
    clip = animate(photograph, 9, seed=3)
    alone = AnimatedFrame(photograph, 7, 3).portrait(48)
    np.testing.assert_array_equal(clip[7].portrait(48).image, alone.image)
    np.testing.assert_array_equal(clip[7].portrait(48).shape, alone.shape)
    assert alone.image.shape == (48, 48, 3)
    assert alone.image.dtype == np.uint8
    assert {(f.identity, f.collection) for f in clip} == {(photograph.identity, photograph.collection)}


def test_seed_photograph_and_time_decide_and_the_folder_does_not(
    photograph: Photograph, tmp_path: Path, album: Callable[..., Path]
) -> None:
    first = animate(photograph, 1, seed=0)[0].portrait(48).image.tobytes()
    assert animate(photograph, 1, seed=1)[0].portrait(48).image.tobytes() != first
    assert animate(photograph, 2, seed=0)[1].portrait(48).image.tobytes() != first
    moved = read_photographs(album(tmp_path / "elsewhere", {"one": 2}, points=68))[0]
    assert animate(moved, 1, seed=0)[0].portrait(48).image.tobytes() == first


def test_no_two_frames_are_a_frozen_picture(photograph: Photograph) -> None:
    images = [f.portrait(48).image.astype(int) for f in animate(photograph, 12, seed=0)]
    for a, b in pairwise(images):
        assert 0.3 < np.abs(a - b).mean() < 12


def test_motion_is_smooth_and_stays_in_the_picture() -> None:
    lids = 0.0
    for seed in range(20):
        path = motions(seed)
        values = np.array([[*m.shift, m.zoom, m.roll, *m.turn] for m in path])
        step, bend = np.abs(np.diff(values, axis=0)).max(0), np.abs(np.diff(values, 2, axis=0)).max(0)
        assert (step < 0.015).all()
        assert (bend < 0.3 * step + 1e-4).all()
        assert np.abs(np.diff([m.opened for m in path])).max() < 0.05
        assert np.abs(np.diff([m.closed for m in path])).max() < 0.6
        # No more than a sliver beyond the edge, which the mirrored picture fills.
        reach = np.abs(values[:, :2]).max() + 0.5 * np.abs(values[:, 3]).max()
        assert reach < (1 - 1 / (CLOSER - 0.02)) / 2 + 0.01
        assert all(0 <= m.closed <= 1 and 0 <= m.opened < 0.1 for m in path)
        lids += max(m.closed for m in path[:32]) > 0.9
    assert lids >= 15, "most clips of 32 frames hold a blink"


def test_mouths_move_in_most_clips() -> None:
    assert sum(max(m.opened for m in motions(seed, 32)) > 0.01 for seed in range(20)) >= 14


@pytest.mark.parametrize(
    "motion",
    [
        replace(REST, shift=np.array([0.03, -0.02])),
        replace(REST, zoom=1.2),
        replace(REST, roll=0.1),
        replace(REST, turn=np.array([0.08, -0.05])),
        Motion(np.array([0.02, 0.01]), 1.1, -0.05, np.array([-0.06, 0.03]), 0, 0, 0),
    ],
)
def test_points_are_seen_where_their_pixels_are(motion: Motion) -> None:
    shape = MEAN_SHAPE * 50 + (96, 70)
    for point in (0, 8, 19, 30, 39, 54, 62):
        spot = np.exp(-((grid(192) - shape[point].astype(np.float32)) ** 2).sum(-1, keepdims=True) / 8)
        seen, points = view(np.repeat(255 * spot, 3, 2), shape, motion)
        weight = seen[..., :1].astype(np.float64)
        centre = (grid(192) * weight).sum((0, 1)) / weight.sum()
        np.testing.assert_allclose(centre, points[point], atol=0.12)
        assert np.abs(points - shape).max() > 0.5


def test_a_camera_at_rest_sees_the_picture(portrait: Callable) -> None:
    face = portrait(3)
    image, shape = view(face.image.astype(np.float32), face.shape, REST)
    np.testing.assert_array_equal(image, face.image.astype(np.float32))
    np.testing.assert_allclose(shape, face.shape)


def test_near_things_move_more_than_the_background() -> None:
    shape = MEAN_SHAPE * 50 + (96, 70)
    noise = np.random.default_rng(0).uniform(0, 255, (192, 192, 3)).astype(np.float32)
    image, points = view(noise, shape, replace(REST, turn=np.array([0.06, 0.0])))
    shift = (points - shape)[:, 0] / eye_distance(shape)
    assert shift[30] == pytest.approx(0.06, rel=0.05)
    assert shift[30] > shift[36] > shift[0] > 0
    np.testing.assert_allclose(image[:8, :8], noise[:8, :8], atol=12)


def test_grain_has_its_spread_and_keeps_grey_grey() -> None:
    flat = np.full((128, 128, 3), 128, np.float32)
    noisy = grain(flat, 2.0, np.random.default_rng(0))
    assert noisy.std() == pytest.approx(2, rel=0.05)
    assert not np.ptp(noisy, axis=2).any()
    assert grain(np.full_like(flat, 20), 2.0, np.random.default_rng(0)).std() < 1.5
    np.testing.assert_array_equal(grain(flat, 0.0, np.random.default_rng(0)), flat)


def test_photographs_of_real_people_move(shared: Path) -> None:
    album = [p for p in read_photographs(shared / "data/faces", 9) if p.collection == "london"]
    for photograph in album[::60]:
        clip = [f.portrait(64) for f in animate(photograph, 25, seed=0)]
        still = photograph.portrait(64)
        assert max(np.abs(a.shape - b.shape).max() for a, b in pairwise(clip)) < 3.5
        assert all(((f.shape > -4) & (f.shape < 68)).all() for f in clip)
        # Blinks aside it is the same picture, a little closer.
        assert all(np.abs(f.image.mean((0, 1)) - still.image.mean((0, 1))).max() < 15 for f in clip)
