"""The telling frames of a track as pictures: the face, and what of it moved the score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from unfooled.codecs import encode_png
from unfooled.data.images import Pixels
from unfooled.files import replacing
from unfooled.models.detector import Detector
from unfooled.scanning.points import Shape
from unfooled.scanning.saliency import drawn_over, saliency
from unfooled.scanning.verdict import Telling, Track

EACH, MOST_TRACKS = 3, 24
"""Telling frames of a track; tracks of a file that get pictures, those that look most fake first."""


@dataclass(frozen=True, eq=False)
class Pictures:
    """Where pictures go and who is asked what moved the score.

    Args:
        detector: differentiable.
        shape: what it is shown.
        device: where it computes.
        folder: for the PNG files; None: none are made.
    """

    detector: Detector
    shape: Shape
    device: str
    folder: Path | None

    def telling(self, track: Track, shown: Pixels, wanted: bool) -> list[Telling]:
        """The points of a track that spoke loudest for its verdict, strongest first.

        For ``real`` the lowest logits and the highest one, its peak; for ``fake`` and ``undecided`` the highest: those
        a person should look at.

        Args:
            track: with its points.
            shown: (N, T, S, S, 3) crops of the points.
            wanted: make pictures of them.

        Raises:
            OSError: a picture can not be written.
        """
        sign = 1 if track.verdict == "real" else -1
        order = sorted(range(len(track.points)), key=lambda k: (sign * track.points[k].logit, k))
        if sign > 0:
            order = [*order[: EACH - 1], *order[EACH - 1 :][-1:]]
        order = order[:EACH]
        return [self._one(track, k, shown[k], wanted) for k in order]

    def _one(self, track: Track, k: int, shown: Pixels, wanted: bool) -> Telling:
        point, crop, marked = track.points[k], None, None
        if self.folder is not None and wanted:
            face = shown[len(shown) // 2]
            crop = f"face{track.id}-{point.frame:06}.png"
            marked = f"face{track.id}-{point.frame:06}-saliency.png"
            _write(self.folder / crop, face)
            _write(self.folder / marked, drawn_over(face, saliency(self.detector, shown, self.shape, self.device)))
        return Telling(time=point.time, frame=point.frame, logit=point.logit, crop=crop, saliency=marked)


def most_telling(logits: Mapping[str, float], speaker: str) -> set[str]:
    """The tracks that get pictures: the speaker, and those with the highest logits."""
    others = sorted(logits, key=lambda name: (name != speaker, -logits[name]))
    return set(others[:MOST_TRACKS])


def _write(path: Path, pixels: Pixels) -> None:
    with replacing(path) as temporary:
        temporary.write_bytes(encode_png(pixels))
