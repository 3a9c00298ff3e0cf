"""Celeb-DF: celebrities, more people from YouTube, swaps between the celebrities, and a list of test videos."""

from __future__ import annotations

import os
import re
from pathlib import Path

from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.data.reading import Rows, folders_in, held_out, need_folder, need_frames, read_lines, videos_in
from unfooled.errors import ConfigError, DataError

FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, "Celeb-synthesis": FAKE}
TEST_LIST = "List_of_testing_videos.txt"
FLAGS = {"1": REAL, "0": FAKE}
_LINE = re.compile(r"([01])\s+([^/\\]+)[/\\](.+)")
_NAME = re.compile(r"(id\d+)(?:_(id\d+))?_(\d+)")
_CANONICAL = {name.lower(): name for name in FOLDERS}


def read_celebdf(
    root: Path,
    *,
    dataset: str = "Celeb-DF-v2",
    frames: str = "videos",
    splits: bool = True,
    validation: float | None = None,
    seed: int = 0,
) -> Manifest:
    """A manifest of Celeb-DF (v1 or v2); the list's videos are the test split, all others train.

    ``Celeb-real/id0_0000.mp4`` shows id0, ``Celeb-synthesis/id0_id1_0000.mp4`` is that video with the face of id1,
    ``YouTube-real/00000.mp4`` shows somebody unnamed. Test and training share people as published, which ``check``
    warns of. A partial copy is taken as it is; what is absent or odd ends in ``notes``.

    Args:
        root: holds the three folders (any casing, such as ``Youtube-real``) and ``List_of_testing_videos.txt``.
        dataset: name that makes ids, videos and people unique among data sets.
        frames: ``videos`` gives one row a file (in the folder or its ``videos/``); ``images`` or ``frames`` one row a
            frame of ``<folder>/frames/<video>/``.
        splits: read the test list; False = rows without a split.
        validation: share of the people of the training videos (0 to 1) who become our own validation split, and the
            same share of the YouTube videos; swaps between a person of each side belong to no split then.
            None = no validation split, as published.
        seed: draws these people.

    Raises:
        DataError: no such folder, no video, no list, a malformed line, or a flag that contradicts its folder.
        ConfigError: a share outside of (0, 1), or without the list.

    Source: github.com/yuezunli/celeb-deepfakeforensics; arXiv:1909.12962. In the list the flag 1 means REAL.
    """
    need_frames(frames)
    if validation is not None and not splits:
        raise ConfigError("validation is a share of the training videos, which only the test list tells; read it too")
    base = need_folder(root, "Celeb-real/, YouTube-real/ and Celeb-synthesis/")
    rows = Rows(base)
    found = _find(base, frames, rows)
    tests = _read_list(Path(base, TEST_LIST)) if splits else set()
    absent = sorted("/".join(t) for t in tests - set(found))
    if absent and found:
        rows.notes.append(f"partial copy: {len(absent)} of {len(tests)} test videos are absent, such as {absent[0]}")
    split_of = {key: ("test" if key in tests else "train") if splits else "" for key in found}
    if validation is not None:
        _hold_out(split_of, validation, seed, rows)
    originals: dict[str, dict[str, str]] = {}
    for (folder, name), files in found.items():
        label = FOLDERS[folder]
        target, source, number = people_of(name)
        odd = folder != "YouTube-real" and (target is None or (source is None) == (label == FAKE))
        rows.remark(odd, "names do not tell the people in the video", f"{folder}/{name}")
        path = f"Real/{folder}/{name}" if label == REAL else f"{folder}/{name}"
        parents = originals.get(f"{target}_{number}", {}) if label == FAKE else {}
        ids = rows.add(
            f"{dataset}/{path}", files, parents, label=label, dataset=dataset, split=split_of[folder, name],
            identity=f"{dataset}/{target}" if target else None,
            source_identity=f"{dataset}/{source}" if source and label == FAKE else None,
            manipulation="Real" if label == REAL else folder, collection=folder if label == REAL else "Celeb-real",
        )  # fmt: skip
        if folder == "Celeb-real":
            originals[name] = ids
        rows.remark(label == FAKE and not odd and not parents, "fakes have no original here", f"{folder}/{name}")
    other = "images" if frames == "videos" else "videos"
    nothing = f"no {frames} found in Celeb-real/, YouTube-real/ or Celeb-synthesis/ of {root}"
    return rows.finish(f"{nothing} (with {other} instead: frames={other!r}, --frames {other})", published=splits)


def people_of(name: str) -> tuple[str | None, str | None, str]:
    """(target, source, number) of a video's name: ``id0_id1_0002`` -> id0, id1, 0002; None where it names nobody."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2], match[3]) if match else (None, None, "")


def _find(base: str, frames: str, rows: Rows) -> dict[tuple[str, str], list[str]]:
    """(canonical folder, video) -> files, reals first."""
    found: dict[tuple[str, str], list[str]] = {}
    here: dict[str, list[str]] = {}
    for path in folders_in(base):
        name = os.path.basename(path)  # noqa: PTH119
        here.setdefault(_CANONICAL.get(name.lower(), ""), []).append(path)
    for path in here.get("", []):
        rows.remark(True, "folders are none of the layout and are left out", path)
    for folder in FOLDERS:
        if folder not in here:
            rows.notes.append(f"partial copy: {folder}/ is not there")
        for path in here.get(folder, []):
            for name, files in videos_in(path, frames):
                if (folder, name) in found:
                    raise DataError(f"{path}/{name} is a second video of {folder}/{name}; keep one of them")
                found[folder, name] = files
    return found


def _read_list(path: Path) -> set[tuple[str, str]]:
    if not path.is_file():
        raise DataError(
            f"{path} is not there; copy Celeb-DF's test list there, or read without splits (splits=False, --no-splits)"
        )
    listed = set()
    for where, line in read_lines(path):
        match = _LINE.fullmatch(line)
        folder = _CANONICAL.get(match[2].lower()) if match else None
        if match is None or folder is None:
            raise DataError(f"{where}: expected FLAG FOLDER/FILE such as '1 YouTube-real/00170.mp4', got {line!r}")
        if FLAGS[match[1]] != FOLDERS[folder]:
            meant = "real" if FLAGS[match[1]] == REAL else "fake"
            raise DataError(f"{where}: the flag {match[1]} means {meant}, but {folder} is not; mend the list")
        listed.add((folder, os.path.splitext(match[3])[0]))  # noqa: PTH122
    return listed


def _hold_out(split_of: dict[tuple[str, str], str], share: float, seed: int, rows: Rows) -> None:
    shown = {
        key: {p for p in people_of(key[1])[:2] if p} or {"/".join(key)}
        for key, split in split_of.items()
        if split == "train"
    }
    everybody = {name for names in shown.values() for name in names}
    # A video that names nobody stands for a person of its own.
    unnamed = {name for name in everybody if "/" in name}
    held = held_out(everybody - unnamed, share, seed) | held_out(unnamed, share, seed)
    for key, names in shown.items():
        split_of[key] = "validation" if names <= held else "train" if not names & held else ""
        apart = "swaps between a person of train and one of validation belong to no split"
        rows.remark(not split_of[key], apart, "/".join(key))
