"""The tables of the report: runs side by side, every attack, paired differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from unfooled.reports.parts import Cell, Column, Table, number
from unfooled.reports.reading import CLEAN, MODES, Run, auc, conditions, in_words, metric, metric_in_words
from unfooled.results import Comparison, ConditionResult, Metric

MISSING = "not measured in this run"
COLUMNS = (
    Column("Run", "text"),
    Column("Clean AUC", help="on images as they are: 1 = perfect, 0.5 = guessing", ranged=True),
    Column("Clean video AUC", help="one score a video", ranged=True),
    Column("Robust AUC, both attacked", help="reals pushed towards fake and fakes towards real", ranged=True),
    Column("Robust AUC, only fakes attacked", help="evasion: fakes are made to pass as real", ranged=True),
    Column("Robust AUC, only reals attacked", help="defamation: reals are made to look fake", ranged=True),
    Column("Accuracy", help="share called rightly at the threshold, images as they are", ranged=True),
    Column("Accuracy under attack", help="share called rightly on attacked images", ranged=True),
    Column("Robust accuracy", help="share called rightly before and after the attack", ranged=True),
    Column("Attack success rate", help="share of the rightly called images that the attack flips; lower is better",
           ranged=True),
)  # fmt: skip


def cell(found: Metric | None, signed: bool = False) -> Cell:
    """A metric as a cell; one without value says why."""
    if found is None or found.value is None:
        return Cell("", note=(found.note if found else "") or MISSING)
    sign = "+" if signed and found.value > 0 else ""
    note = f"{found.n_real} real, {found.n_fake} fake" + (f"; {found.note}" if found.note else "")
    return Cell(sign + number(found.value), found.value, found.low, found.high, note, signed=signed)


def name_cell(run: Run) -> Cell:
    return Cell(run.name, run.name, colour=run.look.index)


def _mark_best(rows: list[list[Cell]], columns: Sequence[Column]) -> list[list[Cell]]:
    marked = [list(row) for row in rows]
    for place, column in enumerate(columns):
        values = [row[place].value for row in rows]
        known = [v for v in values if isinstance(v, float)]
        if column.kind == "text" or len(known) < 2 or len(set(known)) < 2:
            continue
        best = (min if column.label == "Attack success rate" else max)(known)
        for row, v in zip(marked, values, strict=True):
            row[place] = replace(row[place], best=v == best)
    return marked


def _attack_cells(condition: ConditionResult | None) -> list[Cell]:
    return [cell(metric(condition, f"robust/{mode}/frame_auc")) for mode in MODES]


def comparison(runs: Sequence[Run], attack: str | None) -> Table:
    """One row a run: clean, and under the attack that the summary speaks of."""
    rows = []
    for run in runs:
        hit = run.condition(attack)
        rows.append(
            [
                name_cell(run),
                cell(auc(run.clean)),
                cell(metric(run.clean, "video/auc")),
                *_attack_cells(hit),
                cell(metric(run.clean, "accuracy") or metric(hit, "accuracy")),
                *(cell(metric(hit, name)) for name in ("accuracy_adv", "robust_accuracy", "attack_success_rate")),
            ]
        )
    columns = list(COLUMNS)
    weakest = [_weakest(run, attack) for run in runs]
    if any(len(names) > 1 for names, _ in weakest):
        columns.insert(
            6, Column("Weakest robust AUC", help="lowest over all attacks with this eps and norm", ranged=True)
        )
        for row, (_, found) in zip(rows, weakest, strict=True):
            row.insert(6, found)
    caption = "Every run on the same terms, with 95 % intervals; bold is the best of a column. "
    caption += f"Attack: {in_words(attack)}." if attack else "No attack was run."
    return Table(caption, tuple(columns), _mark_best(rows, columns))


def _weakest(run: Run, attack: str | None) -> tuple[list[str], Cell]:
    """The attacks as large as the given one, and the lowest robust AUC among them."""
    given = run.condition(attack)
    equal = [c for c in run.attacks if given and c.norm == given.norm and _equal_eps(c.eps, given.eps)]
    found = [(c.name, m) for c in equal if (m := auc(c)) and m.value is not None]
    if not found:
        return [], cell(None)
    name, lowest = min(found, key=lambda pair: pair[1].value or 0.0)
    return [n for n, _ in found], replace(cell(lowest), note=in_words(name))


def _equal_eps(a: float | None, b: float | None) -> bool:
    return a == b or (a is not None and b is not None and math.isclose(a, b, rel_tol=1e-6))


def every_attack(runs: Sequence[Run]) -> Table | None:
    """One row a run and attack; None where there is one attack at most."""
    names = conditions(runs)
    if len(names) < 2:
        return None
    columns = (
        COLUMNS[0], Column("Attack", "text"), *COLUMNS[3:6], *COLUMNS[7:10],
        Column("Robust AUC as PNG", help="both attacked, saved with 8 bits a colour"),
        Column("Median distance"), Column("Queries per image"),
    )  # fmt: skip
    rows = []
    for name in names:
        for run in runs:
            if (c := run.condition(name)) is None:
                continue
            measured = [cell(metric(c, n)) for n in ("accuracy_adv", "robust_accuracy", "attack_success_rate")]
            png = cell(metric(c, "robust/both/png_frame_auc"))
            extent = [_plain(c.distance_median, 4), _plain(c.queries_mean, 0)]
            rows.append([name_cell(run), Cell(in_words(name), name), *_attack_cells(c), *measured, png, *extent])
    kept = [i for i, _ in enumerate(columns) if i < 2 or any(row[i].text for row in rows)]
    return Table(
        "Every attack that was run: a detector is as robust as its worst row.",
        tuple(columns[i] for i in kept),
        [[row[i] for i in kept] for row in rows],
    )


def _plain(found: float | None, digits: int) -> Cell:
    return Cell("", note=MISSING) if found is None else Cell(number(found, digits), found)


def differences(comparisons: Sequence[Comparison], attack: str | None = None) -> Table | None:
    """Paired differences, one row a pair, condition and metric; None where there are none.

    Args:
        comparisons: of any pairs and conditions.
        attack: keep only the AUC of frames, clean and under this attack with both classes attacked.
    """
    rows = []
    for c in comparisons:
        for name, found in c.differences.items():
            if attack and (c.condition, name) not in ((CLEAN, "frame/auc"), (attack, "robust/both/frame_auc")):
                continue
            rows.append(
                [
                    Cell(f"{c.a} \N{MINUS SIGN} {c.b}", c.a),
                    Cell(in_words(c.condition), c.condition),
                    Cell(metric_in_words(name), name),
                    *(Cell("", note=found.note) if v is None else Cell(number(v), v) for v in (found.a, found.b)),
                    cell(found, signed=True),
                    _verdict(found, c),
                ]
            )
    if not rows:
        return None
    columns = (
        Column("Pair (A \N{MINUS SIGN} B)", "text"), Column("Condition", "text"), Column("Number", "text"), Column("A"),
        Column("B"), Column("Difference", help="A minus B on the same samples, 95 % interval"),
        Column("Reading", "text"),
    )  # fmt: skip
    return Table("Differences between two runs on the same samples, 95 % intervals over people.", columns, rows)


def _verdict(found: Metric, c: Comparison) -> Cell:
    low, high = found.low, found.high
    if found.value is None or low is None or high is None:
        return Cell("", note=found.note or MISSING)
    if low > 0 or high < 0:
        return Cell(f"{c.a if low > 0 else c.b} has more", "1")
    return Cell("could be chance", "0")
