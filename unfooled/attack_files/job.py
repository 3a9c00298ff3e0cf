"""The job: attack every image and video, write it, ask again about what was written, and go on after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from unfooled.attack_files.inputs import Input, UnfitError, find_inputs, read_input
from unfooled.attack_files.one import attack_one
from unfooled.attack_files.outcome import Outcome
from unfooled.attack_files.outputs import Outputs
from unfooled.attack_files.parts import identity, lessons, load, name_of, place_of, try_out
from unfooled.attack_files.videos import CROP, VideoOptions, Work, attack_video
from unfooled.attacks import Attack, Transfer, describe
from unfooled.config import build_attack
from unfooled.config.recipe import DataSection
from unfooled.errors import ConfigError
from unfooled.evaluation.learning import learnt
from unfooled.evaluation.run import placed
from unfooled.journal import Journal, check_folder, claimed
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox, BudgetSpent

Label = Literal["fake", "real", "auto"]
ROWS = "attack.jsonl"
QUERIES = "queries.jsonl"


def attack_files(
    source: Path | str,
    detector: Detector | Path | str,
    attack: Attack | str,
    out: Path | str,
    *,
    label: Label | str = "fake",
    fake_only: bool = False,
    size: int | None = None,
    learn_from: Path | str | None = None,
    videos: VideoOptions | None = None,
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Attack image and video files and write what is found, each judged again from the file.

    ``out`` gets the images (PNG) and videos, ``attack.jsonl`` (one line for each file) and, for a black box,
    ``queries.jsonl``. Killed at any moment, the same call goes on: finished files are skipped, answered queries are not
    asked again. Images are attacked one by one, upright, as RGB of 8 bits; alpha is dropped, and so is what a colour
    profile says. In videos the faces are attacked, as aligned crops that are put back into their frames.

    Args:
        source: an image or a video, or a folder of them (with all below).
        detector: a Detector, a run folder or checkpoint, or a black box from ``unfooled.models.remote.remote``.
        attack: a value, or text such as ``"pgd:eps=2/255,steps=50"``; a run's recipe gives the eps where none is named.
        out: a new or empty folder, or that of the same job. For one video also the file to write; what belongs to the
            job then lies beside it in ``<file>.attack``.
        label: what the images are: ``fake`` attacks towards real (evasion), ``real`` towards fake, ``auto`` away from
            the detector's own verdict.
        fake_only: pass over images that the detector does not call fake.
        size: None attacks each image at its own resolution, as somebody does who has only the file; a detector with
            a size of its own resizes inside. A number takes the central square at so many pixels, as ``evaluate``
            does, and writes that. Crops of videos have this size, by default that of the detector's recipe.
        learn_from: a manifest whose training faces an attack learns from first (universal, stat); it needs ``size``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        videos: how videos are attacked; None: the defaults.
        progress: called with (done, total) files; for a single video with its frames.

    Raises:
        ConfigError: an option or attack is wrong, a white-box attack on a black box, or ``out`` holds something else.
        DataError: no image or video there, or the detector answers NaN.
        TargetError: a black box stopped answering; what was done stays.
    """
    source, options = Path(source), videos or VideoOptions()
    if label not in get_args(Label):
        raise ConfigError(f"label must be one of {', '.join(get_args(Label))}, got {label!r}")
    if fake_only and label == "real":
        raise ConfigError("fake_only passes over what is called real; leave out label=real")
    if size is not None and size < 8:
        raise ConfigError(f"size must be at least 8 pixels (or none), got {size}")
    outputs = Outputs(source, Path(out), options.codec, options.crf)
    inputs, folder = find_inputs(source, outputs.suffix), outputs.folder
    if outputs.file is not None:
        inputs = [replace(inputs[0], target=outputs.file.name)]
    detector, recipe = load(detector)
    data = recipe.data if recipe else None
    if size is not None and detector.size is None and size < detector.smallest:
        raise ConfigError(f"size must be at least {detector.smallest} pixels for this detector (or none), got {size}")
    named = isinstance(attack, str)
    attack = build_attack(attack, recipe.eps if recipe else None) if isinstance(attack, str) else attack
    if attack.fakes_only and label == "real":
        raise ConfigError(f"{name_of(attack)} turns fakes into reals by definition; use label=fake")
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    work = Work(
        detector, attack, options, outputs.home, outputs.written, label, fake_only, size,
        size or (data.size if data else None) or detector.size or CROP,
        options.clip or (data.clip if data else None), place,
    )  # fmt: skip
    if any(item.is_video for item in inputs):
        work.check_videos()
    elif facts := options.facts():
        raise ConfigError(f"{', '.join(facts)} say how videos are attacked, and {source} is or holds none; leave out")
    # A value may have learnt already; a name has not.
    taught = lessons(attack, learn_from, size, data) if named or learn_from is not None else None
    job: dict[str, Any] = {
        "work": "attack files", "source": place_of(source), "detector": identity(detector), "attack": describe(attack),
        "label": label, "fake_only": fake_only, "size": size, "learnt from": taught.digest() if taught else None,
    }  # fmt: skip
    if facts := options.facts():  # else the job of images is the one it always was
        job["videos"] = facts
    outputs.check(resumed=check_folder(folder, job))
    if taught is None:
        try_out(attack, detector, label)
    elif isinstance(detector, BlackBox) and not isinstance(attack, Transfer):
        raise ConfigError(f"{name_of(attack)} learns from gradients; a detector one can only call has none, use rbb")
    with ExitStack() as stack:
        for part in (detector, getattr(attack, "surrogate", None)):
            if part is not None:
                stack.enter_context(placed(part, place))
        if taught is not None:
            work = replace(work, attack=learnt(attack, detector, taught, device=place))
        stack.enter_context(claimed(folder, job))
        if isinstance(detector, BlackBox):
            stack.enter_context(detector.backbone.logged(folder / QUERIES))
        journal = Journal(folder / ROWS)
        rows = {row["path"]: row for row in journal.rows}
        stopped = None
        for number, item in enumerate(inputs, 1):
            # A file at which the budget ended is attacked again: what was asked for it comes from the log.
            if item.name not in rows or rows[item.name]["status"] == "budget":
                try:
                    row = _row(item, work, progress if len(inputs) == 1 else None)
                    row |= {"attack": job["attack"], "detector": job["detector"]}
                except BudgetSpent as error:
                    stopped = str(error)
                    break
                journal.add(row)
                rows[item.name] = row
                if row["status"] == "budget":
                    stopped = row["reason"]
                    break
            if progress is not None:
                progress(number, len(inputs))
    found = [rows[item.name] for item in inputs if item.name in rows]
    return Outcome(folder, found, stopped, _notes(found, work, data))


