"""What the world does to a picture: AUC over the level of each distortion, alone and after an attack."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unfooled.reports import charts
from unfooled.reports.figures import RUN, legend
from unfooled.reports.parts import Cell, Column, Figure, Group, Section, Table, number
from unfooled.reports.reading import CLEAN, Run, in_words, looks, metric
from unfooled.reports.tables import cell, name_cell
from unfooled.results import ConditionResult, Metric

THEN = " > "
ALL = "all"
TITLES = {
    "saturation": "Paler colours", "contrast": "Less contrast, darker", "blocks": "Grey blocks", "noise": "Noise",
    "blur": "Blur", "pixelation": "Pixelation", "h264": "Video compression",
}  # fmt: skip
AUCS = ("frame/auc", "robust/both/frame_auc", "robust/fakes_only/frame_auc", "robust/reals_only/frame_auc")

Levels = dict[int, ConditionResult]
Found = dict[str, dict[str, dict[str, Levels]]]
"""By attack (empty: none), by type of distortion, by run."""


def distortion_section(runs: Sequence[Run]) -> Section | None:
    """A panel for each distortion and a table of the means over its levels; None where nothing was distorted."""
    found: Found = {}
    where: set[str] = set()
    for run in runs:
        for c in run.evaluation.conditions:
            if c.series is None or c.level is None:
                continue
            attack, kind = _parted(c.series)
            found.setdefault(attack, {}).setdefault(kind, {}).setdefault(run.name, {})[c.level] = c
            where.add(c.applied_to or "samples")
    if not found:
        return None
    groups, tables = [], []
    for i, (attack, kinds) in enumerate(found.items()):
        order = [*(kind for kind in TITLES if kind in kinds), *(kind for kind in kinds if kind not in TITLES)]
        figures = [f for k in order if (f := _panel(runs, attack, k, kinds[k], f"distortion-{i}-{order.index(k)}"))]
        groups.append(Group(_title(attack), legend(runs, marked=True), tuple(figures)))
        if table := _means(runs, attack, order):
            tables.append(table)
    return Section(
        "distortions", "Distortions", "What the world does to a picture",
        "Pictures are blurred, darkened and compressed on their way, without anybody meaning harm. Each curve follows "
        "one such change from nothing (0) to its strongest level (5). A detector whose curve falls at once works in the"
        " laboratory only. After an attack, a curve that rises says that the change destroys the attack.",
        tables=tuple(tables), groups=tuple(groups),
        notes=("The levels are those of DeeperForensics-1.0, here applied to: " + ", ".join(sorted(where)) + ". The "
               "published protocol distorts whole frames before faces are cut out of them.",),
    )  # fmt: skip


def _parted(series: str) -> tuple[str, str]:
    attack, _, kind = series.rpartition(THEN)
    return attack, kind


def _title(attack: str) -> str:
    return f"Attacked ({in_words(attack)}), then distorted" if attack else "Distorted, nobody attacked"


def _panel(runs: Sequence[Run], attack: str, kind: str, by_run: Mapping[str, Levels], key: str) -> Figure | None:
    rows: list[dict[str, Any]] = []
    cells, words = [], []
    for run in runs:
        levels = by_run.get(run.name)
        if not levels:
            continue
        start = run.condition(attack or CLEAN)
        steps = [*([(0, start)] if start else []), *sorted(levels.items())]
        points = [(level, metric(c, *AUCS)) for level, c in steps]
        known = [(level, m) for level, m in points if m is not None and m.value is not None]
        rows += [{"run": run.name, "x": level, "y": m.value, "low": m.low, "high": m.high} for level, m in known]
        cells += [[name_cell(run), Cell(str(level), level), cell(m)] for level, m in points]
        if known:
            words.append(f"{run.name}: {', '.join(f'{number(m.value or 0.0)} at {level}' for level, m in known)}")
    if not rows:
        return None
    title = TITLES.get(kind, in_words(kind))
    spec = charts.over(rows, looks(runs), "level", "AUC", chance=True)
    table = Table(f"AUC over the level, {title.lower()}", (RUN, Column("Level"), Column("AUC")), cells)
    return Figure(key, title, spec, f"AUC over the level of {title.lower()}. {'. '.join(words)}.", table)


def _means(runs: Sequence[Run], attack: str, kinds: Sequence[str]) -> Table | None:
    before = f"{attack}{THEN}" if attack else ""
    means = {run.name: run.evaluation.level_means for run in runs}
    shown = [k for k in [*kinds, ALL] if any(before + k in means[run.name] for run in runs)]
    if not shown:
        return None
    columns = (
        RUN,
        Column("Undistorted", help="the same pictures before the distortion"),
        *(Column("Mean of all" if k == ALL else TITLES.get(k, in_words(k)), help="mean over the levels 1 to 5")
          for k in shown),
    )  # fmt: skip
    rows = []
    for run in runs:
        found = [_first(means[run.name].get(before + k, {})) for k in shown]
        if any(found):
            start = metric(run.condition(attack or CLEAN), *AUCS)
            rows.append([name_cell(run), cell(start), *(cell(m) for m in found)])
    return Table(f"{_title(attack)}: mean AUC over the five levels, with 95 % intervals.", columns, rows)


def _first(metrics: Mapping[str, Metric]) -> Metric | None:
    return next((metrics[name] for name in AUCS if name in metrics), None)
