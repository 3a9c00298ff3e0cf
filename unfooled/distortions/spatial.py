"""Distortions that mix or hide places: grey blocks, blur, pixelation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.distortions.base import EightBits, each_frame
from unfooled.randomness import generators

SIDE = 8
GREY = 128
FRAME = 256
"""Side of the picture that the published number of blocks speaks of."""


@dataclass(frozen=True)
class Blocks(EightBits):
    """Grey squares of 8 x 8 pixels at random places.

    Every frame of a clip has its own places, as published; they belong to the frame's content, so a frame looks the
    same alone, in any batch and in every clip that holds it.

    Args:
        count: of blocks on 256 x 256 pixels, >= 0; 0 changes nothing.
        rule: how many a picture gets: ``area`` in proportion to its pixels, at least one; ``published`` multiplies by
            the whole times that 256 goes into its shorter side, which is none below 256 pixels.
        seed: with the frame it decides the places; None draws from torch's global generator.

    Source: DeeperForensics-1.0, block-wise distortion. Deviation: the rule, and the generator.
    """

    count: int | None = None
    rule: Literal["area", "published"] = "area"
    seed: int | None = 0
    name: ClassVar[str] = "blocks"
    levels: ClassVar[tuple[float, ...]] = (16, 32, 48, 64, 80)
    parameter: ClassVar[str] = "count"
    allowed: ClassVar[str] = "a whole number >= 0, such as 48"

    def fits(self, value: float) -> bool:
        return value >= 0

    def number(self, height: int, width: int) -> int:
        """Blocks on a picture of so many pixels."""
        count = int(self.strength)
        if self.rule == "published":
            return count * (min(height, width) // FRAME)
        return max(1, round(count * height * width / FRAME**2)) if count else 0

    def distort(self, x: Tensor) -> Tensor:
        return each_frame(x, self._hide)

    def _hide(self, frames: Tensor) -> Tensor:
        height, width = frames.shape[-2:]
        n = self.number(height, width)
        # The published places leave out the last column and row that would still fit.
        free = [max(1, side - SIDE) for side in (width, height)]
        corners = [
            torch.stack([torch.randint(limit, (n,), generator=g) for limit in free], 1)
            for g in generators(frames, self.seed, "distortion blocks")
        ]
        return self.paint(frames, torch.stack(corners))

    def paint(self, frames: Tensor, corners: Tensor) -> Tensor:
        """Frames (N, 3, H, W) with blocks whose upper left pixels are ``corners`` (N, n, 2), x before y."""
        hidden = torch.zeros(len(frames), 1, *frames.shape[-2:], dtype=torch.bool)
        for mask, places in zip(hidden, corners.tolist(), strict=True):
            for left, top in places:
                mask[:, top : top + SIDE, left : left + SIDE] = True
        painted = torch.where(hidden.to(frames.device), frames.new_tensor(float(GREY)), frames * 255)
        return self.nearest(painted)


@dataclass(frozen=True)
class Blur(EightBits):
    """Gaussian blur; beyond the edge the picture is mirrored.

    Args:
        kernel: odd width in pixels; 1 changes nothing. Sigma is a sixth of it.

    Source: DeeperForensics-1.0, Gaussian blur. Deviation: none.
    """

    kernel: int | None = None
    name: ClassVar[str] = "blur"
    levels: ClassVar[tuple[float, ...]] = (7, 9, 13, 17, 21)
    parameter: ClassVar[str] = "kernel"
    allowed: ClassVar[str] = "an odd number >= 1, such as 9"

    def fits(self, value: float) -> bool:
        return value >= 1 and value % 2 == 1

    def distort(self, x: Tensor) -> Tensor:
        # Two matrix products: a convolution of single planes takes longer, most of it in its backward.
        with torch.autocast(x.device.type, enabled=False):
            rows, columns = (self._smooth(side).to(x) for side in x.shape[-2:])
            return self.nearest(rows @ (x * 255) @ columns.t())

    def _smooth(self, side: int) -> Tensor:
        """(side, side) whose row i holds the weights of the pixels that make pixel i of a line."""
        reach = int(self.strength) // 2
        offsets = torch.arange(-reach, reach + 1, dtype=torch.float64)
        weights = (-offsets.square() / (2 * (self.strength / 6) ** 2)).softmax(0)
        at = torch.arange(side)[:, None]
        period = max(1, 2 * (side - 1))
        near = (at + offsets.long()).remainder(period)
        near = torch.minimum(near, period - near)
        return torch.zeros(side, side, dtype=torch.float64).index_put(
            (at, near.clamp(max=side - 1)), weights.expand(side, -1), accumulate=True
        )


@dataclass(frozen=True)
class Pixelation(EightBits):
    """The picture made smaller and back to its size, bilinear without a low-pass: what the authors call JPEG.

    Args:
        factor: >= 1 whole; sides are divided by it, and no side gets below one pixel. 1 changes nothing.

    Source: DeeperForensics-1.0, "JPEG compression", whose code resizes and never compresses. Deviation: none; with
    ``rounded`` in the whole numbers of OpenCV's resize, which lose up to half a step each time.
    """

    factor: int | None = None
    name: ClassVar[str] = "pixelation"
    levels: ClassVar[tuple[float, ...]] = (2, 3, 4, 5, 6)
    parameter: ClassVar[str] = "factor"
    allowed: ClassVar[str] = "a whole number >= 1, such as 4"

    def fits(self, value: float) -> bool:
        return value >= 1

    def distort(self, x: Tensor) -> Tensor:
        return each_frame(x, self._coarse)

    def _coarse(self, frames: Tensor) -> Tensor:
        sides = frames.shape[-2:]
        small = self._resized(frames, [max(1, side // int(self.strength)) for side in sides])
        return self._resized(small, list(sides))

    def _resized(self, frames: Tensor, sides: list[int]) -> Tensor:
        smooth = F.interpolate(frames, sides, mode="bilinear", align_corners=False)
        if not self.rounded:
            return smooth
        return _whole_bilinear(frames.detach() * 255, sides).to(frames) / 255 + (smooth - smooth.detach())


def _whole_bilinear(values: Tensor, sides: list[int]) -> Tensor:
    """Values (N, 3, H, W) in [0, 255] resized in OpenCV's fixed point: weights in 1/2048, shifts that cut off."""
    values = values.double()
    (above, below, of_above, of_below), (left, right, of_left, of_right) = (
        [part.to(values.device) for part in _neighbours(side, to)]
        for side, to in zip(values.shape[-2:], sides, strict=True)
    )
    lines = values.index_select(-1, left) * of_left + values.index_select(-1, right) * of_right
    lines = (lines / 16).floor()
    over, under = (
        (lines.index_select(-2, places) * weights[:, None] / 65536).floor()
        for places, weights in ((above, of_above), (below, of_below))
    )
    return ((over + under + 2) / 4).floor()


def _neighbours(side: int, to: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """For each of ``to`` places on a line of ``side``: the two pixels beside it and their weights in 1/2048."""
    places = ((torch.arange(to, dtype=torch.float64) + 0.5) * (side / to) - 0.5).clamp(0, side - 1)
    first = places.floor()
    share = ((places - first) * 2048).round()
    return first.long(), (first.long() + 1).clamp(max=side - 1), 2048 - share, share
