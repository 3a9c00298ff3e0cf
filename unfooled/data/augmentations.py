"""Augmentations of training frames: uint8 (H,W,3) in, the same out, every draw from the generator given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from unfooled.errors import ConfigError
from unfooled.registry import build, lookup, number
from unfooled.registry import parse as parse_part

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change that keeps the label; applied with probability ``p``.

    Args:
        p: in [0, 1]; 0 never, 1 always.
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"{type(self).__name__.lower()}: p must be in [0, 1], got {self.p:g}; write p=0.5")

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """The frame, changed or not; the given array is never written to."""
        return self.change(pixels, rng) if rng.random() < self.p else pixels

    @abstractmethod
    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """The changed frame."""


@dataclass(frozen=True)
class Flip(Augmentation):
    """Left and right exchanged; p 0.5."""

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        return np.ascontiguousarray(pixels[:, ::-1])


@dataclass(frozen=True)
class Jpeg(Augmentation):
    """Through the real JPEG encoder (4:2:0) at a random quality; p 0.5.

    Args:
        quality: range of whole numbers in 1..100, both ends included, such as ``60-95``.
    """

    quality: str = "60-95"

    def __post_init__(self) -> None:
        super().__post_init__()
        _range("jpeg: quality", self.quality, 1, 100)

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        low, high = _range("jpeg: quality", self.quality, 1, 100)
        quality = int(rng.integers(round(low), round(high) + 1))
        _, data = cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
        decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), dtype=np.uint8)
        return np.ascontiguousarray(decoded[..., ::-1])


@dataclass(frozen=True)
class Blur(Augmentation):
    """Gaussian blur of a random width; p 0.2.

    Args:
        sigma: range in pixels, > 0, such as ``0.3-1.5``.
    """

    p: float = 0.2
    sigma: str = "0.3-1.5"

    def __post_init__(self) -> None:
        super().__post_init__()
        _range("blur: sigma", self.sigma, 0.01, 50)

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        sigma = rng.uniform(*_range("blur: sigma", self.sigma, 0.01, 50))
        return np.asarray(cv2.GaussianBlur(pixels, (0, 0), sigma), dtype=np.uint8)


@dataclass(frozen=True)
class Colour(Augmentation):
    """Brightness, contrast and saturation, each times a factor in [1 - amount, 1 + amount]; p 0.5.

    Args:
        amount: in [0, 1]; 0 changes nothing.
    """

    amount: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.amount <= 1:
            raise ConfigError(f"colour: amount must be in [0, 1], got {self.amount:g}; write amount=0.2")

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        brightness, contrast, saturation = rng.uniform(1 - self.amount, 1 + self.amount, 3).astype(np.float32)
        x = pixels.astype(np.float32) * brightness
        grey = x @ np.array([0.299, 0.587, 0.114], np.float32)
        mean = grey.mean()
        x = mean + contrast * (grey[..., None] + saturation * (x - grey[..., None]) - mean)
        return np.asarray(np.clip(np.rint(x), 0, 255), dtype=np.uint8)


@dataclass(frozen=True)
class Erasing(Augmentation):
    """A random rectangle is filled with random pixels; p 0.25.

    Args:
        area: range of the share of the frame, in (0, 1], such as ``0.02-0.2``.

    Source: Random Erasing, arXiv:1708.04896. Deviation: one try, sides cut to the frame.
    """

    p: float = 0.25
    area: str = "0.02-0.2"

    def __post_init__(self) -> None:
        super().__post_init__()
        _range("erasing: area", self.area, 1e-6, 1)

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = pixels.shape[:2]
        area = rng.uniform(*_range("erasing: area", self.area, 1e-6, 1)) * height * width
        ratio = np.exp(rng.uniform(np.log(0.3), np.log(1 / 0.3)))
        h = int(np.clip(round((area * ratio) ** 0.5), 1, height))
        w = int(np.clip(round((area / ratio) ** 0.5), 1, width))
        top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
        erased = pixels.copy()
        erased[top : top + h, left : left + w] = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        return erased


AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "blur": Blur,
    "colour": Colour,
    "erasing": Erasing,
    "flip": Flip,
    "jpeg": Jpeg,
}


def parse(names: Sequence[str]) -> tuple[Augmentation, ...]:
    """The augmentations called ``flip``, ``jpeg:quality=60-95,p=0.3`` and so on, in the order given."""
    if isinstance(names, str):
        raise ConfigError(f"augment must be a list such as ['flip', 'jpeg'], got the text {names!r}")
    parts = [parse_part(name) for name in names]
    return tuple(build("augmentation", n, lookup("augmentation", AUGMENTATIONS, n), o) for n, o in parts)


def _range(name: str, text: str, least: float, most: float) -> tuple[float, float]:
    low, _, high = text.partition("-")
    bounds = number(name, low), number(name, high or low)
    if not least <= bounds[0] <= bounds[1] <= most:
        raise ConfigError(f"{name} must be LOW-HIGH within {least:g}..{most:g}, got {text!r}")
    return bounds
