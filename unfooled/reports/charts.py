"""Charts as Vega-Lite specifications, built and checked by Altair; colours are CSS variables of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from unfooled.reports.parts import Look

Rows = Sequence[Mapping[str, Any]]
Spec = dict[str, Any]
FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
CONFIG: Spec = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "padding": 4,
    "axis": {
        "labelColor": "var(--muted)", "titleColor": "var(--muted)", "gridColor": "var(--grid)",
        "domainColor": "var(--line)", "tickColor": "var(--line)", "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": 500, "labelLimit": 130, "titlePadding": 8, "labelOverlap": True, "labelFlush": False,
    },
    "text": {"color": "var(--ink)"},
}  # fmt: skip
QUIET = "var(--muted)"
DATA = alt.NamedData("rows")
UNIT = alt.Scale(domain=[0, 1])


def _spec(chart: alt.LayerChart | alt.FacetChart, rows: Rows, **more: Any) -> Spec:
    """The checked specification with its data: Altair checks it without the rows, which would take seconds."""
    spec: Spec = chart.properties(data=DATA, width="container", **more).to_dict()
    # The page carries one config for all charts, and needs no address of a schema.
    for key in ("$schema", "config"):
        spec.pop(key, None)
    # JSON knows no infinity and no NaN.
    clean = [{k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in r.items()} for r in rows]
    return spec | {"datasets": {**spec.get("datasets", {}), DATA.name: clean}}


def _colour(looks: Mapping[str, Look], field: str = "run") -> alt.Color:
    scale = alt.Scale(domain=list(looks), range=[look.colour for look in looks.values()])
    return alt.Color(f"{field}:N", scale=scale, legend=None)


def _dash(looks: Mapping[str, Look], field: str = "run") -> alt.StrokeDash:
    scale = alt.Scale(domain=list(looks), range=[list(look.dash) for look in looks.values()])
    return alt.StrokeDash(f"{field}:N", scale=scale, legend=None)


def _shape(looks: Mapping[str, Look], field: str = "run") -> alt.Shape:
    scale = alt.Scale(domain=list(looks), range=[look.shape for look in looks.values()])
    return alt.Shape(f"{field}:N", scale=scale, legend=None)


def _tips(*fields: tuple[str, str]) -> list[alt.Tooltip]:
    return [alt.Tooltip(f, title=t, format=".3f") if f.endswith(":Q") else alt.Tooltip(f, title=t) for f, t in fields]


def overview(rows: Rows, looks: Mapping[str, Look]) -> Spec:
    """Clean and attacked AUC of every run on one line; rows: run, clean, attacked (and low, high of both)."""
    base = alt.Chart().encode(y=alt.Y("run:N", sort=list(looks), title=None, axis=alt.Axis(grid=False)))
    axis = alt.X("clean:Q", scale=UNIT, title="AUC", axis=alt.Axis(tickCount=10))
    chance = alt.Chart(alt.InlineData(values=[{"x": 0.5}])).mark_rule(color=QUIET, strokeDash=[3, 3]).encode(x="x:Q")
    fall = base.mark_rule(strokeWidth=3, opacity=0.35).encode(x=axis, x2="attacked:Q", color=_colour(looks))
    tips = _tips(("run:N", "run"), ("clean:Q", "clean AUC"), ("attacked:Q", "AUC under attack"))
    clean = base.mark_point(size=130, filled=False, strokeWidth=2.5).encode(x=axis, color=_colour(looks), tooltip=tips)
    attacked = base.mark_point(size=150, filled=True, opacity=1).encode(
        x="attacked:Q", color=_colour(looks), tooltip=tips
    )
    ranges = [
        base.mark_rule(strokeWidth=1.5).encode(x=f"{name}_low:Q", x2=f"{name}_high:Q", color=_colour(looks))
        for name in ("clean", "attacked")
    ]
    return _spec(alt.layer(chance, fall, *ranges, clean, attacked), rows, height=36 * len({row["run"] for row in rows}))


def roc(rows: Rows, looks: Mapping[str, Look]) -> Spec:
    """ROC curves; rows: run, fpr, tpr, in the order of the curve."""
    chance = (
        alt.Chart(alt.InlineData(values=[{"fpr": 0, "tpr": 0}, {"fpr": 1, "tpr": 1}]))
        .mark_line(color=QUIET, strokeDash=[3, 3], strokeWidth=1)
        .encode(x="fpr:Q", y="tpr:Q")
    )
    curves = (
        alt.Chart()
        .mark_line(strokeWidth=2.2, clip=True)
        .encode(
            x=alt.X("fpr:Q", scale=UNIT, title="reals called fake (false alarms)"),
            y=alt.Y("tpr:Q", scale=UNIT, title="fakes found"),
            color=_colour(looks), strokeDash=_dash(looks), order="step:Q",
            tooltip=_tips(("run:N", "run"), ("fpr:Q", "false alarms"), ("tpr:Q", "fakes found")),
        )
    )  # fmt: skip
    return _spec(alt.layer(chance, curves), rows, height=300)


def over(
    rows: Rows,
    looks: Mapping[str, Look],
    x: str,
    y: str,
    *,
    chance: bool = False,
    unit: bool = True,
    whole: bool = False,
) -> Spec:
    """Lines over a number with intervals as bands; rows: run, x, y, low, high.

    Args:
        rows: what to draw.
        looks: colour, dash and shape by run.
        x, y: titles of the axes.
        chance: mark 0.5.
        unit: y spans [0, 1].
        whole: x counts, so its ticks are whole numbers.
    """
    places = sorted({row["x"] for row in rows})
    ticks = alt.Axis(grid=False, format="~g", tickMinStep=1 if whole else 0)
    if len(places) <= 12 and not whole:
        ticks.values = places
    span = alt.Scale(nice=False, zero=not whole, padding=6 if whole else 0)
    base = alt.Chart().encode(
        x=alt.X("x:Q", title=x, axis=ticks, scale=span),
        color=_colour(looks),
    )
    scale = UNIT if unit else alt.Scale(zero=False)
    parts: list[alt.Chart] = []
    if chance:
        half = alt.Chart(alt.InlineData(values=[{"y": 0.5}]))
        parts.append(half.mark_rule(color=QUIET, strokeDash=[3, 3]).encode(y="y:Q"))
    if any(row.get("low") is not None for row in rows):
        parts.append(base.mark_area(opacity=0.14).encode(y=alt.Y("low:Q", scale=scale, title=y), y2="high:Q"))
    line = base.encode(y=alt.Y("y:Q", scale=scale, title=y), tooltip=_tips(("run:N", "run"), ("x:Q", x), ("y:Q", y)))
    parts.append(line.mark_line(strokeWidth=2.2).encode(strokeDash=_dash(looks)))
    if len({row["x"] for row in rows}) <= 30:
        parts.append(line.mark_point(size=45, filled=True, opacity=1).encode(shape=_shape(looks)))
    return _spec(alt.layer(*parts), rows, height=260)


def bars(rows: Rows, looks: Mapping[str, Look]) -> Spec:
    """Bars of AUC by group, one a run, with intervals; rows: group, run, y, low, high."""
    base = alt.Chart().encode(
        y=alt.Y("group:N", title=None, sort=None, axis=alt.Axis(grid=False), scale=alt.Scale(paddingInner=0.3)),
        yOffset=alt.YOffset("run:N", sort=list(looks)),
    )
    chance = alt.Chart(alt.InlineData(values=[{"x": 0.5}])).mark_rule(color=QUIET, strokeDash=[3, 3]).encode(x="x:Q")
    tips = _tips(("group:N", "group"), ("run:N", "run"), ("y:Q", "AUC"), ("low:Q", "from"), ("high:Q", "to"))
    bar = base.mark_bar(cornerRadiusEnd=2).encode(
        x=alt.X("y:Q", scale=UNIT, title="AUC"), color=_colour(looks), tooltip=tips
    )
    reach = base.mark_rule(color="var(--ink)", strokeWidth=1.2).encode(x="low:Q", x2="high:Q")
    groups = {row["group"] for row in rows}
    height = len(groups) * (12 + len(looks) * max(9, 20 - len(looks)))
    return _spec(alt.layer(bar, reach, chance), rows, height=height)


def plane(rows: Rows, reach: tuple[float, float, float, float], arrows: bool) -> Spec:
    """Features in two dimensions; rows: class, x, y, and with ``arrows`` the clean place x0, y0.

    Args:
        rows: one a sample.
        reach: smallest and largest x, smallest and largest y: shared by the panels of one run.
        arrows: draw the way from the clean place to x, y.
    """
    bare = alt.Axis(labels=False, ticks=False, grid=True, tickCount=5)
    x, y = alt.Scale(domain=list(reach[:2]), nice=False), alt.Scale(domain=list(reach[2:]), nice=False)
    base = alt.Chart().encode(
        color=alt.Color(
            "class:N", scale=alt.Scale(domain=["real", "fake"], range=["var(--real)", "var(--fake)"]), legend=None
        )
    )
    parts: list[alt.Chart] = []
    if arrows:
        way = base.mark_rule(strokeWidth=1, opacity=0.3, clip=True)
        parts.append(way.encode(x=alt.X("x0:Q", scale=x), y=alt.Y("y0:Q", scale=y), x2="x:Q", y2="y:Q"))
    shape = alt.Shape("class:N", scale=alt.Scale(domain=["real", "fake"], range=["circle", "triangle-up"]), legend=None)
    parts.append(
        base.mark_point(size=34, filled=True, opacity=0.75, clip=True).encode(
            x=alt.X("x:Q", scale=x, axis=bare, title="first direction"),
            y=alt.Y("y:Q", scale=y, axis=bare, title="second direction"),
            shape=shape, tooltip=_tips(("class:N", "class"), ("group:N", "made by")),
        )
    )  # fmt: skip
    return _spec(alt.layer(*parts), rows, height=280)


def matrix(rows: Rows, sources: Sequence[str], targets: Sequence[str]) -> Spec:
    """A number for each pair, the darker the lower; rows: made, run, y in [0, 1], text."""
    base = alt.Chart().encode(
        x=alt.X("run:N", sort=list(targets), title="tried on", axis=alt.Axis(orient="top", labelAngle=0)),
        y=alt.Y("made:N", sort=list(sources), title="made on"),
    )
    tips = _tips(("made:N", "made on"), ("run:N", "tried on"), ("y:Q", "robust AUC"))
    shade = alt.Opacity("y:Q", scale=alt.Scale(domain=[0, 1], range=[0.75, 0.05]), legend=None)
    squares = base.mark_rect(color="var(--c1)", cornerRadius=3).encode(opacity=shade, tooltip=tips)
    numbers = base.mark_text(fontSize=13).encode(text="text:N")
    return _spec(alt.layer(squares, numbers), rows, height=44 * len(sources))


def climbing(rows: Rows, looks: Mapping[str, Look], x: str, y: str) -> Spec:
    """Shares that rise in steps over a count, drawn over its logarithm; rows: run, x >= 1, y."""
    line = alt.Chart().mark_line(strokeWidth=2.2, interpolate="step-after")
    steps = line.encode(
        x=alt.X("x:Q", title=x, scale=alt.Scale(type="log", nice=False), axis=alt.Axis(grid=False, format="~s")),
        y=alt.Y("y:Q", title=y, scale=UNIT),
        color=_colour(looks), strokeDash=_dash(looks), tooltip=_tips(("run:N", "run"), ("x:Q", x), ("y:Q", y)),
    )  # fmt: skip
    return _spec(alt.layer(steps), rows, height=260)


def tradeoff(rows: Rows, looks: Mapping[str, Look], x: str, y: str) -> Spec:
    """A point for each run with its two intervals; rows: run, x, x_low, x_high, y, y_low, y_high."""
    few = alt.Axis(tickCount=5)
    axes = {
        "x": alt.X("x:Q", title=x, scale=alt.Scale(zero=False, padding=12), axis=few),
        "y": alt.Y("y:Q", title=y, scale=alt.Scale(zero=False, padding=12)),
    }
    base = alt.Chart().encode(color=_colour(looks))
    tips = _tips(("run:N", "run"), ("x:Q", x), ("y:Q", y))
    across = base.mark_rule(strokeWidth=1.5).encode(x=alt.X("x_low:Q", title=x, axis=few), x2="x_high:Q", y=axes["y"])
    along = base.mark_rule(strokeWidth=1.5).encode(x=axes["x"], y=alt.Y("y_low:Q", title=y), y2="y_high:Q")
    points = base.mark_point(size=130, filled=True, opacity=1).encode(**axes, shape=_shape(looks), tooltip=tips)
    names = base.mark_text(align="left", dx=9, dy=-9, fontSize=12).encode(**axes, text="run:N")
    return _spec(alt.layer(across, along, points, names), rows, height=300)
