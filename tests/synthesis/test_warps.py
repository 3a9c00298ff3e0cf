"""Warps, masks, colours: identities, closed forms, limits."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from unfooled.synthesis.photographs import Portrait
from unfooled.synthesis.warps import (
    blend,
    box_points,
    carry,
    coarsen,
    face_points,
    grid,
    match_colour,
    mouth_points,
    polygon,
    pull,
    sample,
    soften,
    thin_plate,
)

Make = Callable[..., Portrait]
RNG = np.random.default_rng(0)
NOISE = RNG.uniform(0, 255, (48, 48, 3)).astype(np.float32)


def test_thin_plate_of_zeros_is_zero_and_of_a_line_is_the_line() -> None:
    at = RNG.uniform(5, 43, (20, 2))
    assert not thin_plate(at, np.zeros((20, 2)), 48).any()
    affine = at @ np.array([[1.1, 0.2], [-0.1, 0.9]]) + (3, -2)
    expected = grid(48) @ np.array([[1.1, 0.2], [-0.1, 0.9]]) + (3, -2)
    np.testing.assert_allclose(thin_plate(at, affine, 48), expected, atol=1e-3)


def test_thin_plate_passes_through_its_points() -> None:
    at = np.array([[x, y] for x in (8, 24, 40) for y in (8, 24, 40)], float)
    values = RNG.uniform(-2, 2, at.shape)
    field = thin_plate(at, values, 48)
    # The bending part is laid on every fourth pixel.
    np.testing.assert_allclose(field[at[:, 1].astype(int), at[:, 0].astype(int)], values, atol=0.15)


def test_sampling_whole_pixels_is_exact_and_halves_are_means() -> None:
    np.testing.assert_array_equal(sample(NOISE, grid(48)), NOISE)
    half = sample(NOISE, grid(48) + np.float32([0.5, 0]))
    np.testing.assert_allclose(half[:, :-1], (NOISE[:, :-1] + NOISE[:, 1:]) / 2, atol=1e-3)


def test_pull_to_where_it_is_changes_nothing_and_elsewhere_moves(portrait: Make) -> None:
    face = portrait(3)
    image = face.image.astype(np.float32)
    np.testing.assert_array_equal(pull(image, face.shape, face.shape), image)
    moved = pull(image, face.shape, face.shape + np.array([0, 4]))
    x, y = np.round(face.shape[30]).astype(int)
    shifted = np.abs(moved[y + 4 - 3 : y + 4 + 4, x - 3 : x + 4] - image[y - 3 : y + 4, x - 3 : x + 4]).mean()
    unmoved = np.abs(moved[y - 3 : y + 4, x - 3 : x + 4] - image[y - 3 : y + 4, x - 3 : x + 4]).mean()
    assert shifted < unmoved
    np.testing.assert_allclose(moved[0, 0], image[0, 0], atol=4)


def test_carry_puts_points_on_points(portrait: Make) -> None:
    face, other = portrait(1), portrait(2)
    dots = np.zeros((96, 96, 3), np.float32)
    x, y = face.shape[30]
    cv2.circle(dots, (round(x), round(y)), 4, (255, 255, 255), -1)
    weight = carry(dots, face.shape, other.shape, 96)[..., 0]
    centre = (grid(96) * weight[..., None]).sum((0, 1)) / weight.sum()
    np.testing.assert_allclose(centre, other.shape[30], atol=1.0)


@pytest.mark.parametrize("points", [face_points, box_points, mouth_points])
@pytest.mark.parametrize("radius", [1, 2, 5, 9])
def test_soft_masks_stay_inside_hard_ones(portrait: Make, points: Callable[..., np.ndarray], radius: int) -> None:
    hard = polygon(points(portrait(5).shape), 96)
    soft = soften(hard, radius)
    assert (soft[hard == 0] == 0).all()
    assert 0 <= soft.min() < soft.max() <= 1
    assert len(np.unique(soft)) > 3


def test_matched_colours_have_the_wanted_mean(portrait: Make) -> None:
    a, b = (portrait(k).image.astype(np.float32) for k in (1, 2))
    mask = polygon(face_points(portrait(1).shape), 96)
    lab = lambda i: cv2.cvtColor(i / 255, cv2.COLOR_RGB2LAB)[mask > 0.5].mean(0)  # noqa: E731
    before, after = (np.abs(lab(i) - lab(b)).max() for i in (a, match_colour(a, b, mask)))
    assert after < 3 < before
    np.testing.assert_allclose(match_colour(a, b, mask, 0.0), a, atol=0.6)


def test_colours_matched_to_a_grey_picture_are_grey(portrait: Make) -> None:
    colourful = portrait(1).image.astype(np.float32)
    grey = np.repeat(portrait(2).image[..., :1], 3, 2).astype(np.float32)
    matched = match_colour(colourful, grey, polygon(face_points(portrait(1).shape), 96))
    assert np.ptp(matched, axis=2).max() < 1


def test_coarsen_loses_detail_only() -> None:
    flat = np.full((48, 48, 3), 90, np.float32)
    np.testing.assert_allclose(coarsen(flat, 2.0), flat, atol=1e-3)
    assert coarsen(NOISE, 2.0).std() < coarsen(NOISE, 1.3).std() < NOISE.std()


def test_blend_at_the_ends() -> None:
    real = NOISE.astype(np.uint8)
    face = 255 - NOISE
    np.testing.assert_array_equal(blend(real, face, np.zeros((48, 48), np.float32)), real)
    np.testing.assert_array_equal(blend(real, face, np.ones((48, 48), np.float32)), np.rint(face))
