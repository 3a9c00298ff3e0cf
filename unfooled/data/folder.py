"""A plain folder: real/ and fake/, or the same below train/, validation/ and test/."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path, PurePath
from typing import Any

from unfooled.data.images import VIDEO_SUFFIXES, file_status, walk
from unfooled.data.manifest import FAKE, REAL, SPLITS, Manifest
from unfooled.errors import DataError
from unfooled.randomness import seed_of

TOP_SPLITS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
SHARES = (0.6, 0.2, 0.2)


def read_folder(root: Path, *, dataset: str | None = None, seed: int = 0) -> Manifest:
    """A manifest of ``real/`` and ``fake/`` (or ``fake/<manipulation>/``), images or videos.

    Below ``real/`` the first sub-folder is the person, below ``fake/`` the manipulation and then the person, unless
    a folder of that name lies in ``real/`` too: then it is the person. A file without a person's folder is a person
    of its own name, so ``real/a.png`` and ``fake/FaceSwap/a.png`` stay in one split. All images of a folder are one
    video.

    Args:
        root: holds real/ and fake/, or train/, validation/ (val/) and test/ that hold them; such splits are kept.
        dataset: name that makes ids, videos and people unique; None = the folder's name.
        seed: assigns people to 60/20/20 where the folder brings no splits; a person keeps all rows together.

    Raises:
        DataError: no folder, neither real/ nor fake/ in it, no image or video, or a link that leads in a circle.
    """
    root = Path(root)
    files = [PurePath(os.path.relpath(e.path, root)) for e in walk(root)]
    dataset = dataset or root.absolute().name
    brings_splits = any(f.parts[0].lower() in TOP_SPLITS for f in files if len(f.parts) > 1)
    rows, passed = [], []
    people_of_reals = _people_of_reals(files, brings_splits)
    for file in files:
        row = _row(file, dataset, brings_splits, people_of_reals)
        if row is None:
            passed.append(file.as_posix())
            continue
        row["status"] = file_status(root / file)
        rows.append(row)
    if not rows:
        raise DataError(
            f"{root} holds no image or video in real/ or fake/ ({len(passed)} elsewhere); make these folders"
        )
    notes = (
        [f"{len(passed)} files lie outside of real/ and fake/ and are left out, such as {passed[0]}"] if passed else []
    )
    if empty := [r["path"] for r in rows if r["status"] != "ok"]:
        notes.append(f"{len(empty)} files are empty or lead nowhere and get no score, such as {empty[0]}")
    if not brings_splits:
        split = _split_people(rows, seed)
        for row in rows:
            row["split"] = split[row["identity"]]
    return Manifest.from_rows(rows, root, notes)


def _people_of_reals(files: list[PurePath], brings_splits: bool) -> set[str]:
    depth = 1 if brings_splits else 0
    return {f.parts[depth + 1] for f in files if len(f.parts) > depth + 2 and f.parts[depth].lower() == "real"}


def _row(file: PurePath, dataset: str, brings_splits: bool, people_of_reals: set[str]) -> dict[str, Any] | None:
    parts = list(file.parts)
    split = TOP_SPLITS.get(parts.pop(0).lower()) if brings_splits else ""
    if split is None or len(parts) < 2 or parts[0].lower() not in ("real", "fake"):
        return None
    kind, *folders = parts[:-1]
    label = REAL if kind.lower() == "real" else FAKE
    manipulation = "Real" if label == REAL else "fake"
    if label == FAKE and folders and folders[0] not in people_of_reals:
        manipulation = folders.pop(0)
    is_video = file.suffix.lower() in VIDEO_SUFFIXES
    name = "/".join([*folders, file.stem] if is_video or not folders else folders)
    return {
        "id": f"{dataset}/{manipulation}/{file.as_posix()}",
        "path": file.as_posix(),
        "label": label,
        "video": f"{dataset}/{manipulation}/{name}",
        "identity": f"{dataset}/{folders[0] if folders else file.stem}",
        "manipulation": manipulation,
        "dataset": dataset,
        "split": split,
    }


def _split_people(rows: list[dict[str, Any]], seed: int) -> dict[str, str]:
    """60/20/20 of the people, apart for those with reals, with fakes and with both, so that each split has both."""
    labels = defaultdict(set)
    for row in rows:
        labels[row["identity"]].add(row["label"])
    groups = defaultdict(list)
    for person, own in labels.items():
        groups[tuple(sorted(own))].append(person)
    split = {}
    for people in groups.values():
        people.sort(key=lambda p: (seed_of("split", seed, p), p))
        held = [max(round(share * len(people)), len(people) >= 3) for share in SHARES[1:]]
        first, second = len(people) - sum(held), len(people) - held[1]
        for number, person in enumerate(people):
            split[person] = SPLITS[(number >= first) + (number >= second)]
    return split
