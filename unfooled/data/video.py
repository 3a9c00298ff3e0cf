"""Video files as a stream of upright RGB frames with their times; one frame in memory at a time."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter

from unfooled.codecs import EXACT, Pixels
from unfooled.data.containers import MAX_PIXELS, Source
from unfooled.data.orientation import lies_flat, matrix_of, one_field, turned
from unfooled.errors import ConfigError, DataError


@dataclass(frozen=True)
class VideoInfo:
    """What a video file is.

    Attributes:
        path: the file.
        width: in pixels, of the upright picture.
        height: in pixels, of the upright picture.
        fps: average frames per second; 25 where the file does not say.
        duration: seconds; None where the file does not say.
        frames: how many, as the header says; None where it does not. Damage is not counted.
        rotation: degrees counterclockwise that a stored picture is turned by to stand upright: 0, 90, 180 or 270.
        codec: of the video stream, such as ``h264``.
        has_audio: there is an audio stream.
        streams: real video streams; attached pictures are none. One of them is read.
    """

    path: Path
    width: int
    height: int
    fps: float
    duration: float | None
    frames: int | None
    rotation: int
    codec: str
    has_audio: bool
    streams: int


@dataclass(frozen=True)
class Frame:
    """One picture of a video.

    Attributes:
        index: place in the order of presentation, from 0 at the first frame given out.
        time: presentation time in seconds as the file has it; strictly growing.
        pixels: (H, W, 3) RGB, upright; every frame of a video has the same size.
    """

    index: int
    time: float
    pixels: Pixels


class Decoding(Iterator[Frame]):
    """Frames of a video file as they are asked for; made by ``decode``.

    Attributes:
        damaged: packets and pictures skipped so far because they do not decode.
        cut_short: after the last frame: the file ended before the length that its header states.
    """

    def __init__(self, path: Path | str, start: float, stop: float | None, exact: bool = False) -> None:
        self.damaged = 0
        self.cut_short = False
        self._stop = np.inf if stop is None else stop
        self._start = start
        self._conversion = EXACT if exact else None
        self.source = Source(path)
        self._rgb = VideoReformatter()
        self._size: tuple[int, int] | None = None
        self._frames = self._run()

    def __next__(self) -> Frame:
        return next(self._frames)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; no frame comes after."""
        self._frames.close()
        self.source.close()

    def _run(self) -> Generator[Frame, None, None]:
        index = 0
        try:
            for time, picture in self._pictures_from_start():
                if time >= self._stop:
                    return
                try:
                    pixels = self._upright(picture)
                except (av.FFmpegError, ValueError):
                    self.damaged += 1
                    continue
                yield Frame(index, time, pixels)
                index += 1
            self.cut_short = self.source.cut_short
            if not index and self._start <= 0 and self._stop > 0:
                raise _nothing(self.source.path)
        finally:
            self.source.close()

    def _pictures_from_start(self) -> Iterator[tuple[float, VideoFrame]]:
        if self._start > 0 and self.source.seek(self._start):
            first = True
            for time, picture in self._pictures(sought=True):
                if first and time > self._start:
                    break
                first = False
                if time >= self._start:
                    yield time, picture
            if not first:
                return
            # The jump went too far, as with files that have no index: read from the beginning.
            self.source.close()
            self.source, self.damaged = Source(self.source.path), 0
        yield from ((time, picture) for time, picture in self._pictures() if time >= self._start)

    def _pictures(self, sought: bool = False) -> Iterator[tuple[float, VideoFrame]]:
        """Decoded pictures with their times, in order of presentation."""
        unit, period, last = self.source.stream.time_base or 1, 1 / self.source.fps, None
        for packet in self.source.packets():
            try:
                pictures = self.source.stream.decode(packet)
            except EOFError:
                continue
            except (av.FFmpegError, ValueError):
                self.damaged += 1
                continue
            for picture in pictures:
                time = None if picture.pts is None else float(picture.pts * unit)
                if time is None or (last is not None and time <= last):
                    # No time, or one that stands still or runs backwards: the frame follows the last one. After a
                    # jump nobody knows where the first one is.
                    time = last + period if last is not None else np.inf if sought else 0.0
                last = time
                if picture.is_corrupt:
                    self.damaged += time >= self._start
                else:
                    yield time, picture

    def _upright(self, picture: VideoFrame) -> Pixels:
        if picture.width * picture.height > MAX_PIXELS:
            raise ValueError("larger than 8K")
        if self._size is None:
            self._size = (picture.width, picture.height)
        width, height = self._size
        rgb = self._rgb.reformat(picture, width, height, "rgb24", interpolation=self._conversion, threads=1)
        pixels = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
        if picture.interlaced_frame:
            pixels = one_field(pixels)
        return np.ascontiguousarray(turned(pixels, matrix_of(picture)))


