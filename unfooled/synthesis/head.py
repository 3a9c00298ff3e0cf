"""The surface of a person: head, hair and shoulders as one radius over angle and height, and what expressions do to it.

Units are eye distances, the origin lies between the eyes, x points to image right, y down and z to the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfooled.synthesis.identity import Identity
from unfooled.synthesis.landmarks import MEAN_SHAPE, Points

Float = NDArray[Any]
"""A float32 map; the stubs of OpenCV do not know its type."""

RADIUS = 1.1
"""Eye distances per radian of a map's width."""
ANGLE = 2.5
"""Maps reach this many radians to either side of the front."""
TOP, BOTTOM = -2.2, 3.0
FINE, COARSE = 80.0, 40.0
"""Pixels per eye distance of painted maps, and of those that are only marched through."""
LIP_LINE = 1.05


@lru_cache(maxsize=4)
def axes(ppu: float) -> tuple[Float, Float]:
    """Angle (H, W) in radians and height (H, W) of the pixels of a map."""
    wide, high = round(2 * ANGLE * RADIUS * ppu), round((BOTTOM - TOP) * ppu)
    angle = ((np.arange(wide) + 0.5) / ppu / RADIUS - ANGLE).astype(np.float32)
    y = ((np.arange(high) + 0.5) / ppu + TOP).astype(np.float32)
    a, b = np.meshgrid(angle, y)
    # Shared by everybody, so nobody may write to them.
    a.flags.writeable = b.flags.writeable = False
    return a, b


def bump(x: Float, y: Float, cx: float, cy: float, sx: float, sy: float) -> Float:
    """A Gaussian hill of height 1 at (+-cx, cy): on both sides of the face, or one in the middle where cx = 0."""
    return np.asarray(
        np.exp(-0.5 * (((np.abs(x) if cx else x) - cx) / sx) ** 2 - 0.5 * ((y - cy) / sy) ** 2), np.float32
    )


def step(low: float, high: float, value: Float) -> Float:
    """0 below ``low``, 1 above ``high``, smooth in between; falls where low > high."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), np.float32)


def curve(at: list[float], values: list[float], y: Float) -> Float:
    """A smooth curve near the given values: linear pieces, rounded over .06."""
    dense = np.linspace(TOP - 0.5, BOTTOM + 0.5, 1240)
    line = np.interp(dense, at, values)
    kernel = np.exp(-0.5 * (np.arange(-40, 41) * (dense[1] - dense[0]) / 0.06) ** 2)
    line = np.convolve(np.pad(line, 40, mode="edge"), kernel / kernel.sum(), mode="valid")
    return np.interp(y, dense, line).astype(np.float32)


@dataclass(frozen=True)
class Plan:
    """Where the features of a person lie on the resting face, in the frontal plane.

    Args:
        jaw: (17, 2); also the outline of the face.
        eye: (centre x, centre y, half width, opening above, opening below, tilt).
        mouth: (half width, y of the lip line, height of upper, of lower lip).
        nose: (length factor, half width of the wings, bridge, hook, tip).
        rest: (68, 2) landmarks at rest, before lids and lips move.
    """

    jaw: Points
    eye: tuple[float, float, float, float, float, float]
    mouth: tuple[float, float, float, float]
    nose: tuple[float, float, float, float, float]
    rest: Points


def plan(who: Identity) -> Plan:
    """The proportions of a person."""
    b, m = who.build, who.masculine - 0.5
    jaw = MEAN_SHAPE[:17].copy()
    # Rounder than the mean shape, whose corners are those of drawn straight lines.
    full = np.array([0.0, 0.14, 0.15, 0.12, 0.07, 0.035, 0.015, 0.005, 0.0])
    jaw[:, 0] += np.concatenate([-full[:0:-1], full])
    low = np.clip(jaw[:, 1] / 1.78, 0, 1)
    jaw[:, 0] *= 1 + 0.025 * b["face width"] + low * (1 - low) * 4 * (0.022 * b["jaw width"] + 0.05 * m + 0.02)
    jaw[:, 0] *= 1 + 0.05 * (b["chin width"] + 2 * m) * (low > 0.8) * np.abs(np.sign(jaw[:, 0]))
    jaw[:, 1] += low**2 * (0.045 * b["chin length"] + 0.06 * m)
    jaw[:, 1] += 0.03 * (b["jaw square"] + 2 * m) * low * (1 - low) * 4
    shape = MEAN_SHAPE.copy()
    shape[:17] = jaw
    apart = 0.5 + 0.012 * b["eye apart"]
    half = 0.225 + 0.010 * b["eye size"]
    above, below = 0.085 + 0.010 * b["eye open"] - 0.02 * m, 0.062 + 0.006 * b["eye open"]
    eye = (apart, 0.0, half, above, below, 0.05 * b["eye tilt"] - 0.05)
    length = 1 + 0.05 * b["nose length"]
    width = (0.215 + 0.022 * b["nose width"] + 0.02 * m) * (1 + 0.16 * (who.melanin - 0.4))
    nose = (length, width, 0.03 * b["nose bridge"], 0.02 * b["nose hook"], 0.015 * b["nose tip"])
    lips = 1 + 0.22 * (who.melanin - 0.35) - 0.25 * m - 0.25 * max(who.age - 45, 0) / 35
    wide = 0.40 + 0.022 * b["mouth width"] + 0.03 * m
    line = LIP_LINE + 0.02 * b["mouth height"]
    mouth = (wide, line, 0.105 * lips * (1 + 0.14 * b["lip upper"]), 0.16 * lips * (1 + 0.12 * b["lip lower"]))
    shape[27:31, 1] *= length
    shape[31:36, 1] += 0.62 * (length - 1)
    shape[31:36, 0] *= width / 0.24
    shape[17:27] = _brow_points(who, shape[17:27])
    for k, t in zip((48, 49, 50, 51, 52, 53, 54), (-1, -0.62, -0.22, 0, 0.22, 0.62, 1), strict=True):
        shape[k] = t * wide, upper_lip(np.float32(t), mouth, b["cupid"])
    for k, t in zip((55, 56, 57, 58, 59), (0.66, 0.3, 0, -0.3, -0.66), strict=True):
        shape[k] = t * wide, lower_lip(np.float32(t), mouth)
    for k, t in zip((60, 61, 62, 63, 64, 65, 66, 67), (-0.88, -0.35, 0, 0.35, 0.88, 0.35, 0, -0.35), strict=True):
        shape[k] = t * wide, line
    return Plan(jaw, eye, mouth, nose, shape)


def _brow_points(who: Identity, mean: Points) -> Points:
    b = who.build
    brow = mean.copy()
    out = np.abs(brow[:, 0]) / 0.86
    lift = 0.03 * b["brow height"] - 0.06 * (who.masculine - 0.5)
    brow[:, 1] -= lift + 0.03 * b["brow tilt"] * (out - 0.6) + 0.025 * b["brow arch"] * (1 - ((out - 0.65) / 0.4) ** 2)
    brow[:, 1] += 0.03
    return brow


def upper_lip(t: Float | np.float32, mouth: tuple[float, float, float, float], cupid: float) -> Float:
    """Height of the upper lip's upper edge at ``t`` in [-1, 1] of the mouth's half width."""
    _, line, up, _ = mouth
    arch = np.clip(1 - np.abs(t) ** 1.7, 0, 1) ** 0.9
    dip = (0.16 + 0.05 * cupid) * np.exp(-((t / 0.13) ** 2)) - 0.08 * np.exp(-(((np.abs(t) - 0.2) / 0.14) ** 2))
    return np.asarray(line - up * (arch - dip), np.float32)


def lower_lip(t: Float | np.float32, mouth: tuple[float, float, float, float]) -> Float:
    """Height of the lower lip's lower edge at ``t``."""
    _, line, _, down = mouth
    return np.asarray(line + down * np.clip(1 - np.abs(t) ** 2.2, 0, 1) ** 0.8, np.float32)


