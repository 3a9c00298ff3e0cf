"""The FaceForensics++ tree: original and manipulated sequences, and the split of its pairs."""

from __future__ import annotations

import csv
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from unfooled.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, file_status
from unfooled.data.manifest import COLUMNS, FAKE, REAL, Manifest
from unfooled.errors import DataError

COMPRESSIONS = ("raw", "c0", "c23", "c40")
SPLIT_FILES = {"train": "train", "val": "validation", "test": "test"}
STATUS_TEXT = {"unreadable": "empty (unreadable)", "missing": "links to nothing (missing)"}
_CHUNK = 200_000


def read_ffpp(
    root: Path,
    *,
    compression: str | None = None,
    dataset: str | None = None,
    frames: str = "images",
    splits: bool = True,
) -> Manifest:
    """A manifest of FaceForensics++ or of any set in its shape; what is absent or odd ends in ``notes``.

    ``original_sequences/<collection>/<compression>/images/<id>/0000.png`` and
    ``manipulated_sequences/<manipulation>/<compression>/images/<target>_<source>/0000.png``; one row a frame. A fake
    belongs to the split whose lists hold its pair, to none (and a note) otherwise; ``<id>_<id>`` goes with its id.
    An optional ``people.csv`` (id, identity, collection) in the root names who an id is.

    Args:
        root: folder that holds ``original_sequences`` and ``manipulated_sequences``, also a partial copy.
        compression: raw, c0, c23 or c40; None = all that are there.
        dataset: name that makes ids, videos and people unique among data sets; None = the source that a forged set
            names in its ``forge.json``, else FF++.
        frames: folder of the frames, ``images`` (or ``frames``, whichever is there); ``videos`` gives one row a video.
        splits: read ``splits/{train,val,test}.json``; False = rows without a split.

    Raises:
        DataError: not such a tree, no frames, no split lists, or an id in two of them.

    Source: github.com/ondyari/FaceForensics, dataset/README.md. Deviation: DeepFakeDetection's ``01_02__scene__KEY`` is
    read as target 01, source 02 of the scene.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name the folder that holds original_sequences/")
    if compression is not None and compression not in COMPRESSIONS:
        raise DataError(f"compression must be one of {', '.join(COMPRESSIONS)}, got {compression!r}")
    made_from = _made_from(root)
    reader = _Reader(root, dataset or made_from or "FF++", _read_people(root), forged=made_from is not None)
    if splits:
        reader.read_splits(root / "splits")
    for part, label in (("original_sequences", REAL), ("manipulated_sequences", FAKE)):
        for name, level, folder in _sequences(root / part, compression, frames):
            for video, files in _videos(folder, frames == "videos"):
                reader.add(label, name, level, video, files)
    return reader.finish(frames)


@dataclass
class _Reader:
    root: Path
    dataset: str
    people: dict[str, dict[str, str]]
    forged: bool = False
    split_of: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(default_factory=lambda: {n: [] for n in COLUMNS})
    tables: list[Any] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    collections: dict[str, list[str]] = field(default_factory=dict)
    originals: dict[tuple[str, str, str], dict[str, str]] = field(default_factory=dict)
    odd: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def read_splits(self, folder: Path) -> None:
        found = False
        for stem, split in SPLIT_FILES.items():
            path = folder / f"{stem}.json"
            if not path.is_file():
                self.notes.append(f"{folder.name}/{path.name} is not there: no row gets the split {split}")
                continue
            found = True
            for group in _read_groups(path):
                for key in [*group, *(f"{a}_{b}" for a in group for b in group)]:
                    if self.split_of.setdefault(key, split) != split:
                        raise DataError(f"{path}: {key} is in {self.split_of[key]} too; each id belongs to one split")
        if not found:
            raise DataError(
                f"{folder} has no train.json, val.json or test.json; copy FF++'s split lists there, "
                "or read without splits (splits=False, --no-splits)"
            )

    def add(self, label: int, name: str, compression: str, video: str, files: Sequence[os.DirEntry[str]]) -> None:
        head, _, rest = video.partition("__")
        target, _, source = head.partition("_")
        self.seen.add(head)
        if label == REAL:
            manipulation, path, collection = "Real", f"{name}/{video}", name
            known = self.collections.setdefault(video, [])
            if name not in known:
                known.append(name)
            frames = self.originals.setdefault((compression, name, video), {})
        else:
            manipulation, path = name, video
            original = f"{target}__{rest.rpartition('__')[0] or rest}" if rest else target
            known = self.collections.get(original, [])
            collection = "youtube" if "youtube" in known else (known or [""])[0]
            frames = self.originals.get((compression, collection, original), {})
            self._remark(
                len(known) > 1, "fakes have a target in two collections (youtube or the first is taken)", video
            )
            self._remark(not known, "fakes have no original here", f"{name}/{video}")
        split = self.split_of.get(head, "")
        if self.split_of:
            kind = "originals" if label == REAL else "fakes"
            self._remark(not split, f"{kind} are in no split list and belong to no split", f"{name}/{video}")
        for entry in files:
            stem = entry.name.rpartition(".")[0]
            number = str(int(stem)) if stem.isdecimal() else stem
            is_video = entry.name.lower().endswith(VIDEO_SUFFIXES)
            sample = "/".join([self.dataset, manipulation, compression, path] + [stem] * (not is_video))
            if label == REAL:
                frames[number if not is_video else ""] = sample
            status = file_status(entry.path)
            self._remark(status != "ok", f"files are {STATUS_TEXT.get(status)} and get no score", entry.path)
            row: dict[str, Any] = {
                "id": sample,
                "path": Path(entry.path).relative_to(self.root).as_posix(),
                "label": label,
                "video": f"{self.dataset}/{manipulation}/{path}",
                "identity": self._person(target) if source or label == REAL or known else None,
                "source_identity": self._person(source) if source and label == FAKE else None,
                "parent": frames.get("" if is_video else self._original(number, frames)) if label == FAKE else None,
                "manipulation": manipulation,
                "dataset": self.dataset,
                "collection": self.people.get(target, {}).get("collection") or collection,
                "split": split,
                "compression": compression,
                "status": status,
            }
            for column, value in row.items():
                self.columns[column].append(value)
        self._remark(not files, "folders hold no frame", f"{name}/{video}")
        if len(self.columns["id"]) >= _CHUNK:
            self._flush()

    def finish(self, frames: str) -> Manifest:
        self._flush()
        if not sum(map(len, self.tables)):
            other = "videos" if frames != "videos" else "images"
            raise DataError(
                f"no {frames} found: expected {self.root}/original_sequences/<collection>/<compression>/{frames}/... "
                f"(with {other} instead, read with frames={other!r}, --frames {other})"
            )
        absent = [key for key in self.split_of if "_" not in key and key not in self.seen]
        if absent:
            listed = sum("_" not in key for key in self.split_of)
            self.notes.append(
                f"partial copy: {len(absent)} of {listed} listed originals are absent, such as {absent[0]}"
            )
        self.notes += [f"{n} {text}, such as {self.examples[text]}" for text, n in self.odd.items()]
        return Manifest(pa.concat_tables(self.tables), self.root, tuple(self.notes))

    def _original(self, number: str, frames: dict[str, str]) -> str:
        """The frame of the target that a fake was made from; a forged set may turn a video into several in a row."""
        repeats = self.forged and number.isdecimal() and number not in frames and len(frames) > 0
        return str(int(number) % len(frames)) if repeats else number

    def _person(self, number: str) -> str:
        return self.people.get(number, {}).get("identity") or f"{self.dataset}/{number}"

    def _remark(self, applies: bool, text: str, example: str) -> None:
        if applies:
            self.odd[text] += 1
            self.examples.setdefault(text, example)

    def _flush(self) -> None:
        if self.columns["id"]:
            self.tables.append(Manifest.from_columns(self.columns, self.root).table)
            self.columns = {n: [] for n in COLUMNS}


def _sequences(part: Path, compression: str | None, frames: str) -> Iterator[tuple[str, str, Path]]:
    """(collection or manipulation, compression, folder of frames) of all that is there."""
    names = {"videos": ("videos",)}.get(frames, tuple(dict.fromkeys([frames, "images", "frames"])))
    for sequence in _folders(part):
        for level in _folders(sequence):
            if level.name not in COMPRESSIONS or compression not in (None, level.name):
                continue
            if sequence.name == "Real":
                raise DataError(f"{sequence}: a manipulation can not be called Real; rename the folder")
            folder = next((level / n for n in names if (level / n).is_dir()), None)
            if folder is not None:
                yield sequence.name, level.name, folder


def _videos(folder: Path, as_files: bool) -> Iterator[tuple[str, list[os.DirEntry[str]]]]:
    with os.scandir(folder) as entries:
        ordered = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in ordered:
        if as_files and entry.name.lower().endswith(VIDEO_SUFFIXES):
            yield entry.name.rpartition(".")[0], [entry]
        elif not as_files and entry.is_dir():
            with os.scandir(entry.path) as inside:
                files = [e for e in inside if e.name.lower().endswith(IMAGE_SUFFIXES) and not e.name.startswith(".")]
            yield entry.name, sorted(files, key=lambda e: e.name)


def _folders(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_dir() and not p.name.startswith(".")) if path.is_dir() else []


def _read_groups(path: Path) -> list[list[str]]:
    try:
        groups = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None
    fits = isinstance(groups, list) and all(
        isinstance(g, list) and 1 <= len(g) <= 2 and all(isinstance(i, str) for i in g) for g in groups
    )
    if not fits:
        raise DataError(f'{path} must be a list of pairs of ids, such as [["000", "003"]]')
    return list(groups)


def _made_from(root: Path) -> str | None:
    """What a set of ``unfooled data forge`` was made from; None for any other set."""
    path = root / "forge.json"
    if not path.is_file():
        return None
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}; forge the set again, or remove the file") from None
    # Older sets do not name their source.
    return str(settings.get("source", "")) if isinstance(settings, dict) else ""


def _read_people(root: Path) -> dict[str, dict[str, str]]:
    path = root / "people.csv"
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8-sig") as lines:
        table = csv.DictReader(lines)
        if lacking := {"id", "identity"} - set(table.fieldnames or ()):
            raise DataError(f"{path} lacks the column {' and '.join(sorted(lacking))}; write id,identity,collection")
        return {row["id"]: {k: v for k, v in row.items() if v} for row in table}
