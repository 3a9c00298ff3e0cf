"""Distortions of each pixel by itself: saturation, contrast, noise; in the YCbCr of the published code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.distortions.base import EightBits, each_frame
from unfooled.randomness import normal_like

LUMA, CHROMA = 219 / 255, 224 / 255
"""Of the range of 8 bits, what brightness and colour differences take in the YCbCr of video."""
OFFSET = 0.5
"""Middle of the colour differences. It belongs to pictures in [0, 1], but the published code adds it to values in
[0, 255]; their numbers keep that, and so does this."""


def to_ycbcr(rgb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Brightness and the differences of blue and red (..., with dim 1 gone), in the unit of ``rgb``, not shifted."""
    red, green, blue = rgb.unbind(1)
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    return y, 0.564 * (blue - y), 0.713 * (red - y)


def to_rgb(y: Tensor, cb: Tensor, cr: Tensor) -> Tensor:
    """What ``to_ycbcr`` gave as RGB in dim 1."""
    return torch.stack([y + 1.403 * cr, y - 0.714 * cr - 0.344 * cb, y + 1.773 * cb], 1)


@dataclass(frozen=True)
class Saturation(EightBits):
    """Paler colours: the colour differences shrink, brightness stays.

    Args:
        factor: of the colour differences, in [0, 1]; 1 leaves them (but for rounding), 0 is grey.

    Source: DeeperForensics-1.0, color saturation. Deviation: none; values are cut off, not rounded, as published.
    """

    factor: float | None = None
    name: ClassVar[str] = "saturation"
    levels: ClassVar[tuple[float, ...]] = (0.4, 0.3, 0.2, 0.1, 0.0)
    parameter: ClassVar[str] = "factor"
    allowed: ClassVar[str] = "in [0, 1]"

    def fits(self, value: float) -> bool:
        return 0 <= value <= 1

    def distort(self, x: Tensor) -> Tensor:
        p = self.strength
        y, cb, cr = to_ycbcr(x * 255)
        # .5 + (c' - .5) p on c' = (224 (c + .5) + 16) / 255, taken back to c.
        shift = (1 - p) * ((0.5 - 16 / 255) / CHROMA - OFFSET)
        return self.cut(to_rgb(y, p * cb + shift, p * cr + shift))


@dataclass(frozen=True)
class Contrast(EightBits):
    """A darker picture of less contrast: every value times a factor.

    Args:
        factor: in [0, 1]; 1 changes nothing, 0 is black.

    Source: DeeperForensics-1.0, color contrast, which does not keep the mean. Deviation: none; values are cut off.
    """

    factor: float | None = None
    name: ClassVar[str] = "contrast"
    levels: ClassVar[tuple[float, ...]] = (0.85, 0.725, 0.6, 0.475, 0.35)
    parameter: ClassVar[str] = "factor"
    allowed: ClassVar[str] = "in [0, 1]"

    def fits(self, value: float) -> bool:
        return 0 <= value <= 1

    def distort(self, x: Tensor) -> Tensor:
        return self.cut(x * 255 * self.strength)


@dataclass(frozen=True)
class Noise(EightBits):
    """Gaussian noise on brightness and colour differences.

    Every frame of a clip has its own, as published; it belongs to the frame's content, so a frame looks the same alone,
    in any batch and in every clip that holds it.

    Args:
        variance: >= 0, of values in [0, 1]; 0 changes nothing (but for rounding).
        seed: with the frame it decides the noise; None draws from torch's global generator.

    Source: DeeperForensics-1.0, Gaussian noise in YCbCr. Deviation: the generator; values are cut off, as published.
    """

    variance: float | None = None
    seed: int | None = 0
    name: ClassVar[str] = "noise"
    levels: ClassVar[tuple[float, ...]] = (0.001, 0.002, 0.005, 0.01, 0.05)
    parameter: ClassVar[str] = "variance"
    allowed: ClassVar[str] = "at least 0, such as 0.01"

    def fits(self, value: float) -> bool:
        return 0 <= value < float("inf")

    def distort(self, x: Tensor) -> Tensor:
        return each_frame(x, lambda frames: self.add(frames, normal_like(frames, self.seed, "distortion noise")))

    def add(self, frames: Tensor, noise: Tensor) -> Tensor:
        """Frames (N, 3, H, W) with standard normal ``noise`` of the same shape (Y, Cb, Cr), scaled to the variance."""
        y, cb, cr = to_ycbcr(frames * 255)
        dy, dcb, dcr = (255 * self.strength**0.5 * noise).unbind(1)
        return self.cut(to_rgb(y + dy / LUMA, cb + dcb / CHROMA, cr + dcr / CHROMA))
