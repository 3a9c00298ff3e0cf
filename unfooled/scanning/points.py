"""The points of a track at which the detector is asked, and their crops out of the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from unfooled.attack_files.scene import Scene
from unfooled.data.footage import Footage
from unfooled.data.images import Pixels
from unfooled.data.tracks import Track
from unfooled.errors import DataError
from unfooled.scanning.options import MOST_CLIPS

HELD = 2048
"""Crops of a file that are held at once: 300 MB at 224 px. With very many faces each gets fewer points."""
Window = tuple[int, ...]
"""Places in a track, from 0: one frame, or those of a clip."""


@dataclass(frozen=True)
class Shape:
    """What a detector is shown.

    Args:
        size: side of a crop in pixels.
        clip: frames of a clip; None: single crops.
        fps: frames a second inside a clip.
    """

    size: int
    clip: int | None = None
    fps: float = 25.0


def windows(times: Sequence[float], count: int, shape: Shape) -> list[Window]:
    """At most ``count`` points of a track, evenly spread.

    Single frames are the middle ones of ``count`` equal parts. Clips lie beside each other; inside, the frame nearest
    to each tick of ``shape.fps`` is taken, as ``data.clips`` does; a track too short for one holds its last frame.

    Args:
        times: of the track's frames in seconds, rising.
        count: >= 1; of clips at most ``MOST_CLIPS`` are taken.
        shape: what the detector is shown.
    """
    if shape.clip is None:
        n = len(times)
        return [(k,) for k in range(n)] if n <= count else [((2 * k + 1) * n // (2 * count),) for k in range(count)]
    shown = np.asarray(times, np.float64)
    ticks = shown[0] + np.arange(int((shown[-1] - shown[0]) * shape.fps + 0.05) + 1) / shape.fps
    places = np.searchsorted((shown[1:] + shown[:-1]) / 2, ticks)
    if len(places) < shape.clip:
        places = np.pad(places, (0, shape.clip - len(places)), mode="edge")
    spare, fitting = len(places) - shape.clip, min(count, MOST_CLIPS, len(places) // shape.clip)
    starts = [spare // 2] if fitting == 1 else [k * spare // (fitting - 1) for k in range(fitting)]
    return [tuple(int(p) for p in places[start : start + shape.clip]) for start in starts]


def per_track(tracks: int, samples: int, shape: Shape) -> int:
    """Points of each track, at least 1, so that no more than ``HELD`` crops are held."""
    return max(1, min(samples, HELD // max(1, tracks) // (shape.clip or 1)))


def cut(
    frames: Footage, tracks: Sequence[Track], chosen: Mapping[str, Sequence[Window]], size: int, margin: float
) -> dict[str, Pixels]:
    """(N, T, S, S, 3) RGB crops of the chosen windows of every track, in one pass over the file.

    Raises:
        DataError: the file can not be decoded as far as the last of them.
    """
    kept = {t.id: sorted({place for window in chosen[t.id] for place in window}) for t in tracks}
    thin = [Track(t.id, tuple(t.sightings[place] for place in kept[t.id])) for t in tracks]
    scene = Scene(frames.path, thin, size, margin)
    held: dict[str, dict[int, Pixels]] = {t.id: {} for t in tracks}
    missing = sum(map(len, kept.values()))
    for frame in frames:
        for crop in scene.of(frame):
            held[crop.track][kept[crop.track][crop.place]] = crop.pixels
            missing -= 1
        if not missing:
            return {
                name: np.stack([np.stack([seen[p] for p in w]) for w in chosen[name]]) for name, seen in held.items()
            }
    raise DataError("gave fewer frames when it was read again; is it still being written?")
