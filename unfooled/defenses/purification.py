"""Purification: the picture is changed a little before it is scored, in the hope that a perturbation gets lost."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor

from unfooled.codecs import round_trip
from unfooled.defenses.base import Answer, Defense
from unfooled.distortions.base import each_frame
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector


@dataclass(frozen=True)
class Purification(Defense):
    """Scores ``purify(x)`` in place of ``x``; a subclass says how."""

    @abstractmethod
    def purify(self, x: Tensor) -> Tensor:
        """The changed ``x`` in [0, 1], of the same shape."""

    def adapt(self, detector: Detector, x: Tensor) -> Answer:
        return lambda x: detector(self.purify(x))


@dataclass(frozen=True)
class Jpeg(Purification):
    """Every picture is saved as JPEG by the real encoder (4:2:0) before it is scored.

    An adaptive attacker's gradient passes as if nothing had been changed (straight through), for the encoder has none.

    Args:
        quality: 1 (worst) to 100.

    Source: Dziugaite et al., arXiv:1608.00853; the gradient: arXiv:1802.00420. Deviation: none.
    """

    name: ClassVar[str] = "jpeg"
    quality: int = 75

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            raise ConfigError(f"jpeg: quality must be 1 to 100, got {self.quality}; write jpeg:quality=75")

    def purify(self, x: Tensor) -> Tensor:
        saved = round_trip(x.detach(), "jpeg", self.quality)
        # What is added is exactly 0 and has the gradient of x.
        return saved + (x - x.detach()) if x.requires_grad else saved


@dataclass(frozen=True)
class Resize(Purification):
    """Every picture is made smaller (with a low-pass) and back to its size before it is scored; differentiable.

    Args:
        factor: of the sides, in (0, 1); no side gets below one pixel.

    Source: a fixed form of Xie et al., arXiv:1711.01991. Deviation: no random size and no padding.
    """

    name: ClassVar[str] = "resize"
    factor: float = 0.5

    def __post_init__(self) -> None:
        if not 0 < self.factor < 1:
            raise ConfigError(f"resize: factor must be in (0, 1), got {self.factor:g}; write resize:factor=0.5")

    def purify(self, x: Tensor) -> Tensor:
        small = tuple(max(1, round(side * self.factor)) for side in x.shape[-2:])

        def there_and_back(frames: Tensor) -> Tensor:
            shrunk = F.interpolate(frames, small, mode="bilinear", antialias=True)
            return F.interpolate(shrunk, frames.shape[-2:], mode="bilinear").clamp(0, 1)

        return each_frame(x, there_and_back)
