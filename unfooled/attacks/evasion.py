"""Attacks that pass fakes off as reals and leave reals alone."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, final

from torch import Tensor

from unfooled.attacks.base import Attack, only
from unfooled.attacks.gradient import need_finite
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import Linf, Threat


@dataclass(frozen=True)
class Evasion(Attack):
    """Turns fakes into reals by definition; a row that is real comes back unchanged, so results are fakes-only.

    Raises:
        ConfigError: the threat is not Linf with a finite eps: these attacks are defined by steps of a sign.
    """

    threats: ClassVar[tuple[type[Threat], ...]] = (Linf,)
    fakes_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)

    @abstractmethod
    def evade(self, detector: Detector, x: Tensor) -> Tensor:
        """The perturbed input for ``x``, at least one row, all of them fakes."""

    @final
    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        fakes = (y == 1).nonzero().flatten()
        if not len(fakes):
            return x
        x_adv = x.clone()
        with only(fakes):
            x_adv[fakes] = self.evade(detector, x[fakes])
        return x_adv


def need_step(name: str, value: float, *, zero: bool = False) -> None:
    """Refuse a step that is no length in pixel units: not in (0, 1], or [0, 1] where ``zero`` is allowed."""
    if not (0 <= value <= 1 if zero else 0 < value <= 1):
        fix = f"in pixel units write {value:g}/255" if 1 < value < math.inf else "write 1/255"
        raise ConfigError(f"{name} must be {'in [0, 1]' if zero else '> 0 and <= 1'}, got {value:g}; {fix}")


def need_count(name: str, value: int, least: int = 1) -> None:
    """Refuse a number of steps, epochs or draws below ``least``."""
    if value < least:
        raise ConfigError(f"{name} must be >= {least}, got {value}")
