"""The sections that chart results: overview, ROC, over eps, by manipulation and collection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from unfooled.reports import charts
from unfooled.reports.curves import roc
from unfooled.reports.parts import Cell, Column, Figure, Group, Key, Section, Table, number
from unfooled.reports.reading import (
    CLEAN,
    Run,
    auc,
    conditions,
    eps_in_words,
    family,
    in_words,
    looks,
    metric,
    one_of_each,
    value,
)
from unfooled.results import ConditionResult, Metric

ROC_PANELS = 6
MEAN = "macro"
FPRS = (0.01, 0.05, 0.1, 0.2, 0.5)
RUN = Column("Run", "text")
EPS_SCALES = {"l0": (1, "changed pixels"), "l2": (1, "length of the change")}
"""How a radius is drawn, by norm: its factor and unit; Linf in 1/255."""


def legend(runs: Sequence[Run], marked: bool = False) -> tuple[Key, ...]:
    return tuple(Key.line(run.name, run.look, marked) for run in runs)


def swatches(runs: Sequence[Run]) -> tuple[Key, ...]:
    return tuple(Key.point(run.name, run.look.colour, "square") for run in runs)


def text(v: float | None) -> str:
    return "n/a" if v is None else number(v)


def number_cell(v: float | None) -> Cell:
    return Cell("") if v is None else Cell(number(v), v)


def _metric_cell(m: Metric | None) -> Cell:
    return number_cell(value(m)) if m is None or m.value is None else Cell(number(m.value), m.value, m.low, m.high)


def _run_cell(run: Run) -> Cell:
    return Cell(run.name, run.name, colour=run.look.index)


def overview(runs: Sequence[Run], attack: str | None) -> Group:
    """Clean and attacked AUC of every run on one line."""
    rows, cells, words = [], [], []
    for run in runs:
        clean, attacked = auc(run.clean), auc(run.condition(attack))
        if clean is None and attacked is None:
            continue
        row: dict[str, Any] = {"run": run.name}
        for name, m in (("clean", clean), ("attacked", attacked)):
            row |= {name: value(m), f"{name}_low": m.low if m else None, f"{name}_high": m.high if m else None}
        rows.append(row)
        cells.append([_run_cell(run), _metric_cell(clean), _metric_cell(attacked)])
        words.append(f"{run.name}: {text(value(clean))} clean, {text(value(attacked))} attacked")
    if not rows:
        return Group()
    under = in_words(attack) if attack else "no attack"
    table = Table("AUC of every run, with 95 % intervals", (RUN, Column("Clean"), Column("Attacked")), cells)
    figure = Figure(
        "overview", f"From clean to attacked ({under})", charts.overview(rows, looks(runs)),
        f"AUC of every run, clean and under {under}. {'. '.join(words)}.", table,
        "Open circle: faces as they are. Full circle: the same faces after the attack. 1: perfect; 0.5 (dashed): "
        "guessing; 0: always wrong.", True,
    )  # fmt: skip
    return Group(figures=(figure,))


def roc_section(runs: Sequence[Run]) -> Section | None:
    """ROC curves: one panel clean, one for each attack."""
    names = [CLEAN, *one_of_each(runs)]
    figures = [f for i, name in enumerate(names[: ROC_PANELS + 1]) if (f := _roc_panel(runs, name, f"roc-{i}"))]
    if not figures:
        return None
    hidden = len(conditions(runs)) - len(names[1 : ROC_PANELS + 1])
    notes = (
        (f"{hidden} more attacks are not drawn here; their numbers are in the table of every attack.",)
        if hidden
        else ()
    )
    return Section(
        "roc", "ROC curves", "Detection against false alarms",
        "Each curve shows how many fakes are found (upwards) for a given share of false alarms on real faces (to the "
        "right). A curve that hugs the upper left corner is good; the dashed diagonal is guessing; a curve below it "
        "means that the attacker has turned the detector's judgement around.",
        groups=(Group("", legend(runs), tuple(figures)),), notes=notes,
    )  # fmt: skip


def _roc_panel(runs: Sequence[Run], name: str, key: str) -> Figure | None:
    rows, cells, words = [], [], []
    for run in runs:
        condition = run.condition(name)
        points = roc(condition.logits, run.evaluation.samples.label) if condition else []
        if not points:
            continue
        rows += [
            {"run": run.name, "fpr": round(x, 5), "tpr": round(y, 5), "step": i} for i, (x, y) in enumerate(points)
        ]
        found = value(auc(condition))
        reached = [max(y for x, y in points if x <= q) for q in FPRS]
        cells.append([_run_cell(run), number_cell(found), *map(number_cell, reached)])
        words.append(f"{run.name}: AUC {text(found)}, finds {reached[2]:.0%} of the fakes at 10 % false alarms")
    if not rows:
        return None
    title = "Clean" if name == CLEAN else f"Attacked: {in_words(name)}"
    columns = (RUN, Column("AUC"), *(Column(f"Fakes found at {q:.0%} false alarms") for q in FPRS))
    alt = f"ROC curves, {title}. {'. '.join(words)}."
    return Figure(key, title, charts.roc(rows, looks(runs)), alt, Table(f"ROC, {title}", columns, cells))


def eps_section(runs: Sequence[Run]) -> Section | None:
    """Robust AUC and accuracy over eps, one pair of panels for every attack that was run with several eps."""
    families: dict[tuple[str, str], dict[str, list[ConditionResult]]] = {}
    for run in runs:
        for c in run.attacks:
            if c.eps is not None:
                families.setdefault((family(c), c.norm or ""), {}).setdefault(run.name, []).append(c)
    groups = []
    for i, ((attack, norm), by_run) in enumerate(families.items()):
        if len({c.eps for found in by_run.values() for c in found} - {0.0}) < 2:
            continue
        figures = [
            f for kind in ("auc", "accuracy") if (f := _eps_panel(runs, by_run, attack, norm, kind, f"eps-{i}-{kind}"))
        ]
        groups.append(
            Group(f"{attack} ({norm.capitalize()})" if norm else attack, legend(runs, marked=True), tuple(figures))
        )
    if not groups:
        return None
    return Section(
        "eps", "Strength of attack", "As the attacker may change more",
        "eps is how far each pixel may move: at 1/255 or 2/255 no person sees it, at 8/255 it looks like faint noise. "
        "A detector that was never defended drops at once; a robust one bends slowly. Every honest curve ends near 0: "
        "one that stays up at a large eps says that the attack failed to find the weakness, not that there is none.",
        groups=tuple(groups),
    )  # fmt: skip


def _eps_panel(
    runs: Sequence[Run], by_run: dict[str, list[ConditionResult]], attack: str, norm: str, kind: str, key: str
) -> Figure | None:
    rows, cells, words = [], [], []
    scale, unit = EPS_SCALES.get(norm, (255, "in 1/255 of the pixel range"))
    for run in runs:
        attacked = sorted(by_run.get(run.name, []), key=lambda c: c.eps or 0.0)
        start = [run.clean] if run.clean and attacked and attacked[0].eps != 0 else []
        path = []
        for c in [*start, *attacked]:
            m = auc(c) if kind == "auc" else metric(c, "accuracy" if c is run.clean else "accuracy_adv")
            if m is None or m.value is None:
                continue
            eps = 0.0 if c is run.clean else c.eps or 0.0
            rows.append({"run": run.name, "x": round(eps * scale, 4), "y": m.value, "low": m.low, "high": m.high})
            cells.append([_run_cell(run), Cell(eps_in_words(eps, norm), eps), _metric_cell(m)])
            path.append(f"{text(m.value)} at {eps_in_words(eps, norm)}")
        if path:
            words.append(f"{run.name}: {', '.join(path)}")
    if not rows:
        return None
    y = "AUC, both attacked" if kind == "auc" else "accuracy under attack"
    x = f"eps ({unit})"
    spec = charts.over(rows, looks(runs), x, y, chance=kind == "auc")
    table = Table(f"{y} over eps, {attack}", (RUN, Column("eps"), Column(y)), cells)
    return Figure(key, y[0].upper() + y[1:], spec, f"{y} over eps under {attack}. {'. '.join(words)}.", table)


def group_section(runs: Sequence[Run], attack: str | None, kind: str) -> Section | None:
    """Bars of AUC by manipulation or by collection: clean, and under the attack of the summary."""
    figures = [
        f
        for name in (CLEAN, attack)
        if name and (f := _bar_panel(runs, name, kind, f"{kind}-{'clean' if name == CLEAN else 'attacked'}"))
    ]
    if not figures:
        return None
    if kind == "manipulation":
        short, title = "Manipulations", "By the method that made the fakes"
        meaning = (
            "Fakes are made in different ways, and a detector may know one and miss another. Each bar compares the "
            "real faces with the fakes of one method. The weakest bar is what a forger would choose."
        )
    else:
        short, title = "Collections", "By where the pictures come from"
        meaning = (
            "Pictures of one source share camera and compression. A detector that does well in one collection only has "
            "perhaps learned the source and not the forgery."
        )
    return Section(kind, short, title, meaning, groups=(Group("", swatches(runs), tuple(figures)),))


def _bar_panel(runs: Sequence[Run], name: str, kind: str, key: str) -> Figure | None:
    rows, cells, words = [], [], []
    found = [(run, c) for run in runs if (c := run.condition(name))]
    groups = dict.fromkeys(g for _, c in found for g in _groups(c.metrics, kind))
    if len(groups) < (1 if kind == "manipulation" else 2):
        return None
    for group in groups:
        label = "mean of all" if group == MEAN else group
        row = [Cell(label, label)]
        for run in runs:
            c = run.condition(name)
            m = metric(c, f"{kind}/{group}/auc")
            row.append(_metric_cell(m))
            if m is not None and m.value is not None:
                rows.append({"group": label, "run": run.name, "y": m.value, "low": m.low, "high": m.high})
        cells.append(row)
        words.append(
            f"{group}: " + ", ".join(f"{run.name} {c.text or 'n/a'}" for run, c in zip(runs, row[1:], strict=True))
        )
    if not rows:
        return None
    title = "Clean" if name == CLEAN else f"Attacked: {in_words(name)}"
    table = Table(
        f"AUC by {kind}, {title}", (Column(kind.capitalize(), "text"), *(Column(r.name) for r in runs)), cells
    )
    return Figure(key, title, charts.bars(rows, looks(runs)), f"AUC by {kind}, {title}. {'. '.join(words)}.", table)


def _groups(names: Iterable[str], kind: str) -> list[str]:
    """``manipulation/FaceSwap/auc`` -> ``FaceSwap``; a group may have a slash in its own name; the mean comes last."""
    found = [
        n.removeprefix(f"{kind}/").removesuffix("/auc")
        for n in names
        if n.startswith(f"{kind}/") and n.endswith("/auc")
    ]
    return sorted(dict.fromkeys(found), key=lambda group: group == MEAN)
