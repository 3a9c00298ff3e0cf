"""A study as a page: what robustness costs, run beside run, and which differences chance would hardly give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from unfooled.reports import charts
from unfooled.reports.page import build
from unfooled.reports.parts import Cell, Column, Figure, Group, Key, Look, Section, Table, number

RUN = Column("Run", "text")
MEANING = (
    "Upwards is more robust, to the right better on faces that nobody attacked; lines are 95 % intervals over people, "
    "and over seeds where there are several. Two runs whose lines overlap may still differ surely: their difference is "
    "taken on the same people and seeds."
)
ALONE = (
    "The robust columns above hold the lowest AUC over the attacks of their threat, seed by seed. n/a: nobody borrows "
    "an attack from himself."
)
FAR = 0.3
"""A run whose robust AUC is so much below the best has no place in a picture that shall tell the others apart."""


class Line(Protocol):
    """A number with its interval, and each seed's own."""

    @property
    def value(self) -> float: ...
    @property
    def low(self) -> float: ...
    @property
    def high(self) -> float: ...
    @property
    def seeds(self) -> tuple[float, ...]: ...


@dataclass(frozen=True)
class Row:
    """A run, or the difference of two, in one variant.

    Args:
        variant: "" where the study has none.
        name: of the run, or of the pair.
        values: by column: ``clean`` and the threats, or ``AUC`` under the attack ``under`` alone.
        seconds: of training, where it belongs.
        under: an attack.
    """

    variant: str
    name: str
    values: Mapping[str, Line]
    seconds: float | None = None
    under: str = ""


def render_study(title: str, runs: Sequence[Row], differences: Sequence[Row], attacks: Sequence[Row], lead: str) -> str:
    """One HTML page; the same rows give the same bytes.

    Args:
        title: of the page.
        runs: at least one, each with the same columns; the first column is the clean AUC.
        differences: paired ones.
        attacks: the AUC of a run under each attack alone, in the column ``AUC``.
        lead: what was done, in a sentence or two.
    """
    sections = []
    variants = list(dict.fromkeys(row.variant for row in runs))
    looks = {name: Look(n) for n, name in enumerate(dict.fromkeys(row.name for row in runs))}
    for n, variant in enumerate(variants):
        own = [row for row in runs if row.variant == variant]
        pairs = [row for row in differences if row.variant == variant]
        tables = [_table(own, variant, looks)]
        if pairs:
            tables.append(_differences(pairs, variant))
        sections.append(
            Section(
                f"variant{n}", variant or "Runs", variant or "What robustness costs",
                MEANING,
                tables=tuple(tables), groups=(_group(own, looks, n),),
            )
        )  # fmt: skip
    if attacks:
        told = list(dict.fromkeys(row.variant for row in attacks))
        sections.append(
            Section(
                "attacks", "Attacks", "Every attack alone",
                ALONE,
                tables=tuple(_attacks([row for row in attacks if row.variant == v], v) for v in told),
            )
        )  # fmt: skip
    return build(sections, lead, title)


def _group(rows: Sequence[Row], looks: Mapping[str, Look], place: int) -> Group:
    clean, *threats = rows[0].values
    figures = []
    for n, threat in enumerate(threats):
        best = max(row.values[threat].value for row in rows)
        shown = [row for row in rows if row.values[threat].value > best - FAR]
        below = [f"{row.name} ({number(row.values[threat].value)})" for row in rows if row not in shown]
        points = [{"run": row.name, **_ends("x", row.values[clean]), **_ends("y", row.values[threat])} for row in shown]
        words = "; ".join(f"{r.name}: {number(r.values[clean].value)}, {number(r.values[threat].value)}" for r in rows)
        figures.append(
            Figure(
                f"tradeoff{place}-{n}", threat,
                charts.tradeoff(points, looks, "clean AUC", f"AUC under the weakest attack, {threat}"),
                f"Clean AUC, and AUC under attack at {threat}. {words}.",
                Table(
                    f"Clean AUC and AUC under attack, {threat}", (RUN, Column("clean"), Column(threat)),
                    [[_name(r, looks), _cell(r.values[clean]), _cell(r.values[threat])] for r in rows],
                ),
                f"far below: {', '.join(below)}" if below else "",
            )
        )  # fmt: skip
    legend = tuple(Key.point(row.name, looks[row.name].colour, looks[row.name].shape) for row in rows)
    return Group("", legend, tuple(figures))


def _table(rows: Sequence[Row], variant: str, looks: Mapping[str, Look]) -> Table:
    columns = (RUN, *(Column(c, ranged=True) for c in rows[0].values), Column("training, s"), Column("seeds", "text"))
    body = []
    for row in rows:
        seeds = "; ".join(f"{c}: {' '.join(number(v) for v in line.seeds)}" for c, line in row.values.items())
        time = Cell("" if row.seconds is None else f"{row.seconds:.0f}", row.seconds)
        body.append([_name(row, looks), *(_cell(m) for m in row.values.values()), time, Cell(seeds, seeds)])
    return Table(f"AUC, mean over seeds{f', {variant}' if variant else ''}", columns, body)


def _differences(rows: Sequence[Row], variant: str) -> Table:
    columns = (Column("Pair", "text"), *(Column(c) for c in rows[0].values))
    body = [[Cell(row.name, row.name), *(_cell(m, signed=True) for m in row.values.values())] for row in rows]
    return Table(f"Paired differences of AUC{f', {variant}' if variant else ''}", columns, body)


def _attacks(rows: Sequence[Row], variant: str) -> Table:
    runs = list(dict.fromkeys(row.name for row in rows))
    by_attack: dict[str, dict[str, Row]] = {}
    for row in rows:
        by_attack.setdefault(row.under, {})[row.name] = row
    body = [
        [Cell(attack, attack), *(_cell(own[r].values["AUC"]) if r in own else Cell("") for r in runs)]
        for attack, own in by_attack.items()
    ]
    caption = f"AUC under each attack{f', {variant}' if variant else ''}"
    return Table(caption, (Column("Attack", "text"), *(Column(run) for run in runs)), body)


def _name(row: Row, looks: Mapping[str, Look]) -> Cell:
    return Cell(row.name, row.name, colour=looks[row.name].index)


def _cell(line: Line, signed: bool = False) -> Cell:
    sign = "+" if signed and line.value > 0 else ""
    return Cell(sign + number(line.value), line.value, line.low, line.high, signed=signed)


def _ends(axis: str, line: Line) -> dict[str, float]:
    return {axis: line.value, f"{axis}_low": line.low, f"{axis}_high": line.high}
