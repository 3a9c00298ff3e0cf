"""What the world does to a picture, by name: ``blur:level=3``. A distortion is a view and a condition alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from unfooled import registry
from unfooled.distortions.base import LEVELS, Distortion
from unfooled.distortions.colour import Contrast, Noise, Saturation
from unfooled.distortions.compression import H264
from unfooled.distortions.spatial import Blocks, Blur, Pixelation
from unfooled.errors import ConfigError, suggest

__all__ = [
    "ALL", "DISTORTIONS", "H264", "LEVELS", "Blocks", "Blur", "Contrast", "Distortion", "Noise", "Pixelation",
    "Saturation", "create", "describe", "family", "parse", "series",
]  # fmt: skip

DISTORTIONS: Mapping[str, type[Distortion]] = {
    "blocks": Blocks,
    "blur": Blur,
    "contrast": Contrast,
    "h264": H264,
    "noise": Noise,
    "pixelation": Pixelation,
    "saturation": Saturation,
}
ALL = "all"
"""In place of a name: every type at its five levels."""


def create(name: str, **options: object) -> Distortion:
    """A distortion by name.

    Args:
        name: a key of ``DISTORTIONS``.
        options: ``level`` (1 to 5) or the distortion's own strength, and its other fields.

    Raises:
        ConfigError: an unknown name or option, or a value out of range.
    """
    kind = registry.lookup("distortion", DISTORTIONS, name)
    return registry.build("distortion", name, kind, options)


def parse(text: str) -> Distortion:
    """A distortion from ``"blur:level=3"`` or ``"blur:kernel=9"``."""
    name, options = registry.parse(text)
    return create(name, **options)


def series(text: str) -> list[Distortion]:
    """The distortions that ``text`` asks for.

    Args:
        text: ``"blur:level=3"`` is that one, ``"blur"`` its five levels, ``"all"`` every type at its five levels.

    Raises:
        ConfigError: as ``create``; or ``all`` has options.
    """
    name, options = registry.parse(text)
    if name == ALL:
        if options:
            raise ConfigError(f"{ALL!r} takes no options, got {text!r}; name a type, such as blur:level=3")
        return [one for kind in DISTORTIONS for one in series(kind)]
    if name not in DISTORTIONS:
        raise ConfigError(f"no distortion named {name!r}{suggest(name, [*DISTORTIONS, ALL])}")
    if {"level", DISTORTIONS[name].parameter} & options.keys():
        return [create(name, **options)]
    return [create(name, level=level, **options) for level in LEVELS]


def describe(distortion: Distortion) -> str:
    """A short name for tables, ``blur:level=3``; ``parse`` reads it back. Options are told where not the default."""
    return _named(distortion, _told(distortion))


def family(distortion: Distortion) -> str | None:
    """``describe`` without the level, which the five of a ``series`` have in common; None where there is no level."""
    told = _told(distortion)
    return _named(distortion, told) if told.pop("level", None) is not None else None


def _told(distortion: Distortion) -> dict[str, object]:
    return {f.name: value for f in fields(distortion) if (value := getattr(distortion, f.name)) != f.default}


def _named(distortion: Distortion, options: Mapping[str, object]) -> str:
    text = ",".join(f"{key}={registry.as_text(value)}" for key, value in options.items())
    return f"{distortion.name}:{text}" if text else distortion.name
