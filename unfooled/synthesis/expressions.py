"""What a face does, as shifts of its 68 points: copied from another face, or drawn."""

from __future__ import annotations

import numpy as np

from unfooled.synthesis.flicker import Draws
from unfooled.synthesis.landmarks import BROWS, EYES, JAW, MEAN_SHAPE, MOUTH, Points, eye_distance, five_of, similarity

LARGEST = 0.1
"""No point moves by more than this, in eye distances, along x or y."""
LIDS, LIPS = 0.22, 0.05
"""How far eyes and lips are open at the least where a face is laid over another."""


def _upright(shape: Points) -> tuple[Points, Points]:
    """The shape in the frame of the mean face (unit = eye distance), and the matrix that leads back to pixels."""
    matrix, shift = similarity(shape[EYES], MEAN_SHAPE[EYES])
    return shape @ matrix.T + shift, np.asarray(np.linalg.inv(matrix), np.float64)


def expression(target: Points, donor: Points, drawn: Points | float = 0.0) -> Points:
    """(68, 2) pixel shifts that bring the target's brows and mouth towards what the donor's do.

    Both shapes are laid over the mean face by their eyes. What then differs is taken over: the mouth relative to the
    nose tip (its width, its height under the nose, its corners, its opening), the brows, and with the lower lip the
    chin. Shapes made from five points differ in mouth width, mouth-nose distance and nose height alone, so for those
    the rest of an expression has to be drawn. Identity is part of the difference; ``LARGEST`` limits it.

    Args:
        target: (68, 2) pixels.
        donor: (68, 2) pixels of the donor's own picture; position, size and tilt do not matter.
        drawn: shifts in eye distances that are added before the limit (``grimace``).
    """
    own, back = _upright(target)
    other, _ = _upright(donor)
    shift = np.zeros_like(own)
    # A turned head moves the nose sideways against the eyes; following it would shear the mouth off the jaw.
    shift[MOUTH] = other[MOUTH] - own[MOUTH] - (other[30] - own[30]) * (1, 0.5)
    shift[MOUTH, 0] -= shift[MOUTH, 0].mean()
    shift[BROWS, 1] = other[BROWS, 1] - own[BROWS, 1]
    shift = np.clip(shift + drawn, -LARGEST, LARGEST)
    shift[JAW] = _chin(shift[57, 1])
    return np.asarray(shift @ back.T)


def grimace(rng: Draws, least: float = 0.0) -> Points:
    """(68, 2) shifts of a drawn expression, in eye distances: smile, lips, width of the mouth, brows.

    Args:
        rng: four draws of a strength in [-1, 1].
        least: in [0, 1]; a drawn strength is moved away from 0 by so much, so something always happens.
    """
    draws = rng.uniform(-1, 1, 4)
    smile, opening, width, brows = np.sign(draws) * (least + (1 - least) * np.abs(draws))
    x, y = MEAN_SHAPE[MOUTH, 0] / 0.43, MEAN_SHAPE[MOUTH, 1]
    shift = np.zeros_like(MEAN_SHAPE)
    shift[MOUTH, 0] = 0.06 * width * x
    shift[MOUTH, 1] = -0.07 * smile * (np.abs(x) ** 1.5 - 0.3)
    # Lips move against the line between them; the upper one a third as far.
    below = np.clip((y - 1.055) / 0.1, -0.3, 1)
    shift[MOUTH, 1] += 0.035 * opening * below * (1 - np.minimum(np.abs(x), 1) ** 2)
    shift[BROWS, 1] = -0.06 * brows
    return shift


def parted(shape: Points) -> Points:
    """(68, 2) the shape with no eye and no mouth quite closed, so that a face can be laid over it by its points.

    A warp that spreads an open eye over a closed one, whose lids are one line, turns over. So an upper lid stays
    ``LIDS`` of the eye's width above the lower one, and the inner lips ``LIPS`` eye distances apart; what is wider
    open stays as it is.
    """
    up, unit = -_down(shape), eye_distance(shape)
    moved = shape.copy()
    for upper, lower, least in (
        ((37, 38), (41, 40), LIDS * float(np.linalg.norm(shape[39] - shape[36]))),
        ((43, 44), (47, 46), LIDS * float(np.linalg.norm(shape[45] - shape[42]))),
        ((61, 62, 63), (67, 66, 65), LIPS * unit),
    ):
        low = shape[list(lower)]
        gap = (shape[list(upper)] - low) @ up
        moved[list(upper)] += np.clip(least - gap, 0, None)[:, None] * up
    return moved


def _down(shape: Points) -> Points:
    """(2,) the direction across the eye line."""
    five = five_of(shape)
    x, y = (five[1] - five[0]) / np.linalg.norm(five[1] - five[0])
    return np.array([-y, x])


def _chin(drop: float) -> Points:
    x = MEAN_SHAPE[JAW, 0]
    fall = np.exp(-((x / 0.45) ** 2))
    return np.stack([np.zeros_like(x), 0.8 * drop * fall], -1)
