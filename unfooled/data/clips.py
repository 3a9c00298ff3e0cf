"""From a manifest of frames to a manifest of clips: consecutive frames of one face track are one sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from unfooled.data.manifest import Manifest
from unfooled.data.schema import cast
from unfooled.errors import ConfigError, DataError

Numbers = npt.NDArray[np.int64]
FRAMES = "frames"
"""The column that makes a manifest one of clips: the paths of a clip's frames, in order, below the manifest's root."""
FPS = 25.0
_SAME = ("label", "identity", "source_identity", "manipulation", "dataset", "collection", "split")


def clips(manifest: Manifest, length: int = 25, count: int | None = None, fps: float = FPS) -> Manifest:
    """Clips at fixed, evenly spread places of each track: what is tested.

    A track is all rows of one ``video`` (of one ``compression``, and of one ``track`` where there is that column), in
    the order of the column ``frame``, else of ``time``, else of the numbers in their paths. Rows whose status is not
    ``ok`` are left out and no clip reaches across them; a track without any other row stays, as one row with that
    status. A track that is nowhere as long as a clip gives one clip of its longest part, whose last frame is held.

    Args:
        manifest: one row a frame; the columns ``frame`` (number), ``time`` (seconds) and ``track`` are optional.
        length: frames of a clip, >= 1.
        count: clips of a track, >= 1, fewer where it has not as many different ones; 1 takes the middle. None: as many
            as fit beside each other, at least one.
        fps: frames a second, > 0: with ``time``, the frame nearest to each tick is taken, once or more; without it,
            frames are taken as they are.

    Returns:
        The same columns, those of a clip's first frame, and ``frames``: list of paths. ``id`` is
        ``video[/compression][/track]#start``, start counted in frames at ``fps``; ``parent`` is the clip of the
        parent's frames where that is a row too.

    Raises:
        DataError: the frames of a track disagree in label, person, manipulation or split, or their order is not clear.
        ConfigError: a number is out of its range, or the rows are clips already.

    Source: RealForensics, arXiv:2201.07131 (25 frames at 25 a second). Deviation: a short track holds its last frame,
    where theirs is filled with grey; the clips of a track are spread over all of it.
    """
    if count is not None and count < 1:
        raise ConfigError(f"clips_per_video must be >= 1, got {count}; leave it out for as many as fit")
    return _table(manifest, length, fps, lambda sizes: _starts(sizes, length, count))


def tracks(manifest: Manifest, length: int = 25, fps: float = FPS) -> Manifest:
    """One row a track with all its frames: what training draws clips of ``length`` frames from, anywhere in it.

    A track that rows with another status than ``ok`` part gives a row for each part that holds a clip; otherwise as
    ``clips``.
    """
    return _table(manifest, length, fps, lambda sizes: [(run, 0, size) for run, size in enumerate(sizes)])


@dataclass(frozen=True)
class _Track:
    """A name, and the row numbers of frames that follow each other without a gap."""

    name: str
    rows: Numbers
    runs: list[Numbers]


Places = Callable[[list[int]], list[tuple[int, int, int]]]
"""From the frames in each part of a track to (part, first frame, frames) of each row."""


def _table(manifest: Manifest, length: int, fps: float, places: Places) -> Manifest:
    if length < 1:
        raise ConfigError(f"clip must be >= 1 frame, got {length}; write 25")
    if not 0 < fps < np.inf:
        raise ConfigError(f"fps must be > 0 frames a second, got {fps:g}; write {FPS:g}")
    if FRAMES in manifest.table.column_names:
        raise ConfigError("the manifest holds clips already; clips are made of a manifest of frames")
    ids: list[str] = []
    firsts: list[int] = []
    frames: list[Numbers] = []
    short: list[str] = []
    for track in _tracks(manifest, fps):
        runs = [run for run in track.runs if len(run) >= length]
        if not track.runs:
            ids.append(f"{track.name}#0")
            firsts.append(int(track.rows[0]))
            frames.append(np.empty(0, np.int64))
            continue
        if not runs:
            longest = max(track.runs, key=len)
            runs = [np.pad(longest, (0, length - len(longest)), mode="edge")]
            short.append(track.name)
        # Starts count in the whole track, so that the parts of one have different names.
        before = np.cumsum([0, *(len(run) for run in runs)])
        for run, start, size in places([len(run) for run in runs]):
            ids.append(f"{track.name}#{before[run] + start}")
            firsts.append(int(runs[run][start]))
            frames.append(runs[run][start : start + size])
    notes = list(manifest.notes)
    if short:
        many = "1 track is" if len(short) == 1 else f"{len(short)} tracks are"
        notes.append(f"{many} shorter than a clip of {length} frames and hold the last one, such as {short[0]}")
    return replace(manifest, table=_columns(manifest, ids, firsts, frames), notes=tuple(notes))


def _columns(manifest: Manifest, ids: list[str], firsts: list[int], frames: list[Numbers]) -> Any:
    table = manifest.table.take(pa.array(firsts, pa.int64()))
    clip_of = dict(zip(table["id"].to_pylist(), ids, strict=True))
    parents = [clip_of.get(parent) for parent in table["parent"].to_pylist()]
    for name, values in (("id", ids), ("parent", parents)):
        table = table.set_column(table.column_names.index(name), name, pa.array(values, pa.string()))
    offsets = np.cumsum([0, *map(len, frames)])
    flat = np.concatenate([np.empty(0, np.int64), *frames])
    paths = manifest.table["path"].combine_chunks().take(pa.array(flat))
    paths = paths.combine_chunks() if isinstance(paths, pa.ChunkedArray) else paths
    return table.append_column(FRAMES, pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), paths))


def _starts(sizes: list[int], length: int, count: int | None) -> list[tuple[int, int, int]]:
    if count is None:
        fitting = [(run, size, size // length) for run, size in enumerate(sizes)]
        return [(run, start, length) for run, size, n in fitting for start in _spread(size - length, n)]
    # Every place where a clip may begin, over all parts of the track.
    allowed = [(run, start) for run, size in enumerate(sizes) for start in range(size - length + 1)]
    chosen = _spread(len(allowed) - 1, min(count, len(allowed)))
    return [(*allowed[k], length) for k in chosen]


def _spread(last: int, count: int) -> list[int]:
    """``count`` different whole numbers from 0 to ``last``, evenly; one of them is the middle."""
    return [last // 2] if count == 1 else [k * last // (count - 1) for k in range(count)]


def _tracks(manifest: Manifest, fps: float) -> Iterator[_Track]:
    names = ["video", "compression", *(["track"] if "track" in manifest.table.column_names else [])]
    columns = [manifest.codes(name) for name in names]
    key = np.zeros(len(manifest), np.int64)
    for codes, values in columns:
        key = key * (len(values) + 1) + codes + 1
    # Tracks come in the order of their first rows.
    _, first, member = np.unique(key, return_index=True, return_inverse=True)
    member = np.argsort(np.argsort(first))[member]
    order = np.argsort(member, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(member[order])) + 1) if len(order) else []
    statuses = manifest.codes("status")
    ok = np.array([s == "ok" for s in statuses[1]])[statuses[0]]
    sequence = _Sequence(manifest)
    same = {name: manifest.codes(name) for name in _SAME if name != "label"}
    same["label"] = manifest.column("label"), ["real", "fake"]
    for rows in groups:
        words = [None if codes[rows[0]] < 0 else values[codes[rows[0]]] for codes, values in columns]
        track = "/".join(str(word) for word in words if word not in (None, ""))
        for column, (codes, values) in same.items():
            if len(found := np.unique(codes[rows])) > 1:
                one, other = (None if c < 0 else values[c] for c in found[:2])
                raise DataError(
                    f"the frames of {track} disagree in {column}: {one!r} and {other!r}; one track is one sample, give "
                    "each its own video (or track), or index the data again"
                )
        rows = sequence.sorted(track, rows)
        parts = np.split(rows, np.flatnonzero(np.diff(ok[rows])) + 1)
        yield _Track(track, rows, [sequence.resampled(track, run, fps) for run in parts if ok[run[0]]])


class _Sequence:
    """The order of frames, and their times."""

    def __init__(self, manifest: Manifest) -> None:
        self.paths = manifest.table["path"]
        self.number, self.time = (_numeric(manifest, name) for name in ("frame", "time"))

    def sorted(self, track: str, rows: Numbers) -> Numbers:
        """The rows in the order of their frames."""
        by = self.number if self.number is not None else self.time
        if by is None:
            paths = self.paths.take(pa.array(rows)).to_pylist()
            return rows[sorted(range(len(rows)), key=lambda k: _natural(paths[k]))]
        rows = rows[np.argsort(by[rows], kind="stable")]
        if len(rows) > 1 and not np.all(np.diff(by[rows]) > 0):
            name = "frame" if self.number is not None else "time"
            raise DataError(f"{track} has two frames of one {name}, or one without; a second face needs its own track")
        return rows

    def resampled(self, track: str, rows: Numbers, fps: float) -> Numbers:
        """The row whose time is nearest to each tick."""
        if self.time is None:
            return rows
        time = self.time[rows]
        if not np.isfinite(time).all() or not np.all(np.diff(time) > 0):
            raise DataError(f"the times of {track} do not grow from frame to frame; prepare the video again")
        # Times are often rounded to milliseconds: a twentieth of a frame beyond the end is still the last one.
        ticks = time[0] + np.arange(int((time[-1] - time[0]) * fps + 0.05) + 1) / fps
        nearest = np.searchsorted((time[1:] + time[:-1]) / 2, ticks)
        return np.asarray(rows[nearest], dtype=np.int64)


def _numeric(manifest: Manifest, name: str) -> npt.NDArray[np.float64] | None:
    if name not in manifest.table.column_names:
        return None
    column = cast(name, manifest.table[name], pa.float64())
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _natural(path: str) -> list[str | int]:
    return [int(part) if k % 2 else part for k, part in enumerate(re.split("([0-9]+)", path))]
