"""Conditions: the columns of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from unfooled import defenses, distortions
from unfooled.attacks import Attack, Ensemble, StatAttack, Transfer, describe
from unfooled.defenses import Defended, Defense
from unfooled.distortions import Distortion
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector

CLEAN = "clean"
THEN = " > "
"""Between an attack and what happens to the attacked sample, in the name of a condition."""
THROUGH = " through "
"""Between an attack and the defense that it knows."""


@dataclass(frozen=True)
class Condition:
    """What happens to the samples before they are scored, the attack first, then the distortion; and who scores them.

    The attack works on the undistorted sample and knows nothing of the distortion.

    Args:
        attack: None: nobody attacks.
        distortion: None leaves the samples, or what the attack made of them, as they are.
        name: of the column; empty means ``clean`` or the short texts of all parts, such as
            ``pgd:eps=2/255,steps=10 > blur:level=3``, and ``pgd:eps=2/255,steps=10 through jpeg:quality=75`` where
            the attack knows the defense.
        defense: answers in place of the plain detector; None: the detector itself.
        retune: None: the attack is made on the plain detector (static, oblivious). A number: it is made on the
            defended one (adaptive), which decides anew after so many gradients, >= 1.

    Raises:
        ConfigError: the name says another thing, or the attack can not know the defense.
    """

    attack: Attack | None = None
    distortion: Distortion | None = None
    name: str = ""
    defense: Defense | None = None
    retune: int | None = None

    def __post_init__(self) -> None:
        told = [describe(self.attack)] if self.attack else []
        told += [distortions.describe(self.distortion)] if self.distortion else []
        if self.retune is not None:
            self._check_adaptive()
        if self.defense and self.retune is not None:
            told = [THROUGH.join([*told[:1], defenses.describe(self.defense)]), *told[1:]]
        elif self.defense:
            told.append(defenses.describe(self.defense))
        if not self.name:
            object.__setattr__(self, "name", THEN.join(told) or CLEAN)
        if (self.name == CLEAN) == bool(told):
            raise ConfigError(
                f"{CLEAN!r} is the name of the condition without attack, distortion and defense, got {self.name!r};"
                " rename it"
            )

    @property
    def unattacked(self) -> tuple[Distortion | None, Defense | None]:
        """What the condition would be if nobody attacked: what it is judged against."""
        return self.distortion, self.defense

    def target(self, detector: Detector) -> Detector:
        """What the attack works on."""
        if self.defense is None or self.retune is None:
            return detector
        return Defended(self.defense, detector, self.retune)

    def _check_adaptive(self) -> None:
        if self.defense is None or self.attack is None:
            raise ConfigError("an adaptive condition needs an attack and a defense; leave retune out")
        if not can_adapt(self.attack):
            raise ConfigError(
                f"{describe(self.attack).partition(':')[0]} can not be adaptive: a defense shows an attacker its logit"
                " alone, and decides anew for each sample; use pgd (loss=margin), apgd, fgsm, cw or square"
            )


def can_adapt(attack: Attack) -> bool:
    """Whether an attack can be made through a defense: one that learns nothing first and follows the logit alone."""
    if isinstance(attack, (Transfer, StatAttack, Ensemble)) or attack.learns:
        return False
    return getattr(attack, "loss", "margin") in ("margin", "kl")


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


def defended(
    attacks: Sequence[Attack], by: Sequence[Defense], *, adaptive: bool = False, retune: int = 1
) -> list[Condition]:
    """Every defense of samples that nobody attacked, and against every attack made on the plain detector.

    Args:
        adaptive: also against every attack made through the defense, where the attack can be.
        retune: of the adaptive ones.

    Raises:
        ConfigError: ``adaptive``, and none of the attacks can be.
    """
    conditions = [Condition(attack, defense=defense) for defense in by for attack in (None, *attacks)]
    if not adaptive:
        return conditions
    able = [attack for attack in attacks if can_adapt(attack)]
    if not able:
        names = ", ".join(describe(attack) for attack in attacks) or "none"
        raise ConfigError(f"adaptive needs an attack that follows a logit, such as pgd, and a defense; got {names}")
    return conditions + [Condition(attack, defense=defense, retune=retune) for defense in by for attack in able]


def with_clean(conditions: Sequence[Condition]) -> list[Condition]:
    """The conditions with the clean one first, and before the attacked ones what is the same without an attack.

    A distorted or defended attack is judged against equally distorted or defended samples that nobody attacked, so
    these are always scored.

    Raises:
        ConfigError: two have one name.
    """
    given = [c for c in conditions if c.name != CLEAN]
    alone = [c for c in given if c.attack is None]
    attacked = [c for c in given if c.attack is not None]
    known = {(None, None), *(c.unattacked for c in alone)}
    missing = dict.fromkeys(c.unattacked for c in attacked if c.unattacked not in known)
    more = (Condition(None, distortion, defense=defense) for distortion, defense in missing)
    ordered = [Condition(), *alone, *more, *attacked]
    names = [c.name for c in ordered]
    if double := sorted({n for n in names if names.count(n) > 1}):
        raise ConfigError(f"conditions must have different names, got {double[0]!r} twice; give one a name of its own")
    return ordered


def by_attack(conditions: Sequence[Condition]) -> list[list[Condition]]:
    """Conditions of one attack (the same object: what it has learnt takes no part in equality) together.

    In the order of their first; the attack is then run once for all of them. An adaptive one is run on its own.
    """
    groups: list[list[Condition]] = []
    for condition in conditions:
        adaptive = condition.retune is not None
        group = None if adaptive else next((g for g in groups if _shares(g[0], condition)), None)
        if group is None:
            groups.append([condition])
        else:
            group.append(condition)
    return groups


def _shares(one: Condition, other: Condition) -> bool:
    return one.attack is other.attack and one.retune is None
