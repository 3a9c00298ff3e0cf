"""Faces followed through a video: one track for one person in one shot, of boxes and never of pixels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from unfooled.data.ahead import Ahead
from unfooled.data.faces import Box, Face, FaceDetector, intersection_over_union
from unfooled.data.images import Pixels
from unfooled.errors import ConfigError

# (256, 8) share of a pixel value in each level: at even steps of the root, so that two dark scenes do not fall into one
# level, and split between the nearest two, so that a little more light is a little difference.
_LEVELS = np.clip(1 - np.abs(7 * np.sqrt(np.arange(256) / 255)[:, None] - np.arange(8)), 0, 1)


class TimedPicture(Protocol):
    """A decoded frame: what following needs of it."""

    @property
    def index(self) -> int:
        """Its place in the file, from 0."""

    @property
    def time(self) -> float:
        """When it is shown, seconds."""

    @property
    def pixels(self) -> Pixels:
        """(H, W, 3) RGB."""


@dataclass(frozen=True, eq=False, slots=True)
class Sighting:
    """A face in one frame of its track.

    Args:
        index: of the frame.
        time: of the frame, seconds.
        face: smoothed over the neighbouring frames.
        seen: whether the detector saw it in this frame; False: it was not asked or missed it, and the box lies on the
            line between the sightings before and after.
    """

    index: int
    time: float
    face: Face
    seen: bool


@dataclass(frozen=True, eq=False, slots=True)
class Track:
    """One face from its first to its last frame in one shot, without a hole.

    Args:
        id: "0", "1", ... by first frame, then from left to right.
        sightings: one for every frame between.
    """

    id: str
    sightings: tuple[Sighting, ...]


def follow(
    frames: Iterable[TimedPicture],
    detector: FaceDetector,
    *,
    every: int = 1,
    gap: float = 0.5,
    overlap: float = 0.3,
    sure: float = 0.7,
    shortest: int = 5,
    smooth: int = 7,
    cut: float = 0.2,
    threads: int = 0,
) -> list[Track]:
    """The tracks of all faces; a face that is lost for longer than ``gap``, or across a cut, begins a new one.

    Reads the frames once and keeps ``2 + 2 * threads`` at most, so that memory grows by boxes alone.

    Args:
        frames: in the order in which they are shown.
        detector: see ``faces.face_detector``.
        every: the detector looks at every so manieth frame, and at the first and last of each shot; 1 = all.
        gap: seconds, from the first look that misses a face to the one that finds it again, up to which it is still the
            same track; 0 = ends with the first miss.
        overlap: in (0, 1]; IoU with the place where a track is expected from which a face belongs to it.
        sure: in [0, 1]; a track whose surest sighting scores less is dropped; 0 keeps all.
        shortest: frames; a shorter track is dropped.
        smooth: frames of the moving average over boxes and landmarks, centred, so that it does not lag; narrower
            towards the ends of a track; 1 = as detected.
        cut: in (0, 1]; a new shot begins where the colours of two neighbouring frames, region by region, differ by
            more; 1 = never. The clips that it was set on: .30 and more at cuts, .11 and less elsewhere.
        threads: that look for faces while the next frames are decoded; the tracks are the same. 0: none, one after the
            other.

    Raises:
        ConfigError: an option is out of its range.

    Source: association of boxes by IoU as in Bochinski et al. 2017, doi:10.1109/AVSS.2017.8078516. Deviations: pairs
    are taken from the highest IoU of all pairs down; a track is expected where its motion of the last quarter of a
    second leads, which parts people who cross, else where it was last; gaps are bridged.
    """
    _check(every, gap, overlap, sure, shortest, smooth, cut)
    shots = [_Shot(gap, overlap)]

    def look_at(frame: TimedPicture) -> None:
        ahead.call(detector, frame.pixels, partial(shots[-1].add, len(shots[-1].times) - 1))

    held: TimedPicture | None = None
    before, since, looked = None, 0, True
    with Ahead(threads) as ahead:
        for frame in frames:
            colours = _colours(frame.pixels)
            if before is not None and _difference(before, colours) > cut:
                if held is not None and not looked:
                    look_at(held)
                shots.append(_Shot(gap, overlap))
                since = 0
            looked = since % every == 0
            shots[-1].times.append((frame.index, frame.time))
            if looked:
                look_at(frame)
            held, before, since = frame, colours, since + 1
        if held is not None and not looked:
            look_at(held)
    found = [path for shot in shots for path in (*shot.ended, *shot.active)]
    tracks = [_sightings(path, smooth) for path in found if max(f.score for _, f in path.faces) >= sure]
    kept = sorted((t for t in tracks if len(t) >= shortest), key=lambda t: (t[0].index, t[0].face.box))
    return [Track(str(n), sightings) for n, sightings in enumerate(kept)]


@dataclass
class _Path:
    """The faces of one track as they were detected, each with the frame's place in its shot."""

    times: list[tuple[int, float]]
    faces: list[tuple[int, Face]] = field(default_factory=list)
    missed: float | None = None

    def last(self) -> Box:
        return self.faces[-1][1].box

    def expected(self, time: float) -> Box:
        """Where the face is at ``time`` if it goes on as in the last quarter of a second."""
        place, face = self.faces[-1]
        now = self.times[place][1]
        recent = [(p, f) for p, f in self.faces[-8:] if now - self.times[p][1] <= 0.25]
        first, then = recent[0]
        passed = now - self.times[first][1]
        if passed <= 0:
            return face.box
        moved = (np.array(face.box) - then.box) / passed * (time - now)
        # The centre moves on; a change of size is mostly noise and would grow without end.
        shift = (moved[:2] + moved[2:]) / 2
        x0, y0, x1, y1 = (float(v) for v in np.array(face.box) + np.tile(shift, 2))
        return x0, y0, x1, y1


