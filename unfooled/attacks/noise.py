"""Random noise: the yardstick, for an attack that noise matches is no attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.attacks.base import Attack, Worst
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import seed_of
from unfooled.threats import L0, L2, Linf, Threat


@dataclass(frozen=True)
class Noise(Attack):
    """The most harmful of some random points of the ball.

    Args:
        draws: >= 1 points for each sample.
        seed: of the draws, which belong to the sample; None draws from torch's global generator.

    Raises:
        ConfigError: ``draws`` < 1, or eps is inf.
    """

    threats: ClassVar[tuple[type[Threat], ...]] = (Linf, L2, L0)

    draws: int = 1
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1:
            raise ConfigError(f"draws must be >= 1, got {self.draws}")
        if self.threat.eps == float("inf"):
            raise ConfigError("eps must be finite for noise, got inf; write 8/255")

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        worst = Worst(x, y)
        for draw in range(self.draws):
            seed = None if self.seed is None else seed_of(self.seed, "draw", draw)
            x_adv = self.threat.project(x, self.threat.sample(x, seed))
            with torch.no_grad():
                worst.see(x_adv, detector(x_adv))
        return worst.x
