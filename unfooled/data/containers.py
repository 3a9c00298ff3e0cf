"""Opening video files that nobody vouches for: which formats, which stream, how large, how long it may take."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from unfooled.errors import DataError

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,h264,hevc,m4v,asf,flv,ogg,mxf,nut,dv,ivf,wtv"
)  # fmt: skip
"""FFmpeg's readers that hold pictures in the file itself. Playlists and concat lists, which would open other files of
the machine, and single pictures are none of them."""

MAX_PIXELS = 8192 * 4352
"""Of one picture: 8K. A damaged header may claim any size, and the memory for it would be taken."""

PATIENCE = 120.0
"""Seconds after which opening, or reading one packet, is given up; it takes milliseconds."""

# Readers that state a length in their header; others guess it from what is there.
_STATED = {"mov", "matroska", "avi", "flv", "asf"}

# Readers of bare streams: after a jump their times are wrong.
_BARE = {"h264", "hevc", "m4v", "mpegvideo"}


class Source:
    """An open video file, its one video stream of interest, and its packets one by one.

    Attributes:
        stream: the video stream; of several the default one, then the largest, then the first.
        count: of real video streams; attached pictures (cover art, thumbnails) are none.
        cut_short: after reading: the file ended, or could not be read on, before its stated end.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.cut_short = False
        self.container = _opened(self.path)
        try:
            self.stream, self.count = _chosen(self.container, self.path)
            if self.stream.width * self.stream.height > MAX_PIXELS:
                raise _too_large(self.path, self.stream.width, self.stream.height)
            context = self.stream.codec_context
            # One thread per file: workers take a file each, and frame threads hold a dozen frames back.
            context.thread_count = 1
            context.options = {"max_pixels": str(MAX_PIXELS)}
        except DataError:
            self.close()
            raise

    def packets(self, kind: str = "video") -> Iterator[Packet[Stream]]:
        """Packets of the chosen video stream, or of every ``audio`` stream, with no end that damage could push out.

        The empty packets at the end tell a decoder to hand out what it holds.
        """
        size = self.path.stat().st_size
        # Tables of a damaged file may name the same bytes over and over; an honest file names each about once.
        bytes_left, packets_left = 4 * size + (1 << 20), size // 8 + 1000
        end = 0.0
        reading = self.container.demux()
        while True:
            try:
                packet = next(reading)
            except StopIteration:
                break
            except (av.FFmpegError, ValueError, RuntimeError):
                self.cut_short = True
                return
            bytes_left, packets_left = bytes_left - packet.size, packets_left - 1
            if bytes_left < 0 or packets_left < 0:
                self.cut_short = True
                return
            end = max(end, _end(packet))
            if packet.stream is self.stream if kind == "video" else packet.stream.type == "audio":
                yield packet
        self.cut_short = self.stated_end is not None and end < self.stated_end - max(0.25, 2 / self.fps)

    def seek(self, time: float) -> bool:
        """Go to the key frame before ``time`` in seconds; False where the format can not."""
        if self._format in _BARE:
            return False
        try:
            self.container.seek(int(time / (self.stream.time_base or 1)), stream=self.stream)
        except (av.FFmpegError, OverflowError):
            return False
        return True

    @property
    def _format(self) -> str:
        return self.container.format.name.split(",")[0]

    @property
    def stated_end(self) -> float | None:
        """Presentation time in seconds at which the header says that the file ends."""
        if self._format not in _STATED or not self.container.duration:
            return None
        return float((self.container.duration + (self.container.start_time or 0)) / av.time_base)

    @property
    def duration(self) -> float | None:
        """Seconds, as the container or the stream says; None where neither does."""
        if self.container.duration and self.container.duration > 0:
            return float(self.container.duration / av.time_base)
        if self.stream.duration and self.stream.duration > 0 and self.stream.time_base:
            return float(self.stream.duration * self.stream.time_base)
        return None

    @property
    def fps(self) -> float:
        """Average frames per second; 25 where the file says nothing that can be true."""
        rates = (self.stream.average_rate, self.stream.guessed_rate, self.stream.base_rate)
        return next((float(rate) for rate in rates if rate and 0 < rate <= 1000), 25.0)

    def close(self) -> None:
        """Let go of the file."""
        self.container.close()


def _opened(path: Path) -> InputContainer:
    try:
        if not path.is_file():
            raise DataError(f"{path} is {'no file' if path.exists() else 'not there'}; name a video file")
        if not path.stat().st_size:
            raise DataError(f"{path} is empty (0 bytes)")
        with path.open("rb"):
            pass
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can not be opened: {getattr(error, 'strerror', None) or error}") from None
    try:
        # "file:" keeps a name such as concat:a|b from being read as an address.
        return av.open(
            f"file:{path}", "r", options={"max_pixels": str(MAX_PIXELS)}, metadata_errors="replace",
            container_options={"format_whitelist": FORMATS, "protocol_whitelist": "file"}, timeout=PATIENCE,
        )  # fmt: skip
    except av.ArgumentError:
        raise DataError(f"{path} is no video file of a known format (mp4, mov, mkv, webm, avi, mpg, ...)") from None
    except av.ExitError:
        raise DataError(f"{path} could not be opened within {PATIENCE:.0f} s") from None
    except (av.FFmpegError, ValueError, RuntimeError):
        raise DataError(f"{path} does not open as a video: it is cut short, damaged, or something else") from None


def _chosen(container: InputContainer, path: Path) -> tuple[VideoStream, int]:
    pictures = Disposition.attached_pic | Disposition.still_image | Disposition.timed_thumbnails
    real = [s for s in container.streams.video if not s.disposition & pictures]
    able = [s for s in real if s.codec_context is not None and s.time_base]
    if not real:
        kind = "only audio" if container.streams.audio else "neither video nor audio"
        raise DataError(f"{path} has no video stream ({kind})")
    if not able:
        raise DataError(f"{path} is in a video codec that the installed PyAV can not decode")
    return max(able, key=lambda s: (bool(s.disposition & Disposition.default), s.width * s.height)), len(real)


def _too_large(path: Path, width: int, height: int) -> DataError:
    return DataError(f"{path} has pictures of {width} x {height}; at most {MAX_PIXELS} pixels (8K) are read")


def _end(packet: Packet[Stream]) -> float:
    when = packet.pts if packet.pts is not None else packet.dts
    if when is None or not packet.time_base:
        return 0.0
    return float((when + (packet.duration or 0)) * packet.time_base)
