"""Where the rays of a picture meet the surface of a person, and which parts of it the key light reaches."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unfooled.synthesis.deformation import LOW
from unfooled.synthesis.head import ANGLE, COARSE, RADIUS, TOP, Float, axes, step
from unfooled.synthesis.landmarks import Points

PIVOT = np.array([0.0, 1.7, -0.3])
"""The head turns about this point of the neck."""
NECK = (2.12, 2.7)
"""Above the first height the surface turns with the head, below the second it stays with the body."""
NEAR, FAR = 1.7, -1.3
"""Depths between which a ray is searched."""
STEPS = 14


@dataclass(frozen=True)
class View:
    """Where the camera sees what.

    Args:
        turn: (3, 3) rotation of the head.
        shift: (3,) of the head.
        distance: of the camera, in eye distances.
        centre, side: of the picture on the plane z = 0.
    """

    turn: Points
    shift: Points
    distance: float
    centre: Points
    side: float

    def project(self, points: Points, size: int) -> Points:
        """(N, 2) pixels of (N, 3) points of the unturned head."""
        p = (points - PIVOT) @ self.turn.T + PIVOT + self.shift
        flat = p[:, :2] / (1 - p[:, 2:] / self.distance)
        return np.asarray((flat - self.centre) * (size / self.side) + size / 2 - 0.5)


def rotation(yaw: float, pitch: float, roll: float) -> Points:
    """(3, 3): yaw, then pitch, then roll."""
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_x @ about_y)


class _Rays:
    """One ray a pixel: points of it by depth, in the frame of the head and, from the neck down, in that of the body."""

    def __init__(self, seen: View, size: int) -> None:
        line = ((np.arange(size) - size / 2 + 0.5) * (seen.side / size)).astype(np.float32)
        self.u, self.v = np.meshgrid(line + np.float32(seen.centre[0]), line + np.float32(seen.centre[1]))
        self.slope = np.float32(-1 / seen.distance)
        zero = np.zeros_like(self.u)
        flat = cv2.merge([self.u, self.v, zero]) - (PIVOT + seen.shift).astype(np.float32)
        back = seen.turn.T.astype(np.float32)
        self.base = cv2.split(cv2.transform(flat, back) + PIVOT.astype(np.float32))
        self.along = cv2.split(cv2.transform(cv2.merge([self.u * self.slope, self.v * self.slope, zero + 1]), back))
        # Rows above cannot reach the neck.
        self.first = int(np.searchsorted(self.v[:, 0], NECK[0] / (1 + NEAR / seen.distance)))

    def at(self, z: Float) -> tuple[Float, Float, Float, Float]:
        """x, y, z of the points at the camera's depth ``z``, and the share of the body in rows from ``first`` on."""
        x, y, deep = (b + z * a for b, a in zip(self.base, self.along, strict=True))
        rows = slice(self.first, None)
        low = z[rows]
        scale = 1 + self.slope * low
        fixed = self.v[rows] * scale
        share = step(*NECK, fixed)
        x[rows] += share * (self.u[rows] * scale - x[rows])
        y[rows] += share * (fixed - y[rows])
        deep[rows] += share * (low - deep[rows])
        return x, y, deep, share

    def search(self, surface: Float, z: Float) -> tuple[Float, Float]:
        """Depth where each ray meets the surface or comes nearest to it, and its clearance there; 0 is a hit."""
        last = best = z
        nearest = clear = np.full_like(z, 9)
        for _ in range(STEPS):
            x, y, deep, _ = self.at(z)
            far, phase = cv2.cartToPolar(-deep, -x)
            before, clear = clear, far - read(surface, phase - np.float32(np.pi), y, COARSE)
            # The first step into the surface ends the search: the root lies between it and the step before.
            hit = (clear <= 0) & (nearest > 0)
            root = z + (last - z) * (clear / np.minimum(clear - before, np.float32(-1e-6)))
            best = np.where(hit, root, np.where(clear < nearest, z, best))
            nearest = np.where(hit, np.float32(-9), np.minimum(nearest, clear))
            # Never shorter than .1: a ray along the jaw would not get to the neck. The root makes up for it.
            last, z = z, np.maximum(z - np.maximum(np.float32(0.95) * clear, np.float32(0.1)), np.float32(FAR))
        # A ray that grazed the chin and now nears the neck has not missed.
        nearest[(clear < before) & (clear < 0.5) & (z > FAR + 0.1)] = 0
        return best, np.maximum(nearest, 0)


def read(field: Float, angle: Float, y: Float, ppu: float) -> Float:
    """A map of ``ppu`` pixels an eye distance, at angles and heights."""
    u = angle * np.float32(RADIUS * ppu) + np.float32(ANGLE * RADIUS * ppu - 0.5)
    v = y * np.float32(ppu) - np.float32(TOP * ppu + 0.5)
    return np.asarray(cv2.remap(field, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def march(surface: Float, seen: View, size: int) -> tuple[Float, Float, Float, Float]:
    """Where each pixel's ray meets the surface: angle, height, clearance (0: hit) and share of the body.

    Args:
        surface: radius on a ``COARSE`` map.
        size: (size, size) rays.
    """
    rays = _Rays(seen, size)
    depth, clear = rays.search(surface, np.full_like(rays.u, NEAR))
    x, y, deep, share = rays.at(depth)
    _, phase = cv2.cartToPolar(-deep, -x)
    body = np.zeros_like(x)
    body[rays.first :] = share
    return phase - np.float32(np.pi), y, clear, body


def shadows(radius: Float, key: Float) -> Float:
    """(h, w) on a ``LOW`` map: share of the key light that reaches the surface; 1 is all.

    Args:
        radius: the surface on a ``COARSE`` map.
        key: (3,) direction to the light, relative to the head.
    """
    angle, y = axes(LOW)
    r = cv2.resize(radius, angle.shape[::-1], interpolation=cv2.INTER_AREA)
    x, z = r * np.sin(angle), r * np.cos(angle)
    blocked = np.zeros_like(r)
    far = 0.07
    for _ in range(9):
        away, phase = cv2.cartToPolar(-z - far * key[2], -x - far * key[0])
        over = read(r, phase - np.float32(np.pi), y + far * key[1], LOW) - away
        # A lamp has a size: the farther the edge, the softer its shadow.
        blocked = np.maximum(blocked, over / np.float32(0.05 + 0.35 * far))
        far *= 1.4
    return np.asarray(cv2.GaussianBlur(1 - np.clip(blocked, 0, 1), (0, 0), 1.0), np.float32)
