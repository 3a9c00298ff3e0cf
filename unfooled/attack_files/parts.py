"""What a job is made of, and what tells one job from another."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch

from unfooled import checkpoints
from unfooled.attacks import Attack, describe
from unfooled.config import load_recipe
from unfooled.config.parts import to_test
from unfooled.config.recipe import DataSection, Recipe
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError
from unfooled.evaluation.learning import learns
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox, BudgetSpent, remote


def load(detector: Detector | Path | str) -> tuple[Detector, Recipe | None]:
    """The detector, and its recipe where it has one."""
    if isinstance(detector, Detector):
        return detector, None
    run = Path(detector)
    folder = run if run.is_dir() else run.parent
    recipe = load_recipe(folder) if (folder / "recipe.toml").exists() else None
    return checkpoints.load(run), recipe


def name_of(attack: Attack) -> str:
    """The attack's name without its options."""
    return describe(attack).partition(":")[0]


def lessons(attack: Attack, learn_from: Path | str | None, size: int | None, data: DataSection | None) -> Frames | None:
    """The training faces (or clips, as ``data`` of the recipe says) that the attack learns from; None: from nothing."""
    if not learns(attack):
        if learn_from is not None:
            raise ConfigError(f"{name_of(attack)} has nothing to learn; leave out learn_from")
        return None
    if learn_from is None or size is None:
        raise ConfigError(
            f"{name_of(attack)} has to learn from other faces of one size first; "
            "give --learn-from sets/faces/manifest.parquet and --size 96"
        )
    train = Manifest.read(learn_from).select(split="train")
    return Frames(train, size) if data is None else to_test(data, train, size)


def try_out(attack: Attack, detector: Detector, label: str) -> None:
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


def place_of(source: Path) -> str:
    """The name of a source and a digest of where it is: a result travels, and its folders are nobody's business."""
    return f"{source.name}@{hashlib.blake2b(str(source.resolve()).encode(), digest_size=4).hexdigest()}"


def identity(detector: Detector) -> str:
    """What tells one detector from another: its target, or its name and a digest of weights and threshold."""
    threshold = f"threshold {float(detector.threshold):g}"
    if isinstance(detector, BlackBox):
        return f"{detector.backbone.target.name} ({detector.backbone.output}, {threshold})"
    return f"{detector.spec.get('name', 'detector')}@{detector.digest()[:8]} ({threshold})"
