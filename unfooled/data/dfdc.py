"""The DeepFake Detection Challenge: parts with a metadata.json each, held-out videos with a labels.csv."""

from __future__ import annotations

import csv
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.data.reading import (
    FRAME_FOLDERS,
    SPLIT_NAMES,
    Rows,
    folders_in,
    held_out,
    need_folder,
    need_frames,
    read_json,
    read_lines,
    videos_in,
)
from unfooled.errors import ConfigError, DataError

LABELS = {"REAL": REAL, "FAKE": FAKE}
_DEPTH = 3


def read_dfdc(
    root: Path,
    *,
    dataset: str = "DFDC",
    frames: str = "videos",
    validation: float | None = None,
    seed: int = 0,
) -> Manifest:
    """A manifest of DFDC: every folder up to three levels down that holds a ``metadata.json`` or ``labels.csv``.

    ``metadata.json`` says label, split and original of each video of its folder; ``labels.csv`` (filename,label; 1 =
    fake) those of the test videos (or of the validation videos, where its folder is called so). Nobody is named, so
    ``identity`` stays empty; ``parent`` is the original. A partial copy is taken as it is; what is absent or odd ends
    in ``notes``.

    Args:
        root: holds the parts (``dfdc_train_part_0``, ``test``, ...), or is one.
        dataset: name that makes ids and videos unique among data sets.
        frames: ``videos`` gives one row a file (in the folder or its ``videos/``); ``images`` or ``frames`` one row a
            frame of ``<part>/frames/<video>/``.
        validation: share of the originals of the training videos (0 to 1) that become our own validation split, each
            with all of its fakes. None = as published.
        seed: draws these originals.

    Raises:
        DataError: no part, no video, or an entry with an unknown label or split, each with file and line or name.
        ConfigError: ``validation`` where the copy brings validation videos.

    Source: arXiv:2006.07397. Deviation: videos in two parts (the sample is a part of the whole) stay two rows of one
    split.
    """
    need_frames(frames)
    base = need_folder(root, "dfdc_train_part_0/ and its like")
    rows = Rows(base)
    videos = [v for folder in _parts(base, _DEPTH) for v in _part(folder, base, frames, rows)]
    tests = {v.name for v in videos if v.split == "test"}
    groups = {v.group for v in videos if v.split == "train"}
    held: set[str] = set()
    if validation is not None:
        if any(v.split == "validation" for v in videos):
            raise ConfigError(f"{root} brings its own validation videos; leave validation out")
        held = held_out(groups, validation, seed)
    known: dict[str, dict[str, dict[str, str]]] = defaultdict(dict)
    for video in sorted(videos, key=lambda v: v.label == FAKE):
        kind = "Real" if video.label == REAL else "fake"
        name = "/".join(filter(None, [video.part, video.name]))
        split = "validation" if video.split == "train" and video.group in held else video.split
        if split != "test" and video.name in tests:
            rows.remark(True, "videos of the test lie in another part too, where they belong to no split", name)
            split = ""
        parents: dict[str, str] = {}
        if video.label == FAKE:
            there = known.get(video.original, {})
            parents = there.get(video.part) or (next(iter(there.values())) if len(there) == 1 else {})
            rows.remark(video.original and not parents, "fakes have no original here", name)
        ids = rows.add(
            f"{dataset}/{kind}/{name}", video.files, parents, label=video.label, dataset=dataset, manipulation=kind,
            collection=video.part.rpartition("/")[2], split=split,
        )  # fmt: skip
        if video.label == REAL:
            rows.remark(known[video.name], "reals lie in two parts", name)
            known[video.name][video.part] = ids
    other = "images" if frames == "videos" else "videos"
    nothing = f"{root} holds no {frames} that a metadata.json or labels.csv beside them names"
    nothing = f"{nothing} (with {other} instead: frames={other!r}, --frames {other})"
    return rows.finish(nothing, published=validation is None)


@dataclass(frozen=True)
class _Video:
    part: str
    name: str
    files: list[str]
    label: int
    split: str
    original: str

    @property
    def group(self) -> str:
        """An original and its fakes, wherever they lie."""
        return self.original if self.label == FAKE and self.original else self.name


