"""The objects that a recipe stands for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from unfooled import attacks, checkpoints, models, objectives
from unfooled.attacks import Attack, frozen
from unfooled.config.recipe import DataSection, Recipe
from unfooled.data.clips import clips, tracks
from unfooled.data.frames import Frames
from unfooled.data.manifest import FAKE, Manifest
from unfooled.errors import ConfigError, suggest
from unfooled.models.detector import Detector
from unfooled.objectives import Objective
from unfooled.randomness import seed_of
from unfooled.registry import parse as parse_part
from unfooled.training import Settings


@dataclass(frozen=True)
class Parts:
    """The objects of a recipe; ``notes`` are the manifest's warnings."""

    detector: Detector
    objective: Objective
    train: Frames
    validation: Frames
    settings: Settings
    notes: list[str]


def build(recipe: Recipe) -> Parts:
    """The detector (fresh, or filled from ``init``), objective, frames and settings of a recipe.

    Raises:
        ConfigError: an option is not allowed.
        CheckpointError: ``init`` does not fit the detector.
        DataError: the manifest can not be read, leaks, or lacks a split.
    """
    options = dict(recipe.objective.options)
    from_data = options.get("fake_share") == "data"
    if from_data:
        del options["fake_share"]
    objective = objectives.create(recipe.objective.name, **options)
    share = None if recipe.data.fake_share == "data" else recipe.data.fake_share
    settings = Settings(
        epochs=recipe.epochs,
        seed=recipe.seed,
        views=recipe.data.views,
        fake_share=share,
        validation_attack=None if recipe.evaluation.attack == "none" else build_attack(recipe.evaluation.attack),
        validation_limit=recipe.evaluation.limit,
        **recipe.training.model_dump(),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(recipe.seed, "init"))
        detector = models.create(recipe.detector.name, **recipe.detector.options)
    if recipe.init is not None:
        detector = checkpoints.load(recipe.init, into=detector)
    manifest = Manifest.read(recipe.data.manifest)
    notes, known = manifest.check(), manifest.notes
    manifest = learnt_from(recipe, manifest)
    train = to_train(recipe, manifest.select(split="train"))
    validation = to_test(recipe.data, manifest.select(split="validation"), recipe.data.size, recipe.seed)
    check_fits(detector, train)
    notes += [note for note in dict.fromkeys((*train.manifest.notes, *validation.manifest.notes)) if note not in known]
    if from_data:
        objective = replace(objective, fake_share=train.fake_share(None))
    return Parts(detector, objective, train, validation, settings, notes)


def to_train(recipe: Recipe, manifest: Manifest) -> Frames:
    """What a recipe trains on: augmented images, or clips that begin anywhere in their track."""
    data = recipe.data
    if data.clip is not None:
        manifest = tracks(manifest, data.clip, data.fps)
    return Frames(manifest, data.size, data.augment, recipe.seed, length=data.clip)


def to_test(data: DataSection, manifest: Manifest, size: int, seed: int = 0) -> Frames:
    """What is measured: images, or clips at fixed places of their track where ``data`` says how long they are."""
    if data.clip is None:
        return Frames(manifest, size, seed=seed)
    rows = clips(manifest, data.clip, data.clips_per_video, data.fps)
    return Frames(rows, size, seed=seed, length=data.clip)


def learnt_from(recipe: Recipe, manifest: Manifest) -> Manifest:
    """What a recipe takes of a manifest: its manipulations and collections, and its share of the training people.

    Raises:
        ConfigError: no row has a name, or the share is outside (0, 1].
    """
    data = recipe.data
    rows = of_manipulations(manifest, data.leave_out, keep=False, option="data.leave_out")
    rows = of_collections(rows, data.collections, option="data.collections")
    if not 0 < data.people <= 1:
        raise ConfigError(f"data.people must be in (0, 1], got {data.people:g}; it is a share: 0.25 for a quarter")
    if data.people == 1:
        return rows
    person, training = rows.column("identity"), rows.column("split") == "train"
    # A fixed order of people: those of a smaller share are among those of a larger one.
    order = sorted(set(person[training]), key=lambda name: seed_of(recipe.seed, "people", name))
    chosen = order[: math.ceil(data.people * len(order))]
    return rows.take(np.flatnonzero(~training | np.isin(person, chosen)))


def of_collections(manifest: Manifest, names: Sequence[str], *, option: str) -> Manifest:
    """The rows of these collections; no names leave all rows.

    Args:
        option: what to call ``names`` where they are refused.

    Raises:
        ConfigError: no row has a name.
    """
    if not names:
        return manifest
    of = manifest.column("collection")
    _refuse_unknown(option, names, set(of) - {""})
    return manifest.take(np.flatnonzero(np.isin(of, list(names))))


def of_manipulations(manifest: Manifest, names: Sequence[str], *, keep: bool, option: str) -> Manifest:
    """The real rows and the fakes of these manipulations (``keep``), or of all others; no names leave all rows.

    Args:
        option: what to call ``names`` where they are refused.

    Raises:
        ConfigError: no fake has a name.
    """
    if not names:
        return manifest
    made, fake = manifest.column("manipulation"), manifest.column("label") == FAKE
    _refuse_unknown(option, names, set(made[fake]))
    return manifest.take(np.flatnonzero(~fake | (np.isin(made, list(names)) == keep)))


def _refuse_unknown(option: str, names: Sequence[str], known: set[str]) -> None:
    for name in names:
        if name not in known:
            found = ", ".join(sorted(known)) or "none (no row has one)"
            raise ConfigError(f"{option} must be of {found}, got {name!r}{suggest(name, known)}")


def check_fits(detector: Detector, frames: Frames) -> None:
    """Refuse clips for a detector of frames, and frames for one of clips.

    Raises:
        ConfigError: the detector can not be asked about one such sample.
    """
    name = detector.spec.get("name", type(detector.backbone).__name__)
    what, fix = "images", "write data.clip = 25 (--clip 25)"
    if frames.length is not None:
        what, fix = f"clips of {frames.length} frames", "leave out data.clip (--clip)"
    refusal = f"detector {name} does not take {what}; {fix}, or choose another one"
    if detector.clips is not None and detector.clips != (frames.length is not None):
        raise ConfigError(refusal)
    # Little is enough to see it: a large clip would take seconds.
    side = min(frames.size, max(detector.smallest, 64))
    try:
        with frozen(detector), torch.no_grad():
            detector(torch.zeros(1, *frames.shape[:-2], side, side, device=detector.threshold.device))
    except (RuntimeError, ValueError, IndexError) as error:
        raise ConfigError(f"{refusal} ({str(error).partition(chr(10))[0]})") from None


def build_attack(text: str, recipe_eps: str | float | None = None) -> Attack:
    """An attack from ``pgd:eps=2/255,steps=10``, or ``transfer:surrogate=runs/standard,...``.

    Args:
        text: name and options; a transfer's surrogate is a checkpoint or run folder, from the current directory.
        recipe_eps: Linf radius to take where the text names none and the attack has no radius of its own.
    """
    name, options = parse_part(text)
    parts: dict[str, Any] = dict(options)
    usual = attacks.default_threat(name, parts.get("norm")) == attacks.default_threat("pgd")
    if recipe_eps is not None and "eps" not in parts and usual:
        parts["eps"] = recipe_eps
    if isinstance(surrogate := parts.get("surrogate"), str):
        parts["surrogate"] = checkpoints.load(surrogate)
        # Commas and equals signs part the options of an attack's name.
        parts["surrogate"].title = re.sub("[,=@:]", "-", Path(surrogate).resolve().name)
    return attacks.create(name, **parts)
