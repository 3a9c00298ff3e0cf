"""The job: attack every image, write it, ask again about what was written, and go on after a kill."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from unfooled import checkpoints
from unfooled.attack_files.inputs import Input, UnfitError, find_inputs, read_input
from unfooled.attack_files.one import attack_one
from unfooled.attack_files.outcome import Outcome
from unfooled.attacks import Attack, Transfer, describe
from unfooled.config import build_attack, load_recipe
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError
from unfooled.evaluation.learning import learns, learnt
from unfooled.evaluation.run import placed
from unfooled.journal import Journal, check_folder, claimed
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox, BudgetSpent, remote

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
    device: str = "auto",
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Attack image files and write what is found as PNG files, each judged again from the file.

    ``out`` gets the images, ``attack.jsonl`` (one line for each file) and, for a black box, ``queries.jsonl``. Killed
    at any moment, the same call goes on: finished files are skipped, answered queries are not asked again. Images are
    attacked one by one, upright, as RGB of 8 bits; alpha is dropped, and so is what a colour profile says.

    Args:
        source: an image, or a folder of them (with all below).
        detector: a Detector, a run folder or checkpoint, or a black box from ``unfooled.models.remote.remote``.
        attack: a value, or text such as ``"pgd:eps=2/255,steps=50"``; a run's recipe gives the eps where none is named.
        out: a new or empty folder, or that of the same job.
        label: what the images are: ``fake`` attacks towards real (evasion), ``real`` towards fake, ``auto`` away from
            the detector's own verdict.
        fake_only: pass over images that the detector does not call fake.
        size: None attacks each image at its own resolution, as somebody does who has only the file; a detector with
            a size of its own resizes inside. A number takes the central square at so many pixels, as ``evaluate``
            does, and writes that.
        learn_from: a manifest whose training faces an attack learns from first (universal, stat); it needs ``size``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        progress: called with (done, total) files.

    Raises:
        ConfigError: an option or attack is wrong, a white-box attack on a black box, or ``out`` holds something else.
        DataError: no image there, or the detector answers NaN.
        TargetError: a black box stopped answering; what was done stays.
    """
    source, out = Path(source), Path(out)
    if label not in get_args(Label):
        raise ConfigError(f"label must be one of {', '.join(get_args(Label))}, got {label!r}")
    if fake_only and label == "real":
        raise ConfigError("fake_only passes over what is called real; leave out label=real")
    if size is not None and size < 8:
        raise ConfigError(f"size must be at least 8 pixels (or none), got {size}")
    inputs = find_inputs(source)
    if out.resolve().is_relative_to(source.resolve()):
        raise ConfigError(f"{out} lies in {source}, whose images it would join; choose another --out")
    detector, eps, trained_at = _loaded(detector)
    if size is not None and detector.size is None and size < detector.smallest:
        raise ConfigError(f"size must be at least {detector.smallest} pixels for this detector (or none), got {size}")
    named = isinstance(attack, str)
    attack = build_attack(attack, eps) if isinstance(attack, str) else attack
    if attack.fakes_only and label == "real":
        raise ConfigError(f"{_name(attack)} turns fakes into reals by definition; use label=fake")
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    # A value may have learnt already; a name has not.
    lessons = _lessons(attack, learn_from, size) if named or learn_from is not None else None
    job = {
        "work": "attack files", "source": _place(source), "detector": _identity(detector), "attack": describe(attack),
        "label": label, "fake_only": fake_only, "size": size, "learnt from": lessons.digest() if lessons else None,
    }  # fmt: skip
    check_folder(out, job)
    if lessons is None:
        _try_out(attack, detector, label)
    elif isinstance(detector, BlackBox) and not isinstance(attack, Transfer):
        raise ConfigError(f"{_name(attack)} learns from gradients; a detector one can only call has none, use rbb")
    with ExitStack() as stack:
        for part in (detector, getattr(attack, "surrogate", None)):
            if part is not None:
                stack.enter_context(placed(part, place))
        if lessons is not None:
            attack = learnt(attack, detector, lessons, device=place)
        stack.enter_context(claimed(out, job))
        if isinstance(detector, BlackBox):
            stack.enter_context(detector.backbone.logged(out / QUERIES))
        journal = Journal(out / ROWS)
        rows = {row["path"]: row for row in journal.rows}
        stopped = None
        for number, item in enumerate(inputs, 1):
            # A file at which the budget ended is attacked again: what was asked for it comes from the log.
            if item.name not in rows or rows[item.name]["status"] == "budget":
                try:
                    row = _row(item, detector, attack, out, label, fake_only, size, place)
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
    return Outcome(out, found, stopped, _notes(found, detector, size, trained_at))


