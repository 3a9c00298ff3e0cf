"""DeeperForensics-1.0: actors' faces in FaceForensics++ videos, clean and distorted; its reals are FF++'s own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.data.reading import (
    SPLIT_NAMES,
    Rows,
    folders_in,
    need_folder,
    need_frames,
    read_lines,
    videos_in,
)
from unfooled.errors import DataError

_NAME = re.compile(r"(\d{3})_([MW]\d{3})")
_TARGETS = "original_sequences/youtube/c23"


def read_deeperforensics(
    root: Path,
    *,
    ffpp: Path | None = None,
    dataset: str = "DeeperForensics-1.0",
    frames: str = "videos",
    splits: bool = True,
) -> Manifest:
    """A manifest of DeeperForensics-1.0 with the c23 target videos of FaceForensics++ as its real class.

    ``manipulated_videos/<variant>/<target>_<actor>.mp4``: the variant (``end_to_end``, ``end_to_end_level_1``, ...) is
    the manipulation, the target is a person of FF++ (``FF++/000``, so that training on FF++ is known to share
    people). The lists hold fakes alone; a target video goes with its fakes. ``source_videos`` (the actors' recordings)
    are not the real class and are left out. A partial copy is taken as it is; what is absent or odd ends in ``notes``.

    Args:
        root: holds ``manipulated_videos`` and ``lists/splits/{train,val,test}.txt``.
        ffpp: FaceForensics++, which holds ``original_sequences/youtube/c23``; None = fakes alone (and a note).
        dataset: name that makes ids, videos and actors unique among data sets.
        frames: ``videos`` gives one row a file; ``images`` or ``frames`` one row a frame of
            ``<variant>/frames/<video>/``.
        splits: read the lists; False = rows without a split.

    Raises:
        DataError: no such folder, no video, no list, a malformed line, or a video in two lists.

    Source: arXiv:2001.03024; github.com/EndlessSora/DeeperForensics-1.0, dataset/README.md.
    """
    need_frames(frames)
    base = need_folder(root, "manipulated_videos/")
    reals = need_folder(ffpp, "original_sequences/") if ffpp is not None else None
    rows = Rows(os.path.commonpath([base, reals]) if reals else base)
    listed = _read_lists(Path(base, "lists/splits"), rows) if splits else {}
    split_of_target: dict[str, str] = {}
    for name, split in listed.items():
        if split_of_target.setdefault(name[:3], split) != split:
            rows.remark(True, "targets are in two lists and their real video belongs to no split", name[:3])
            split_of_target[name[:3]] = ""
    variants = {os.path.basename(f): f for f in folders_in(Path(base, "manipulated_videos"))}  # noqa: PTH119
    found = {variant: dict(videos_in(folder, frames)) for variant, folder in variants.items()}
    fakes_of = {name[:3] for names in found.values() for name in names}
    originals = _add_reals(rows, reals, frames, fakes_of, split_of_target if splits else {}, dataset)
    for variant, names in found.items():
        for name, files in names.items():
            match = _NAME.fullmatch(name)
            target, actor = (match[1], match[2]) if match else ("", "")
            where = f"{variant}/{name}"
            rows.remark(not match, "names are not <target>_<actor> and tell nobody", where)
            rows.remark(splits and name not in listed, "fakes are in no list and belong to no split", where)
            parents = originals.get(target, {})
            rows.remark(reals and not parents, "fakes have no target video in FF++", where)
            rows.add(
                f"{dataset}/{where}", files, parents, label=FAKE, dataset=dataset, manipulation=variant,
                collection="youtube", split=listed.get(name, ""), identity=f"FF++/{target}" if target else None,
                source_identity=f"{dataset}/{actor}" if actor else None,
            )  # fmt: skip
        absent = sorted(set(listed) - set(names))
        text = f"partial copy: {len(absent)} of {len(listed)} listed videos of {variant} are absent, such as"
        rows.notes += [f"{text} {absent[0]}"] if absent else []
    if Path(base, "source_videos").is_dir():
        rows.notes.append("source_videos/ are the actors' recordings, not the real class, and are left out")
    if not fakes_of:
        other = "images" if frames == "videos" else "videos"
        raise DataError(
            f"no {frames} found: expected {base}/manipulated_videos/<variant>/<target>_<actor>.mp4 "
            f"(with {other} instead: frames={other!r}, --frames {other})"
        )
    return rows.finish("", published=splits)


def _add_reals(
    rows: Rows, ffpp: str | None, frames: str, wanted: set[str], split_of: dict[str, str], dataset: str
) -> dict[str, dict[str, str]]:
    """The target videos of the fakes that are here; target -> ids of its frames."""
    if ffpp is None:
        rows.notes.append(
            "no real videos: the real class is FF++'s c23 targets; name the folder with ffpp=..., --ffpp FOLDER"
        )
        return {}
    if not (folder := Path(ffpp, _TARGETS)).is_dir():
        raise DataError(f"{folder} is not there; ffpp names the folder that holds {_TARGETS}/")
    originals = {
        name: rows.add(
            f"{dataset}/Real/{name}", files, label=REAL, dataset=dataset, manipulation="Real", collection="youtube",
            compression="c23", split=split_of.get(name, ""), identity=f"FF++/{name}",
        )
        for name, files in videos_in(folder, frames)
        if name in wanted
    }  # fmt: skip
    if absent := sorted(wanted - set(originals)):
        text = f"partial copy: {len(absent)} of {len(wanted)} target videos are absent in {_TARGETS}"
        rows.notes.append(f"{text}, such as {absent[0]}")
    return originals


def _read_lists(folder: Path, rows: Rows) -> dict[str, str]:
    listed: dict[str, str] = {}
    for stem in ("train", "val", "test"):
        path = folder / f"{stem}.txt"
        if not path.is_file():
            rows.notes.append(f"{folder.name}/{path.name} is not there: no row gets the split {SPLIT_NAMES[stem]}")
            continue
        for where, line in read_lines(path):
            name = os.path.splitext(re.split(r"[/\\]", line)[-1])[0]  # noqa: PTH122
            if not _NAME.fullmatch(name):
                raise DataError(f"{where}: expected TARGET_ACTOR.mp4 such as '000_M101.mp4', got {line!r}")
            if listed.setdefault(name, SPLIT_NAMES[stem]) != SPLIT_NAMES[stem]:
                raise DataError(f"{where}: {name} is in the list of {listed[name]} too; each belongs to one split")
    if not listed:
        raise DataError(
            f"{folder} has no train.txt, val.txt or test.txt with videos; copy the lists there, "
            "or read without splits (splits=False, --no-splits)"
        )
    return listed
