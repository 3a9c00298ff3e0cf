"""The camera that takes a clip: lens, sensor, white balance, tone curve and JPEG."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from unfooled.randomness import seed_of
from unfooled.synthesis.head import Float
from unfooled.synthesis.photographs import Image


@dataclass(frozen=True)
class Camera:
    """What the pictures of one clip have in common.

    Args:
        blur: standard deviation of the lens, in pixels of a 128-pixel picture.
        shot, read: noise at white and at black, as shares of white.
        balance: (3,) gains of the channels.
        contrast: slope of the tone curve in the middle, about 1.
        black: lifted black in [0, .06].
        saturation: 0 is grey, 1 leaves the colours.
        vignette: light lost in the corners.
        sharpen: strength of the camera's own sharpening.
        quality: of the JPEG, 1 to 100.
    """

    blur: float
    shot: float
    read: float
    balance: Float
    contrast: float
    black: float
    saturation: float
    vignette: float
    sharpen: float
    quality: int


@lru_cache(maxsize=512)
def camera(seed: int, person: int) -> Camera:
    """The camera of a person's clip."""
    rng = np.random.default_rng(seed_of(seed, "camera", person))
    tint = np.array([1 + rng.normal(0, 0.05), 1.0, 1 + rng.normal(0, 0.06)], np.float32)
    return Camera(
        blur=float(rng.uniform(0.3, 0.6)),
        shot=float(rng.uniform(0.006, 0.014)),
        read=float(rng.uniform(0.001, 0.006)),
        balance=tint,
        contrast=float(rng.uniform(0.9, 1.2)),
        black=float(rng.beta(1, 3) * 0.06),
        saturation=float(rng.uniform(0.75, 1.15)),
        vignette=float(rng.uniform(0, 0.35)),
        sharpen=float(rng.uniform(0, 0.35)),
        quality=int(rng.integers(82, 97)),
    )


def take(how: Camera, light: Float, seed: int) -> Image:
    """A picture (S, S, 3) uint8 of linear light (S, S, 3); ``seed`` is that of this frame's noise."""
    size = len(light)
    light = cv2.GaussianBlur(light, (0, 0), how.blur * size / 128) if how.blur * size > 32 else light
    line = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    corner = np.float32(0.75) * (1 - np.float32(0.5 * how.vignette) * (line[:, None] + line[None]))
    light = light * cv2.merge([corner * gain for gain in how.balance])
    rng = np.random.default_rng(seed)
    # Filmic shoulder (Narkowicz's fit of ACES): highlights bend towards white instead of clipping.
    x = np.maximum(light, 0)
    film = x * (2.51 * x + 0.03) / (x * (2.43 * x + 0.59) + 0.14)
    level: Float = np.clip(film, 0, 1) ** np.float32(1 / 2.2)
    grain = rng.standard_normal(level.shape, np.float32)
    grain = cv2.GaussianBlur(grain, (0, 0), 0.5) * 1.35
    level = level + grain * np.sqrt(how.read**2 + how.shot**2 * level)
    grey = np.tile(np.array([0.3, 0.59, 0.11]), (3, 1))
    level = cv2.transform(level, grey + how.saturation * (np.eye(3) - grey))
    level = how.black + (1 - how.black) * (0.5 + how.contrast * (level - 0.5))
    if how.sharpen > 0.05:
        level = level + how.sharpen * (level - cv2.GaussianBlur(level, (0, 0), 1.0))
    picture = np.clip(np.rint(level * 255), 0, 255).astype(np.uint8)
    _, coded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, how.quality])
    return np.ascontiguousarray(np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])