def bare(who: Identity, shape: Plan, ppu: float, ears: bool = True) -> Float:
    """(H, W) radius of head, ears (unless hair lies over them), neck and shoulders without hair."""
    angle, y = axes(ppu)
    b, m = who.build, who.masculine - 0.5
    side, front = np.abs(np.sin(angle)), np.cos(angle)
    right = shape.jaw[8:]
    wide = 1 + 0.025 * b["face width"]
    chin = float(right[0, 1])
    a = curve(
        [-2.05, -1.95, -1.75, -1.4, -1.0, -0.5, -0.2, *right[::-1, 1], chin + 0.07, chin + 0.13],
        [0.05, 0.45, 0.80, 1.04 * wide, 1.11 * wide, 1.09 * wide, 1.07 * wide,
         *(right[::-1, 0] + 0.02)[:-1], 0.32, 0.16, 0.02],
        y,
    )  # fmt: skip
    f = 0.02 * b["forehead"] + 0.03 * m
    z = curve(
        [-2.05, -1.95, -1.75, -1.45, -1.15, -0.85, -0.5, -0.3, 0.0, 0.4, 0.75, 0.95, 1.06, 1.2, 1.36, 1.58, chin - 0.05,
         chin + 0.05, chin + 0.12, chin + 0.2],
        [0.05, 0.4, 0.74, 0.98 - f, 1.08 - f, 1.13, 1.15, 1.16 + 0.06 * m, 1.06, 1.09, 1.11, 1.13, 1.12, 1.12, 1.04,
         1.09 + 0.05 * m, 1.04, 0.9, 0.6, 0.1],
        y,
    )  # fmt: skip
    back = curve([-2.05, -1.95, -1.6, -1.0, 0.0, 0.8, 1.3, 1.8], [0.05, 0.5, 1.1, 1.42, 1.4, 1.05, 0.5, 0.02], y)
    depth = np.where(front > 0, z, back)
    n = np.float32(2.25)
    r = ((side / np.maximum(a, 0.02)) ** n + (np.abs(front) / np.maximum(depth, 0.02)) ** n) ** (-1 / n)
    x = r * np.sin(angle)
    r = r + step(0.15, 0.5, front) * _relief(who, shape, x, y)
    if ears:
        r = r + _ears(who, angle, y)
    thick = 0.65 + 0.03 * b["neck"] + 0.12 * m
    neck_a = curve(
        [1.0, 1.6, 2.0, 2.25, 2.45, 2.65, 2.85, 3.0],
        [thick, thick, thick * 1.03, thick + 0.14, thick + 0.42, 1.55, 2.1, 2.3],
        y,
    )
    neck_f = curve([1.0, 1.7, 2.1, 2.5, 3.0], [0.5, 0.5, 0.44, 0.62, 0.95], y)
    neck_b = curve([1.0, 1.7, 2.1, 2.5, 3.0], [0.75, 0.75, 0.75, 0.9, 1.1], y)
    deep = np.where(front > 0, neck_f, neck_b)
    neck = ((side / neck_a) ** 2 + (front / deep) ** 2) ** -0.5
    neck = neck * step(0.2, 0.9, y)
    return np.asarray(0.5 * (r + neck + np.sqrt((r - neck) ** 2 + 0.004)), np.float32)


