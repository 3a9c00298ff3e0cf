"""How a manipulation behaves over a clip: its draws belong to the clip, and every frame jitters around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.random import Generator

from unfooled.synthesis.landmarks import Points, eye_distance

FLICKER = 0.15
"""Share of the range of a draw within which the frames of one clip differ."""
ALIGNMENT = (0.06, 0.03)
"""At full flicker, in eye distances: how far face alignment misses a face as a whole, and each point of it."""


@dataclass(frozen=True)
class Flicker:
    """Stands in for a Generator: mixes the draws of a clip with those of one frame.

    Amounts are mixed. Coins and choices (``random``, ``integers``, ``choice``) are the clip's alone: no forger changes
    the form of its mask between two frames. An amount that may be positive or negative keeps the sign that the clip
    gave it, so a smile does not become a frown.

    Args:
        clip: a generator in the same state for every frame of the clip.
        frame: one that differs from frame to frame.
        share: in [0, 1]; 0 = the same amounts in every frame, 1 = amounts drawn anew for every frame.
    """

    clip: Generator
    frame: Generator
    share: float

    def uniform(self, low: float, high: float, size: int | tuple[int, ...] | None = None) -> Any:
        """Between ``low`` and ``high``, within ``share`` of that range over a clip."""
        kept, new = self.clip.uniform(low, high, size), self.frame.uniform(low, high, size)
        mixed = (1 - self.share) * kept + self.share * new
        return np.copysign(mixed, kept) if low == -high else mixed

    def normal(self, mean: float, spread: float, size: int | tuple[int, ...] | None = None) -> Any:
        """Normal with the given spread over all clips, and ``share`` of it over the frames of one."""
        kept, new = self.clip.normal(0, spread, size), self.frame.normal(0, spread, size)
        return mean + np.sqrt(1 - self.share**2) * kept + self.share * new

    def random(self) -> float:
        """The coin of the clip, in [0, 1)."""
        return float(self.clip.random())

    def integers(self, high: int) -> int:
        """The clip's whole number in [0, high)."""
        return int(self.clip.integers(high))

    def choice(self, of: list[float]) -> float:
        """The clip's choice."""
        return float(self.clip.choice(of))

    def misaligned(self, shape: Points) -> Points:
        """(68, 2) points as a face alignment finds them in this frame: off by a little, as a whole and each."""
        whole, each = np.array(ALIGNMENT) * self.share * eye_distance(shape)
        return shape + self.frame.normal(0, whole, 2) + self.frame.normal(0, each, shape.shape)


Draws = Generator | Flicker
"""Where a manipulation gets its draws from."""
