"""The sections that look inside a detector: feature space and training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from unfooled.reports import charts
from unfooled.reports.curves import spread
from unfooled.reports.figures import number_cell
from unfooled.reports.parts import Cell, Column, Figure, Group, Key, Look, Section, Table
from unfooled.reports.reading import Run, in_words
from unfooled.results import ConditionResult

POINTS = 300
LOSSES, AUCS, COSINES = "Loss terms", "Validation", "Similarity of features"
UNITS = {LOSSES: "loss", AUCS: "AUC", COSINES: "cosine"}


def plane_section(runs: Sequence[Run]) -> Section | None:
    """Features in two dimensions, clean and attacked, with the way that the attack moved each face."""
    key = (Key.point("real", "var(--real)"), Key.point("fake", "var(--fake)", "triangle-up"))
    groups, thinned = [], False
    for run in runs:
        for c in run.attacks:
            if c.projection and c.projection.rows:
                thinned |= len(c.projection.rows) > POINTS
                groups.append(Group(run.name, key, _planes(run, c)))
                break
    if not groups:
        return None
    notes = ["The two directions are those in which a detector's features vary most; lengths differ between detectors."]
    if thinned:
        notes.append(f"{POINTS} faces are drawn of each detector.")
    return Section(
        "features", "Feature space", "How the detector sees the faces",
        "Every dot is a face, placed by what the detector computed from it. Left, real and fake faces should lie "
        "apart. Right, the same faces after the attack; thin lines show how far each was pushed. Where the colours "
        "change places, the attacker has won; where the dots hardly move, the detector holds.",
        groups=tuple(groups), notes=tuple(notes),
    )  # fmt: skip


def _planes(run: Run, c: ConditionResult) -> tuple[Figure, ...]:
    projection, samples = c.projection, run.evaluation.samples
    assert projection is not None
    places = projection.clean + projection.attacked
    xs, ys = [p[0] for p in places], [p[1] for p in places]
    margin = [0.05 * (max(v) - min(v)) or 1.0 for v in (xs, ys)]
    reach = (min(xs) - margin[0], max(xs) + margin[0], min(ys) - margin[1], max(ys) + margin[1])
    clean: list[dict[str, Any]] = []
    attacked: list[dict[str, Any]] = []
    cells = []
    shift: dict[str, list[float]] = {"real": [], "fake": []}
    for i in spread(len(projection.rows), POINTS):
        row, (x0, y0), (x, y) = projection.rows[i], projection.clean[i], projection.attacked[i]
        side = "fake" if samples.label[row] else "real"
        about = {"class": side, "group": samples.manipulation[row]}
        clean.append(about | {"x": round(x0, 4), "y": round(y0, 4)})
        attacked.append(about | {"x": round(x, 4), "y": round(y, 4), "x0": round(x0, 4), "y0": round(y0, 4)})
        shift[side].append(math.hypot(x - x0, y - y0))
    for side in shift:
        means = [
            sum(r[axis] for r in part if r["class"] == side) / max(1, len(shift[side]))
            for part in (clean, attacked)
            for axis in ("x", "y")
        ]
        moved = sum(shift[side]) / max(1, len(shift[side]))
        cells.append([Cell(side, side), Cell(str(len(shift[side]))), *map(number_cell, means), number_cell(moved)])
    columns = (
        Column("Class", "text"), Column("Faces"), Column("Mean x, clean"), Column("Mean y, clean"),
        Column("Mean x, attacked"), Column("Mean y, attacked"), Column("Mean way"),
    )  # fmt: skip
    table = Table(f"Feature space of {run.name}: where the classes lie", columns, cells)
    share = f"{projection.method.upper()}" + (
        f", {projection.explained:.0%} of the variance" if projection.explained else ""
    )
    stem = f"features-{run.look.index}"
    ways = ", ".join(f"{side} faces move {row[-1].text} on average" for side, row in zip(shift, cells, strict=True))
    return (
        Figure(f"{stem}-clean", "Clean", charts.plane(clean, reach, False),
               f"Features of {run.name} on clean faces, two dimensions; class means are in the table.", table, share),
        Figure(f"{stem}-attacked", f"Attacked: {in_words(c.name)}", charts.plane(attacked, reach, True),
               f"Features of {run.name} on attacked faces: {ways}.", table, share),
    )  # fmt: skip


def training_section(runs: Sequence[Run]) -> Section | None:
    """Training curves: loss terms, validation AUC and similarities of each run that brings them."""
    groups = [g for run in runs if (g := _training(run))]
    if not groups:
        return None
    return Section(
        "training", "Training", "How the detectors learned",
        "Left, the terms that training makes small; right, how well the detector did on faces kept aside while it "
        "learned. A loss that falls while validation stays flat is learning by heart, or learning the wrong thing.",
        groups=tuple(groups),
    )  # fmt: skip


def _training(run: Run) -> Group | None:
    records = run.evaluation.training or []
    keys = dict.fromkeys(
        k for r in records for k, v in r.items() if isinstance(v, float | int) and not isinstance(v, bool)
    )
    aside = {
        "epoch",
        "eps",
        "lr",
        "seconds",
        "step",
        "steps",
        "epoch_seconds",
        "images_per_second",
        "grad_norm",
        "score",
    }
    panels = {
        LOSSES: [k for k in keys if k not in aside and not k.startswith(("cos_", "val", "lr"))],
        AUCS: [k for k in keys if k.startswith("val") and "auc" in k],
        COSINES: [k for k in keys if k.startswith("cos_")],
    }
    figures: list[Figure] = []
    key: dict[str, Key] = {}
    for i, (title, names) in enumerate(panels.items()):
        lines = {n: Look(sum(len(p) for p in list(panels.values())[:i]) + j) for j, n in enumerate(names)}
        series = [
            {"run": n, "x": r.get("epoch", e), "y": float(r[n])}
            for n in names
            for e, r in enumerate(records)
            if isinstance(r.get(n), float | int)
        ]
        if not series:
            continue
        key |= {n: Key.line(n.replace("_", " "), look, marked=True) for n, look in lines.items()}
        spec = charts.over(series, lines, "epoch", UNITS[title], unit=title == AUCS, whole=True)
        rows = [
            [
                Cell(str(r.get("epoch", e))),
                *(number_cell(float(r[n]) if isinstance(r.get(n), float | int) else None) for n in names),
            ]
            for e, r in enumerate(records)
        ]
        ends = ", ".join(f"{n} from {row0.text or 'n/a'} to {row1.text or 'n/a'}"
                         for n, row0, row1 in zip(names, rows[0][1:], rows[-1][1:], strict=True))  # fmt: skip
        table = Table(f"{title} of {run.name} by epoch", (Column("Epoch", "text"), *(Column(n) for n in names)), rows)
        alt = f"{title} of {run.name} over {len(records)} epochs: {ends}."
        figures.append(Figure(f"training-{run.look.index}-{i}", title, spec, alt, table))
    return Group(run.name, tuple(key.values()), tuple(figures)) if figures else None
