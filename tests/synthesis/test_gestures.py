"""Lids and lips: nothing at rest, the eye is covered and not squeezed, points go where the pixels go."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from unfooled.synthesis.gestures import Frame, blink, speak
from unfooled.synthesis.landmarks import MEAN_SHAPE, eye_distance
from unfooled.synthesis.photographs import Portrait, read_photographs

Make = Callable[..., Portrait]
SHAPE = MEAN_SHAPE * 60 + (96, 70)
UPPER, LOWER = [37, 38, 43, 44], [41, 40, 47, 46]


def plain(value: float = 150.0) -> np.ndarray:
    """A face of one colour with dark eyes and a dark line between the lips."""
    image = np.full((192, 192, 3), value, np.float32)
    for eye in (slice(36, 42), slice(42, 48)):
        cv2.fillConvexPoly(image, np.round(SHAPE[eye]).astype(np.int32), (20, 20, 20))
    line = np.round((SHAPE[[48, 61, 62, 63, 54]] + SHAPE[[48, 67, 66, 65, 54]]) / 2).astype(np.int32)
    cv2.polylines(image, [line], False, (60, 20, 20), 2)
    return image


@pytest.mark.parametrize("gesture", [blink, speak])
def test_nothing_happens_at_rest(gesture: Callable, portrait: Make) -> None:
    face = portrait(1)
    image = face.image.astype(np.float32)
    same, shape = gesture(image, face.shape, 0.0)
    np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(shape, face.shape)
    kept = image.copy()
    gesture(image, face.shape, 0.07)
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("gesture", [blink, speak])
@pytest.mark.parametrize("turn", [-0.3, 0.0, 0.25])
def test_a_small_gesture_is_a_small_change(gesture: Callable, turn: float, portrait: Make) -> None:
    face = portrait(2)
    c, s = np.cos(turn), np.sin(turn)
    matrix = cv2.getRotationMatrix2D((47.5, 47.5), -np.degrees(turn), 1)
    image = cv2.warpAffine(face.image, matrix, (96, 96)).astype(np.float32)
    shape = (face.shape - 47.5) @ np.array([[c, -s], [s, c]]).T + 47.5
    moved, points = gesture(image, shape, 1e-3)
    assert np.abs(moved - image).mean() < 0.2
    assert np.abs(points - shape).max() < 0.02


def test_shut_lids_hide_the_eyes_and_the_brows_stay() -> None:
    image = plain()
    shut, shape = blink(image, SHAPE, 1.0)
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = np.round(SHAPE[eye].mean(0)).astype(int)
        assert image[y, x, 0] < 30
        # The upper two thirds of the eye are skin; the lashes lie at its lower edge.
        assert shut[y - 4 : y + 2, x - 6 : x + 7].min() > 110
    np.testing.assert_array_equal(shut[:40], image[:40])
    # The upper lid's points have gone down to the lower lid's, or just beyond; all others stay.
    assert (shape[UPPER, 1] >= SHAPE[LOWER, 1] - 1).all()
    assert (shape[UPPER, 1] <= SHAPE[LOWER, 1] + 4).all()
    rest = np.setdiff1d(np.arange(68), UPPER)
    np.testing.assert_array_equal(shape[rest], SHAPE[rest])


def test_a_lid_covers_and_does_not_squeeze() -> None:
    half, _ = blink(plain(), SHAPE, 0.5)
    image = plain()
    # A bright spot low in the eye stays where it is until the lid is there.
    x, y = np.round(SHAPE[36:42].mean(0) + np.array([0, 2])).astype(int)
    image[y, x] = 255
    spotted, _ = blink(image, SHAPE, 0.3)
    assert spotted[y, x].mean() > 200
    assert 19 < half[y + 1, x].mean() < 60


def test_lids_close_steadily() -> None:
    steps = [blink(plain(), SHAPE, c) for c in np.linspace(0, 1, 11)]
    dark = [(image[60:80, 60:130] < 50).sum() for image, _ in steps]
    assert dark[0] > dark[4] > dark[7] > dark[10]
    heights = [shape[37, 1] for _, shape in steps]
    np.testing.assert_allclose(np.diff(heights), heights[1] - heights[0], rtol=1e-6)


def test_lips_part_where_the_line_between_them_is() -> None:
    closed = plain()
    opened, shape = speak(closed, SHAPE, 0.08)
    gap = 0.08 * 60
    middle = np.round((SHAPE[62] + SHAPE[66]) / 2).astype(int)
    rows = np.flatnonzero((opened[middle[1] - 10 : middle[1] + 14, middle[0]] < 130).any(-1))
    assert len(rows) >= round(gap)
    # The lower lip goes down and takes the chin along, the upper one goes up a third as far; eyes and brows stay.
    assert shape[66, 1] - SHAPE[66, 1] == pytest.approx(0.75 * gap, rel=0.05)
    assert SHAPE[62, 1] - shape[62, 1] == pytest.approx(0.25 * gap, rel=0.05)
    assert 0 < shape[8, 1] - SHAPE[8, 1] < 0.75 * gap
    np.testing.assert_array_equal(shape[17:27], SHAPE[17:27])
    np.testing.assert_array_equal(shape[36:48], SHAPE[36:48])
    np.testing.assert_array_equal(opened[:100], closed[:100])


def test_points_of_the_lower_face_go_where_its_pixels_go() -> None:
    for point in (57, 8, 51, 10):
        dots = np.zeros((192, 192, 3), np.float32)
        x, y = np.round(SHAPE[point]).astype(int)
        cv2.circle(dots, (x, y), 3, (255, 255, 255), -1)
        shape = SHAPE.copy()
        shape[point] = (x, y)
        moved, points = speak(dots, shape, 0.08)
        light = moved[..., 0] * (np.hypot(*(np.indices((192, 192))[::-1] - points[point][:, None, None])) < 8)
        rows, columns = np.indices((192, 192))
        centre = [(light * columns).sum() / light.sum(), (light * rows).sum() / light.sum()]
        np.testing.assert_allclose(centre, points[point], atol=0.6)


def test_coordinates_of_a_face_are_invertible() -> None:
    frame = Frame.of(SHAPE @ np.array([[0.9, 0.2], [-0.2, 0.9]]), np.array([30.0, 40.0]))
    points = np.random.default_rng(0).uniform(0, 90, (20, 2))
    np.testing.assert_allclose(frame.pixels(*frame.own(points)), points)
    assert frame.own(frame.origin + frame.unit * frame.right)[0] == pytest.approx(1)


def test_grey_photographs_stay_grey(portrait: Make) -> None:
    face = portrait(4)
    grey = np.repeat(face.image[..., :1], 3, 2).astype(np.float32)
    for image in (blink(grey, face.shape, 0.8)[0], speak(grey, face.shape, 0.08)[0]):
        assert np.ptp(image, axis=2).max() < 0.01


def test_real_faces_change_around_eyes_and_mouth_alone(shared: Path) -> None:
    for photograph in read_photographs(shared / "data/faces", 9)[::120]:
        face = photograph.portrait(192)
        image, unit = face.image.astype(np.float32), eye_distance(face.shape)
        shut, _ = blink(image, face.shape, 1.0)
        rows, _ = np.nonzero(np.abs(shut - image).max(-1) > 1)
        eyes = face.shape[[*range(36, 48)]].mean(0)
        assert len(rows) > 50
        assert np.abs(rows - eyes[1]).max() < 0.6 * unit
        spoken, points = speak(image, face.shape, 0.08)
        assert np.isfinite(spoken).all()
        assert spoken.min() >= 0
        assert np.abs(points - face.shape).max() < 0.09 * unit
