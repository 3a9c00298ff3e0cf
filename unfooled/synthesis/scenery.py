"""Where a person sits: the room or street behind them, and the lamps."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from unfooled.randomness import seed_of
from unfooled.synthesis.head import Float
from unfooled.synthesis.skin import linear

SIDE = 224
"""Pixels of a painted background."""
SCENES = ("wall", "studio", "bokeh", "shelf", "window", "park", "curtain", "office", "brick")


@dataclass(frozen=True)
class Lamps:
    """The light on a person; directions point from the face to the lamp, colours are linear.

    Args:
        azimuth, elevation: of the key light in radians, 0 = from the camera; positive to image right and up.
        key, sky, ground, rim: colour times strength.
        softness: in [0, 1]; 1 wraps around like an overcast sky.
        side: +1 or -1, from where the rim light comes.
        exposure: factor before the tone curve.
    """

    azimuth: float
    elevation: float
    key: Float
    sky: Float
    ground: Float
    rim: Float
    softness: float
    side: float
    exposure: float


@lru_cache(maxsize=512)
def lamps(seed: int, person: int) -> Lamps:
    """The lamps of a person's clip."""
    rng = np.random.default_rng(seed_of(seed, "lamps", person))
    kind = rng.choice(
        ["soft", "side", "overcast", "warm", "screen", "rembrandt"], p=[0.28, 0.2, 0.18, 0.14, 0.06, 0.14]
    )
    way = float(rng.choice([-1.0, 1.0]))
    warmth = {"soft": 0.05, "side": 0.0, "overcast": -0.06, "warm": 0.18, "screen": -0.2, "rembrandt": 0.12}[
        kind
    ] + rng.normal(0, 0.05)
    azimuth = {"soft": 0.35, "side": 0.95, "overcast": 0.3, "warm": 0.7, "screen": 0.1, "rembrandt": 0.8}[
        kind
    ] * way + rng.normal(0, 0.12)
    elevation = {"soft": 0.6, "side": 0.3, "overcast": 0.9, "warm": 0.35, "screen": 0.0, "rembrandt": 0.75}[
        kind
    ] + rng.normal(0, 0.1)
    soft = {"soft": 0.6, "side": 0.35, "overcast": 0.95, "warm": 0.3, "screen": 0.7, "rembrandt": 0.2}[kind]
    fill = {"soft": 0.38, "side": 0.24, "overcast": 0.55, "warm": 0.26, "screen": 0.2, "rembrandt": 0.2}[
        kind
    ] * rng.uniform(0.8, 1.25)
    key = np.array([1 + warmth, 1.0, 1 - 1.1 * warmth]) * rng.uniform(0.85, 1.1)
    cool = np.array([1 - 0.7 * warmth + rng.normal(0, 0.04), 1.0, 1 + 0.8 * warmth + rng.normal(0, 0.05)])
    bounce = np.array([1.05, 0.95, 0.85]) + rng.normal(0, 0.06, 3)
    rim = np.clip(rng.uniform(-0.7, 0.9), 0, 1) * (1 + 0.3 * rng.normal(0, 1, 3).clip(-1, 1))
    return Lamps(
        azimuth, elevation, key.astype(np.float32), (fill * cool).astype(np.float32),
        (0.5 * fill * bounce).astype(np.float32), np.asarray(rim, np.float32).clip(0), soft, -way,
        float(rng.uniform(0.9, 1.2)),
    )  # fmt: skip


