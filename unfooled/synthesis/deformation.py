"""How a face moves over its resting surface: expressions as smooth shifts, the jaw as a cut between the lips."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unfooled.synthesis.head import ANGLE, COARSE, RADIUS, TOP, Float, Plan, axes, bump, step
from unfooled.synthesis.landmarks import Points
from unfooled.synthesis.motion import State

LOW = 20.0
"""Pixels per eye distance on which the smooth shifts are summed."""
NAMES = ("smile", "pucker", "brows", "frown", "squint")


@dataclass(frozen=True)
class Muscles:
    """The shifts of one person's face.

    Args:
        shifts: (K, h, w, 2) of ``NAMES`` at strength 1, as angle and height, on ``LOW`` maps.
        lips: (h, w) share of the opening by which the lower lip falls, next to the lip line; ``COARSE``.
        chin: (h, w) share by which what is below falls.
        line: height of the lip line.
    """

    shifts: Float
    lips: Float
    chin: Float
    line: float


@dataclass(frozen=True)
class Deformation:
    """One frame's map from the moved to the resting surface, on a ``COARSE`` map.

    Args:
        shift: (h, w, 2) moved minus resting position, as angle and height.
        gap: (h, w) 0 above the opening of the lips, 1 below it, linear inside.
        opening: (h, w) height of the opening.
    """

    shift: Float
    gap: Float
    opening: Float


def muscles(shape: Plan, radius: Float) -> Muscles:
    """Where each expression pulls; ``radius`` is the resting surface on a ``COARSE`` map."""
    angle, y = axes(LOW)
    r = cv2.resize(radius, angle.shape[::-1], interpolation=cv2.INTER_AREA)
    front = step(0.0, 0.35, np.cos(angle))
    x = r * np.sin(angle)
    side = np.tanh(x / 0.15)
    wide, line, _, _ = shape.mouth
    brow_y = float(shape.rest[19, 1])
    ex = shape.eye[0]
    smile = (
        0.085 * bump(x, y, wide + 0.02, line, 0.2, 0.16) * side,
        -0.085 * bump(x, y, wide + 0.03, line - 0.02, 0.17, 0.14) - 0.05 * bump(x, y, 0.6, 0.62, 0.24, 0.22)
        + 0.02 * bump(x, y, 0.0, line, 0.2, 0.12),
    )  # fmt: skip
    pucker = -0.11 * bump(x, y, wide, line, 0.2, 0.2) * side, 0 * x
    brows = 0 * x, -0.10 * bump(x, y, 0.5, brow_y - 0.02, 0.3, 0.14) - 0.02 * bump(x, y, ex, -0.12, 0.2, 0.05)
    frown = (
        -0.05 * bump(x, y, 0.22, brow_y + 0.05, 0.14, 0.12) * side,
        0.05 * bump(x, y, 0.24, brow_y + 0.05, 0.16, 0.12),
    )
    squint = 0 * x, -0.035 * bump(x, y, ex, 0.2, 0.24, 0.1)
    pulls = [
        np.stack([dx * front / (r * np.maximum(np.cos(angle), 0.3)), dy * front], -1)
        for dx, dy in (smile, pucker, brows, frown, squint)
    ]
    fine_angle, fine_y = axes(COARSE)
    fx = radius * np.sin(fine_angle)
    ahead = step(0.1, 0.4, np.cos(fine_angle))
    inside = np.clip(1 - (fx / (0.9 * wide)) ** 2, 0, 1) ** 0.6
    fall = step(line - 0.1, line + 0.65, fine_y)
    jaw = np.exp(-((fx / 0.72) ** 4)) * fall * 0.85 * (1 - step(2.05, 2.6, fine_y))
    return Muscles(
        np.stack(pulls).astype(np.float32),
        (0.9 * inside * ahead * (1 - fall)).astype(np.float32),
        (jaw * ahead).astype(np.float32),
        line,
    )


def deform(face: Muscles, now: State) -> Deformation:
    """The surface of a moment."""
    strength = np.array([getattr(now, name) for name in NAMES], np.float32)
    smooth = np.tensordot(strength, face.shifts, 1)
    high, wide = face.lips.shape
    shift: Float = cv2.resize(smooth, (wide, high), interpolation=cv2.INTER_LINEAR)
    y = ((np.arange(high, dtype=np.float32) + 0.5) / COARSE + TOP)[:, None] - shift[..., 1]
    opening = np.float32(now.opening) * face.lips
    gap = np.clip((y - face.line) / np.maximum(opening, 1e-3), 0, 1)
    shift[..., 1] += opening * gap + np.float32(now.opening) * face.chin
    return Deformation(shift, gap, opening)


def look_up(field: Float, at: Points) -> Points:
    """Values (N, C) of a ``COARSE`` map at (N, 2) angles and heights."""
    u = ((at[:, 0] + ANGLE) * RADIUS * COARSE - 0.5).astype(np.float32)[None]
    v = ((at[:, 1] - TOP) * COARSE - 0.5).astype(np.float32)[None]
    found = cv2.remap(field, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(len(at), -1), np.float64)


def moved(points: Points, below: Points, change: Deformation) -> Points:
    """Where resting points (angle, height) are now.

    Args:
        points: (N, 2).
        below: (N,) 1 for points on or under the lower edge of the lips' opening, 0 for those above; a point of the lip
            line is on one side of the cut, and only the caller knows on which.
    """
    smooth = change.shift - np.dstack([np.zeros_like(change.gap), change.gap * change.opening])
    field = np.dstack([smooth, change.opening])
    p = points.copy()
    for _ in range(7):
        found = look_up(field, p)
        p = points + found[:, :2]
        p[:, 1] += below * found[:, 2]
    return p
