"""Attacks made on one detector and judged on another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

from torch import Tensor

from unfooled.attacks.base import Attack
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector


@dataclass(frozen=True)
class Transfer(Attack):
    """The perturbation that ``attack`` finds on a surrogate; the attacked detector is never asked.

    Args:
        attack: how to search on the surrogate; its own threat gives way to this one's.
        surrogate: a detector that the adversary has.

    Raises:
        ConfigError: ``attack`` or ``surrogate`` is only a name.
    """

    attack: Attack
    surrogate: Detector = field(repr=False)

    def __post_init__(self) -> None:
        if not isinstance(self.attack, Attack):
            raise ConfigError(f"attack must be an Attack, got {self.attack!r}; write unfooled.attacks.create(...)")
        if not isinstance(self.surrogate, Detector):
            raise ConfigError(f"surrogate must be a Detector, got {self.surrogate!r}; write unfooled.load(...)")
        # Refuses here what the search could not do under this threat.
        replace(self.attack, threat=self.threat)

    def fit(self, detector: Detector, batches: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """Lets the attack learn on the surrogate; ``detector`` stays unseen."""
        return replace(self, attack=self.attack.fit(self.surrogate, batches))

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        return replace(self.attack, threat=self.threat).search(self.surrogate, x, y)
