"""One video or picture -> the aligned crops of every face in it, as PNG files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np

from unfooled.data.alignment import crop
from unfooled.data.faces import Face, FaceDetector, face_detector
from unfooled.data.footage import Footage
from unfooled.data.images import Pixels
from unfooled.data.tracks import Sighting, Track, follow
from unfooled.data.video import Frame
from unfooled.distortions import Distortion, describe
from unfooled.errors import ConfigError, DataError

Boxes = Literal["distorted", "original"]

PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_HUFFMAN_ONLY]
"""The fastest settings of the encoder: half the time of level 1 alone for a tenth more bytes, of photographs."""
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # OpenCV 4.12
    PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_AVG]


@dataclass(frozen=True)
class Settings:
    """How faces are found and cropped.

    Args:
        size: height and width of a crop in pixels.
        margin: side of the crop over the height of the face; 1.3 = as published.
        detector: see ``faces.face_detector``.
        every: frames from one look of the detector to the next; between them a face is followed on a line.
        frames: at most so many crops of a track, evenly spread; None = every frame.
        shortest: frames; a face that is there for fewer is passed over. Pictures need one.
        largest: only the track with the largest sum of face areas; False = every track.
        distortion: done to the full frames before faces are cut out of them; None = nothing.
        boxes: where faces are looked for, in the ``distorted`` frames or in those of the ``original`` file.
            ``distorted`` is the published protocol: boxes move, and what hides a face leaves no crop of it, so that a
            set may shrink to its easy faces. With ``original`` the crops are those of the undistorted set, distorted.

    Raises:
        ConfigError: a number or word is out of its range, or the distortion has no seed: a file is read twice.

    Source: of ``distortion``, DeeperForensics-1.0, arXiv:2001.03024.
    """

    size: int = 224
    margin: float = 1.3
    detector: str = "haar"
    every: int = 3
    frames: int | None = None
    shortest: int = 5
    largest: bool = False
    distortion: Distortion | None = None
    boxes: Boxes = "distorted"

    def __post_init__(self) -> None:
        if self.size < 8 or not 0 < self.margin < 10:
            raise ConfigError(f"size must be >= 8 and margin in (0, 10), got {self.size} and {self.margin:g}")
        for name, value in (("every", self.every), ("frames", self.frames), ("shortest", self.shortest)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be >= 1, got {value}")
        if self.boxes not in get_args(Boxes) or (self.boxes != "distorted" and self.distortion is None):
            allowed = " or ".join(get_args(Boxes))
            raise ConfigError(f"boxes must be {allowed} and belongs to a distortion, got {self.boxes!r}; leave it out")
        if getattr(self.distortion, "seed", 0) is None:
            raise ConfigError("the distortion needs a seed, so that a file gives the same crops again; write seed=0")

    def facts(self) -> dict[str, Any]:
        """The settings as JSON can hold them; ``distortion`` where there is one."""
        facts = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("distortion", "boxes")}
        return facts if self.distortion is None else {**facts, "distortion": self.distorted}

    @property
    def distorted(self) -> str | None:
        """What was done to the full frames, in words for tables; None: nothing."""
        if self.distortion is None:
            return None
        return describe(self.distortion) + (", boxes of the original" if self.boxes == "original" else "")


@dataclass(frozen=True)
class Found:
    """The tracks of a file.

    Args:
        status: ok, no_face, too_short or unreadable.
        reason: one line that begins with the path; empty where the status is ok.
        tracks: none unless ok.
        decoded: frames.
    """

    status: str
    reason: str
    tracks: list[Track]
    decoded: int


def find_tracks(path: Path, settings: Settings, frames: Footage | None = None, threads: int = 0) -> Found:
    """The faces of a file followed from its first frame to its last; every sighting, whatever ``settings.frames``.

    Args:
        path: a video or a picture.
        settings: how.
        frames: where to look, distorted as the settings say; None: opened here.
        threads: that look for faces beside the decoding; what is found is the same.
    """
    if frames is None:
        with Footage(path, settings.distortion if settings.boxes == "distorted" else None) as frames:
            return find_tracks(path, settings, frames, threads)
    detector = _Counted(face_detector(settings.detector))
    shortest = 1 if frames.is_picture else settings.shortest
    try:
        tracks = follow(frames, detector, every=settings.every, shortest=shortest, threads=threads)
    except DataError as error:
        return Found("unreadable", str(error), [], frames.count)
    if tracks:
        return Found("ok", "", [largest(tracks)] if settings.largest else tracks, frames.count)
    if frames.count < shortest:
        return Found("too_short", f"{path} has {frames.count} frames, {shortest} are needed", [], frames.count)
    if detector.found:
        reason = f"{path} has no face that is seen surely for {shortest} frames"
        return Found("too_short", reason, [], frames.count)
    return Found("no_face", f"{path} has no face that {detector.name} finds", [], frames.count)


def largest(tracks: list[Track]) -> Track:
    """The track with the largest sum of face areas, the first of equals."""

    def area(track: Track) -> float:
        boxes = np.array([s.face.box for s in track.sightings])
        return float((boxes[:, 2:] - boxes[:, :2]).prod(1).sum())

    return max(tracks, key=area)


def crop_file(path: Path, folder: Path, settings: Settings) -> dict[str, Any]:
    """Write the crops of a file into ``folder/<track>/<frame>.png`` and tell what was found.

    A video is read twice, first for the boxes and then for the crops, so that a box can look ahead and no frame has to
    be kept. How frames are distorted before, see ``footage.Footage``.

    Returns:
        ``status`` (ok, no_face, too_short, unreadable), ``reason`` (one line unless ok), ``tracks`` (name, frame
        numbers, times) and ``decoded`` (frames of the first pass).

    Raises:
        OSError: a crop can not be written.
    """
    cv2.setNumThreads(1)
    with Footage(path, settings.distortion, folder) as frames:
        found = find_tracks(path, settings, frames if settings.boxes == "distorted" else None)
        if found.status != "ok":
            return _line(found.status, found.reason, [], found.decoded)
        kept = {track.id: _evenly(track.sightings, settings.frames) for track in found.tracks}
        try:
            _write(frames, kept, folder, settings)
        except DataError as error:
            return _line("unreadable", str(error), [], found.decoded)
    told = [
        {"track": name, "frames": [s.index for s in seen], "times": [round(s.time, 6) for s in seen]}
        for name, seen in kept.items()
    ]
    return _line("ok", "", told, found.decoded)


def _line(status: str, reason: str, tracks: list[dict[str, Any]], decoded: int) -> dict[str, Any]:
    return {"status": status, "reason": reason, "tracks": tracks, "decoded": decoded}


class _Counted:
    """A detector that knows whether it has found any face."""

    def __init__(self, detector: FaceDetector) -> None:
        self.detector, self.name, self.found = detector, detector.name, False

    def __call__(self, pixels: Pixels) -> list[Face]:
        faces = self.detector(pixels)
        # Only ever set: several threads may ask.
        self.found = self.found or bool(faces)
        return faces


def _evenly(sightings: tuple[Sighting, ...], count: int | None) -> list[Sighting]:
    if count is None or len(sightings) <= count:
        return list(sightings)
    return [sightings[(2 * i + 1) * len(sightings) // (2 * count)] for i in range(count)]


def _write(frames: Iterable[Frame], kept: dict[str, list[Sighting]], folder: Path, settings: Settings) -> None:
    wanted: dict[int, list[tuple[str, Face]]] = {}
    for name, sightings in kept.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for s in sightings:
            wanted.setdefault(s.index, []).append((name, s.face))
    if not wanted:
        return
    last = max(wanted)
    for frame in frames:
        for name, face in wanted.get(frame.index, ()):
            pixels = crop(frame.pixels, face, settings.size, settings.margin)
            _, data = cv2.imencode(".png", pixels[..., ::-1], PNG)
            (folder / name / f"{frame.index:06}.png").write_bytes(data.tobytes())
        if frame.index >= last:
            return
