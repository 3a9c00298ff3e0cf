"""The faces of a video file: where they are in every frame, and their crops out of the file or out of a copy of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unfooled.data.alignment import Cut, cutting, placement
from unfooled.data.cropping import largest
from unfooled.data.faces import Face
from unfooled.data.images import Pixels
from unfooled.data.tracks import Track
from unfooled.data.video import Frame, decode
from unfooled.errors import DataError


@dataclass(frozen=True, eq=False, slots=True)
class Crop:
    """A face out of one frame.

    Args:
        track: name of its track.
        place: of the frame in the track, from 0.
        pixels: (S, S, 3) RGB.
        part: (h, w, 3) RGB, what of the frame it is made of.
        cut: how it is made, so that a change can be put back.
    """

    track: str
    place: int
    pixels: Pixels
    part: Pixels
    cut: Cut


class Scene:
    """A video and its face tracks; boxes alone are held, pixels come from the file one frame at a time.

    Args:
        path: the video file.
        tracks: at least one.
        size: side of a crop in pixels.
        margin: side of the crop over the height of the face.

    Attributes:
        counts: frames of each track.
        main: name of the track with the largest sum of face areas, whose score is the file's.
    """

    def __init__(self, path: Path, tracks: Sequence[Track], size: int, margin: float) -> None:
        self.path, self.size, self.margin = path, size, margin
        self.counts = {track.id: len(track.sightings) for track in tracks}
        self.main = largest(list(tracks)).id
        self._wanted: dict[int, list[tuple[str, int, Face]]] = {}
        for track in tracks:
            for place, sighting in enumerate(track.sightings):
                self._wanted.setdefault(sighting.index, []).append((track.id, place, sighting.face))

    def of(self, frame: Frame) -> list[Crop]:
        """The crops of one frame, which may come from a copy of the file: the placements are those of the file."""
        crops = []
        for name, place, face in self._wanted.get(frame.index, ()):
            cut = cutting(placement(face, self.size, self.margin), self.size, frame.pixels.shape)
            part = cut.part(frame.pixels).copy()
            crops.append(Crop(name, place, cut(part), part, cut))
        return crops

    def crops(self, path: Path | None = None) -> Iterator[Crop]:
        """All crops, frame by frame and within a frame track by track.

        Args:
            path: a copy of the file with the same frames; None: the file itself.

        Raises:
            DataError: it can not be decoded, or ends before the last face.
        """
        path = self.path if path is None else path
        last, seen = max(self._wanted), -1
        with decode(path) as frames:
            for frame in frames:
                yield from self.of(frame)
                seen = frame.index
                if seen >= last:
                    return
        raise DataError(f"{path} ends after {seen + 1} frames, the last face is in frame {last + 1}")
