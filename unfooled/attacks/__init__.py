"""Attacks by name: ``pgd:eps=2/255,steps=10``."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, replace
from typing import Any

import torch

from unfooled import registry
from unfooled.attacks.base import Adversarial, Attack, frozen
from unfooled.attacks.gradient import FGSM, PGD
from unfooled.attacks.noise import Noise
from unfooled.attacks.transfer import Transfer
from unfooled.errors import ConfigError, suggest
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf, Threat

__all__ = [
    "ATTACKS", "FGSM", "PGD", "Adversarial", "Attack", "Noise", "Transfer", "create", "describe", "frozen", "parse",
]  # fmt: skip

ATTACKS: Mapping[str, type[Attack]] = {
    "fgsm": FGSM,
    "noise": Noise,
    "pgd": PGD,
    "transfer": Transfer,
}
NORMS: Mapping[str, type[Threat]] = {"l2": L2, "linf": Linf}
DEFAULT_EPS = {"l2": 0.5, "linf": 2 / 255}


def create(name: str, **options: Any) -> Attack:
    """An attack by name.

    Args:
        name: a key of ``ATTACKS``.
        options: ``eps`` (number or text such as "2/255"; default 2/255 for linf, 0.5 for l2) and ``norm`` ("linf" or
            "l2") make the threat; the rest are fields of the attack. For ``transfer``: ``surrogate`` (a Detector) and
            ``attack`` (a name, default "pgd", or an Attack); what else is given belongs to that inner attack.

    Raises:
        ConfigError: an unknown name or option, or a value out of range.
    """
    kind = registry.lookup("attack", ATTACKS, name)
    norm = options.pop("norm", "linf")
    threat = registry.lookup("norm", NORMS, norm)(registry.number("eps", options.pop("eps", DEFAULT_EPS.get(norm, 0))))
    if kind is Transfer:
        inner = options.pop("attack", "pgd")
        if isinstance(inner, str):
            own = {"surrogate": options.pop("surrogate")} if "surrogate" in options else {}
            inner, options = create(inner, eps=threat.eps, norm=norm, **options), own
        options["attack"] = inner
    known = {"eps", "norm", *(f.name for f in fields(kind))} - {"threat"}
    for key in options:
        if key not in known:
            raise ConfigError(f"attack {name!r} has no option {key!r}{suggest(key, known)}")
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
        surrogate = f"{attack.surrogate.spec.get('name', 'detector')}@{_weights(attack.surrogate)}"
        return f"transfer:attack={inner},surrogate={surrogate},{options}"
    name = next((name for name, kind in ATTACKS.items() if type(attack) is kind), type(attack).__name__)
    norm = next((norm for norm, kind in NORMS.items() if type(attack.threat) is kind), type(attack.threat).__name__)
    told: dict[str, object] = {"eps": attack.threat.eps} | ({"norm": norm} if norm != "linf" else {})
    for f in fields(attack)[1:]:
        value = getattr(attack, f.name)
        if f.name == "steps" or f.default is MISSING or value != f.default:
            told[f.name] = value
    return f"{name}:" + ",".join(f"{key}={_text(value)}" for key, value in told.items())


def _weights(detector: Detector) -> str:
    """Eight digits that tell one set of weights from another."""
    digest = hashlib.blake2b(digest_size=4)
    for tensor in detector.state_dict().values():
        digest.update(tensor.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    return digest.hexdigest()


def _text(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    if isinstance(value, float) and value != 0 and round(value * 255) / 255 == value:
        return f"{round(value * 255)}/255"
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)
