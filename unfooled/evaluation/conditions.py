"""Conditions: the columns of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unfooled import distortions
from unfooled.attacks import Attack, describe
from unfooled.distortions import Distortion
from unfooled.errors import ConfigError

CLEAN = "clean"
THEN = " > "
"""Between an attack and what happens to the attacked sample, in the name of a condition."""


@dataclass(frozen=True)
class Condition:
    """What happens to the samples before they are scored: the attack first, then the distortion.

    The attack works on the undistorted sample and knows nothing of the distortion.

    Args:
        attack: None: nobody attacks.
        distortion: None leaves the samples, or what the attack made of them, as they are.
        name: of the column; empty means ``clean`` or the short texts of both, such as
            ``pgd:eps=2/255,steps=10 > blur:level=3``.
    """

    attack: Attack | None = None
    distortion: Distortion | None = None
    name: str = ""

    def __post_init__(self) -> None:
        told = [describe(self.attack)] if self.attack else []
        told += [distortions.describe(self.distortion)] if self.distortion else []
        if not self.name:
            object.__setattr__(self, "name", THEN.join(told) or CLEAN)
        if (self.name == CLEAN) == bool(told):
            raise ConfigError(
                f"{CLEAN!r} is the name of the condition without attack and distortion, got {self.name!r}; rename it"
            )


def over_eps(attack: Attack, radii: Sequence[float]) -> list[Condition]:
    """One condition per radius, for the curve of robust AUC over eps.

    Args:
        attack: its steps stay, and its step size follows eps where it is left to the default.
        radii: eps values in pixel units, such as ``[1/255, 2/255, 4/255]``.
    """
    return [Condition(replace(attack, threat=replace(attack.threat, eps=eps))) for eps in radii]


def distorted(attacks: Sequence[Attack], after: Sequence[Distortion]) -> list[Condition]:
    """Every distortion of samples that nobody attacked, then every attack followed by every distortion."""
    return [Condition(attack, distortion) for attack in (None, *attacks) for distortion in after]


def with_clean(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions with the clean one first, and before the attacked ones each distortion without an attack.

    A distorted attack is judged against equally distorted samples that nobody attacked, so these are always scored.

    Raises:
        ConfigError: two have one name.
    """
    given = [c for c in conditions if c.name != CLEAN]
    alone = [c for c in given if c.attack is None]
    attacked = [c for c in given if c.attack is not None]
    known = {c.distortion for c in alone}
    missing = dict.fromkeys(c.distortion for c in attacked if c.distortion and c.distortion not in known)
    ordered = [Condition(), *alone, *(Condition(None, distortion) for distortion in missing), *attacked]
    names = [c.name for c in ordered]
    if double := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError(f"conditions must have different names, got {double[0]!r} twice; give one a name of its own")
    return ordered


def by_attack(conditions: Sequence[Condition]) -> list[list[Condition]]:
    """Conditions of one attack (the same object: what it has learnt takes no part in equality) together.

    In the order of their first; the attack is then run once for all of them.
    """
    groups: list[list[Condition]] = []
    for condition in conditions:
        group = next((g for g in groups if g[0].attack is condition.attack), None)
        if group is None:
            groups.append([condition])
        else:
            group.append(condition)
    return groups
