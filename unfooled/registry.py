"""Names with options: look them up, read ``pgd:eps=2/255,steps=10``, build the part, say what is wrong."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from unfooled.errors import ConfigError, suggest

T = TypeVar("T")


def lookup(kind: str, table: Mapping[str, T], name: str) -> T:
    """The entry called ``name``, or an error that suggests the nearest one."""
    if name not in table:
        raise ConfigError(f"no {kind} named {name!r}{suggest(name, table)}")
    return table[name]


def parse(text: str) -> tuple[str, dict[str, str]]:
    """``"pgd:eps=2/255,steps=10"`` -> ``("pgd", {"eps": "2/255", "steps": "10"})``."""
    name, _, rest = text.partition(":")
    options: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        key, equals, value = part.partition("=")
        if not equals or not key.strip() or not value.strip():
            raise ConfigError(f"{text!r}: {part!r} is not KEY=VALUE; write NAME:key=value,key=value")
        options[key.strip()] = value.strip()
    return name.strip(), options


def number(name: str, value: object) -> float:
    """A float from a number or from text such as ``"8/255"``."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ConfigError(f"{name} must be a number such as 0.5 or '8/255', got {value!r}")
    try:
        if isinstance(value, str) and "/" in value:
            top, _, bottom = value.partition("/")
            return float(top) / float(bottom)
        return float(value)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise ConfigError(f"{name} must be a number such as 0.5 or '8/255', got {value!r}") from None


def build(kind: str, name: str, make: Callable[..., T], options: Mapping[str, object]) -> T:
    """Call ``make(**options)`` with each option read as its annotation says; unknown or missing ones are refused."""
    # Only a dataclass itself, not its __init__, can resolve annotations inherited from another module.
    plain = isinstance(make, type) and not dataclasses.is_dataclass(make)
    hints = typing.get_type_hints(make.__init__ if plain else make)
    parameters = inspect.signature(make).parameters
    known = list(parameters)
    values: dict[str, Any] = {}
    for key, value in options.items():
        if key not in known:
            raise ConfigError(f"{kind} {name!r} has no option {key!r}{suggest(key, known)}")
        values[key] = _read(f"{kind} {name}: {key}", value, hints.get(key, object))
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in values and parameter.kind != parameter.VAR_KEYWORD:
            raise ConfigError(f"{kind} {name!r} needs the option {key!r}; write {name}:{key}=...")
    return make(**values)


def as_text(value: object) -> str:
    """An option's value as ``parse`` reads it back: ``true``, ``none``, ``0.5``."""
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) and float(f"{value:g}") == value else str(value)


def summary(part: object) -> str:
    """The first line of a part's docstring, without its full stop."""
    return (inspect.getdoc(part) or "").partition("\n")[0].rstrip(".")


def _read(name: str, value: object, hint: object) -> object:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() == "none"):
            return None
        hint = next(a for a in typing.get_args(hint) if a is not type(None))
    if typing.get_origin(hint) is typing.Literal:
        allowed = typing.get_args(hint)
        if value not in allowed:
            raise ConfigError(f"{name} must be one of {', '.join(map(str, allowed))}, got {value!r}")
        return value
    if hint is bool:
        return _read_bool(name, value)
    if hint is float:
        return number(name, value)
    if hint is int:
        whole = number(name, value)
        if not whole.is_integer():
            raise ConfigError(f"{name} must be a whole number, got {value!r}")
        return int(whole)
    if hint is str and not isinstance(value, str):
        raise ConfigError(f"{name} must be text, got {value!r}")
    return value


def _read_bool(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    words = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
    if str(value).lower() not in words:
        raise ConfigError(f"{name} must be true or false, got {value!r}")
    return words[str(value).lower()]
