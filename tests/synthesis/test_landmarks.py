"""Five points become sixty-eight."""

from __future__ import annotations

import numpy as np
import pytest

from unfooled.errors import DataError
from unfooled.synthesis.landmarks import JAW, MEAN_SHAPE, check_points, eye_distance, five_of, shape_from, similarity


def turned(shape: np.ndarray, angle: float, scale: float, shift: tuple[float, float]) -> np.ndarray:
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    return shape @ np.array([[c, -s], [s, c]]).T + shift


def test_the_mean_face_is_symmetric_and_in_eye_distances() -> None:
    assert MEAN_SHAPE.shape == (68, 2)
    mirrored = {(round(-x, 6) + 0.0, round(y, 6)) for x, y in MEAN_SHAPE}
    assert mirrored == {(round(x, 6) + 0.0, round(y, 6)) for x, y in MEAN_SHAPE}
    assert eye_distance(MEAN_SHAPE) == pytest.approx(1)
    # The order of 68 points: image-left before image-right, jaw to chin, brows over eyes, lips closed around the mouth.
    assert MEAN_SHAPE[8, 1] == MEAN_SHAPE[:, 1].max()
    assert MEAN_SHAPE[0, 0] < MEAN_SHAPE[17, 0] < MEAN_SHAPE[36, 0] < 0 < MEAN_SHAPE[45, 0] < MEAN_SHAPE[26, 0]
    assert (MEAN_SHAPE[17:27, 1] < MEAN_SHAPE[36:48, 1].min()).all()
    assert MEAN_SHAPE[51, 1] < MEAN_SHAPE[62, 1] < MEAN_SHAPE[66, 1] < MEAN_SHAPE[57, 1]


@pytest.mark.parametrize("bend", [True, False])
def test_five_points_of_a_turned_mean_face_give_that_face_back(bend: bool) -> None:
    face = turned(MEAN_SHAPE, 0.2, 40, (70, 60))
    np.testing.assert_allclose(shape_from(five_of(face), bend=bend), face, atol=1e-9)


def test_bending_meets_the_five_points_and_leaves_the_jaw() -> None:
    five = five_of(turned(MEAN_SHAPE, -0.1, 50, (100, 90))) + np.array([(2, 1), (-1, 2), (3, -2), (-3, 2), (2, 3)])
    bent, plain = shape_from(five), shape_from(five, bend=False)
    np.testing.assert_allclose(five_of(bent), five, atol=1e-9)
    assert np.abs(five_of(plain) - five).max() > 1
    # The pull fades: the jaw follows less than what it hangs on.
    assert np.abs(bent - plain)[JAW].max() < np.abs(five_of(bent) - five_of(plain)).max()
    assert np.abs(bent - plain)[8].max() < 1


def test_sixty_eight_points_stay_as_they_are() -> None:
    face = MEAN_SHAPE * 30 + np.random.default_rng(0).normal(0, 0.5, (68, 2))
    np.testing.assert_array_equal(shape_from(face), face)


def test_similarity_is_the_least_squares_one() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 9, 2))
    matrix, shift = similarity(a, b)
    # Normal equations of x' = p x - q y + s, y' = q x + p y + t.
    rows = np.vstack(
        [np.c_[a[:, 0], -a[:, 1], np.ones(9), np.zeros(9)], np.c_[a[:, 1], a[:, 0], np.zeros(9), np.ones(9)]]
    )
    p, q, s, t = np.linalg.lstsq(rows, b.T.ravel(), rcond=None)[0]
    np.testing.assert_allclose(matrix, [[p, -q], [q, p]])
    np.testing.assert_allclose(shift, [s, t])


@pytest.mark.parametrize(
    ("points", "text"),
    [
        (np.zeros((4, 2)), "5 or 68 points"),
        (np.full((5, 2), np.nan), "finite"),
        (five_of(MEAN_SHAPE) * (-1, 1), "order"),
    ],
)
def test_wrong_points_are_refused(points: np.ndarray, text: str) -> None:
    with pytest.raises(DataError, match=text):
        check_points(points)
