"""Where a job writes: a folder, or one video file with a folder beside it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from unfooled.codecs import VideoCodec
from unfooled.data.images import VIDEO_SUFFIXES
from unfooled.data.rewriting import CONTAINERS, check_codec
from unfooled.errors import ConfigError
from unfooled.files import check_target


@dataclass
class Outputs:
    """The places of a job's files.

    Args:
        source: what is attacked; need not exist.
        out: a folder, or the video to write.
        codec: of videos; None: what the ending of ``out`` says, in a folder ``ffv1``.
        crf: of H.264.

    Attributes:
        file: the video to write, where ``out`` is one.
        folder: of the job's own files.
        home: what the names of results start from.
        written: the codec of videos.
        suffix: of videos.

    Raises:
        ConfigError: ``out`` lies in the source, is a video where there are several files or images, or does not fit
            the codec.
    """

    source: Path
    out: Path
    codec: VideoCodec | None = None
    crf: int = 23
    file: Path | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        ending = self.out.suffix.lower()
        if ending in VIDEO_SUFFIXES and not self.out.is_dir():
            self.file = self.out
            if self.source.suffix.lower() not in VIDEO_SUFFIXES or self.source.is_dir():
                raise ConfigError(f"{self.out} is one video and {self.source.name} is none; name a folder with --out")
            if self.out.resolve() == self.source.resolve():
                raise ConfigError(f"{self.out} is what is attacked and would be lost; choose another --out")
        elif self.out.resolve().is_relative_to(self.source.resolve()):
            raise ConfigError(f"{self.out} lies in {self.source}, whose images it would join; choose another --out")
        usual: VideoCodec = "ffv1" if self.file is None or ending in CONTAINERS["ffv1"] else "h264"
        self.written = self.codec or usual
        if self.written == "ffv1" and self.crf != 23:
            raise ConfigError(f"crf {self.crf} belongs to h264, ffv1 loses nothing; leave it out, or write codec h264")
        self.suffix = CONTAINERS[self.written][0] if self.file is None else ending
        self.folder = self.out if self.file is None else self.out.with_name(f"{self.out.name}.attack")
        self.home = self.out if self.file is None else self.out.parent
        check_codec(Path(f"video{self.suffix}") if self.file is None else self.out, self.written, self.crf)

    def check(self, resumed: bool) -> None:
        """Refuse to write over a video that another job made, before the work.

        Args:
            resumed: the folder holds this very job.

        Raises:
            ConfigError: the video is there, or can not be written.
        """
        if self.file is None:
            return
        check_target(self.file)
        if self.file.exists() and not resumed:
            raise ConfigError(f"{self.file} is there already and not of this job; choose another --out or remove it")
