"""Names with options: every reading, every refusal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from unfooled import registry
from unfooled.errors import ConfigError
from unfooled.threats import Linf, Threat


@dataclass(frozen=True)
class Part:
    """One line. What follows is not told."""

    steps: int = 1
    size: float | None = None
    fast: bool = False
    kind: Literal["a", "b"] = "a"
    note: str = ""
    threat: Threat | None = None


class Plain:
    def __init__(self, width: int, depth: int = 2) -> None:
        self.shape = (width, depth)


def function(width: int, *, scale: float = 1.0) -> tuple[int, float]:
    return width, scale


def test_lookup_suggests() -> None:
    table = {"deepfool": 1, "pgd": 2}
    assert registry.lookup("attack", table, "pgd") == 2
    with pytest.raises(ConfigError, match=r"no attack named 'deepfol' \(did you mean 'deepfool'\?\)"):
        registry.lookup("attack", table, "deepfol")
    with pytest.raises(ConfigError, match="no attack named 'xyz'; known: deepfool, pgd"):
        registry.lookup("attack", table, "xyz")


def test_parse() -> None:
    assert registry.parse("pgd") == ("pgd", {})
    assert registry.parse("pgd:") == ("pgd", {})
    assert registry.parse(" pgd : eps = 2/255 , steps=10 ") == ("pgd", {"eps": "2/255", "steps": "10"})
    for text in ("pgd:steps", "pgd:=3", "pgd:steps="):
        with pytest.raises(ConfigError, match="is not KEY=VALUE"):
            registry.parse(text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, 1.0), (0.5, 0.5), ("0.5", 0.5), ("8/255", 8 / 255), ("0.5/255", 0.5 / 255), (" 8 / 255 ", 8 / 255)],
)
def test_number(value: object, expected: float) -> None:
    assert registry.number("eps", value) == expected


@pytest.mark.parametrize("value", ["many", "1/0", "1/2/3", "/255", "", True, None, [1], 10**400])
def test_what_is_no_number(value: object) -> None:
    with pytest.raises(ConfigError, match=r"eps must be a number such as 0\.5 or '8/255', got"):
        registry.number("eps", value)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"steps": "10"}, Part(steps=10)),
        ({"steps": 10.0}, Part(steps=10)),
        ({"size": "1/255"}, Part(size=1 / 255)),
        ({"size": "None"}, Part()),
        ({"size": None}, Part()),
        ({"fast": "yes"}, Part(fast=True)),
        ({"fast": True}, Part(fast=True)),
        ({"fast": "0"}, Part()),
        ({"kind": "b"}, Part(kind="b")),
        ({"note": "x"}, Part(note="x")),
        ({"threat": Linf(0.1)}, Part(threat=Linf(0.1))),
    ],
)
def test_build_reads_options_by_annotation(options: dict[str, object], expected: Part) -> None:
    assert registry.build("part", "p", Part, options) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 1}, "part 'p' has no option 'step' (did you mean 'steps'?)"),
        ({"zzz": 1}, "has no option 'zzz'; known: fast, kind, note, size, steps, threat"),
        ({"steps": 1.5}, "part p: steps must be a whole number, got 1.5"),
        ({"steps": "inf"}, "part p: steps must be a whole number, got 'inf'"),
        ({"steps": "nan"}, "part p: steps must be a whole number, got 'nan'"),
        ({"steps": None}, "part p: steps must be a number"),
        ({"fast": "maybe"}, "part p: fast must be true or false, got 'maybe'"),
        ({"fast": 2}, "part p: fast must be true or false, got 2"),
        ({"kind": "c"}, "part p: kind must be one of a, b, got 'c'"),
        ({"note": 3}, "part p: note must be text, got 3"),
    ],
)
def test_build_refuses(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        registry.build("part", "p", Part, options)
    assert message in str(error.value)


def test_build_takes_classes_and_functions_and_names_what_is_missing() -> None:
    assert registry.build("net", "n", Plain, {"width": "3"}).shape == (3, 2)
    assert registry.build("net", "n", function, {"width": 3, "scale": "1/2"}) == (3, 0.5)
    for make in (Plain, function):
        with pytest.raises(ConfigError, match=r"net 'n' needs the option 'width'; write n:width=\.\.\."):
            registry.build("net", "n", make, {})


def test_annotations_inherited_from_another_module_are_read() -> None:
    @dataclass(frozen=True)
    class Child(Linf):
        pass

    assert registry.build("threat", "child", Child, {"eps": "8/255"}) == Child(8 / 255)


def test_summary() -> None:
    assert registry.summary(Part) == "One line. What follows is not told"
    assert registry.summary(registry.number) == 'A float from a number or from text such as ``"8/255"``'
    assert registry.summary(type("Bare", (), {"__doc__": None})) == ""
