"""Sixty-eight face points from five: a drawn mean face, moved onto what the five points say."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfooled.errors import DataError

Points = NDArray[np.float64]

JAW, BROWS, NOSE, EYES, MOUTH = slice(0, 17), slice(17, 27), slice(27, 36), slice(36, 48), slice(48, 68)

# The image-left half of a frontal face, drawn for this project: unit = distance between the eye centres, origin half
# way between them, y down. Proportions are those of drawing manuals: an eye is .46 wide and .16 high, the tip of the
# nose lies at .62, the lips meet at 1.05, the chin ends at 1.78 and the cheekbones are 2.1 apart.
_JAW = [
    (-1.04, 0.02),
    (-1.03, 0.28),
    (-1.00, 0.54),
    (-0.94, 0.80),
    (-0.84, 1.05),
    (-0.69, 1.29),
    (-0.49, 1.52),
    (-0.25, 1.71),
]
_CHIN = [(0.0, 1.78)]
_BROW = [(-0.86, -0.20), (-0.72, -0.33), (-0.54, -0.37), (-0.35, -0.34), (-0.18, -0.27)]
_BRIDGE = [(0.0, 0.02), (0.0, 0.22), (0.0, 0.42), (0.0, 0.62)]
_NOSTRIL = [(-0.24, 0.70), (-0.12, 0.74)]
_NOSE_BASE = [(0.0, 0.77)]
_EYE = [(-0.73, 0.01), (-0.60, -0.09), (-0.42, -0.09), (-0.27, 0.03), (-0.40, 0.07), (-0.58, 0.07)]
_LIP_OUTER_TOP = [(-0.43, 1.04), (-0.28, 0.97), (-0.11, 0.92)]
_LIP_OUTER_BOTTOM = [(-0.11, 1.24), (-0.28, 1.18)]
_LIP_INNER_TOP = [(-0.36, 1.04), (-0.13, 1.02)]
_LIP_INNER_BOTTOM = [(-0.13, 1.08)]


def _mirrored(half: list[tuple[float, float]]) -> list[tuple[float, float]]:
    return [(-x, y) for x, y in reversed(half)]


def _mean_shape() -> Points:
    right_eye = [(-x, y) for x, y in (_EYE[3], _EYE[2], _EYE[1], _EYE[0], _EYE[5], _EYE[4])]
    outer = [*_LIP_OUTER_TOP, (0.0, 0.94), *_mirrored(_LIP_OUTER_TOP)]
    outer += [*_mirrored(_LIP_OUTER_BOTTOM), (0.0, 1.26), *_LIP_OUTER_BOTTOM]
    inner = [*_LIP_INNER_TOP, (0.0, 1.03), *_mirrored(_LIP_INNER_TOP)]
    inner += [*_mirrored(_LIP_INNER_BOTTOM), (0.0, 1.09), *_LIP_INNER_BOTTOM]
    rows = [*_JAW, *_CHIN, *_mirrored(_JAW), *_BROW, *_mirrored(_BROW), *_BRIDGE]
    rows += [*_NOSTRIL, *_NOSE_BASE, *_mirrored(_NOSTRIL), *_EYE, *right_eye, *outer, *inner]
    return np.array(rows, dtype=np.float64)


MEAN_SHAPE: Points = _mean_shape()
"""(68, 2) in the usual order: 0-16 jaw, 17-26 brows, 27-35 nose, 36-47 eyes, 48-67 mouth."""


def five_of(shape: Points) -> Points:
    """(5, 2): image-left eye, image-right eye, nose tip, image-left and image-right mouth corner of 68 points."""
    return np.stack([shape[36:42].mean(0), shape[42:48].mean(0), shape[30], shape[48], shape[54]])


def similarity(source: Points, target: Points) -> tuple[Points, Points]:
    """Matrix (2, 2) and shift (2,) of the rotation, scale and shift that bring ``source`` nearest to ``target``.

    Args:
        source: (N, 2) points, not all equal.
        target: (N, 2) points; row i is where row i of ``source`` should go.

    Source: least squares in the complex plane (no reflection can come out of it).
    """
    a, b = source - source.mean(0), target - target.mean(0)
    za, zb = a[:, 0] + 1j * a[:, 1], b[:, 0] + 1j * b[:, 1]
    turn = (za.conj() @ zb) / (za.conj() @ za).real
    matrix = np.array([[turn.real, -turn.imag], [turn.imag, turn.real]])
    return matrix, target.mean(0) - matrix @ source.mean(0)


def shape_from(points: Points, bend: bool = True) -> Points:
    """(68, 2) points of a face from 5 or 68 of them; 68 come back as they are.

    Args:
        points: (5, 2) in the order of ``five_of``, or (68, 2); pixels.
        bend: after the similarity transform, also pull eyes, nose and mouth onto the five points; the pull
            fades with a Gaussian of a third of the eye distance, so the jaw stays that of the mean face. False: the
            plain similarity transform of the mean face.

    Raises:
        DataError: neither 5 nor 68 points, not finite, or left and right exchanged.
    """
    points = check_points(points)
    if len(points) == 68:
        return points
    matrix, shift = similarity(five_of(MEAN_SHAPE), points)
    shape = MEAN_SHAPE @ matrix.T + shift
    if not bend:
        return shape
    own = five_of(shape)
    width = 0.35 * eye_distance(shape)

    def near(p: Points) -> Points:
        return np.asarray(np.exp(-((p[:, None] - own[None]) ** 2).sum(-1) / (2 * width**2)))

    # The eye centre is a mean of six points that each get their own pull; so the pull is solved for those means.
    reach = near(shape)
    at_five = np.stack([reach[36:42].mean(0), reach[42:48].mean(0), reach[30], reach[48], reach[54]])
    bent: Points = shape + reach @ np.linalg.solve(at_five, points - own)
    return bent


def eye_distance(shape: Points) -> float:
    """Distance of the two eye centres of 68 points, in pixels."""
    five = five_of(shape)
    return float(np.linalg.norm(five[1] - five[0]))


def check_points(values: Any) -> Points:
    """(5, 2) or (68, 2) finite points from any nested numbers, or a DataError that says what is wrong."""
    points = np.asarray(values, dtype=np.float64)
    if points.size not in (10, 136):
        raise DataError(f"landmarks must be 5 or 68 points 'x y', got {points.size} numbers")
    points = points.reshape(-1, 2)
    if not np.isfinite(points).all():
        raise DataError("landmarks must be finite numbers, got nan or inf")
    five = points if len(points) == 5 else five_of(points)
    if five[1, 0] <= five[0, 0] or five[4, 0] <= five[3, 0]:
        raise DataError(
            "landmarks must be in the order image-left eye, image-right eye, nose, image-left and image-right mouth "
            "corner; here the right ones lie left of the left ones"
        )
    return points
