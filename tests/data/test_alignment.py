"""Aligned crops and the way back, against closed forms."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unfooled.data.alignment import MEAN_FACE, crop, paste, placement
from unfooled.data.faces import Face
from unfooled.errors import ConfigError, DataError

CENTRE = np.array((0, 0.345))


def picture(height: int = 240, width: int = 320, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return np.asarray(cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def face(eye: float = 40, at: tuple[float, float] = (160, 110), degrees: float = 0) -> Face:
    """A face like the mean face: eye distance in pixels, place of the point between the eyes, turn."""
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return Face((0, 0, 1, 1), 0.9, MEAN_FACE @ turn.T * eye + at)


def moved(affine: np.ndarray, points: np.ndarray) -> np.ndarray:
    return points @ affine[:, :2].T + affine[:, 2]


@pytest.mark.parametrize("degrees", [0, 30, -90, 180])
@pytest.mark.parametrize(("size", "margin"), [(224, 1.3), (150, 1.3), (112, 1.0)])
def test_landmarks_land_on_the_mean_face(degrees: float, size: int, margin: float) -> None:
    found = face(degrees=degrees)
    expected = (MEAN_FACE - CENTRE) / (3.0 * margin) * size + (size - 1) / 2
    np.testing.assert_allclose(moved(placement(found, size, margin), found.landmarks), expected, atol=1e-9)


def test_box_is_centred_and_fills_its_share() -> None:
    affine = placement(Face((40, 20, 100, 120), 1), 130, 1.3)
    np.testing.assert_allclose(affine[:, :2], np.eye(2))  # 100 * 1.3 pixels become 130
    np.testing.assert_allclose(moved(affine, np.array([(69.5, 69.5)])), [(64.5, 64.5)])


def test_box_and_landmarks_frame_an_upright_face_alike() -> None:
    marked = face()
    box = (160 - 1.08 * 40, 110 - 1.155 * 40, 160 + 1.08 * 40, 110 + 1.845 * 40)
    by_box, by_landmarks = placement(Face(box, 1)), placement(marked)
    np.testing.assert_allclose(by_box, by_landmarks, atol=2)


@pytest.mark.parametrize("narrow", [0.0, 0.3, 0.7])
def test_a_face_in_profile_keeps_its_height_within_a_fifth(narrow: float) -> None:
    frontal = face()
    centre = frontal.landmarks.mean(0)
    profile = Face((0, 0, 1, 1), 1, (frontal.landmarks - centre) * (narrow, 1) + centre)
    zoom = np.sqrt(np.linalg.det(placement(profile)[:, :2]) / np.linalg.det(placement(frontal)[:, :2]))
    assert 0.99 <= zoom <= 1.2


def test_crop_at_scale_one_is_the_frames_own_bytes() -> None:
    frame = picture()
    found = Face((60, 40, 160, 140), 1)
    np.testing.assert_array_equal(crop(frame, found, 130, 1.3), frame[25:155, 45:175])


def test_turned_face_comes_out_upright() -> None:
    frame = picture()
    turned = cv2.warpAffine(frame, cv2.getRotationMatrix2D((160, 120), -20, 1), (320, 240))
    upright, again = crop(frame, face(30, (160, 120)), 96), crop(turned, face(30, (160, 120), 20), 96)
    assert np.abs(upright.astype(int) - again)[8:-8, 8:-8].mean() < 6


def test_beyond_the_frame_the_edge_is_repeated() -> None:
    frame = picture()
    got = crop(frame, Face((-50, 60, 50, 160), 1), 130, 1.3)
    np.testing.assert_array_equal(got[:, :65], np.repeat(got[:, 65:66], 65, axis=1))
    np.testing.assert_array_equal(got[:, 65:], frame[45:175, :65])


@pytest.mark.parametrize("box", [(-900, -900, -800, -800), (5000, 10, 5100, 110), (-500, -500, 900, 900)])
def test_any_place_gives_a_crop_and_a_frame(box: tuple[float, float, float, float]) -> None:
    frame, found = picture(), Face(box, 1)
    got = crop(frame, found, 64)
    assert got.shape == (64, 64, 3)
    assert paste(frame, got // 2, got, placement(found, 64)).shape == frame.shape


def test_large_faces_are_averaged_not_sampled() -> None:
    frame = (np.indices((1200, 1200)).sum(0) % 2 * 255).astype(np.uint8)[..., None].repeat(3, 2)
    got = crop(frame, Face((100, 100, 1101, 1101), 1), 96)
    assert np.abs(got.astype(int) - 127).max() <= 12


def test_shrinking_does_not_move_the_face() -> None:
    frame = cv2.GaussianBlur(picture(1200, 1200), (0, 0), 12)
    found = Face((300, 300, 900, 900), 1)
    affine = placement(found, 100)
    plain = cv2.warpAffine(frame, affine, (100, 100), flags=cv2.INTER_LINEAR)
    assert np.abs(crop(frame, found, 100).astype(int) - plain).max() <= 8
    slopes = crop(np.uint8(np.arange(1200) // 5)[None, :, None].repeat(1200, 0).repeat(3, 2), found, 100)
    centre = (slopes[50, 49, 0].astype(int) + slopes[50, 50, 0]) / 2
    assert abs(centre - 599.5 / 5) <= 1


@pytest.mark.parametrize("found", [face(), face(25, degrees=33), face(8), face(120), Face((-20, -20, 90, 90), 1)])
def test_no_change_gives_the_frames_bytes(found: Face) -> None:
    frame = picture()
    before = frame.copy()
    small = crop(frame, found)
    out = paste(frame, small.copy(), small, placement(found))
    np.testing.assert_array_equal(out, frame)
    np.testing.assert_array_equal(frame, before)


def test_change_goes_where_the_crop_lies_and_nowhere_else() -> None:
    frame, found = np.full((240, 320, 3), 100, np.uint8), Face((100, 60, 200, 160), 1)
    small = crop(frame, found, 130, 1.3)
    out = paste(frame, small + np.uint8(40), small, placement(found, 130, 1.3))
    inside = np.zeros((240, 320), bool)
    inside[45:175, 85:215] = True
    assert (out[~inside] == 100).all()
    assert (out[60:160, 100:200] == 140).all()
    ring = out[45:175, 85:215, 0].astype(int)
    assert (ring[0] == 100).all()
    assert (np.diff(ring[65, :12]) >= 0).all()


def test_without_feather_scale_one_is_exact_both_ways() -> None:
    frame, found = picture(), Face((60, 40, 160, 140), 1)
    small = crop(frame, found, 130, 1.3)
    changed = picture(136, 136, seed=1)[:130, :130]
    out = paste(frame, changed, small, placement(found, 130, 1.3), feather=0)
    np.testing.assert_array_equal(crop(out, found, 130, 1.3), changed)


@pytest.mark.parametrize("eye", [12, 30, 57, 90])
def test_a_smooth_change_survives_the_way_there_and_back(eye: float) -> None:
    frame, found = picture(480, 640) // 2 + 60, face(eye, (320, 200), 12)
    small = crop(frame, found)
    y, x = np.mgrid[-1:1:224j, -1:1:224j]
    bump = 30 * np.exp(-6 * (x**2 + y**2))[..., None]
    out = paste(frame, (small + bump).astype(np.uint8), small, placement(found))
    gained = crop(out, found).astype(float) - crop(frame, found)
    assert np.abs(gained - bump).max() < 5


def test_pixels_stay_in_range() -> None:
    frame, found = np.full((200, 200, 3), 250, np.uint8), Face((60, 60, 140, 140), 1)
    white, black = np.full((64, 64, 3), 255, np.uint8), np.zeros((64, 64, 3), np.uint8)
    assert paste(frame, white, black, placement(found, 64)).max() == 255
    assert paste(255 - frame, black, white, placement(found, 64)).min() == 0


def test_bad_requests_are_refused() -> None:
    frame, found = picture(), face()
    with pytest.raises(ConfigError, match="margin > 0"):
        crop(frame, found, margin=0)
    with pytest.raises(ConfigError, match="size must be >= 8"):
        crop(frame, found, size=1)
    with pytest.raises(DataError, match="x0 < x1"):
        crop(frame, Face((5, 5, 5, 9), 1))
    with pytest.raises(DataError, match="landmarks must be finite"):
        crop(frame, Face((0, 0, 9, 9), 1, np.zeros((5, 2))))
    with pytest.raises(DataError, match="landmarks must be finite"):
        crop(frame, Face((0, 0, 9, 9), 1, np.full((5, 2), np.nan)))
    with pytest.raises(DataError, match="squares of one size"):
        paste(frame, frame, frame[:64, :64], placement(found, 64))
    with pytest.raises(ConfigError, match="feather"):
        paste(frame, frame[:64, :64], frame[:64, :64], placement(found, 64), feather=0.7)
