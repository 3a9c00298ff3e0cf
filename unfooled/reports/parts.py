"""What a page is made of: sections, figures, tables, legends; plain values that the template reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

DASHES = ((1, 0), (7, 3), (2, 2), (9, 3, 2, 3), (4, 4), (12, 3), (1, 3), (6, 2, 1, 2, 1, 2))
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
_PATHS = {
    "circle": "M5 0A5 5 0 1 1 -5 0A5 5 0 1 1 5 0Z", "square": "M-4.5-4.5h9v9h-9Z", "triangle-up": "M0-5 5 4.5H-5Z",
    "diamond": "M0-6 5 0 0 6-5 0Z", "cross": "M-2-5.5h4v3.5h3.5v4h-3.5v3.5h-4v-3.5h-3.5v-4h3.5Z",
    "triangle-down": "M0 5 5-4.5H-5Z", "triangle-right": "M5 0-4.5 5V-5Z", "triangle-left": "M-5 0 4.5 5V-5Z",
}  # fmt: skip


@dataclass(frozen=True)
class Look:
    """Colour, dash and shape number ``index``; together they tell 64 runs apart, also without colour."""

    index: int

    @property
    def colour(self) -> str:
        return f"var(--c{self.index % 8})"

    @property
    def dash(self) -> tuple[int, ...]:
        return DASHES[(self.index + self.index // 8) % 8]

    @property
    def shape(self) -> str:
        return SHAPES[(self.index + self.index // 8) % 8]


@dataclass(frozen=True)
class Key:
    """One entry of a legend: a line (``dash``), a mark (an SVG path), or both."""

    label: str
    colour: str
    dash: str | None = None
    mark: str | None = None
    filled: bool = True

    @classmethod
    def line(cls, label: str, look: Look, marked: bool = False) -> Key:
        return cls(label, look.colour, " ".join(map(str, look.dash)), _PATHS[look.shape] if marked else None)

    @classmethod
    def point(cls, label: str, colour: str, shape: str = "circle", filled: bool = True) -> Key:
        return cls(label, colour, None, _PATHS[shape], filled)


@dataclass(frozen=True)
class Cell:
    """One value of a table; ``text`` empty: not available, ``note`` says why."""

    text: str
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    note: str = ""
    best: bool = False
    colour: int | None = None
    signed: bool = False

    @property
    def interval(self) -> str:
        if self.low is None or self.high is None:
            return ""
        if self.signed:
            return f"{number(self.low)} to {number(self.high)}"
        return f"{number(self.low, 2)}\N{EN DASH}{number(self.high, 2)}"

    @property
    def left(self) -> float:
        return round(100 * (self.low or 0.0), 1)

    @property
    def width(self) -> float:
        return round(100 * ((self.high or 0.0) - (self.low or 0.0)), 1)

    @property
    def place(self) -> float:
        return round(100 * float(self.value or 0.0), 1)


@dataclass(frozen=True)
class Column:
    """A table's column; ``ranged`` draws the interval on [0, 1]."""

    label: str
    kind: Literal["text", "number"] = "number"
    help: str = ""
    ranged: bool = False


@dataclass(frozen=True)
class Table:
    caption: str
    columns: tuple[Column, ...]
    rows: list[list[Cell]]


@dataclass(frozen=True)
class Figure:
    """A chart with its text alternative: ``alt`` in words and ``table`` in numbers."""

    key: str
    title: str
    spec: dict[str, Any]
    alt: str
    table: Table
    subtitle: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Face:
    """Three pictures; ``scores`` are (when, P(fake) in per cent, called fake).

    ``strip`` says how many frames of a clip each picture holds; empty: it is one face.
    """

    title: str
    label: str
    x: str
    x_adv: str
    difference: str
    gain: str
    verdict: str
    fooled: bool
    scores: tuple[tuple[str, int, bool], ...]
    strip: str = ""


@dataclass(frozen=True)
class Fact:
    label: str
    value: str
    text: str


@dataclass(frozen=True)
class Notice:
    text: str
    who: str = ""


@dataclass(frozen=True)
class Group:
    """Figures (or faces) that share a heading and a legend."""

    title: str = ""
    legend: tuple[Key, ...] = ()
    figures: tuple[Figure, ...] = ()
    faces: tuple[Face, ...] = ()


@dataclass(frozen=True)
class Details:
    """A part that starts closed."""

    title: str
    pairs: tuple[tuple[str, str], ...] = ()
    text: str = ""
    table: Table | None = None
    open: bool = False
    style: str = ""


@dataclass(frozen=True)
class Section:
    key: str
    short: str
    title: str
    meaning: str = ""
    facts: tuple[Fact, ...] = ()
    warnings: tuple[Notice, ...] = ()
    tables: tuple[Table, ...] = ()
    groups: tuple[Group, ...] = field(default_factory=tuple)
    details: tuple[Details, ...] = ()
    notes: tuple[str, ...] = ()


def number(value: float, digits: int = 3) -> str:
    """A number as text with ``digits`` decimals and a true minus sign; never ``-0.000``."""
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")
