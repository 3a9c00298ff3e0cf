"""The scores of a file over time as an SVG that needs no script: one line a face, and the two thresholds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

from unfooled.scanning.verdict import Scan, Track

WIDTH, HEIGHT = 860, 260
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 34
COLOURS = 8
MOST = 24
"""Lines that are drawn; those that look most fake."""


@dataclass(frozen=True)
class Axis:
    """From seconds and probabilities to places in the drawing."""

    start: float
    stop: float

    def x(self, time: float) -> float:
        """Pixels from the left; a file of one moment stands in the middle."""
        span = self.stop - self.start
        share = (time - self.start) / span if span > 0 else 0.5
        return round(LEFT + share * (WIDTH - LEFT - RIGHT), 1)

    def y(self, probability: float) -> float:
        """Pixels from the top."""
        return round(TOP + (1 - probability) * (HEIGHT - TOP - BOTTOM), 1)


def drawn(scan: Scan) -> list[Track]:
    """The tracks that the timeline shows, in order of time."""
    loud = {t.id for t in sorted(scan.tracks, key=lambda t: -t.logit)[:MOST]}
    return [t for t in scan.tracks if t.id in loud]


def timeline(scan: Scan) -> str:
    """The drawing; its numbers also stand in the table of the page."""
    tracks = drawn(scan)
    times = [p.time for t in tracks for p in t.points]
    axis = Axis(min(times, default=0.0), max(times, default=0.0))
    parts = [_zones(scan, axis), *_grid(axis)]
    parts += [_line(t, number % COLOURS, axis, len(tracks) > 1) for number, t in enumerate(tracks)]
    said = f"Calibrated probability of fake over time for {len(tracks)} face{'s' * (len(tracks) != 1)}"
    return (
        f'<svg class="timeline" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(said)}">'
        f"{''.join(parts)}</svg>"
    )


def clock(seconds: float) -> str:
    """``1:02.5`` of 62.5 seconds."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{int(minutes)}:{rest:04.1f}"


def _zones(scan: Scan, axis: Axis) -> str:
    low, high = axis.y(scan.thresholds.real_below), axis.y(scan.thresholds.fake_above)
    wide = WIDTH - LEFT - RIGHT
    shown = f'<rect class="fakezone" x="{LEFT}" y="{TOP}" width="{wide}" height="{max(0.0, high - TOP):.1f}"/>'
    bottom = HEIGHT - BOTTOM
    shown += f'<rect class="realzone" x="{LEFT}" y="{low}" width="{wide}" height="{max(0.0, bottom - low):.1f}"/>'
    for y in {low, high}:
        shown += f'<line class="limit" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
    return shown


def _grid(axis: Axis) -> Iterator[str]:
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        y = axis.y(share)
        yield f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>'
        yield f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{round(100 * share)} %</text>'
    if axis.stop > axis.start:
        for k in range(5):
            time = axis.start + k * (axis.stop - axis.start) / 4
            where = "start" if k == 0 else "end" if k == 4 else "middle"
            yield f'<text x="{axis.x(time)}" y="{HEIGHT - 10}" text-anchor="{where}">{clock(time)}</text>'


def _line(track: Track, colour: int, axis: Axis, named: bool) -> str:
    places = [(axis.x(p.time), axis.y(p.probability)) for p in track.points]
    path = " ".join(f"{x},{y}" for x, y in places)
    told = [f"face {track.id}, {clock(p.time)}: {100 * p.probability:.0f} %" for p in track.points]
    dots = "".join(
        f'<circle cx="{x}" cy="{y}" r="3.2"><title>{escape(text)}</title></circle>'
        for (x, y), text in zip(places, told, strict=True)
    )
    x, y = places[-1]
    side, shift = ("end", -6) if x > WIDTH - 60 else ("start", 6)
    label = f'<text class="name" x="{x + shift}" y="{y - 7}" text-anchor="{side}">{escape(track.id)}</text>'
    return f'<g class="c{colour}"><polyline points="{path}"/>{dots}{label if named else ""}</g>'
