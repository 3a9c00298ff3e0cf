"""DeepfakeBench's JSON lists of extracted frames, for any of its data sets."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unfooled.data.celebdf import people_of
from unfooled.data.ffpp import COMPRESSIONS
from unfooled.data.manifest import FAKE, REAL, SPLITS, Manifest
from unfooled.data.reading import SPLIT_NAMES, Rows, need_folder, read_json
from unfooled.errors import DataError

METHODS = {
    "FF-DF": "Deepfakes", "FF-F2F": "Face2Face", "FF-FS": "FaceSwap", "FF-NT": "NeuralTextures",
    "FF-FH": "FaceShifter", "FF-SH": "FaceShifter", "DFD_fake": "DeepFakeDetection",
    "CelebDFv1_fake": "Celeb-synthesis", "CelebDFv2_fake": "Celeb-synthesis",
    "DFDCP_FakeA": "method_A", "DFDCP_FakeB": "method_B",
}  # fmt: skip
_TWICE = "videos are listed in several splits and count for test before validation before train"


def read_deepfakebench(
    root: Path, *, frames_root: Path | None = None, dataset: str | None = None, compression: str | None = None
) -> Manifest:
    """A manifest of the frames that DeepfakeBench's JSON lists name; one row a frame.

    ``{Dataset: {Label: {split: {[compression:] {video: {"label": ..., "frames": [...]}}}}}}`` with ``/`` or ``\\`` in
    its paths. The label is the video's own word (``..._real``, ``..._fake``, or a method of FF++). Its published lists
    name videos in several splits; such a video counts for test, else for validation, so that no test video is trained
    on. Videos without a frame on disk are left out; what is absent or odd ends in ``notes``.

    Args:
        root: one JSON file, or a folder whose ``*.json`` are read together.
        frames_root: what the paths are relative to; of paths that begin elsewhere (another machine's folder) the
            beginning that is not there is passed over. None = the folder of the JSON.
        dataset: name for all rows; None = the JSON's own, FF++ for all of its family (as the reader ffpp names it).
        compression: raw, c0, c23 or c40 only; None = all that are listed.

    Raises:
        DataError: no JSON, another shape (with the place), an unknown label or split, or no listed frame on disk.

    Source: github.com/SCLBD/DeepfakeBench, preprocessing/rearrange.py, training/config/train_config.yaml (labels).
    """
    if compression is not None and compression not in COMPRESSIONS:
        raise DataError(f"compression must be one of {', '.join(COMPRESSIONS)}, got {compression!r}")
    root = Path(root)
    lists = [root] if root.is_file() else sorted(Path(need_folder(root, "the JSON lists")).glob("*.json"))
    if not lists:
        raise DataError(f"{root} holds no .json; name DeepfakeBench's list, or the folder with them")
    given = frames_root if frames_root is not None else (root.parent if root.is_file() else root)
    base = need_folder(given, "the frames")
    rows = Rows(base)
    videos: dict[str, _Video] = {}
    twice: dict[str, None] = {}
    for path in lists:
        listed = [v for v in _videos(path, dataset, rows) if compression in (None, v.compression)]
        _place(listed, base, rows)
        for video in listed:
            earlier = videos.setdefault(video.sample, video)
            if earlier.split != video.split:
                twice.setdefault(video.sample)
            elif earlier.frames != video.frames:
                rows.remark(True, "videos are listed twice with other frames; the first list is taken", video.sample)
            if SPLITS.index(video.split) > SPLITS.index(earlier.split):
                videos[video.sample] = video
    for sample in twice:
        rows.remark(True, _TWICE, sample)
    _note_folders(list(videos.values()), rows)
    originals: dict[str, dict[str, str]] = {}
    absent = 0
    for video in sorted(videos.values(), key=lambda v: v.label == FAKE):
        if video.frames and not any(os.path.exists(f) for f in video.frames):  # noqa: PTH110 (called for every file)
            absent += 1
            rows.remark(True, f"of {len(videos)} listed videos have no frame here (partial copy)", video.sample)
            continue
        target, source, original = _people(video)
        parents = originals.get(f"{video.dataset}/{video.compression}/{original}", {}) if video.label == FAKE else {}
        ids = rows.add(
            video.sample, video.frames, parents, label=video.label, dataset=video.dataset, split=video.split,
            video=f"{video.dataset}/{video.manipulation}/{video.name}", identity=target, source_identity=source,
            manipulation=video.manipulation, collection=video.collection, compression=video.compression,
        )  # fmt: skip
        if video.label == REAL:
            originals[f"{video.dataset}/{video.compression}/{video.name}"] = ids
    first = next((f for v in videos.values() for f in v.frames), "none at all")
    return rows.finish(
        f"none of the frames of {len(videos)} listed videos lie here, such as {first}; "
        "name the folder of the frames with frames_root=..., --frames-root",
        published=True,
    )


@dataclass
class _Video:
    dataset: str
    word: str
    label: int
    split: str
    compression: str
    name: str
    frames: list[str]

    @property
    def manipulation(self) -> str:
        return "Real" if self.label == REAL else METHODS.get(self.word, self.word)

    @property
    def sample(self) -> str:
        return "/".join(filter(None, [self.dataset, self.manipulation, self.compression, self.name]))

    @property
    def collection(self) -> str:
        """The folder that the layout keeps the frames' video under, such as ``youtube`` or ``Celeb-real``."""
        parts = re.split(r"[/\\]", self.frames[0])[:-2] if self.frames else []
        above = [p for p in parts if p not in ("frames", *COMPRESSIONS)]
        return above[-1] if self.label == REAL and above else ""


def _videos(path: Path, dataset: str | None, rows: Rows) -> Iterator[_Video]:
    for name, labels in _level(f"{path}: ", read_json(path)):
        for key, splits in _level(f"{path}: {name}", labels):
            for split, inside in _level(f"{path}: {name}/{key}", splits):
                where = f"{path}: {name}/{key}/{split}"
                if split.lower() not in SPLIT_NAMES:
                    raise DataError(f"{where}: the split must be one of {', '.join(SPLIT_NAMES)}, got {split!r}")
                for level, video, facts in _facts(where, inside, rows):
                    word, label = facts["label"], _label(f"{where}/{video}", facts["label"])
                    family = "FF++" if word.startswith(("FF-", "DFD_")) else name
                    frames = sorted(f.replace("\\", "/") for f in facts["frames"])
                    rows.remark(not frames, "videos list no frame", f"{key}/{video}")
                    rows.remark(word == "DF_real", "reals are source_videos, not DeeperForensics' real class", video)
                    yield _Video(dataset or family, word, label, SPLIT_NAMES[split.lower()], level, video, frames)


def _facts(where: str, inside: dict[str, Any], rows: Rows) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for key, value in _level(where, inside, loose=("label", "frames")):
        if not isinstance(value, dict):
            # A list of DFDC written by the published script has one video's facts here, without its name.
            rows.remark(
                key == "frames", "splits hold facts without a video's name, which are left out", f"{where}/{key}"
            )
        elif key in COMPRESSIONS and "frames" not in value:
            for video, facts in _level(f"{where}/{key}", value):
                yield key, video, _checked(f"{where}/{key}/{video}", facts)
        else:
            yield "", key, _checked(f"{where}/{key}", value)


def _level(where: str, value: Any, loose: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if not isinstance(value, dict):
        raise DataError(f"{where} must be an object, got {value!r:.40}")
    for key, inner in value.items():
        if not isinstance(inner, dict) and key not in loose:
            place = f"{where}{key}" if where.endswith(" ") else f"{where}/{key}"
            raise DataError(f"{place} must be an object, got {inner!r:.40}")
        yield key, inner


def _checked(where: str, facts: dict[str, Any]) -> dict[str, Any]:
    frames = facts.get("frames")
    if not isinstance(frames, list) or not all(isinstance(f, str) and f for f in frames):
        raise DataError(f"{where}: frames must be a list of paths, got {frames!r:.40}")
    if not isinstance(facts.get("label"), str):
        raise DataError(f"{where}: label must be a word such as FF-real, got {facts.get('label')!r}")
    return facts


def _label(where: str, word: str) -> int:
    last = re.split(r"[-_]", word.lower())[-1]
    if last in ("real", "fake"):
        return REAL if last == "real" else FAKE
    if word in METHODS:
        return FAKE
    raise DataError(f"{where}: label must end in real or fake or be one of {', '.join(METHODS)}, got {word!r}")


def _place(videos: list[_Video], base: str, rows: Rows) -> None:
    """Make the paths absolute, without a beginning that is another machine's."""
    lost = next((beginning for v in videos for f in v.frames[:1] if (beginning := _foreign(f, base)) is not None), "")
    elsewhere = [v for v in videos if lost and v.frames and v.frames[0].startswith(lost)]
    rows.remark(
        elsewhere, f"videos are looked for below {base} without the beginning of their paths", lost, len(elsewhere)
    )
    for video in videos:
        # normpath is dear; only paths that climb need it.
        joined = [os.path.join(base, f.removeprefix(lost)) for f in video.frames]  # noqa: PTH118
        video.frames = [os.path.normpath(f) if "/." in f or "//" in f else f for f in joined]


def _foreign(frame: str, base: str) -> str | None:
    """The beginning of a path to leave out so that it names a file below ``base``; None where none does."""
    parts = frame.split("/")
    for count in range(max(1, len(parts) - 1)):
        tail = "/".join(parts[count:])
        if os.path.exists(os.path.join(base, tail)):  # noqa: PTH110, PTH118 (called for many files)
            return frame[: len(frame) - len(tail)]
    return None


def _note_folders(videos: list[_Video], rows: Rows) -> None:
    found: dict[str, set[str]] = defaultdict(set)
    for video in videos:
        if video.label == REAL and video.word.startswith("CelebDF") and video.split == "train":
            found[video.word].add(video.collection)
    for word, collections in found.items():
        if len(collections) == 1:
            only = f"the training reals of {word} all lie in {next(iter(collections))}"
            rows.notes.append(f"{only}: the published script lets one of two real folders overwrite the other")


def _people(video: _Video) -> tuple[str | None, str | None, str]:
    """(target, source, name of the original video), as far as the names of that data set tell."""
    own, fake = video.dataset, video.label == FAKE
    if video.word.startswith("CelebDF"):
        target, source, number = people_of(video.name)
        return (
            f"{own}/{target}" if target else None, f"{own}/{source}" if source and fake else None,
            f"{target}_{number}",
        )  # fmt: skip
    if video.word.startswith(("FF-", "DFD_")) or video.word == "DF_fake":
        head, _, rest = video.name.partition("__")
        target, _, source = head.partition("_")
        scene = rest.rpartition("__")[0] or rest
        people = own if video.word == "DF_fake" else "FF++"
        original = f"{target}__{scene}" if rest else target
        return f"FF++/{target}", f"{people}/{source}" if source and fake else None, original
    return None, None, ""
