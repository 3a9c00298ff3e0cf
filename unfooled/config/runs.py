"""Run folders: train a recipe into one, measure what came out."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from unfooled import checkpoints, defenses
from unfooled.attacks import Attack
from unfooled.config.parts import (
    build,
    build_attack,
    check_fits,
    learnt_from,
    of_collections,
    of_manipulations,
    to_test,
)
from unfooled.config.recipe import DataSection, Recipe, dump, load_recipe
from unfooled.data.leaks import check_files, shared_people
from unfooled.data.manifest import Manifest
from unfooled.defenses import Defense
from unfooled.distortions import Distortion, series
from unfooled.errors import ConfigError, DataError
from unfooled.evaluation import Condition, defended, distorted, evaluate, evaluate_images
from unfooled.evaluation import over_eps as each_radius
from unfooled.results import Evaluation
from unfooled.training import FitResult, Progress, RunFolder, first_process, fit, place


def train(
    recipe: Recipe,
    out: Path | str,
    *,
    resume: bool = False,
    device: str | None = None,
    progress: Progress | None = None,
) -> FitResult:
    """Run a recipe into a run folder.

    Args:
        out: a new folder, or with ``resume`` the folder of the run to go on with.
        device: takes the place of the recipe's.
    """
    folder = RunFolder(Path(out))
    if first_process():
        folder.check(resume)
    parts = build(recipe)
    settings = replace(parts.settings, resume=resume, device=parts.settings.device if device is None else device)
    place(settings)
    if first_process():
        folder.claim(resume)
        # A resume with another recipe is refused by ``fit``; what the run was made with must stay.
        if not (resume and folder.state.exists()):
            folder.write("recipe.toml", dump(recipe))
        for note in parts.notes:
            folder.log(f"note: {note}")
    return fit(parts.detector, parts.objective, parts.train, parts.validation, settings, folder.path, progress=progress)


def evaluate_run(
    run: Path | str,
    attacks: Sequence[str | Attack] = (),
    *,
    over_eps: Sequence[float] = (),
    distortions: Sequence[str | Distortion] = (),
    defended_by: Sequence[str | Defense] = (),
    adaptive: bool = False,
    retune: int = 1,
    data: Path | str | None = None,
    split: str = "test",
    manipulations: Sequence[str] = (),
    collections: Sequence[str] = (),
    size: int | None = None,
    clip: int | None = None,
    limit: int | None = None,
    adversarial: Path | None = None,
    checks: bool = True,
    name: str | None = None,
    batch_size: int = 64,
    device: str = "auto",
    seed: int = 0,
    video_rule: str = "mean_logit",
    saved: Sequence[int] = (),
    out: Path | str | None = None,
    keep: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Evaluation:
    """Measure a trained run on people it has never seen; what ``unfooled evaluate RUN`` does.

    Args:
        run: a run folder or a checkpoint.
        attacks: as text (``build_attack``; the recipe's eps where it names none) or as values.
        over_eps: radii at which the first attack is repeated.
        distortions: as text (``blur:level=3``, ``blur`` for its five levels, ``all``) or as values: each is scored
            without an attack, and after each of ``attacks``.
        defended_by: defenses, as text (``post-training:algorithm=2,freeze=false``) or as values: each answers for
            samples that nobody attacked, and for each of ``attacks`` made on the plain detector. What they learn comes
            from the training split of the run's own manifest, and is kept in the run folder.
        adaptive: also make each attack through each defense.
        retune: gradients of an adaptive attack after which the defense decides anew, >= 1.
        data: a manifest; None: the one of the run's recipe.
        split: ``test``, ``validation``, ``train`` or ``all``.
        manipulations: only the fakes of these, and the reals; none given: all.
        collections: only the rows of these; none given: all.
        size: of the faces in pixels; None: the recipe's.
        clip: frames of a clip; None: the recipe's, or frames one by one without a recipe.
        adversarial: a folder of somebody's adversarial images, in place of attacks.
        name: of the detector in tables; None: the folder's.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        out: the JSON to write; until it is written, finished batches lie beside it, and the same call goes on from
            them after a kill.
        keep: leave those batches there afterwards, so that a call with one more attack makes only that attack.
        limit, checks, batch_size, seed, video_rule, saved, progress: see ``evaluation.evaluate``.

    Raises:
        ConfigError: neither recipe nor ``data`` and ``size``, an unknown split or attack, images beside attacks.
        DataError: people of the split trained or chose the detector, or a file is missing or damaged.
    """
    run = Path(run)
    if adversarial is not None and (attacks or over_eps or distortions or defended_by or saved or limit is not None):
        raise ConfigError(
            "--adversarial brings its own images; leave out --attack, --over-eps, --distortion, --defense, --saved and"
            " --limit"
        )
    if adaptive and not (attacks and defended_by):
        raise ConfigError("--adaptive makes each --attack through each --defense; give at least one of both")
    if len(over_eps) and not attacks:
        raise ConfigError("--over-eps repeats the first --attack; give one, such as --attack pgd")
    after = [one for d in distortions for one in (series(d) if isinstance(d, str) else [d])]
    detector = checkpoints.load(run)
    folder = run if run.is_dir() else run.parent
    history = _history(folder / "metrics.jsonl")
    recipe = load_recipe(folder) if (folder / "recipe.toml").exists() else None
    if recipe is not None:
        data, size = data or recipe.data.manifest, size or recipe.data.size
    if data is None or size is None:
        raise ConfigError(f"{folder} has no recipe.toml; give --data MANIFEST and --size PIXELS")
    manifest = Manifest.read(data)
    # Leaks are looked for everywhere, files only where they are needed: a test machine may hold the test images alone.
    notes = manifest.check(files=False)
    rows = of_manipulations(of_split(manifest, split), manipulations, keep=True, option="--manipulation")
    rows = of_collections(rows, collections, option="--collection")
    check_files(rows)
    sampling = recipe.data if recipe is not None else DataSection(manifest=str(data))
    if clip is not None:
        sampling = sampling.model_copy(update={"clip": clip})
    if adversarial is not None and sampling.clip is not None:
        raise ConfigError("--adversarial compares single images, but this run is measured on clips; use --attack")
    frames = to_test(sampling, rows, size, seed)
    check_fits(detector, frames)
    notes += [note for note in frames.manifest.notes if note not in manifest.notes]
    if recipe is not None and split == "test":
        notes += _seen_in_training(Path(recipe.data.manifest), frames.manifest)
    facts: dict[str, Any] = {"split": split, "manifest": Path(data).name, "checkpoint": run.name}
    facts["recipe"] = dump(recipe) if recipe else None
    if manipulations:
        facts["manipulations"] = list(manipulations)
    if collections:
        facts["collections"] = list(collections)
    if sampling.clip is not None:
        facts["clips"] = sampling.model_dump(include={"clip", "fps", "clips_per_video"})
    parts = None if out is None else Path(out).with_name(f"{Path(out).name}.parts")
    place = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    given: dict[str, Any] = {
        "name": name or folder.resolve().name, "batch_size": batch_size, "device": place, "seed": seed,
        "video_rule": video_rule, "provenance": facts,
    }  # fmt: skip
    if adversarial is not None:
        result = evaluate_images(detector, frames, adversarial, **given)
    else:
        built = [build_attack(a, recipe.eps if recipe else None) if isinstance(a, str) else a for a in attacks]
        guards = [defenses.parse(d) if isinstance(d, str) else d for d in defended_by]
        conditions = _conditions(built, over_eps, after)
        conditions += defended(built, list(dict.fromkeys(guards)), adaptive=adaptive, retune=retune)
        training = manifest.select(split="train")
        learn_from = to_test(sampling, training, size) if len(training) else None
        if any(guard.learns for guard in guards):
            own = _trained_on(recipe, manifest)
            given |= {"keep": folder / "support", "support": to_test(sampling, own, size) if len(own) else None}
        result = evaluate(
            detector, frames, conditions, limit=limit, checks=checks, progress=progress, learn_from=learn_from,
            saved=saved, resume=parts, **given,
        )  # fmt: skip
        result.training = history
    result.warnings = [*not_a_test(split), *result.warnings, *notes]
    if out is not None:
        result.write(out)
    if parts is not None and parts.exists() and not keep:
        shutil.rmtree(parts)
    return result


def of_split(manifest: Manifest, split: str) -> Manifest:
    """The rows of a split, or of ``all``.

    Raises:
        ConfigError: no row has it.
    """
    if split == "all":
        return manifest
    found = sorted(set(manifest.column("split")))
    if split not in found:
        raise ConfigError(
            f"--split must be one of {', '.join(filter(None, found)) or 'none (no row has one)'}, got {split!r}"
        )
    return manifest.select(split=split)


def not_a_test(split: str) -> list[str]:
    """The warning that a result on other rows than those of the test split carries."""
    if split == "test":
        return []
    rows = "all rows, also those of the training" if split == "all" else f"the {split} split, not on unseen people"
    return [f"measured on {rows}: no test result"]


def _conditions(built: Sequence[Attack], radii: Sequence[float], after: Sequence[Distortion]) -> list[Condition]:
    conditions = [Condition(a) for a in built]
    names = {c.name for c in conditions}
    conditions += [c for c in (each_radius(built[0], radii) if radii else []) if c.name not in names]
    # Two that overlap, such as blur and all, ask for the same.
    return conditions + distorted(built, list(dict.fromkeys(after)))


def _trained_on(recipe: Recipe | None, evaluated: Manifest) -> Manifest:
    """The training rows of the run's own manifest where it is here, else those of the evaluated one."""
    if recipe is None or not Path(recipe.data.manifest).exists():
        return evaluated.select(split="train")
    rows = Manifest.read(recipe.data.manifest).select(split="train")
    return learnt_from(recipe, rows)


def _seen_in_training(trained_on: Path, evaluated: Manifest) -> list[str]:
    """Refuse to call people unseen who trained or chose the detector."""
    if not trained_on.exists():
        return [f"the manifest of the training, {trained_on.name}, is not here: nobody looked whether people were seen"]
    trained = Manifest.read(trained_on).select(split=["train", "validation"])
    people = shared_people(trained, evaluated)
    if not people:
        return []
    leak = f"{len(people)} people of this split trained or chose the detector, such as {people[0]!r}"
    if evaluated.published:
        return [f"{leak} (published split, kept as it is)"]
    raise DataError(f"{leak}; evaluate on people it has never seen, or name the split that it was trained on")


def _history(path: Path) -> list[dict[str, Any]] | None:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else None
    except ValueError:
        raise DataError(
            f"{path} is damaged (not one JSON object a line); move it away to evaluate without it"
        ) from None
