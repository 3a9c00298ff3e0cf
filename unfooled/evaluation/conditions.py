"""Conditions: the columns of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unfooled.attacks import Attack, describe
from unfooled.errors import ConfigError

CLEAN = "clean"


@dataclass(frozen=True)
class Condition:
    """What happens to the samples before they are scored.

    Args:
        attack: None leaves them as they are.
        name: of the column; empty means ``clean`` or the attack's own short text, ``pgd:eps=2/255,steps=10``.
    """

    attack: Attack | None = None
    name: str = ""

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", CLEAN if self.attack is None else describe(self.attack))
        if (self.name == CLEAN) != (self.attack is None):
            raise ConfigError(f"{CLEAN!r} is the name of the condition without an attack, got {self.name!r}; rename it")


def over_eps(attack: Attack, radii: Sequence[float]) -> list[Condition]:
    """One condition per radius, for the curve of robust AUC over eps.

    Args:
        attack: its steps stay, and its step size follows eps where it is left to the default.
        radii: eps values in pixel units, such as ``[1/255, 2/255, 4/255]``.
    """
    return [Condition(replace(attack, threat=replace(attack.threat, eps=eps))) for eps in radii]


def with_clean(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions with the clean one first.

    Raises:
        ConfigError: two have one name.
    """
    ordered = [Condition(), *(c for c in conditions if c.attack is not None)]
    names = [c.name for c in ordered]
    if double := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError(f"conditions must have different names, got {double[0]!r} twice; give one a name of its own")
    return ordered
