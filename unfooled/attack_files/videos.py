"""One video file: its faces attacked, put back into their frames, written, and asked about again from the file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from unfooled.attack_files.inputs import UnfitError
from unfooled.attack_files.one import first_line, probability
from unfooled.attack_files.outcome import VIDEO_STAGES
from unfooled.attack_files.scene import Scene
from unfooled.attack_files.search import Distance, Logits, Pasting, Search, compared, mean, scored
from unfooled.attack_files.shared import check_shared, perturbations
from unfooled.attack_files.spaces import InCrops, InFrames, Place, place_of
from unfooled.attacks import Attack
from unfooled.codecs import VideoCodec
from unfooled.data.cropping import Settings, find_tracks
from unfooled.data.faces import face_detector
from unfooled.data.images import Pixels
from unfooled.data.manifest import FAKE, REAL
from unfooled.data.rewriting import rewrite
from unfooled.data.video import Frame, probe
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox

Tracks = Literal["all", "largest"]
CROP = 224
"""Pixels of a crop for a detector that says nothing about its size."""
CRF = 23
"""Of the H.264 that every written video is asked about once more after."""


@dataclass(frozen=True)
class VideoOptions:
    """How video files are attacked.

    Args:
        codec: of what is written: ``ffv1`` keeps every pixel, ``h264`` is what the world would post. None: what the
            ending of ``out`` says (.mkv ffv1, .mp4 and .mov h264), in a folder ``ffv1``.
        crf: of H.264, 0 (best) to 51 (worst).
        face_detector: see ``data.faces.face_detector``.
        tracks: ``all`` faces of a video are attacked, or that of the ``largest`` track alone.
        shared: one perturbation for all frames of a track, in place of one for each frame or clip.
        clip: frames of a clip; None: the recipe's, or frames one by one without a recipe.
        margin: side of a crop over the height of the face.
        every: the face detector looks at every so manieth frame; between, a face is followed on a line.
        pixels: which ones the attack moves and its threat limits: those of the ``frame``, through the crop, or those of
            the ``crop``, whose change is put back after and loses much on the way. See ``spaces.place_of`` for attacks
            that move those of the crop in any case.

    Raises:
        ConfigError: a value is not among the allowed ones.
    """

    codec: VideoCodec | None = None
    crf: int = CRF
    face_detector: str = "haar"
    tracks: Tracks = "all"
    shared: bool = False
    clip: int | None = None
    margin: float = 1.3
    every: int = 3
    pixels: Place = "frame"

    def __post_init__(self) -> None:
        named = (("codec", get_args(VideoCodec)), ("tracks", get_args(Tracks)), ("pixels", get_args(Place)))
        for name, allowed in named:
            value = getattr(self, name)
            if value not in allowed and not (name == "codec" and value is None):
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        if self.clip is not None and self.clip < 1:
            raise ConfigError(f"clip must be >= 1 frame, got {self.clip}; write 25")

    def facts(self) -> dict[str, Any]:
        """What differs from the defaults, as JSON can hold it."""
        return {f.name: getattr(self, f.name) for f in fields(self) if getattr(self, f.name) != f.default}

    def settings(self, size: int) -> Settings:
        """How faces are found and cropped."""
        return Settings(size, self.margin, self.face_detector, self.every, largest=self.tracks == "largest")


@dataclass(frozen=True)
class Work:
    """What a job does with each of its files.

    Args:
        detector: in evaluation mode on ``device``.
        attack: what searches.
        options: how videos are attacked.
        home: folder that the names of results start from.
        codec: of videos.
        label: ``fake``, ``real`` or ``auto`` (the verdict on the file).
        fake_only: pass over a file that is not called fake.
        size: of images; None as they are.
        crop: side of the crops of videos in pixels.
        clip: frames that the detector sees at once; None: single crops.
        device: of the detector.
    """

    detector: Detector
    attack: Attack
    options: VideoOptions
    home: Path
    codec: VideoCodec
    label: str
    fake_only: bool
    size: int | None
    crop: int
    clip: int | None
    device: str

    @property
    def place(self) -> Place:
        """Which pixels the attack moves."""
        return place_of(self.attack, self.detector, self.options.shared, self.options.pixels)

    def check_videos(self) -> None:
        """Refuse what can not be done with any video, before the work.

        Raises:
            ConfigError: it can not.
        """
        face_detector(self.options.face_detector)
        if self.options.shared:
            check_shared(self.attack)
        if self.clip is not None and isinstance(self.detector, BlackBox):
            raise ConfigError("a detector one can only call is shown single crops; leave out clip")


def attack_video(
    path: Path, target: Path, work: Work, progress: Callable[[int, int], None] | None = None
) -> dict[str, Any]:
    """Attack the faces of a video, write it and describe it; the file appears whole or not at all.

    A track's score is the mean of the logits of its frames or clips, the file's that of its largest track. Memory does
    not grow with the length: the file is read anew for each stage.

    Args:
        path: the video.
        target: what to write; its ending fits the codec.
        work: what is done.
        progress: called with (written, all) frames.

    Returns:
        The row: status, extent, tracks, and for each stage score, logit, success and distances; ``written`` tells
        whether there is a file.

    Raises:
        UnfitError: unreadable, no face, too short, or the detector can not take such crops.
        BudgetSpent: the queries to a black box ended; nothing is lost that it has answered.
        OSError: the disk is full.
    """
    detector, length = work.detector, work.clip
    found = find_tracks(path, work.options.settings(work.crop))
    if found.status != "ok":
        raise UnfitError(found.status, _without(path, found.reason))
    scene = Scene(path, found.tracks, work.crop, work.options.margin)
    logits = {"before": _before(scene, work)}
    before, threshold = mean(logits["before"][scene.main]), float(detector.threshold)
    y = int(before > threshold) if work.label == "auto" else (FAKE if work.label == "fake" else REAL)
    about = probe(path)
    row: dict[str, Any] = {
        "status": "ok", "label": "fake" if y == FAKE else "real", "width": about.width, "height": about.height,
        "fps": round(about.fps, 3), "frames": found.decoded, "crops": sum(scene.counts.values()), "crop": work.crop,
        "clip": length, "shared": work.options.shared, "pixels": work.place, "codec": work.codec,
        "rule": f"mean of {'frame' if length is None else 'clip'} logits of the largest track, {scene.main}",
        "tracks": [{"track": name, "frames": count} for name, count in scene.counts.items()],
        "right_before": (before > threshold) == (y == FAKE), "score": {}, "logit": {},
    }  # fmt: skip
    _tell(row, logits)
    if work.fake_only and before <= threshold:
        return row | {"status": "passed over"}
    row |= {"success": dict.fromkeys(VIDEO_STAGES), "linf_255": {}, "l2": {}, "queries": None}
    try:
        search = _write(scene, target, work, y, found.decoded, progress)
        saved = Distance()
        logits["after"] = search.after
        crops = compared(scene, scene.crops(target), saved)
        logits["saved"] = scored(detector, crops, scene.counts, length, work.device)
        logits["h264_23"] = _compressed(scene, target, work)
    except (DataError, RuntimeError, MemoryError) as error:
        # One video that fails (no memory, a container that does not take its sound) must not stop the others.
        target.unlink(missing_ok=True)
        reason = f"{path.stem}: the attack failed ({_without(path, first_line(error))})"
        return row | {"status": "failed", "reason": reason, "success": dict.fromkeys(VIDEO_STAGES, False)}
    except BaseException:
        # No video without its row: what was asked of a black box stands in the log, the rest is made again.
        target.unlink(missing_ok=True)
        raise
    for stage, distance in (("after", search.distance), ("saved", saved)):
        row["linf_255"][stage], row["l2"][stage] = distance.row()
    row["queries"] = search.queries
    _tell(row, logits)
    row["success"] = {stage: (row["logit"][stage] > threshold) != (y == FAKE) for stage in VIDEO_STAGES}
    return row | {"written": True}


def _before(scene: Scene, work: Work) -> Logits:
    try:
        return scored(work.detector, scene.crops(), scene.counts, work.clip, work.device)
    except DataError as error:
        status = "no score" if "NaN" in str(error) else "unreadable"
        raise UnfitError(status, f"has no score: {_without(scene.path, str(error))}") from None
    except (RuntimeError, ValueError, IndexError) as error:
        what = "crops" if work.clip is None else f"clips of {work.clip} crops"
        raise UnfitError(
            "refused",
            f"gives {what} of {scene.size} x {scene.size} pixels, which the detector can not take "
            f"({first_line(error)}); try --size or --clip",
        ) from None


def _write(
    scene: Scene, target: Path, work: Work, y: int, frames: int, progress: Callable[[int, int], None] | None
) -> Search:
    """Write the attacked video; what the search tells."""
    how = (work.detector, work.attack, y, work.clip, work.device)
    if work.options.shared:
        deltas, queries = perturbations(scene, *how)
        search = Search(scene, InCrops(*how, deltas), work.clip)
        search.queries = queries
    else:
        search = Search(scene, (InFrames if work.place == "frame" else InCrops)(*how), work.clip)
    with closing(search.changed()) as changed:
        pasting = Pasting(scene, changed)

        def change(frame: Frame) -> Pixels:
            pixels = pasting(frame)
            if progress is not None:
                progress(frame.index + 1, frames)
            return pixels

        rewrite(scene.path, target, change, codec=work.codec, crf=work.options.crf)
    return search


def _compressed(scene: Scene, target: Path, work: Work) -> Logits:
    """The logits after the written file was saved once more as H.264, as whoever it is posted to does."""
    with tempfile.TemporaryDirectory(prefix="unfooled-") as folder:
        copy = Path(folder) / "copy.mkv"
        rewrite(target, copy, lambda frame: frame.pixels, codec="h264", crf=CRF)
        return scored(work.detector, scene.crops(copy), scene.counts, work.clip, work.device)


def _tell(row: dict[str, Any], logits: dict[str, Logits]) -> None:
    """Write the logits of the stages into the row, of the file and of each track."""
    main = row["rule"].rpartition(" ")[2]
    for stage, tracks in logits.items():
        for told in row["tracks"]:
            told.setdefault("logit", {})[stage] = mean(tracks[told["track"]])
        row["logit"][stage] = mean(tracks[main])
        row["score"][stage] = probability(row["logit"][stage])


def _without(path: Path, text: str) -> str:
    """A reason without the folders of somebody's machine."""
    return text.replace(str(path), "").strip()
