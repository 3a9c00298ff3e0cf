"""What is taken over from a donor, and what is drawn."""

from __future__ import annotations

import numpy as np

from unfooled.synthesis.expressions import LARGEST, LIDS, LIPS, expression, grimace, parted
from unfooled.synthesis.landmarks import EYES, MEAN_SHAPE, MOUTH, NOSE, five_of, shape_from

FACE = MEAN_SHAPE * 40 + (64, 50)


def test_the_same_face_elsewhere_has_nothing_to_give() -> None:
    turn = np.array([[0.9, -0.3], [0.3, 0.9]])
    np.testing.assert_allclose(expression(FACE, FACE @ turn.T + (20, -7)), 0, atol=1e-9)


def test_a_wider_mouth_of_five_points_widens_the_mouth() -> None:
    five = five_of(FACE)
    five[3, 0] -= 3
    five[4, 0] += 3
    shift = expression(FACE, shape_from(five))
    assert shift[48, 0] < -1
    assert shift[54, 0] > 1
    assert not shift[EYES].any()
    assert not shift[NOSE].any()


def test_no_point_goes_too_far() -> None:
    donor = FACE.copy()
    donor[MOUTH, 1] += 60
    assert np.abs(expression(FACE, donor, grimace(np.random.default_rng(0)))).max() <= LARGEST * 40 + 1e-9


def test_a_drawn_expression_is_symmetric_and_never_nothing() -> None:
    for seed in range(20):
        shift = grimace(np.random.default_rng(seed), least=0.5)
        np.testing.assert_allclose(shift[48] * (-1, 1), shift[54], atol=1e-12)
        assert np.abs(shift).max() > 0.02
    assert np.abs(grimace(np.random.default_rng(0)) - grimace(np.random.default_rng(1))).max() > 0.01


def test_a_lower_lip_takes_the_chin_along() -> None:
    donor = FACE.copy()
    donor[[56, 57, 58], 1] += 3
    shift = expression(FACE, donor)
    assert 0 < shift[8, 1] < shift[57, 1]
    assert abs(shift[0, 1]) < 0.05


def test_parted_opens_what_is_shut_and_nothing_else() -> None:
    np.testing.assert_array_equal(parted(FACE), FACE)
    shut = FACE.copy()
    shut[[37, 38, 43, 44]] = FACE[[41, 40, 47, 46]]
    shut[[61, 62, 63]] = FACE[[67, 66, 65]]
    turn = np.array([[0.95, -0.3], [0.3, 0.95]])
    wide = parted(shut @ turn.T) @ np.linalg.inv(turn).T
    np.testing.assert_allclose((FACE[41] - wide[37])[1], LIDS * (FACE[39] - FACE[36])[0], rtol=0.02)
    np.testing.assert_allclose((FACE[66] - wide[62])[1], LIPS * 40, rtol=0.02)
    still = np.setdiff1d(np.arange(68), [37, 38, 43, 44, 61, 62, 63])
    np.testing.assert_allclose(wide[still], FACE[still])