@dataclass
class _Shot:
    """The tracks between two cuts."""

    gap: float
    overlap: float
    times: list[tuple[int, float]] = field(default_factory=list)
    active: list[_Path] = field(default_factory=list)
    ended: list[_Path] = field(default_factory=list)

    def add(self, place: int, faces: list[Face]) -> None:
        """The faces of frame ``place`` of the shot: each goes to a track that is still alive, or begins one."""
        _, now = self.times[place]
        lost = [p.missed is not None and now - p.missed > self.gap for p in self.active]
        self.ended += [p for p, gone in zip(self.active, lost, strict=True) if gone]
        self.active = [p for p, gone in zip(self.active, lost, strict=True) if not gone]
        free, waiting = list(range(len(faces))), list(range(len(self.active)))
        for boxes in ([p.expected(now) for p in self.active], [p.last() for p in self.active]):
            pairs = _pairs([boxes[t] for t in waiting], [faces[f].box for f in free], self.overlap)
            for track, face in [(waiting[t], free[f]) for t, f in pairs]:
                self.active[track].faces.append((place, faces[face]))
                self.active[track].missed = None
                waiting.remove(track)
                free.remove(face)
        for path in (self.active[t] for t in waiting):
            path.missed = now if path.missed is None else path.missed
        self.active += [_Path(self.times, [(place, faces[f])]) for f in free]


def _pairs(tracks: list[Box], faces: list[Box], overlap: float) -> list[tuple[int, int]]:
    """(track, face) pairs with an IoU of ``overlap`` and more, from the highest down, each used once."""
    if not tracks or not faces:
        return []
    scores = intersection_over_union(np.array(tracks), np.array(faces))
    chosen: list[tuple[int, int]] = []
    for flat in np.argsort(-scores, axis=None, kind="stable"):
        track, face = divmod(int(flat), len(faces))
        if scores[track, face] < overlap:
            break
        if all(track != t and face != f for t, f in chosen):
            chosen.append((track, face))
    return chosen


def _sightings(path: _Path, smooth: int) -> tuple[Sighting, ...]:
    """Every frame of a track: faces between the detected ones by interpolation over time, then smoothed."""
    places = np.array([place for place, _ in path.faces])
    span = range(int(places[0]), int(places[-1]) + 1)
    times = np.array([path.times[p][1] for p in span])
    # A file may show two frames at one time; interpolation needs them apart.
    times = np.maximum.accumulate(times + 1e-9 * np.arange(len(times)))
    marked = all(face.landmarks is not None for _, face in path.faces)
    rows = np.array(
        [[face.score, *face.box, *(face.landmarks.ravel() if marked and face.landmarks is not None else ())]
         for _, face in path.faces]
    )  # fmt: skip
    known = times[places - places[0]]
    filled = np.column_stack([np.interp(times, known, column) for column in rows.T])
    filled[:, 1:] = _smoothed(filled[:, 1:], smooth)
    seen = set(places.tolist())
    return tuple(Sighting(*path.times[p], face=_face(row), seen=p in seen) for p, row in zip(span, filled, strict=True))


def _face(row: NDArray[np.float64]) -> Face:
    x0, y0, x1, y1 = row[1:5].tolist()
    return Face((x0, y0, x1, y1), float(row[0]), row[5:].reshape(5, 2).copy() if len(row) > 5 else None)


def _smoothed(rows: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Centred moving average down the rows; the window narrows evenly towards both ends, so a line stays a line."""
    count = len(rows)
    place = np.arange(count)
    reach = np.minimum(width // 2, np.minimum(place, place[::-1]))
    sums = np.vstack([np.zeros(rows.shape[1]), np.cumsum(rows, axis=0)])
    return np.asarray((sums[place + reach + 1] - sums[place - reach]) / (2 * reach + 1)[:, None], np.float64)


def _colours(pixels: Pixels) -> NDArray[np.float64]:
    """(12, 24) where in a coarse copy of a frame which colours are: 3 x 4 regions, 8 levels of each channel."""
    step = max(1, max(pixels.shape[:2]) // 96)
    coarse = pixels[::step, ::step]
    height, width = coarse.shape[:2]
    region = 4 * (np.arange(height) * 3 // height)[:, None] + np.arange(width) * 4 // width
    places = 256 * (3 * region[..., None] + np.arange(3)) + coarse
    counts = np.bincount(places.ravel(), minlength=12 * 3 * 256).reshape(12, 3, 256)
    levels = (counts @ _LEVELS).reshape(12, 24)
    return np.asarray(levels / np.maximum(levels.sum(1, keepdims=True), 1), np.float64)


def _difference(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Half the absolute difference of two frames' shares, mean of the regions; in [0, 1], 1 = nothing in common."""
    return float(np.abs(a - b).sum() / 2 / len(a))


def _check(every: int, gap: float, overlap: float, sure: float, shortest: int, smooth: int, cut: float) -> None:
    for name, frames in (("every", every), ("shortest", shortest), ("smooth", smooth)):
        if frames < 1:
            raise ConfigError(f"{name} must be >= 1 frame, got {frames}; write 1 to switch it off")
    if smooth % 2 == 0:
        raise ConfigError(f"smooth must be odd, so that its window has a centre, got {smooth}; write {smooth + 1}")
    if not gap >= 0:
        raise ConfigError(f"gap must be >= 0 seconds, got {gap}; write 0 to end a track with the first miss")
    for name, value, low in (("overlap", overlap, False), ("sure", sure, True), ("cut", cut, False)):
        if not (0 < value <= 1 or (low and value == 0)):
            raise ConfigError(f"{name} must be in {'[' if low else '('}0, 1], got {value}")
