"""The evidence of one file (or some) as a single HTML page that asks nothing of the network."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jinja2
from markupsafe import Markup

from unfooled.scanning import meaning
from unfooled.scanning.timeline import COLOURS, clock, drawn, timeline
from unfooled.scanning.verdict import Scan, Telling, Track

HERE = Path(__file__).parent
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#005a8e"/>'
    '<circle cx="16" cy="16" r="8" fill="none" stroke="#fff" stroke-width="3"/>'
    '<circle cx="16" cy="16" r="3" fill="#e69f00"/></svg>'
)


@dataclass(frozen=True)
class Frame:
    """A telling frame: its pictures as data URIs."""

    clock: str
    frame: int
    percent: str
    crop: str
    saliency: str


@dataclass(frozen=True)
class Face:
    """A track as the page shows it."""

    track: Track
    colour: int
    percent: str
    span: str
    frames: list[Frame]


def render(scans: Sequence[Scan], folders: Sequence[Path | None]) -> str:
    """The page of one or more scans, pictures inside; equal scans and pictures give equal bytes.

    Args:
        scans: at least one, shown in this order.
        folders: of each, where its evidence lies; None: without pictures.
    """
    return _template().render(
        title=scans[0].file if len(scans) == 1 else f"{len(scans)} files",
        files=[(scan, _faces(scan, folder)) for scan, folder in zip(scans, folders, strict=True)],
        icon="data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode(),
        css=Markup((HERE / "scan.css").read_text(encoding="utf-8")),
    )


@cache
def _template() -> jinja2.Template:
    """Compiled once: that takes longer than a page."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    environment.globals.update(
        meaning=meaning, clock=clock, timeline=lambda scan: Markup(timeline(scan)), percent=percent, number=number
    )
    return environment.get_template("scan.html")


def percent(probability: float) -> str:
    """``93 %``; never 0 or 100, which no detector can say."""
    value = 100 * probability
    if value < 1 or value > 99:
        return "below 1 %" if value < 1 else "above 99 %"
    return f"{value:.0f} %"


def number(value: float) -> str:
    """Two decimals, more where the value is small."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def _faces(scan: Scan, folder: Path | None) -> list[Face]:
    colours = {t.id: number % COLOURS for number, t in enumerate(drawn(scan))}
    return [
        Face(
            t,
            colours.get(t.id, COLOURS - 1),
            percent(t.probability),
            f"{clock(t.start)} to {clock(t.stop)}",
            [frame for told in t.telling if (frame := _frame(t, told, folder)) is not None],
        )
        for t in scan.tracks
    ]


def _frame(track: Track, told: Telling, folder: Path | None) -> Frame | None:
    if folder is None or told.crop is None or told.saliency is None:
        return None
    point = next(p for p in track.points if p.frame == told.frame)
    return Frame(
        clock(told.time), told.frame, percent(point.probability), _uri(folder / told.crop), _uri(folder / told.saliency)
    )


def _uri(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
