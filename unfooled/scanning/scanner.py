"""One file -> one verdict with its evidence, or the reason why there is none."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from unfooled import __version__, calibration, checkpoints
from unfooled.attack_files.videos import CROP
from unfooled.calibration import Calibration, Scale
from unfooled.config import load_recipe
from unfooled.data.cropping import Found, Settings, find_tracks
from unfooled.data.faces import face_detector
from unfooled.data.images import Pixels
from unfooled.data.tracks import Track as FaceTrack
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.scanning import evidence as pictures
from unfooled.scanning import tampering, words
from unfooled.scanning.options import WHOLE, ScanOptions
from unfooled.scanning.points import Shape, Window, cut, per_track, windows
from unfooled.scanning.robustness import MarginSearch, margin_of
from unfooled.scanning.scores import logits_of, mean, speaker
from unfooled.scanning.verdict import About, Margin, Media, Point, Scan, Status, Tampering, Thresholds, Track
from unfooled.scanning.watching import SHORTEST, RefusedError, Watched, plain, whole_tracks

__all__ = ["ScanOptions", "Scanner"]

SMALL = Path(__file__).parents[1] / "assets" / "small"
"""The run folder of the detector that ships with the package."""
DARK = 24
"""Mean of the 256 values of a crop below which hardly anything is to be seen."""
Progress = Callable[[str, float], None]
"""(stage, share of the stage in [0, 1])."""


@dataclass(frozen=True, eq=False)
class Scanner:
    """A detector with its calibration, ready to be asked about files.

    A scan depends on the bytes of the file, the run and the options alone: no clock, no folder, no order.

    Args:
        detector: in evaluation mode.
        shape: what it is shown.
        options: how files are scanned.
        name: of the detector.
        note: what the detector is and is not.
        calibration: None: it was never calibrated, and every verdict says so.
        device: of the detector.
        threads: that look for faces while the file is decoded; the result is the same. 0: none.
    """

    detector: Detector
    shape: Shape
    options: ScanOptions
    name: str
    note: str
    calibration: Calibration | None = None
    device: str = "cpu"
    threads: int = 0

    @classmethod
    def open(
        cls,
        run: Path | None = None,
        options: ScanOptions | None = None,
        device: str = "cpu",
        *,
        calibrated: bool = True,
        threads: int = 0,
    ) -> Scanner:
        """The scanner of a run.

        Args:
            run: a run folder or checkpoint; None: the small detector that ships with the package.
            options: None: the defaults.
            device: where it computes.
            calibrated: False: pass over a calibration, whatever it is.
            threads: beside the decoding; for one file on an idle machine one a core.

        Raises:
            ConfigError: the small detector is not there, or an option does not fit the run.
            CheckpointError: the weights can not be loaded.
            DataError: the calibration is damaged or that of other weights.
        """
        if run is None and not (SMALL / checkpoints.BEST).is_file():
            raise ConfigError("this installation has no small detector of its own; name a run with --detector RUN")
        options, place = options or ScanOptions(), SMALL if run is None else Path(run)
        if options.face_detector != WHOLE:
            face_detector(options.face_detector)
        detector = checkpoints.load(place, device)
        folder = place if place.is_dir() else place.parent
        data = load_recipe(folder).data if (folder / "recipe.toml").exists() else None
        size = (data.size if data else None) or detector.size or CROP
        shape = Shape(size, data.clip if data else None, data.fps if data else 25.0)
        if detector.clips and shape.clip is None:
            raise ConfigError(
                f"{place} is a detector of clips, and no recipe says how long they are; name a run folder"
            )
        found = calibration.read(place, detector.digest()) if calibrated else None
        name = "small (ships with unfooled)" if run is None else folder.resolve().name
        return cls(detector, shape, options, name, words.note(run is None, detector, found), found, device, threads)

    @property
    def scale(self) -> Scale:
        """What turns a logit into a verdict."""
        if self.calibration is None:
            return calibration.uncalibrated(float(self.detector.threshold))
        return self.calibration.scale

    def __call__(
        self,
        path: Path,
        *,
        name: str | None = None,
        evidence: Path | None = None,
        progress: Progress | None = None,
    ) -> Scan:
        """Scan a file.

        Args:
            path: a video or a picture.
            name: what the result calls it; None: its name without folders.
            evidence: folder for pictures of the telling frames; None: none are made.
            progress: called with the stage and its share.

        Returns:
            The verdict, or a status with one line of reason; a bad file raises nothing.

        Raises:
            OSError: a picture can not be written (a full disk).
        """
        cv2.setNumThreads(1)
        path = Path(path)
        name = path.name if name is None else name
        tell = progress or (lambda stage, share: None)
        sha256, frames = None, None
        try:
            sha256 = _sha256(path)
            frames = Watched(path, self.options, lambda share: tell("faces", share))
            found = self.faces(frames)
            if found.status != "ok":
                status: Status = found.status  # type: ignore[assignment]
                return self.without_verdict(name, sha256, status, _line(name, path, found.reason), _media(frames))
            frames.progress = lambda share: tell("crops", share)
            seen = self.seen(frames, found.tracks)
            tell("scores", 0.0)
            try:
                logits = {k: logits_of(self.detector, s.pixels, self.shape, self.device) for k, s in seen.items()}
            except DataError as error:
                return self.without_verdict(name, sha256, "no_score", _line(name, path, str(error)), frames.media)
            if all(s.is_dark for s in seen.values()):
                reason = "shows no face that is light enough to be judged"
                return self.without_verdict(name, sha256, "no_score", _line(name, path, reason), frames.media)
        except RefusedError as error:
            return self.without_verdict(name, sha256, "refused", _line(name, path, str(error)), _media(frames))
        except (DataError, cv2.error) as error:
            reason = str(error) if isinstance(error, DataError) else "has frames that can not be processed"
            return self.without_verdict(name, sha256, "unreadable", _line(name, path, reason), _media(frames))
        return self._judged(name, sha256, frames, seen, logits, evidence, tell)

    def faces(self, frames: Watched) -> Found:
        """The face tracks of a file, or why there are none; goes through it once."""
        if self.options.face_detector == WHOLE:
            return whole_tracks(frames)
        settings = Settings(
            self.shape.size, self.options.crop_margin, self.options.face_detector, self.options.every, shortest=SHORTEST
        )
        return find_tracks(frames.path, settings, frames, self.threads)

    def seen(self, frames: Watched, tracks: Sequence[FaceTrack]) -> dict[str, Seen]:
        """What the detector is shown of each track; goes through the file once more."""
        count = per_track(len(tracks), self.options.samples, self.shape)
        chosen = {t.id: windows([s.time for s in t.sightings], count, self.shape) for t in tracks}
        margin = 1.0 if self.options.face_detector == WHOLE else self.options.crop_margin
        crops = cut(frames, tracks, chosen, self.shape.size, margin)
        return {t.id: Seen(t, chosen[t.id], crops[t.id]) for t in tracks}

    def _judged(
        self,
        name: str,
        sha256: str,
        frames: Watched,
        seen: dict[str, Seen],
        logits: dict[str, list[float]],
        evidence: Path | None,
        tell: Progress,
    ) -> Scan:
        rule, scale = self.options.rule, self.scale
        # A face of which nothing can be seen has its line in the result, and no voice.
        heard = {k: s for k, s in seen.items() if not s.is_dark}
        means, areas = {k: mean(logits[k]) for k in heard}, {k: s.area for k, s in heard.items()}
        loudest = speaker(means, areas, rule)
        logit = means[loudest]
        tell("scores", 1.0)
        told = pictures.Pictures(self.detector, self.shape, self.device, evidence)
        tracks = [self._track(s, logits[k]) for k, s in seen.items()]
        kept = pictures.most_telling({t.id: t.logit for t in tracks}, loudest)
        tracks = [t.model_copy(update={"telling": told.telling(t, seen[t.id].pixels, t.id in kept)}) for t in tracks]
        tell("evidence", 1.0)
        signs = self._tampering({k: s.pixels for k, s in heard.items()}, means, areas)
        tell("tampering", 1.0)
        turned = self._margin(heard, means, loudest, tell)
        dark = [name for name in seen if name not in heard]
        scan = Scan(
            file=name, sha256=sha256, status="ok", reason="", verdict=scale.word(logit), logit=plain(logit),
            probability=plain(scale.probability(logit)), rule=rule, thresholds=self._thresholds(), media=frames.media,
            tracks=tracks, margin=turned, tampering=signs, cautions=[], detector=self.about, unfooled=__version__,
        )  # fmt: skip
        return scan.model_copy(update={"cautions": words.cautions(scan, self, frames, dark)})

    def _track(self, seen: Seen, logits: list[float]) -> Track:
        sightings, logit = seen.track.sightings, mean(logits)
        points = []
        for window, z in zip(seen.windows, logits, strict=True):
            first = sightings[window[0]]
            x0, y0, x1, y1 = (round(v, 1) for v in first.face.box)
            points.append(
                Point(
                    time=round(first.time, 3),
                    frame=first.index,
                    box=(x0, y0, x1, y1),
                    logit=plain(z),
                    probability=plain(self.scale.probability(z)),
                )
            )
        return Track(
            id=seen.track.id, start=round(sightings[0].time, 3), stop=round(sightings[-1].time, 3),
            frames=len(sightings), verdict=self.scale.word(logit), logit=plain(logit),
            probability=plain(self.scale.probability(logit)), points=points, telling=[],
        )  # fmt: skip

    def _tampering(
        self, shown: dict[str, Pixels], means: dict[str, float], areas: dict[str, float]
    ) -> Tampering | None:
        if not self.options.tampering:
            return None
        try:
            found = tampering.after_mild_changes(
                self.detector, shown, means, areas, self.shape, self.options.rule, self.device
            )
        except DataError:  # no number for a crop that was changed mildly: there is nothing to compare
            return None
        known = self.calibration.tampering if self.calibration else None
        jump = tampering.jump(found, known.usual if known else None)
        rates = [r.value for r in known.detection.values()] if known else []
        return Tampering(
            logits={k: plain(z) for k, z in found.items()}, jump=plain(jump), limit=known.limit if known else None,
            flagged=known is not None and jump > known.limit,
            detection_rate=min((r for r in rates if r is not None), default=None),
            false_alarm_rate=known.false_alarm.value if known else None,
        )  # fmt: skip

    def _margin(self, seen: dict[str, Seen], means: dict[str, float], loudest: str, tell: Progress) -> Margin | None:
        if self.options.margin == "off":
            return None
        scale, logit = self.scale, means[loudest]
        word = scale.word(logit)
        # Of two thresholds the one that ends this verdict; an undecided one ends at the nearer.
        falls = word == "fake" or (word == "undecided" and logit - scale.lower < scale.upper - logit)
        target = {"fake": scale.upper, "real": scale.lower}.get(word, scale.lower if falls else scale.upper)
        spoken = list(means) if self.options.rule == "max" else [loudest]
        tell("margin", 0.0)
        found = margin_of(
            self.detector, {k: s.pixels for k, s in seen.items()}, means, spoken, target, not falls, self.shape,
            MarginSearch(), self.device,
        )  # fmt: skip
        tell("margin", 1.0)
        return found

    @cached_property
    def about(self) -> About:
        """Who answers; worked out once, for it reads all weights."""
        known = self.calibration
        return About(
            name=self.name, digest=self.detector.digest(), calibrated=known is not None, note=self.note,
            calibration=known.sentence() if known else words.NOT_CALIBRATED,
        )  # fmt: skip

    def _thresholds(self) -> Thresholds:
        known, scale = self.calibration, self.scale
        return Thresholds(
            real_below=plain(scale.probability(scale.lower)), fake_above=plain(scale.probability(scale.upper)),
            target_fpr=known.target_fpr if known else None,
        )  # fmt: skip

    def without_verdict(
        self, name: str, sha256: str | None, status: Status, reason: str, media: Media | None = None
    ) -> Scan:
        """The scan of a file that has no verdict."""
        return Scan(
            file=name, sha256=sha256, status=status, reason=reason, verdict=None, logit=None, probability=None,
            rule=self.options.rule, thresholds=self._thresholds(), media=media, tracks=[], margin=None, tampering=None,
            cautions=[], detector=self.about, unfooled=__version__,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Seen:
    """What was seen of a track: its points, and the crops (N, T, S, S, 3) there."""

    track: FaceTrack
    windows: list[Window]
    pixels: Pixels

    @property
    def is_dark(self) -> bool:
        """Whether next to nothing can be seen of the face."""
        return float(self.pixels.mean()) < DARK

    @property
    def area(self) -> float:
        """Sum of the face's area over its frames."""
        boxes = np.array([s.face.box for s in self.track.sightings])
        return float((boxes[:, 2:] - boxes[:, :2]).prod(1).sum())


def _sha256(path: Path) -> str:
    if not path.exists():
        raise DataError("is not there")
    if not path.is_file():
        raise DataError("is no file; a scan takes one video or picture")
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"can not be read: {(error.strerror or str(error)).lower()}") from None


def _media(frames: Watched | None) -> Media | None:
    return frames.media if frames is not None and frames.count else None


def _line(name: str, path: Path, reason: str) -> str:
    """The reason in one line that begins with the file's name: no folder of the machine in a result."""
    return " ".join(f"{name} {reason.removeprefix(str(path)).replace(str(path), name)}".split())