def _parts(folder: str, depth: int) -> Iterator[str]:
    if any(Path(folder, name).is_file() for name in ("metadata.json", "labels.csv")):
        yield folder
    elif depth:
        for inner in folders_in(folder):
            if os.path.basename(inner) not in (*FRAME_FOLDERS, "videos"):  # noqa: PTH119
                yield from _parts(inner, depth - 1)


def _part(folder: str, base: str, frames: str, rows: Rows) -> Iterator[_Video]:
    part = os.path.relpath(folder, base).replace(os.sep, "/").removeprefix(".")
    by_table = Path(folder, "labels.csv").is_file()
    entries = _read_labels(Path(folder, "labels.csv")) if by_table else _read_metadata(Path(folder, "metadata.json"))
    both = by_table and Path(folder, "metadata.json").is_file()
    rows.remark(both, "metadata.json lie beside a labels.csv, which alone is read", part or ".")
    there = 0
    for name, files in videos_in(folder, frames):
        if name not in entries:
            file = "labels.csv" if by_table else "metadata.json"
            rows.remark(True, f"videos are not in {file} and are left out", f"{part}/{name}")
            continue
        there += 1
        label, split, original = entries[name]
        # A table of test videos names none at all.
        alone = label == FAKE and not original and not by_table
        rows.remark(alone, "fakes name no original", f"{part}/{name}")
        rows.remark(not split, "videos belong to no split in metadata.json", f"{part}/{name}")
        yield _Video(part, name, files, label, split, original)
    if absent := len(entries) - there:
        rows.notes.append(f"partial copy: {absent} of {len(entries)} listed videos of {part or folder} are absent")


def _read_metadata(path: Path) -> dict[str, tuple[int, str, str]]:
    """Name without suffix -> label, split, original ("" = none)."""
    entries: dict[str, tuple[int, str, str]] = {}
    for file, facts in read_json(path).items():
        where = f"{path}: {file!r}"
        if not isinstance(facts, dict):
            raise DataError(f"{where} must be an object with label, split and original, got {facts!r:.40}")
        if facts.get("label") not in LABELS:
            raise DataError(f"{where}: label must be REAL or FAKE, got {facts.get('label')!r}")
        split, original = facts.get("split") or "", facts.get("original") or ""
        if split and split not in SPLIT_NAMES:
            raise DataError(f"{where}: split must be one of {', '.join(SPLIT_NAMES)}, got {split!r}")
        if not isinstance(original, str):
            raise DataError(f"{where}: original must be a file name, got {original!r}")
        if _stem(file) in entries:
            raise DataError(f"{where} is listed with another suffix too; keep one of them")
        entries[_stem(file)] = (LABELS[facts["label"]], SPLIT_NAMES.get(split, ""), _stem(original))
    return entries


def _read_labels(path: Path) -> dict[str, tuple[int, str, str]]:
    split = SPLIT_NAMES.get(path.parent.name.lower().removeprefix("dfdc_").removesuffix("_videos"), "test")
    lines = list(read_lines(path))
    header = next(csv.reader([lines[0][1]])) if lines else []
    if not {"filename", "label"} <= set(header):
        raise DataError(f"{path} line 1: expected the columns filename,label, got {','.join(header)!r}")
    entries: dict[str, tuple[int, str, str]] = {}
    for where, line in lines[1:]:
        cells = dict(zip(header, next(csv.reader([line])), strict=False))
        name = _stem(cells["filename"])
        if cells.get("label") not in ("0", "1"):
            raise DataError(f"{where}: label must be 0 (real) or 1 (fake), got {cells.get('label')!r}")
        if name in entries:
            raise DataError(f"{where}: {cells['filename']!r} is listed twice; keep one line")
        entries[name] = (FAKE if cells["label"] == "1" else REAL, split, "")
    return entries


def _stem(file: str) -> str:
    return os.path.splitext(file)[0]  # noqa: PTH122
