"""Attacks by name: ``pgd:eps=2/255,steps=10``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

from unfooled import registry
from unfooled.attacks.apgd import APGD
from unfooled.attacks.base import Adversarial, Attack, frozen
from unfooled.attacks.carlini_wagner import CarliniWagner
from unfooled.attacks.deepfool import DeepFool
from unfooled.attacks.ensemble import Ensemble
from unfooled.attacks.gradient import FGSM, PGD
from unfooled.attacks.noise import Noise
from unfooled.attacks.robust import RobustBlackBox, RobustWhiteBox
from unfooled.attacks.sparse import Sparse
from unfooled.attacks.square import Square
from unfooled.attacks.statistical import StatAttack
from unfooled.attacks.transfer import Transfer
from unfooled.attacks.universal import Universal
from unfooled.errors import ConfigError, suggest
from unfooled.models.detector import Detector
from unfooled.threats import L0, L2, Linf, Threat

__all__ = [
    "APGD", "ATTACKS", "FGSM", "PGD", "Adversarial", "Attack", "CarliniWagner", "DeepFool", "Ensemble", "Noise",
    "RobustBlackBox", "RobustWhiteBox", "Sparse", "Square", "StatAttack", "Transfer", "Universal", "create",
    "default_threat", "describe", "frozen", "parse",
]  # fmt: skip

ATTACKS: Mapping[str, type[Attack]] = {
    "apgd": APGD,
    "cw": CarliniWagner,
    "deepfool": DeepFool,
    "ensemble": Ensemble,
    "fgsm": FGSM,
    "noise": Noise,
    "pgd": PGD,
    "rbb": RobustBlackBox,
    "rwa": RobustWhiteBox,
    "sparse": Sparse,
    "square": Square,
    "stat": StatAttack,
    "transfer": Transfer,
    "universal": Universal,
}
NORMS: Mapping[str, type[Threat]] = {"l0": L0, "l2": L2, "linf": Linf}
DEFAULT_EPS = {"l0": 32, "l2": 0.5, "linf": 2 / 255}
PUBLISHED_EPS = {"rbb": 16 / 255, "rwa": 16 / 255, "stat": 60 / 255}
"""Of attacks that are about a larger radius than the others."""


def default_threat(name: str, norm: str | None = None) -> Threat:
    """What an attack may change if nothing is said: eps inf for a minimum-norm attack, the published one of some.

    Args:
        name: a key of ``ATTACKS``.
        norm: a key of ``NORMS``; None takes the attack's own.
    """
    kind = registry.lookup("attack", ATTACKS, name)
    threat = kind.threats[0] if norm is None else registry.lookup("norm", NORMS, norm)
    norm = next(key for key, value in NORMS.items() if value is threat)
    return threat(math.inf if kind.least_norm else PUBLISHED_EPS.get(name, DEFAULT_EPS[norm]))


def create(name: str, **options: Any) -> Attack:
    """An attack by name.

    Args:
        name: a key of ``ATTACKS``.
        options: ``eps`` (number or text such as "2/255") and ``norm`` ("linf", "l2" or "l0") make the threat; what is
            not given is as in ``default_threat``. The rest are fields of the attack. For ``transfer``: ``surrogate`` (a
            Detector) and ``attack`` (a name, default "pgd", or an Attack); what else is given belongs to that inner
            attack.

    Raises:
        ConfigError: an unknown name or option, or a value out of range.
    """
    kind = registry.lookup("attack", ATTACKS, name)
    inner = options.pop("attack", "pgd") if kind is Transfer else None
    threat = default_threat(inner if isinstance(inner, str) else name, options.pop("norm", None))
    if "eps" in options:
        threat = replace(threat, eps=registry.number("eps", options.pop("eps")))
    if kind is Transfer:
        norm = next(key for key, value in NORMS.items() if type(threat) is value)
        if isinstance(inner, str):
            own = {"surrogate": options.pop("surrogate")} if "surrogate" in options else {}
            inner, options = create(inner, eps=threat.eps, norm=norm, **options), own
        options["attack"] = inner
    known = {"eps", "norm", *(f.name for f in fields(kind))} - {"threat"}
    for key in options:
        if key not in known:
            near = [option for option in known if option.startswith(key[:3])] or known
            raise ConfigError(f"attack {name!r} has no option {key!r}{suggest(key, near)}")
    return registry.build("attack", name, kind, {"threat": threat, **options})


def parse(text: str, **parts: Any) -> Attack:
    """An attack from ``"pgd:eps=2/255,steps=10"``; ``parts`` are options that no text can hold (a surrogate)."""
    name, options = registry.parse(text)
    return create(name, **{**options, **parts})


def describe(attack: Attack) -> str:
    """A short name for tables, ``pgd:eps=2/255,steps=10``; ``parse`` reads it back.

    Radius and steps are always told, other options where they differ from the default.
    """
    if isinstance(attack, Transfer):
        inner, _, options = describe(replace(attack.attack, threat=attack.threat)).partition(":")
        return f"transfer:attack={inner},surrogate={_text(attack.surrogate)},{options}"
    name = next((name for name, kind in ATTACKS.items() if type(attack) is kind), type(attack).__name__)
    norm = next((norm for norm, kind in NORMS.items() if type(attack.threat) is kind), type(attack.threat).__name__)
    own = "linf" if Linf in type(attack).threats else norm
    told: dict[str, object] = {"eps": attack.threat.eps} | ({"norm": norm} if norm != own else {})
    for f in fields(attack)[1:]:
        value = getattr(attack, f.name)
        if not f.compare:
            continue  # what fit has learned
        if f.name == "steps" or f.default is MISSING or value != f.default:
            told[f.name] = value
    return f"{name}:" + ",".join(f"{key}={_text(value)}" for key, value in told.items())


def _text(value: object) -> str:
    if isinstance(value, Detector):
        return f"{value.title or value.spec.get('name', 'detector')}@{value.digest()[:8]}"
    if isinstance(value, tuple):
        return ":".join(map(_text, value)) or "none"
    if isinstance(value, float) and 0 < abs(value) < 1 and round(value * 255) / 255 == value:
        return f"{round(value * 255)}/255"
    return registry.as_text(value)
