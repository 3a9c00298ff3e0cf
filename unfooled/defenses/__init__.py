"""Defenses at inference, by name: ``post-training:algorithm=2,freeze=false``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from unfooled import registry
from unfooled.defenses.base import Answer, Defended, Defense, Pool
from unfooled.defenses.post_training import PostTraining
from unfooled.defenses.purification import Jpeg, Resize
from unfooled.defenses.smoothing import ABSTAIN, Certificate, Smoothing
from unfooled.errors import ConfigError, suggest

__all__ = [
    "ABSTAIN", "DEFENSES", "Answer", "Certificate", "Defended", "Defense", "Jpeg", "Pool", "PostTraining", "Resize",
    "Smoothing", "create", "describe", "parse",
]  # fmt: skip

DEFENSES: Mapping[str, type[Defense]] = {
    "jpeg": Jpeg,
    "post-training": PostTraining,
    "resize": Resize,
    "smoothing": Smoothing,
}


ALWAYS = 2
"""Options that a defense's short name always tells: what it is, not how it is set."""


def create(name: str, **options: object) -> Defense:
    """A defense by name.

    Args:
        name: a key of ``DEFENSES``.
        options: fields of the defense.

    Raises:
        ConfigError: an unknown name or option, or a value out of range.
    """
    kind = registry.lookup("defense", DEFENSES, name)
    known = {f.name for f in fields(kind) if f.compare}
    for key in options:
        if key not in known:
            raise ConfigError(f"defense {name!r} has no option {key!r}{suggest(key, known)}")
    return registry.build("defense", name, kind, options)


def parse(text: str) -> Defense:
    """A defense from ``"post-training:algorithm=2,freeze=false"``."""
    name, options = registry.parse(text)
    return create(name, **options)


def describe(defense: Defense) -> str:
    """A short name for tables, ``jpeg:quality=50``; ``parse`` reads it back.

    The first two options are always told, others where they differ from the default.
    """
    own = [f for f in fields(defense) if f.compare]
    told = {f.name: getattr(defense, f.name) for f in own}
    kept = {f.name for i, f in enumerate(own) if i < ALWAYS or told[f.name] != f.default}
    text = ",".join(f"{key}={registry.as_text(value)}" for key, value in told.items() if key in kept)
    return f"{defense.name}:{text}"