@lru_cache(maxsize=64)
def background(seed: int, person: int) -> Float:
    """(SIDE, SIDE, 3) linear, already out of focus."""
    rng = np.random.default_rng(seed_of(seed, "scenery", person))
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    scene = str(rng.choice(SCENES))
    picture = _SCENES[scene](rng, x, y)
    blur = {
        "brick": (1.5, 5),
        "curtain": (2, 6),
        "wall": (2, 3),
        "studio": (6, 7),
        "window": (5, 9),
        "shelf": (2.5, 7),
        "office": (4, 8),
    }
    picture = cv2.GaussianBlur(picture.astype(np.float32), (0, 0), float(rng.uniform(*blur.get(scene, (3.0, 7.0)))))
    fall = 1 + 0.35 * (np.float32(rng.normal(0, 0.6)) * (x - 0.5) - np.float32(rng.uniform(-0.2, 0.8)) * (y - 0.5))
    return np.asarray(np.clip(picture * fall[..., None], 0.002, 3), np.float32)


def _tone(rng: Generator, low: float = 0.15, high: float = 0.85, colourful: float = 0.25) -> Float:
    hue = rng.uniform(0, 6.28)
    value = rng.uniform(low, high) * (1 + colourful * rng.random() * np.cos(hue + np.array([0, 2.09, 4.19])))
    return linear(np.clip(value, 0.02, 1).astype(np.float32))


def _wall(rng: Generator, x: Float, y: Float) -> Float:
    picture = np.tile(_tone(rng), (*x.shape, 1))
    if rng.random() < 0.5:
        at, tilt = rng.uniform(0.1, 0.9), rng.normal(0, 0.05)
        picture[x + tilt * y > at] *= rng.uniform(0.6, 0.9)
    if rng.random() < 0.5:
        left, top, w, h = rng.uniform(-0.1, 0.8), rng.uniform(0, 0.4), rng.uniform(0.15, 0.35), rng.uniform(0.2, 0.5)
        inside = (x > left) & (x < left + w) & (y > top) & (y < top + h)
        edge = inside & ((x < left + 0.015) | (x > left + w - 0.015) | (y < top + 0.015) | (y > top + h - 0.015))
        picture[inside], picture[edge] = _tone(rng), _tone(rng, 0.05, 0.3)
    return np.asarray(picture, np.float32)


def _studio(rng: Generator, x: Float, y: Float) -> Float:
    spot = np.exp(-((x - rng.uniform(0.3, 0.7)) ** 2 + (y - rng.uniform(0.3, 0.6)) ** 2) / rng.uniform(0.06, 0.25))
    clouds = cv2.resize(rng.standard_normal((7, 7), np.float32), x.shape, interpolation=cv2.INTER_CUBIC)
    return np.asarray(_tone(rng, 0.1, 0.75) * (0.3 + spot + 0.08 * clouds)[..., None], np.float32)


def _bokeh(rng: Generator, x: Float, y: Float) -> Float:
    picture = np.tile(_tone(rng, 0.06, 0.3), (*x.shape, 1)) * (1.2 - 0.6 * y[..., None])
    warm = rng.random() < 0.6
    for _ in range(int(rng.integers(14, 40))):
        cx, cy, r = rng.uniform(0, 1), rng.uniform(0, 0.9), rng.uniform(0.015, 0.06)
        tint = np.array([1.0, 0.7, 0.35]) if warm and rng.random() < 0.7 else np.abs(_tone(rng, 0.6, 1, 1.2))
        d = np.hypot(x - cx, y - cy) / r
        disc = np.clip((1 - d) * r * SIDE * 0.7, 0, 1) * (0.75 + 0.35 * np.clip(d, 0, 1) ** 4)
        picture = picture + (disc * rng.uniform(0.1, 0.75))[..., None] * tint
    return np.asarray(picture, np.float32)


def _shelf(rng: Generator, x: Float, y: Float) -> Float:
    picture = np.tile(_tone(rng, 0.1, 0.5), (*x.shape, 1))
    rows = int(rng.integers(3, 6))
    for row in range(rows):
        left = 0.0
        while left < 1:
            w, h = rng.uniform(0.012, 0.045), rng.uniform(0.6, 0.88) / rows
            base = (row + 0.92) / rows
            if rng.random() > 0.12:
                picture[(x >= left) & (x < left + w * 0.94) & (y < base) & (y > base - h)] = _tone(rng, 0.1, 0.7, 0.7)
            left += w
        picture[(y > base) & (y < base + 0.08 / rows)] = _tone(rng, 0.25, 0.5)
    return np.asarray(picture * rng.uniform(0.5, 1.0), np.float32)


