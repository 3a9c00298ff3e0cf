"""What every distortion promises: a value that changes x into x, at one of five published levels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, final

import torch
from torch import Tensor

from unfooled.errors import ConfigError, DataError

LEVELS = range(1, 6)


@dataclass(frozen=True)
class Distortion(ABC):
    """A change that the world makes, not an adversary.

    A subclass names its published strengths in ``levels`` and the field that holds one of its own in ``parameter``;
    exactly one of the two is given.

    Args:
        level: 1 (weakest) to 5, the published strengths; None takes ``parameter``.

    Raises:
        ConfigError: neither or both are given, or one is out of range.

    Source: DeeperForensics-1.0, arXiv:2001.03024, seven types at five levels.
    """

    level: int | None = None

    name: ClassVar[str]
    levels: ClassVar[tuple[float, ...]]
    parameter: ClassVar[str]
    allowed: ClassVar[str]
    """The range of ``parameter`` in words, with an example."""
    differentiable: ClassVar[bool] = True

    def __post_init__(self) -> None:
        own, example = getattr(self, self.parameter), f"write {self.name}:level=3"
        if (self.level is None) == (own is None):
            given = "neither" if own is None else "both"
            raise ConfigError(f"{self.name} needs a level from 1 to 5 or {self.parameter}, got {given}; {example}")
        if self.level is not None and self.level not in LEVELS:
            raise ConfigError(f"{self.name}: level must be 1 (weakest) to 5, got {self.level}; {example}")
        if own is not None and not self.fits(own):
            raise ConfigError(f"{self.name}: {self.parameter} must be {self.allowed}, got {own:g}; {example}")

    @property
    def strength(self) -> float:
        """The number behind the level, or the one given."""
        found: float = getattr(self, self.parameter) if self.level is None else self.levels[self.level - 1]
        return found

    @abstractmethod
    def fits(self, value: float) -> bool:
        """Whether ``parameter`` may be ``value``."""

    @abstractmethod
    def distort(self, x: Tensor) -> Tensor:
        """The distorted ``x``; the author writes only the formula, range and shape are looked after here."""

    @final
    def __call__(self, x: Tensor) -> Tensor:
        """Distort frames or clips.

        Args:
            x: float (B, 3, H, W) or (B, 3, T, H, W), RGB in [0, 1]; a clip is distorted frame by frame unless the
                distortion says otherwise.

        Returns:
            The same shape, type and device, in [0, 1].

        Raises:
            DataError: ``x`` has another shape or type.
        """
        if not x.is_floating_point() or x.dim() not in (4, 5) or x.shape[1] != 3:
            raise DataError(
                f"x must be float (B, 3, H, W) frames or (B, 3, T, H, W) clips, got {x.dtype} {tuple(x.shape)}"
            )
        return self.distort(x).clamp(0, 1) if x.numel() else x


@dataclass(frozen=True)
class EightBits(Distortion):
    """A distortion of pictures whose values are whole numbers from 0 to 255, as the published code sees them.

    Args:
        rounded: the result has 256 values a colour, cut off or rounded as published, and its gradient is that before;
            False keeps what lies between. The input is taken as it is either way.
    """

    rounded: bool = True

    def cut(self, bytes_: Tensor) -> Tensor:
        """Values in [0, 255] without what lies behind the point, in [0, 1]."""
        return self._whole(bytes_.clamp(0, 255), torch.floor)

    def nearest(self, bytes_: Tensor) -> Tensor:
        """Values in [0, 255] rounded to whole ones, halves up as OpenCV does, in [0, 1]."""
        return self._whole(bytes_.clamp(0, 255), lambda values: (values + 0.5).floor())

    def _whole(self, bytes_: Tensor, how: Callable[[Tensor], Tensor]) -> Tensor:
        # What is added is exactly 0 and has the gradient of the value before.
        return (how(bytes_).detach() + (bytes_ - bytes_.detach()) if self.rounded else bytes_) / 255


def each_frame(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """``change`` of (N, 3, H, W) on every frame of ``x``, a batch of frames or clips."""
    if x.dim() == 4:
        return change(x)
    frames = change(x.transpose(1, 2).flatten(0, 1))
    return frames.reshape(x.shape[0], x.shape[2], *frames.shape[1:]).transpose(1, 2)
