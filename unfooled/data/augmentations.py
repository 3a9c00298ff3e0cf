"""Augmentations of training frames and clips: uint8 in, the same out, every draw from the generator given."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from unfooled.errors import ConfigError
from unfooled.registry import build, lookup, number
from unfooled.registry import parse as parse_part

Pixels = npt.NDArray[np.uint8]
MEAN = (124, 116, 104)
"""The mean colour of ImageNet: what a detector that was normalised by it sees as zero."""


@dataclass(frozen=True)
class Augmentation(ABC):
    """A random change that keeps the label; applied with probability ``p`` to a frame, or to a clip as a whole.

    Args:
        p: in [0, 1]; 0 never, 1 always.
    """

    p: float = 0.5
    clips_only: ClassVar[bool] = False
    """It does nothing to a single frame."""

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"{type(self).__name__.lower()}: p must be in [0, 1], got {self.p:g}; write p=0.5")

    def __call__(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """The (H,W,3) frame or (T,H,W,3) clip, changed or not; the given array is never written to."""
        if rng.random() >= self.p:
            return pixels
        return self.change(pixels, rng) if pixels.ndim == 3 else self.change_clip(pixels, rng)

    @abstractmethod
    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        """The changed frame."""

    def change_clip(self, clip: Pixels, rng: np.random.Generator) -> Pixels:
        """The changed clip: every frame by the same draw."""
        before = rng.bit_generator.state
        changed = []
        for frame in clip:
            rng.bit_generator.state = before
            changed.append(self.change(frame, rng))
        return np.stack(changed)


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
class Grayscale(Augmentation):
    """Without colour: the luma of BT.601 in all three channels; p 0.5."""

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), dtype=np.uint8)


@dataclass(frozen=True)
class Erasing(Augmentation):
    """A random rectangle, at one place throughout a clip, is filled; p 0.25.

    Args:
        area: range of the share of the frame, in (0, 1], such as ``0.02-0.2``.
        fill: random pixels (``noise``) or the ``mean`` colour of ImageNet.

    Source: Random Erasing, arXiv:1708.04896. Deviation: one try, sides cut to the frame. RealForensics' are
    ``p=0.5,area=0.02-0.33,fill=mean``.
    """

    p: float = 0.25
    area: str = "0.02-0.2"
    fill: Literal["noise", "mean"] = "noise"

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
        noise = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
        erased[top : top + h, left : left + w] = noise if self.fill == "noise" else MEAN
        return erased


@dataclass(frozen=True)
class Jitter(Augmentation):
    """A little larger or smaller, moved and turned, as a face detector errs; the edge is repeated; p 0.8.

    Args:
        amount: in [0, 0.5]; the scale is off by at most this share, the place by a third of it (of the side), the angle
            by as many radians as a third of it; 0 changes nothing.
    """

    p: float = 0.8
    amount: float = 0.12

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.amount <= 0.5:
            raise ConfigError(f"jitter: amount must be in [0, 0.5], got {self.amount:g}; write amount=0.12")

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        height, width = pixels.shape[:2]
        scale, angle, *shift = rng.uniform(-1, 1, 4) * self.amount / (1, 3, 3, 3)
        matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), float(np.degrees(angle)), 1 + scale)
        matrix[:, 2] += np.array(shift) * (width, height)
        moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(moved, dtype=np.uint8)


@dataclass(frozen=True)
class Noise(Augmentation):
    """Gaussian noise on every pixel of its own, of a clip too, as randomised smoothing asks it; p 1.

    Args:
        sigma: standard deviation in pixel units of [0, 1], > 0; the sum is limited to [0, 1] and rounded to 8 bits.

    Source: arXiv:1902.02918. Deviation: limited and rounded, as ``defenses.Smoothing`` limits it too.
    """

    p: float = 1.0
    sigma: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.sigma <= 1:
            raise ConfigError(f"noise: sigma must be in (0, 1] pixel units, got {self.sigma:g}; write sigma=0.25")

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        # One number seeds the noise, so that what follows draws the same, however large the frame or clip is.
        own = np.random.default_rng(int(rng.integers(2**63)))
        noisy = pixels + 255 * self.sigma * own.standard_normal(pixels.shape, dtype=np.float32)
        return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)

    def change_clip(self, clip: Pixels, rng: np.random.Generator) -> Pixels:
        return self.change(clip, rng)


@dataclass(frozen=True)
class TimeMask(Augmentation):
    """Some consecutive frames of a clip turn into the mean colour of ImageNet; p 0.5.

    Args:
        most: frames, >= 1; never more than half of the clip.

    Source: RealForensics, arXiv:2201.07131 (0 to 11 of 25 frames, set to zero after normalisation). Deviation: at least
    one frame, at most half of the clip, and its last one may be hidden too.
    """

    most: int = 11
    clips_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.most < 1:
            raise ConfigError(f"time_mask: most must be >= 1 frame, got {self.most}; write most=11")

    def change(self, pixels: Pixels, rng: np.random.Generator) -> Pixels:
        return pixels

    def change_clip(self, clip: Pixels, rng: np.random.Generator) -> Pixels:
        if len(clip) < 2:
            return clip
        count = int(rng.integers(1, min(self.most, len(clip) // 2) + 1))
        start = int(rng.integers(len(clip) - count + 1))
        masked = clip.copy()
        masked[start : start + count] = MEAN
        return masked


AUGMENTATIONS: dict[str, Callable[..., Augmentation]] = {
    "blur": Blur,
    "colour": Colour,
    "erasing": Erasing,
    "flip": Flip,
    "grayscale": Grayscale,
    "jitter": Jitter,
    "jpeg": Jpeg,
    "noise": Noise,
    "time_mask": TimeMask,
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
