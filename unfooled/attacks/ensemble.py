"""The strongest of several attacks at one threat, for each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unfooled.attacks.apgd import APGD
from unfooled.attacks.base import Attack, Worst
from unfooled.attacks.gradient import PGD, need_finite
from unfooled.attacks.square import Square
from unfooled.attacks.transfer import Transfer
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import Linf


@dataclass(frozen=True)
class Ensemble(Attack):
    """The most harmful result, by raw logit, of APGD, the feature attack, transfer and Square under one threat.

    None of them stops at the flip, so a robust AUC sees the whole damage. This is not AutoAttack, whose losses need
    more than two classes.

    Args:
        steps: >= 1 of APGD, of the feature attack and on the surrogate.
        restarts: >= 1 of APGD.
        weights: of 1 - cos beside the margin in the feature attack, one walk for each; as text ``0.1:1:10``; empty (or
            ``none``) leaves it out.
        queries: of Square, >= 2; 0 leaves it out. It is a Linf attack, so under L2 there is none.
        surrogate: a detector for transfer; None leaves it out.
        seed: of all random draws, which belong to the sample; None draws from torch's global generator.

    Raises:
        ConfigError: an option is out of range, eps is inf, or ``surrogate`` is only a name.
    """

    steps: int = 100
    restarts: int = 5
    weights: tuple[float, ...] = (0.1, 1.0, 10.0)
    queries: int = 5000
    surrogate: Detector | None = field(default=None, repr=False)
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)
        object.__setattr__(self, "weights", _weights(self.weights))
        self.members()

    def members(self) -> list[Attack]:
        """The attacks that it is made of."""
        threat, steps, seed, precision = self.threat, self.steps, self.seed, self.precision
        found: list[Attack] = [APGD(threat, steps, self.restarts, seed=seed, precision=precision)]
        for weight in self.weights:
            found.append(PGD(threat, steps, loss="margin+features", weight=weight, seed=seed, precision=precision))
        if self.surrogate is not None:
            found.append(Transfer(threat, APGD(threat, steps, 1, seed=seed, precision=precision), self.surrogate))
        if self.queries and isinstance(threat, Linf):
            found.append(Square(threat, self.queries, seed=seed, precision=precision))
        return found

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        worst = Worst(x, y)
        for attack in self.members():
            x_adv = attack.search(detector, x, y)
            with torch.no_grad():
                worst.see(x_adv, detector(x_adv))
        return worst.x


def _weights(given: object) -> tuple[float, ...]:
    parts = given.split(":") if isinstance(given, str) else given
    if isinstance(parts, (int, float)):
        parts = [parts]
    if not isinstance(parts, (list, tuple)):
        raise ConfigError(f"weights must be numbers such as 0.1:1:10, got {given!r}")
    if parts == ["none"]:
        return ()
    try:
        numbers = tuple(float(part) for part in parts)
    except (TypeError, ValueError):
        raise ConfigError(f"weights must be numbers such as 0.1:1:10, got {given!r}") from None
    if not all(math.isfinite(number) for number in numbers):
        raise ConfigError(f"weights must be finite, got {given!r}")
    return numbers
