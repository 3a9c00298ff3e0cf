"""The frames of a file that nobody vouches for, watched as they pass: limits, progress, extent and damage."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from unfooled.attack_files.inputs import UnfitError, extent
from unfooled.data.cropping import Found
from unfooled.data.faces import Face
from unfooled.data.footage import Footage
from unfooled.data.images import IMAGE_SUFFIXES, Pixels, decode_image
from unfooled.data.tracks import follow
from unfooled.data.video import Frame, decode, probe
from unfooled.errors import DataError, UnfooledError
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.verdict import Media

# First bytes of PNG, JPEG, BMP, little- and big-endian TIFF, binary PPM.
_PICTURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"II*\x00", b"MM\x00*", b"P6")
SHORTEST = 5
"""Frames for which a face has to be there; a picture is one frame."""


class RefusedError(UnfooledError):
    """A file beyond the limits of the scan; the text continues the file's name."""


class Watched(Footage):
    """The frames of a file; a picture is told by its first bytes, whatever the file is called.

    Args:
        path: the file.
        options: its limits.
        progress: called with the share of the frames that have passed, in [0, 1].

    Attributes:
        damaged: packets and pictures that were skipped because they do not decode.
        cut_short: the file ended before the length that its header states.

    Raises:
        RefusedError: here or while going through it: the file is beyond a limit.
        DataError: here or while going through it: it can not be decoded.
    """

    def __init__(self, path: Path, options: ScanOptions, progress: Callable[[float], None] | None = None) -> None:
        super().__init__(path)
        self.options, self.progress = options, progress
        self.is_picture = _is_picture(path)
        self.damaged, self.cut_short = 0, False
        self._length: float | None = None
        self._fps: float | None = None
        self._seen: tuple[int, int, int, float] = (0, 0, 0, 0.0)
        self._held: Pixels | None = None
        if self.is_picture:
            try:
                self._check(*extent(path))
            except UnfitError as error:
                raise (RefusedError if error.status == "too large" else DataError)(str(error)) from None
            except OSError:
                raise DataError("does not decode as a picture (unknown format)") from None
            return
        about = probe(path)
        self._check(about.width, about.height)
        self._length, self._fps = about.duration, round(about.fps, 3)
        if self._length is not None and self._length > options.max_seconds:
            raise RefusedError(f"lasts {self._length:.0f} s, more than {options.max_seconds:g} (max_seconds)")

    @property
    def media(self) -> Media:
        """The file as far as it was decoded."""
        width, height, count, time = self._seen
        seconds = None if self.is_picture else round(time, 3)
        return Media(width=width, height=height, fps=self._fps, frames=count, seconds=seconds)

    def __iter__(self) -> Iterator[Frame]:
        if self.is_picture:
            if self._held is None:
                self._held = decode_image(self.path.read_bytes())
            yield self._passed(Frame(0, 0.0, self._held))
            return
        with decode(self.path) as frames:
            for frame in frames:
                yield self._passed(frame)
            self.damaged, self.cut_short = frames.damaged, frames.cut_short

    def _passed(self, frame: Frame) -> Frame:
        height, width = frame.pixels.shape[:2]
        if frame.index == 0:
            self._check(width, height)
        if frame.time > self.options.max_seconds:
            raise RefusedError(f"lasts more than {self.options.max_seconds:g} s (max_seconds)")
        if frame.index >= self._seen[2]:
            self._seen = (width, height, frame.index + 1, frame.time)
        self.count += 1
        if self.progress is not None and self._length:
            self.progress(min(1.0, frame.time / self._length))
        return frame

    def _check(self, width: int, height: int) -> None:
        if width * height > self.options.max_pixels:
            raise RefusedError(f"has {width} x {height} pixels, more than {self.options.max_pixels:,} (max_pixels)")


class Whole:
    """Takes the central square of a picture for a face."""

    name = "whole"

    def __call__(self, pixels: Pixels) -> list[Face]:
        height, width = pixels.shape[:2]
        side = min(height, width)
        left, top = (width - side) // 2, (height - side) // 2
        return [Face((left, top, left + side, top + side), 0.99)]


def whole_tracks(frames: Footage) -> Found:
    """One track for each shot of a file that shows nothing but a face."""
    shortest = 1 if frames.is_picture else SHORTEST
    try:
        tracks = follow(frames, Whole(), sure=0, shortest=shortest)
    except DataError as error:
        return Found("unreadable", str(error), [], frames.count)
    if tracks:
        return Found("ok", "", tracks, frames.count)
    return Found("too_short", f"has {frames.count} frames, {shortest} are needed", [], frames.count)


def _is_picture(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        raise DataError(f"can not be opened: {(error.strerror or str(error)).lower()}") from None
    if not start:
        raise DataError("is empty (0 bytes)")
    is_webp = start[:4] == b"RIFF" and start[8:] == b"WEBP"
    return start.startswith(_PICTURES) or is_webp or path.suffix.lower() in IMAGE_SUFFIXES


def plain(value: Any) -> float:
    """A number as JSON should hold it: six digits after the point, which no change of threads moves."""
    return round(float(np.float64(value)), 6)
