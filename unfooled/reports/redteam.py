"""What an adversary reaches without the detector's gradients: borrowed perturbations, and success over queries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from unfooled.reports import charts
from unfooled.reports.figures import RUN, legend
from unfooled.reports.parts import Cell, Column, Figure, Group, Section, Table, number
from unfooled.reports.reading import CLEAN, Run, auc, in_words, looks, options_of
from unfooled.reports.tables import cell, name_cell
from unfooled.results import ConditionResult

QUERIES = (10, 100, 1000, 10000)
POINTS = 150


def transfer_section(runs: Sequence[Run]) -> Section | None:
    """For each borrowed attack a matrix: the detector that it was made on against the one it was tried on."""
    found: dict[str, dict[str, dict[str, ConditionResult]]] = {}
    for run in runs:
        for c in run.attacks:
            kind, options = options_of(c.name)
            if kind == "transfer" and {"attack", "surrogate"} <= options.keys():
                surrogate = options.pop("surrogate").partition("@")[0]
                attack = options.pop("attack")
                name = f"{attack}:{','.join(f'{k}={v}' for k, v in options.items())}" if options else attack
                found.setdefault(name, {}).setdefault(surrogate, {})[run.name] = c
    groups = tuple(Group("", (), (_matrix(runs, attack, made, f"transfer-{i}"),))
                   for i, (attack, made) in enumerate(found.items()))  # fmt: skip
    if not groups:
        return None
    return Section(
        "transfer", "Transfer", "Attacks borrowed from another detector",
        "Somebody who cannot see into a detector attacks one of his own and hopes. Each row is the detector that the "
        "change was computed on, each column the one that it was tried on; where both are the same, the attacker saw "
        "everything. A low number beside a high diagonal says that the direct attack was blind.",
        groups=groups,
    )  # fmt: skip


def _matrix(runs: Sequence[Run], attack: str, made: dict[str, dict[str, ConditionResult]], key: str) -> Figure:
    sources = [*dict.fromkeys([*(r.name for r in runs if r.condition(attack) or r.name in made), *made])]
    rows, cells, words = [], [], []
    for source in sources:
        line = [Cell(source, source)]
        for run in runs:
            c = made.get(source, {}).get(run.name) or (run.condition(attack) if run.name == source else None)
            line.append(cell(auc(c)))
            if (m := auc(c)) is not None and m.value is not None:
                rows.append({"made": source, "run": run.name, "y": m.value, "text": number(m.value, 2)})
                words.append(f"made on {source}, tried on {run.name}: {number(m.value)}")
        cells.append(line)
    title = in_words(attack)
    table = Table(
        f"Robust AUC, {title}", (Column("Made on", "text"), *(Column(f"Tried on {r.name}") for r in runs)), cells
    )
    spec = charts.matrix(rows, sources, [r.name for r in runs])
    return Figure(key, title, spec, f"Robust AUC under {title}: {'; '.join(words)}.", table, wide=True)


def queries_section(runs: Sequence[Run]) -> Section | None:
    """Share of the samples flipped over queries, for every attack that stops at its goal."""
    figures = []
    names = dict.fromkeys(c.name for run in runs for c in run.attacks if _stops(c.name))
    for i, name in enumerate(names):
        if figure := _queries_panel(runs, name, f"queries-{i}"):
            figures.append(figure)
    if not figures:
        return None
    return Section(
        "queries", "Queries", "How often an attacker has to ask",
        "These attacks see nothing but the detector's answers, so each try is a question that its owner could count. "
        "The curve is the share of the rightly judged faces that are flipped after so many questions. Where it rises "
        "within a few hundred, a limit on questions protects; where it stays low to the end, the detector does.",
        groups=(Group("", legend(runs), tuple(figures)),),
    )  # fmt: skip


def _stops(name: str) -> bool:
    kind, options = options_of(name)
    return kind == "rbb" or (kind == "square" and options.get("stop_at_flip") == "true")


def flips(run: Run, condition: ConditionResult) -> tuple[list[float], int]:
    """Queries of each sample that the attack flipped, in rising order, and how many were right and attacked."""
    clean, threshold = run.clean, run.evaluation.threshold
    if clean is None or condition.queries is None:
        return [], 0
    flipped, attacked = [], 0
    for y, z, z_adv, spent in zip(
        run.evaluation.samples.label, clean.logits, condition.logits, condition.queries, strict=True
    ):
        if spent and (z > threshold) == bool(y):
            attacked += 1
            if (z_adv > threshold) != bool(y):
                flipped.append(spent)
    return sorted(flipped), attacked


def _queries_panel(runs: Sequence[Run], name: str, key: str) -> Figure | None:
    rows: list[dict[str, Any]] = []
    cells, words = [], []
    for run in runs:
        c = run.condition(name)
        spent, attacked = flips(run, c) if c and c.name != CLEAN else ([], 0)
        if not attacked or c is None or c.queries is None:
            continue
        last = max(c.queries)
        curve = [(q, (i + 1) / attacked) for i, q in enumerate(spent)]
        step = max(1, len(curve) // POINTS)
        drawn = [(1.0, 0.0), *curve[::step], *curve[-1:], (last, len(spent) / attacked)]
        rows += [{"run": run.name, "x": q, "y": round(share, 4)} for q, share in drawn]
        shares = [sum(q <= most for q in spent) / attacked for most in QUERIES if most <= max(last, QUERIES[0])]
        cells.append([name_cell(run), Cell(str(attacked), attacked), *(Cell(number(s), s) for s in shares),
                      *[Cell("")] * (len(QUERIES) - len(shares))])  # fmt: skip
        half = next((q for q, share in curve if share >= 0.5), None)
        words.append(f"{run.name}: {len(spent)} of {attacked} flipped" + (f", half after {half:.0f}" if half else ""))
    if not rows:
        return None
    title = in_words(name)
    columns = (RUN, Column("Attacked"), *(Column(f"Flipped within {q}") for q in QUERIES))
    spec = charts.climbing(rows, looks(runs), "queries for a face", "share flipped")
    return Figure(key, title, spec, f"Share flipped over queries, {title}. {'. '.join(words)}.",
                  Table(f"Share flipped over queries, {title}", columns, cells), wide=True)  # fmt: skip
