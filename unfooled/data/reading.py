"""What the readers of published layouts share: videos on disk, rows and remarks, our own validation split."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from unfooled.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, file_status
from unfooled.data.manifest import COLUMNS, Manifest
from unfooled.errors import ConfigError, DataError
from unfooled.randomness import seed_of

FRAME_FOLDERS = ("images", "frames")
SPLIT_NAMES = {
    "train": "train", "training": "train", "val": "validation", "valid": "validation", "validation": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
_STATUS_TEXT = {"unreadable": "empty (unreadable)", "missing": "links to nothing (missing)"}
_CHUNK = 200_000


class Rows:
    """The rows of a manifest while a reader finds them, and its remarks, which become notes.

    Args:
        root: absolute folder that all files lie below.
    """

    def __init__(self, root: str) -> None:
        self.root = root
        self.notes: list[str] = []
        self._prefix = root.rstrip(os.sep) + os.sep
        self._columns: dict[str, list[Any]] = {n: [] for n in COLUMNS}
        self._tables: list[Any] = []
        self._seen: set[str] = set()
        self._odd: Counter[str] = Counter()
        self._examples: dict[str, str] = {}

    def add(
        self, sample: str, files: Sequence[str], parents: Mapping[str, str] | None = None, **facts: object
    ) -> dict[str, str]:
        """One row for each file of a video; frame number -> id of it ("" for a video file), for its fakes.

        Args:
            sample: id of a video file; frames append their name.
            files: absolute paths below the root.
            parents: what this method gave for the original; a frame without its original there has no parent.
            facts: the other columns, equal for all files; ``video`` is ``sample`` where it is not given.

        Raises:
            DataError: a second video or frame of the same id.
        """
        ids: dict[str, str] = {}
        for file in files:
            stem = os.path.splitext(os.path.basename(file))[0]  # noqa: PTH119, PTH122 (called for every file)
            is_video = file.lower().endswith(VIDEO_SUFFIXES)
            key = "" if is_video else frame_number(stem)
            name = sample if is_video else f"{sample}/{stem}"
            if key in ids or (not ids and sample in self._seen):
                raise DataError(f"{file} is a second file of the sample {name}; keep one of them")
            ids[key] = name
            status = file_status(file)
            self.remark(status != "ok", f"files are {_STATUS_TEXT.get(status)} and get no score", file)
            relative = file.removeprefix(self._prefix)
            if relative == file:
                relative = os.path.relpath(file, self.root)
            row = {
                "video": sample, "identity": None, "source_identity": None, "collection": "", "split": "",
                "compression": "", **facts, "id": name, "path": relative.replace(os.sep, "/"), "status": status,
                "parent": (parents or {}).get(key),
            }  # fmt: skip
            for column, values in self._columns.items():
                values.append(row[column])
        self._seen.add(sample)
        self.remark(not files, "folders hold no frame", sample)
        if len(self._columns["id"]) >= _CHUNK:
            self._flush()
        return ids

    def remark(self, applies: object, text: str, example: str, count: int = 1) -> None:
        """Count something odd; ``finish`` makes one note of it, with the first example."""
        if applies:
            self._odd[text] += count
            self._examples.setdefault(text, example)

    def finish(self, nothing: str, *, published: bool) -> Manifest:
        """The manifest; ``nothing`` is the text of the DataError where there is no row."""
        self._flush()
        if not self._tables:
            raise DataError(nothing)
        notes = [*self.notes, *(f"{n} {text}, such as {self._examples[text]}" for text, n in self._odd.items())]
        return Manifest(pa.concat_tables(self._tables), Path(self.root), tuple(notes), published)

    def _flush(self) -> None:
        if self._columns["id"]:
            self._tables.append(Manifest.from_columns(self._columns, Path(self.root)).table)
            self._columns = {n: [] for n in COLUMNS}


def frame_number(stem: str) -> str:
    """``0007`` and ``7`` are the same frame; a name that is no number stays."""
    return str(int(stem)) if stem.isdecimal() else stem


def need_folder(root: Path | str, holds: str) -> str:
    """The absolute path of a folder that must be there."""
    if not Path(root).is_dir():
        raise DataError(f"{root} is not a folder; name the folder that holds {holds}")
    return os.path.abspath(root)  # noqa: PTH100 (resolve would leave the folder that a link was given for)


def need_frames(frames: str) -> None:
    """Refuse anything but ``videos``, ``images`` and ``frames``."""
    if frames not in ("videos", *FRAME_FOLDERS):
        raise ConfigError(f"frames must be videos, images or frames, got {frames!r}; videos gives one row a file")


def videos_in(folder: Path | str, frames: str) -> Iterator[tuple[str, list[str]]]:
    """(name, files) of each video in a folder, sorted by name; a name is a file name without its suffix.

    Args:
        folder: holds video files (or ``videos/`` with them), or ``images/`` or ``frames/`` with a folder a video;
            one that is not there gives nothing.
        frames: ``videos``, or ``images`` / ``frames`` for extracted frames.
    """
    folder = Path(folder)
    if frames == "videos":
        for place in (folder, folder / "videos"):
            for entry in _entries(place):
                if entry.name.lower().endswith(VIDEO_SUFFIXES):
                    yield entry.name.rpartition(".")[0], [entry.path]
        return
    place = next((folder / n for n in (frames, *FRAME_FOLDERS) if (folder / n).is_dir()), folder)
    for entry in _entries(place):
        if entry.is_dir():
            yield entry.name, [e.path for e in _entries(entry.path) if e.name.lower().endswith(IMAGE_SUFFIXES)]


def folders_in(folder: Path | str) -> list[str]:
    """Absolute paths of the folders in a folder, sorted; hidden ones are passed over."""
    return [e.path for e in _entries(folder) if e.is_dir()]


def held_out(groups: Iterable[str], share: float, seed: int) -> set[str]:
    """The groups that become our own validation split: a larger share holds a smaller one, one stays in training.

    Args:
        groups: names; what shares a name is never divided.
        share: of the groups, in (0, 1).
        seed: draws the groups; equal names and seed give equal groups on every machine.

    Raises:
        ConfigError: the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise ConfigError(f"validation must be a share between 0 and 1, got {share}; write 0.1")
    ordered = sorted(set(groups), key=lambda name: (seed_of("validation", seed, name), name))
    return set(ordered[: min(max(1, round(share * len(ordered))), len(ordered) - 1)]) if ordered else set()


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file; a name that occurs twice in an object is an error, not an overwriting.

    Raises:
        DataError: not to be opened, not JSON (with the line), not an object, or a name twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            double = Counter(k for k, _ in pairs).most_common(1)[0][0]
            raise DataError(f"{path} names {double!r} twice in one object; remove one of them")
        return found

    try:
        content = json.loads(path.read_bytes(), object_pairs_hook=unique)
    except OSError as error:
        raise DataError(f"{path} can not be opened: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold a JSON object, got {type(content).__name__}")
    return content


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """("FILE line N", text) of each line that is not blank.

    Raises:
        DataError: not to be opened, or not text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"{path} can not be opened: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not UTF-8 text; copy it again") from None
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            yield f"{path} line {number}", line.strip()


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(f"{folder} can not be listed: {error.strerror}") from None