def _window(rng: Generator, x: Float, y: Float) -> Float:
    picture = np.tile(_tone(rng, 0.3, 0.7), (*x.shape, 1))
    left, wide = rng.uniform(-0.2, 0.7), rng.uniform(0.25, 0.5)
    pane = (x > left) & (x < left + wide) & (y < rng.uniform(0.6, 1.0))
    view = np.array([0.9, 1.0, 1.1]) * (1.1 - 0.7 * y[..., None])
    picture = np.where(pane[..., None], view * rng.uniform(0.7, 1.4), picture)
    picture[pane & (np.abs(x - left - wide / 2) < 0.012)] *= 0.35
    return np.asarray(picture, np.float32)


def _park(rng: Generator, x: Float, y: Float) -> Float:
    sky = np.array([0.55, 0.72, 0.95]) if rng.random() < 0.6 else np.array([0.9, 0.85, 0.8])
    leaves = sum(
        cv2.resize(rng.standard_normal((n, n), np.float32), x.shape, interpolation=cv2.INTER_CUBIC) / w
        for n, w in ((6, 1), (16, 1.4), (50, 1.6))
    )
    green = np.array([0.12, 0.22, 0.06]) * (1 + 0.4 * rng.normal(0, 1, 3).clip(-1, 1))
    foliage = green * np.exp(0.45 * leaves)[..., None]
    horizon = np.clip((rng.uniform(0.2, 0.6) + 0.10 * leaves - y) * 8, 0, 1)[..., None]
    return np.asarray(foliage + horizon * (sky * rng.uniform(0.5, 1.1) - foliage), np.float32)


def _curtain(rng: Generator, x: Float, y: Float) -> Float:
    folds = np.sin(
        x * rng.uniform(25, 60)
        + 2 * cv2.resize(rng.standard_normal((2, 6), np.float32), x.shape, interpolation=cv2.INTER_CUBIC)
    )
    return np.asarray(_tone(rng, 0.2, 0.8, 0.5) * (0.75 + 0.25 * folds)[..., None], np.float32)


def _office(rng: Generator, x: Float, y: Float) -> Float:
    picture = np.tile(_tone(rng, 0.35, 0.8, 0.15), (*x.shape, 1))
    for _ in range(int(rng.integers(5, 12))):
        left, top, w, h = rng.uniform(-0.1, 1), rng.uniform(0, 1), rng.uniform(0.05, 0.3), rng.uniform(0.03, 0.3)
        picture[(x > left) & (x < left + w) & (y > top) & (y < top + h)] = _tone(rng, 0.05, 0.95, 0.4)
    return np.asarray(picture, np.float32)


def _brick(rng: Generator, x: Float, y: Float) -> Float:
    rows = int(rng.integers(12, 22))
    row = np.floor(y * rows)
    column = np.floor(x * rows / 2.3 + 0.5 * (row % 2))
    shades = rng.uniform(0.7, 1.25, (40, 40)).astype(np.float32)[row.astype(int) % 40, column.astype(int) % 40]
    joint = ((y * rows) % 1 < 0.14) | ((x * rows / 2.3 + 0.5 * (row % 2)) % 1 < 0.06)
    base = linear((0.62, 0.36, 0.28)) if rng.random() < 0.5 else _tone(rng, 0.4, 0.85, 0.1)
    picture = base * shades[..., None]
    picture[joint] = _tone(rng, 0.4, 0.7, 0.1)
    return np.asarray(picture, np.float32)


_SCENES = {
    "wall": _wall, "studio": _studio, "bokeh": _bokeh, "shelf": _shelf, "window": _window, "park": _park,
    "curtain": _curtain, "office": _office, "brick": _brick,
}  # fmt: skip