def probe(path: Path | str) -> VideoInfo:
    """What a video file is; its first frame has been decoded, so that the answer is not the header's alone.

    Raises:
        DataError: the file is absent, empty, no video, without a video stream, larger than 8K, or nothing decodes.
    """
    with decode(path) as frames:
        source = frames.source
        picture = next((picture for _, picture in frames._pictures()), None)
        if picture is None:
            raise _nothing(path)
        matrix = matrix_of(picture)
        width, height = (picture.width, picture.height) if lies_flat(matrix) else (picture.height, picture.width)
        turn = (0 if matrix[0][0] > 0 else 180) if lies_flat(matrix) else (90 if matrix[1][0] > 0 else 270)
        return VideoInfo(
            source.path, width, height, source.fps, source.duration, source.stream.frames or None, turn,
            source.stream.codec_context.codec.canonical_name, bool(source.container.streams.audio), source.count,
        )  # fmt: skip


def decode(path: Path | str, *, start: float = 0.0, stop: float | None = None, exact: bool = False) -> Decoding:
    """The frames of a video one by one, upright RGB, with the times that the file gives them.

    A packet that does not decode is skipped and counted; so is a picture that the decoder itself calls corrupt. Frames
    of another size in the middle are scaled to the first one's. Interlaced frames keep their first field, the lines
    between are the mean of their neighbours. Pixels that are not square stay as they are. Colours go through FFmpeg's
    fast conversion, as in OpenCV: about 1/255 darker than the exact one, at a tenth of its time.

    Args:
        path: the file; one thread decodes it, a few frames are in memory.
        start: seconds; frames shown before it are left out.
        stop: seconds; the first frame shown at or after it ends the decoding. None: to the end of the file.
        exact: convert colours exactly.

    Raises:
        DataError: as ``probe``; at once, or at the end where not a single frame decoded.
    """
    return Decoding(path, start, stop, exact)


def evenly(path: Path | str, count: int) -> list[Frame]:
    """``count`` frames spread over the whole video: the middle ones of ``count`` equal parts; all where it has fewer.

    Args:
        path: the file.
        count: at least 1. Frames that do not decode are replaced by the next that does, so damage may leave fewer.

    Raises:
        ConfigError: ``count`` is below 1.
        DataError: as ``decode``.
    """
    if count < 1:
        raise ConfigError(f"count must be >= 1, got {count}")
    times, keys = _times(path)
    if not times:
        with decode(path) as frames:
            times = [frame.time for frame in frames]
    wanted = _middles(times, count)
    # A jump decodes from the key frame before; when there are fewer of them than jumps, reading on is cheaper.
    found = _jumping(path, wanted) if len(wanted) < keys else _reading(path, wanted)
    if not found:
        raise _nothing(path)
    return [replace(frame, index=min(bisect_left(times, frame.time - 1e-6), len(times) - 1)) for frame in found]


def _middles(times: Sequence[float], count: int) -> list[float]:
    if len(times) <= count:
        return list(times)
    return [times[(2 * i + 1) * len(times) // (2 * count)] for i in range(count)]


def _times(path: Path | str) -> tuple[list[float], int]:
    """Presentation times of all packets in order, and the number of key frames; no times where one has none."""
    source = Source(path)
    try:
        packets = [(p.pts, p.is_keyframe) for p in source.packets() if p.size and not p.is_discard]
        if any(pts is None for pts, _ in packets):
            return [], 0
        unit = source.stream.time_base or 1
        return sorted({float(pts * unit) for pts, _ in packets if pts is not None}), sum(key for _, key in packets)
    finally:
        source.close()


def _jumping(path: Path | str, wanted: Sequence[float]) -> list[Frame]:
    found: list[Frame] = []
    for time in wanted:
        start = time - 1e-6 if not found else max(time - 1e-6, found[-1].time + 1e-6)
        with decode(path, start=start) as frames:
            found.extend([frame] if (frame := next(frames, None)) else [])
    return found


def _reading(path: Path | str, wanted: Sequence[float]) -> list[Frame]:
    found: list[Frame] = []
    with decode(path) as frames:
        for frame in frames:
            if frame.time >= wanted[len(found)] - 1e-6:
                found.append(frame)
            if len(found) == len(wanted):
                break
    return found


def _nothing(path: Path | str) -> DataError:
    return DataError(f"{path} has no picture that can be decoded: it is damaged, or larger than 8K")
