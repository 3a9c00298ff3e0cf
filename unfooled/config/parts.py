"""The objects that a recipe stands for."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unfooled import attacks, checkpoints, models, objectives
from unfooled.attacks import Attack
from unfooled.config.recipe import Recipe
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
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
    notes = manifest.check()
    train = Frames(manifest.select(split="train"), recipe.data.size, recipe.data.augment, recipe.seed)
    validation = Frames(manifest.select(split="validation"), recipe.data.size, seed=recipe.seed)
    if from_data:
        objective = replace(objective, fake_share=train.fake_share(None))
    return Parts(detector, objective, train, validation, settings, notes)


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