def _row(item: Input, work: Work, progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    started, detector = time.perf_counter(), work.detector
    asked = detector.asked if isinstance(detector, BlackBox) else None
    try:
        if item.is_video:
            row = attack_video(item.path, work.home / item.target, work, progress)
        else:
            pixels = read_input(item, work.size, detector.smallest if detector.size is None else 1)
            row = attack_one(
                pixels, detector, work.attack, work.home / item.target, work.label, work.fake_only, work.device
            )
    except UnfitError as error:
        row = {"status": error.status, "reason": f"{item.name} {error}"}
    written = {"out": item.target} if row.pop("written", False) else {}
    if isinstance(detector, BlackBox) and asked is not None:
        row["asked"] = detector.asked - asked
    return {"path": item.name, **written, **row, "seconds": round(time.perf_counter() - started, 3)}


def _notes(rows: list[dict[str, Any]], work: Work, data: DataSection | None) -> list[str]:
    notes = []
    videos, images = ([row for row in rows if ("tracks" in row) == kind] for kind in (True, False))
    extents = {(row["width"], row["height"]) for row in images if "width" in row}
    if data and work.detector.size is None and work.size is None and extents - {(data.size, data.size)}:
        notes.append(
            f"the detector was trained at {data.size} px and got images of other sizes as they are; "
            f"--size {data.size} crops them as evaluate does"
        )
    fast = [row["path"] for row in videos if work.clip and data and abs(row["fps"] / data.fps - 1) > 0.1]
    if fast and data:
        notes.append(
            f"the detector was trained at {data.fps:g} frames a second and got the frames of {len(fast)} videos of "
            f"another rate one after the other, such as {fast[0]}"
        )
    return notes
