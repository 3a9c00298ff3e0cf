"""A copy of a video file with its pictures changed one by one; sound, times and rate stay."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream

from unfooled.codecs import NOTE, Pixels, VideoCodec, add_frame, video_stream
from unfooled.data.containers import Source
from unfooled.data.video import Decoding, Frame, decode
from unfooled.errors import ConfigError, DataError
from unfooled.files import check_target, replacing

CONTAINERS: dict[str, tuple[str, ...]] = {"ffv1": (".mkv",), "h264": (".mp4", ".mkv", ".mov")}
"""Which files hold which codec so that common programs play them."""

_MUXERS = {".mkv": "matroska", ".mp4": "mp4", ".mov": "mov"}


def rewrite(
    source: Path | str,
    target: Path | str,
    change: Callable[[Frame], Pixels],
    *,
    codec: VideoCodec = "ffv1",
    crf: int = 23,
    sound: bool = True,
) -> int:
    """Write ``target`` as ``source`` with every frame put through ``change``; the number of frames written.

    Frames keep their presentation times, to the tick of the source (in .mkv to the millisecond), variable rate too.
    Audio packets are copied as they are. The comment of the file says that it is synthetic. Pictures come out upright
    and progressive; frames that do not decode are left out; subtitles and other streams are not copied. ``target``
    appears whole or not at all, and may be ``source``.

    Args:
        source: a video file.
        target: a new file; its ending tells the container.
        change: a frame to (H, W, 3) RGB pixels of the same size.
        codec: ``ffv1`` keeps every pixel, ``h264`` is what the world would post.
        crf: of H.264, 0 (best) to 51 (worst).
        sound: copy the sound too.

    Raises:
        ConfigError: codec, ``crf`` and container do not fit, or ``target`` can not be written.
        DataError: ``source`` as in ``decode``; its sound does not fit the container; ``change`` gave another shape.
        OSError: the disk is full.
    """
    source, target = Path(source), Path(target)
    check_codec(target, codec, crf)
    check_target(target)
    with decode(source) as frames, replacing(target) as temporary, _File(temporary, "w") as file:
        try:
            return _write(frames, file, _MUXERS[target.suffix.lower()], change, codec, crf, sound)
        except (av.FFmpegError, OSError) as error:
            if file.failure is not None:
                raise OSError(file.failure.errno, file.failure.strerror, str(target)) from None
            if not isinstance(error, av.FFmpegError):
                raise
            raise DataError(f"{target} can not be written from {source}: {error.strerror}") from None


def check_codec(target: Path, codec: str, crf: int = 23) -> None:
    """Refuse a codec, crf or container that do not fit, before the work.

    Raises:
        ConfigError: they do not; the text says what does.
    """
    if codec not in CONTAINERS:
        raise ConfigError(f"codec must be {' or '.join(CONTAINERS)}, got {codec!r}")
    if target.suffix.lower() not in CONTAINERS[codec]:
        fits = CONTAINERS[codec]
        other = next((c for c, ends in CONTAINERS.items() if target.suffix.lower() in ends), None)
        choice = f", or choose codec {other}" if other else ""
        raise ConfigError(
            f"{codec} goes into {' '.join(fits)}, got {target.name}; write {target.stem}{fits[0]}{choice}"
        )
    if not 0 <= crf <= 51:
        raise ConfigError(f"crf must be 0 (best) to 51 (worst), got {crf}; write 23")


class _File(io.FileIO):
    """A file that writes everything or remembers why not; FFmpeg's own says nothing when the last bytes do not fit."""

    failure: OSError | None = None

    def write(self, data: Any) -> int:
        view, done = memoryview(data), 0
        try:
            while done < len(view):
                done += super().write(view[done:]) or 0
        except OSError as error:
            self.failure = error
            raise
        return done


def _write(
    frames: Decoding,
    file: _File,
    muxer: str,
    change: Callable[[Frame], Pixels],
    codec: VideoCodec,
    crf: int,
    sound: bool,
) -> int:
    with ExitStack() as stack:
        # Sound begins a little before time 0, where its decoder warms up; pictures are not to be moved by that.
        out = stack.enter_context(av.open(file, "w", format=muxer, options={"avoid_negative_ts": "disabled"}))
        out.metadata["comment"] = NOTE
        stream, tick, written = None, Fraction(frames.source.stream.time_base or Fraction(1, 1000)), 0
        audio: _Audio | None = None
        for frame in frames:
            pixels = change(replace(frame, pixels=frame.pixels.copy()))
            if pixels.shape != frame.pixels.shape or pixels.dtype != frame.pixels.dtype:
                raise DataError(
                    f"change must give {frame.pixels.shape} {frame.pixels.dtype} pixels, "
                    f"got {pixels.shape} {pixels.dtype}"
                )
            if stream is None:
                rate = Fraction(frames.source.fps).limit_denominator(1001)
                stream = video_stream(out, codec, crf, pixels.shape[1], pixels.shape[0], rate, tick)
                audio = _Audio(frames.source.path, out, sound)
                stack.callback(audio.close)
                audio.begin()
                last = None
            assert audio is not None
            stamp = round(frame.time / tick)
            last = stamp = stamp if last is None else max(stamp, last + 1)
            audio.copy_until(frame.time)
            add_frame(out, stream, pixels, stamp)
            written += 1
        if stream is not None and audio is not None:
            out.mux(stream.encode(None))
            audio.copy_until(float("inf"))
        return written


class _Audio:
    """The audio packets of a file, copied into another as far as the pictures have come."""

    def __init__(self, path: Path, out: OutputContainer, wanted: bool) -> None:
        self._source, self._out = Source(path), out
        self._streams = {}
        for stream in self._source.container.streams.audio if wanted else ():
            self._streams[stream.index] = self._template(stream)
        self._last: dict[int, int] = {}
        self._waiting = self._packets() if self._streams else iter(())
        self._next = next(self._waiting, None)

    def begin(self) -> None:
        """Write the header, which is where a container says which sound it does not take after all."""
        try:
            self._out.start_encoding()
        except av.ArgumentError:
            if not self._streams:
                raise
            raise self._does_not_fit(", ".join(s.codec_context.name for s in self._streams.values())) from None

    def copy_until(self, time: float) -> None:
        """Copy what is decoded before ``time``."""
        while self._next is not None and self._next.dts is not None and self._next.dts * self._next.time_base <= time:
            packet, index = self._next, self._next.stream_index
            packet.stream = self._streams[index]
            self._out.mux(packet)
            self._next = next(self._waiting, None)

    def close(self) -> None:
        self._source.close()

    def _packets(self) -> Iterator[Packet[Stream]]:
        for packet in self._source.packets("audio"):
            index = packet.stream_index
            # Damaged sound may lack times or run backwards, which no container takes.
            if packet.size and packet.dts is not None and packet.dts > self._last.get(index, -(1 << 62)):
                self._last[index] = packet.dts
                yield packet

    def _template(self, stream: AudioStream) -> AudioStream:
        name = getattr(stream.codec_context, "name", None)
        if name is None or name not in self._out.supported_codecs:
            raise self._does_not_fit(name or "unknown codec")
        return self._out.add_stream_from_template(stream)

    def _does_not_fit(self, codec: str) -> DataError:
        place = self._out.format.name
        return DataError(f"the sound of {self._source.path} ({codec}) does not go into {place}; write .mkv")
