"""The recipes of the DFDC CNN: as published where that is known, and they train."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from unfooled import config
from unfooled.config import load_recipe

ROOT = Path(__file__).parents[2]
TOY = runpy.run_path(str(ROOT / "tests" / "training" / "toy.py"))


@pytest.mark.parametrize("name", ["dfdc-cnn", "dfdc-cnn-adversarial"])
def test_a_recipe_is_short_names_the_published_network_and_trains(name: str, tmp_path: Path) -> None:
    path = ROOT / "recipes" / f"{name}.toml"
    assert sum(bool(line.strip()) for line in path.read_text().splitlines()) <= 30
    recipe = load_recipe(path)
    assert recipe.detector.name == "convnet"
    assert recipe.data.size == 256
    assert recipe.objective.options.get("half", False) is (name == "dfdc-cnn-adversarial")
    small = [
        f"data.manifest={TOY['write'](tmp_path / 'set', rows=16)}", "data.size=32", "detector.size=32",
        "detector.width=8", "epochs=1", "training.batch_size=8", "training.workers=0", "evaluation.limit=8",
    ]  # fmt: skip
    if recipe.objective.options:
        small += ["training.clean_epochs=0", "training.ramp_epochs=0"]
    config.train(load_recipe(path, small), tmp_path / "run", device="cpu")
    record = json.loads((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert ("bce_adv" in record) is (name == "dfdc-cnn-adversarial")
