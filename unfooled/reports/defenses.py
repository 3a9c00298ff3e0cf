"""Defenses at inference: what they save from an attacker who does not know them, and from one who does."""

from __future__ import annotations

from collections.abc import Sequence

from unfooled.reports.figures import RUN
from unfooled.reports.parts import Cell, Column, Section, Table, number
from unfooled.reports.reading import CLEAN, Run, eps_in_words, in_words, metric
from unfooled.reports.tables import cell, name_cell
from unfooled.results import ConditionResult

AUCS = ("frame/auc", "robust/both/frame_auc", "robust/fakes_only/frame_auc")
ACCURACIES = ("accuracy_adv", "accuracy")
COLUMNS = (
    RUN,
    Column("Defense", "text"),
    Column("Attack", "text"),
    Column("Attacker", "text", help="static: made on the plain detector; adaptive: made through the defense"),
    Column("AUC", help="of the attacked samples where there is an attack", ranged=True),
    Column("Accuracy", help="of the attacked samples where there is an attack"),
    Column("Seconds an image", help="of the defense, measured on samples that nobody attacked"),
)


def defense_section(runs: Sequence[Run]) -> Section | None:
    """A table of every defense under every attack beside the plain detector; None where nothing was defended."""
    rows = [row for run in runs for row in _rows(run)]
    if not rows:
        return None
    return Section(
        "defenses", "Defenses", "Defenses at the time of the question",
        "These change how a finished detector answers. Read the adaptive rows first: there the attacker knows the "
        "defense and attacks through it. A defense that holds in the static rows alone only hides from those who do "
        "not look for it.",
        tables=(Table("Defenses, with 95 % intervals.", COLUMNS, rows),),
        notes=("n/a in the last column: the plain detector. Of a static and an adaptive attack, the lower AUC is"
               " the one that counts.",),
    )  # fmt: skip


def _rows(run: Run) -> list[list[Cell]]:
    conditions = [c for c in run.evaluation.conditions if c.distortion is None]
    shown = [c for c in conditions if c.defense]
    attacks = {c.attack for c in shown if c.attack}
    if not shown:
        return []
    plain = [c for c in conditions if c.defense is None and (c.name == CLEAN or c.attack in attacks)]
    seconds = {c.defense: c.seconds for c in shown if c.attack is None}
    return [_row(run, c, seconds.get(c.defense) if c.defense else None) for c in [*plain, *shown]]


def _row(run: Run, c: ConditionResult, seconds: float | None) -> list[Cell]:
    each = None if seconds is None else seconds / max(1, len(c.logits))
    attacker = "" if c.attack is None else "adaptive" if c.adaptive else "static"
    attack = "none" if c.attack is None else f"{c.attack.partition('(')[0]}, eps {eps_in_words(c.eps, c.norm)}"
    return [
        name_cell(run),
        Cell(in_words(c.defense) if c.defense else "none", c.defense or ""),
        Cell(attack, attack),
        Cell(attacker or "nobody", attacker),
        cell(metric(c, *AUCS)),
        cell(metric(c, *ACCURACIES)),
        Cell("") if each is None else Cell(number(each), each),
    ]