def _relief(who: Identity, shape: Plan, x: Float, y: Float) -> Float:
    """What stands out of the smooth front of the head."""
    b, m = who.build, who.masculine - 0.5
    length, width, bridge, hook, tip = shape.nose
    ex, ey, *_ = shape.eye
    yn = y / length
    ridge = curve(
        [-0.3, -0.12, 0.0, 0.2, 0.4, 0.54, 0.62, 0.68, 0.73, 0.78, 0.84],
        [0.0, 0.03 + bridge, 0.07 + bridge, 0.15 + bridge + hook, 0.25 + bridge / 2 + hook, 0.33 + tip, 0.35 + tip,
         0.31,         0.2, 0.06, 0.0],
        yn,
    )  # fmt: skip
    sigma = curve([-0.1, 0.1, 0.4, 0.62, 0.8], [0.12, 0.10, 0.115, 0.14, 0.16], yn) * np.float32(
        1 + 0.5 * (width - 0.22) / 0.22
    )
    out = ridge * (0.72 * np.exp(-0.5 * (x / sigma) ** 2) + 0.28 * np.exp(-0.5 * (x / (2.1 * sigma)) ** 2))
    out += 0.13 * bump(x, yn, width - 0.045, 0.665, 0.065, 0.065)
    out -= 0.06 * bump(x, yn, 0.095, 0.755, 0.045, 0.03)
    out -= (0.12 + 0.015 * b["eye depth"]) * bump(x, y, ex - 0.02, ey - 0.02, 0.25, 0.14)
    out += 0.085 * bump(x, y, ex, ey + 0.005, 0.17, 0.12)
    out += (0.02 + 0.05 * (m + 0.5)) * bump(x, y, 0.40, -0.30, 0.28, 0.09)
    out += (0.05 + 0.02 * b["cheekbone"]) * bump(x, y, 0.70, 0.40, 0.26, 0.2)
    out += (0.03 * b["cheek"] - 0.02) * bump(x, y, 0.62, 0.95, 0.2, 0.25)
    out -= 0.03 * bump(x, y, 0.3, 0.86, 0.1, 0.16) - 0.04 * bump(x, y, 0.0, 1.0, 0.35, 0.2)
    wide, line, up, down = shape.mouth
    out += 0.045 * bump(x, y, 0.0, line - 0.55 * up, 0.26, 0.4 * up + 0.01) + 0.06 * bump(
        x, y, 0.0, line + 0.5 * down, 0.24, 0.4 * down
    )
    out -= 0.04 * bump(x, y, 0.0, line, 0.22, 0.024) + 0.025 * bump(x, y, wide + 0.02, line, 0.06, 0.05)
    out -= 0.02 * bump(x, y, 0.0, 0.86, 0.04, 0.05)
    out += 0.05 * bump(x, y, 0.0, 1.6, 0.17, 0.13)
    return np.asarray(out, np.float32)


def _ears(who: Identity, angle: Float, y: Float) -> Float:
    b = who.build
    size, out = 1 + 0.07 * b["ear"], 0.20 + 0.03 * b["ear out"]
    u, v = (np.abs(angle) - 1.68) / 0.17, (y - 0.24 - 0.08 * (np.abs(angle) - 1.68)) / (0.46 * size)
    radius = np.sqrt(u**2 + v**2 * (1 + 0.25 * np.sign(v) * np.minimum(np.abs(v), 1)))
    shell = step(1.05, 0.8, radius)
    hollow = 0.45 * step(0.75, 0.3, np.sqrt((u + 0.1) ** 2 + (1.25 * (v - 0.05)) ** 2))
    return np.asarray(out * shell * (1 - hollow) * (0.75 + 0.25 * step(-1, 0.5, u)), np.float32)