def _row(
    item: Input,
    detector: Detector,
    attack: Attack,
    out: Path,
    label: str,
    fake_only: bool,
    size: int | None,
    device: str,
) -> dict[str, Any]:
    started = time.perf_counter()
    asked = detector.asked if isinstance(detector, BlackBox) else None
    try:
        pixels = read_input(item, size, detector.smallest if detector.size is None else 1)
        row = attack_one(pixels, detector, attack, out / item.target, label, fake_only, device)
    except UnfitError as error:
        row = {"status": error.status, "reason": f"{item.name} {error}"}
    written = {"out": item.target} if row.pop("written", False) else {}
    if isinstance(detector, BlackBox) and asked is not None:
        row["asked"] = detector.asked - asked
    return {"path": item.name, **written, **row, "seconds": round(time.perf_counter() - started, 3)}


def _loaded(detector: Detector | Path | str) -> tuple[Detector, str | float | None, int | None]:
    """The detector, and the eps and size of its recipe where it has one."""
    if isinstance(detector, Detector):
        return detector, None, None
    run = Path(detector)
    folder = run if run.is_dir() else run.parent
    recipe = load_recipe(folder) if (folder / "recipe.toml").exists() else None
    return checkpoints.load(run), recipe.eps if recipe else None, recipe.data.size if recipe else None


def _name(attack: Attack) -> str:
    return describe(attack).partition(":")[0]


def _lessons(attack: Attack, learn_from: Path | str | None, size: int | None) -> Frames | None:
    """The training faces that the attack learns from; None where it has nothing to learn."""
    if not learns(attack):
        if learn_from is not None:
            raise ConfigError(f"{_name(attack)} has nothing to learn; leave out learn_from")
        return None
    if learn_from is None or size is None:
        raise ConfigError(
            f"{_name(attack)} has to learn from other faces of one size first; "
            "give --learn-from sets/faces/manifest.parquet and --size 96"
        )
    manifest = Manifest.read(learn_from)
    return Frames(manifest.select(split="train"), size)


def _try_out(attack: Attack, detector: Detector, label: str) -> None:
    """Find out at no query whether an attack needs more than a black box gives."""
    if not isinstance(detector, BlackBox):
        return
    sure = 0.1 if label == "real" else 0.9
    stand_in = remote(lambda _: sure, budget=16)
    x, y = torch.full((1, 3, 64, 64), 0.5), torch.tensor([int(label != "real")])
    try:
        attack.search(stand_in, x, y)
    except BudgetSpent:
        return


def _place(source: Path) -> str:
    """The name of a source and a digest of where it is: a result travels, and its folders are nobody's business."""
    return f"{source.name}@{hashlib.blake2b(str(source.resolve()).encode(), digest_size=4).hexdigest()}"


def _identity(detector: Detector) -> str:
    """What tells one detector from another: its target, or its name and a digest of weights and threshold."""
    threshold = f"threshold {float(detector.threshold):g}"
    if isinstance(detector, BlackBox):
        return f"{detector.backbone.target.name} ({detector.backbone.output}, {threshold})"
    return f"{detector.spec.get('name', 'detector')}@{detector.digest()[:8]} ({threshold})"


def _notes(rows: list[dict[str, Any]], detector: Detector, size: int | None, trained_at: int | None) -> list[str]:
    extents = {(row["width"], row["height"]) for row in rows if "width" in row} - {(trained_at, trained_at)}
    if trained_at is not None and detector.size is None and size is None and extents:
        return [
            f"the detector was trained at {trained_at} px and got images of other sizes as they are; "
            f"--size {trained_at} crops them as evaluate does"
        ]
    return []
