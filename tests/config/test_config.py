"""Recipes: what they refuse, that they come back as they were, and the run that they stand for."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from unfooled import attacks, checkpoints, models
from unfooled.attacks import PGD, Transfer
from unfooled.config import build, build_attack, dump, load_recipe, train
from unfooled.config.parts import learnt_from, of_manipulations
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import CheckpointError, ConfigError, DataError, UnfooledError
from unfooled.objectives import AFSL
from unfooled.threats import L2, Linf

ROOT = Path(__file__).parents[2]
TOY: dict[str, Any] = runpy.run_path(str(Path(__file__).parents[1] / "training" / "toy.py"))
RECIPE = """
epochs = 2
seed = 3

[data]
manifest = "{manifest}"
size = 32

[detector]
name = "resnet"
width = 4
stem_stride = 2

[objective]
name = "afsl"
eps = "4/255"
steps = 1

[training]
batch_size = 16
workers = 0
device = "cpu"

[evaluation]
attack = "pgd:eps=4/255,steps=1"
limit = 16
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("config")
    recipe = root / "recipe.toml"
    recipe.write_text(RECIPE.format(manifest=TOY["write"](root / "set", rows=32)))
    return recipe


@pytest.mark.parametrize("name", ["standard", "at", "trades", "afsl", "afsl-plus"])
def test_our_recipes_are_short_and_come_back_resolved(name: str, tmp_path: Path) -> None:
    path = ROOT / "recipes" / f"faces-{name}.toml"
    assert 5 <= sum(bool(line.strip()) for line in path.read_text().splitlines()) <= 24
    recipe = load_recipe(path)
    assert recipe.objective.name == name
    assert recipe.data.size >= 96
    assert recipe.eps == "1/255"
    (tmp_path / "recipe.toml").write_text(dump(recipe))
    again = load_recipe(tmp_path)
    assert dump(again) == dump(recipe)
    assert again.training == recipe.training
    assert 'norm = "linf"' in dump(recipe) or name == "standard"


def test_a_recipe_becomes_objects(path: Path) -> None:
    parts = build(load_recipe(path, ["objective.beta1=16", "data.fake_share=data", "data.augment=[]"]))
    assert isinstance(parts.objective, AFSL)
    assert (parts.objective.beta1, parts.objective.eps, parts.objective.fake_share) == (16, 4 / 255, None)
    assert parts.settings.validation_attack == PGD(Linf(4 / 255), steps=1)
    assert (parts.settings.epochs, parts.settings.seed, parts.settings.fake_share) == (2, 3, None)
    assert parts.detector.spec == {"name": "resnet", "width": 4, "stem_stride": 2}
    assert len(parts.train) == len(parts.validation) == 32
    assert parts.train.augment == ()
    assert build(load_recipe(path, ["evaluation.attack=none"])).settings.validation_attack is None


def test_the_seed_decides_the_first_weights(path: Path) -> None:
    a, b, c = (build(load_recipe(path, [f"seed={seed}"])).detector.head.weight for seed in (1, 1, 2))
    assert isinstance(a, torch.Tensor)
    assert isinstance(b, torch.Tensor)
    assert isinstance(c, torch.Tensor)
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("objective.beta3=1", r"unknown key 'beta3' in \[objective\] \(did you mean 'beta"),
        ("detector.widht=3", r"unknown key 'widht' in \[detector\] \(did you mean 'width'\?\)"),
        ("training.lrr=1", r"unknown key 'lrr' in \[training\] \(did you mean 'lr'\?\)"),
        ("datta.x=1", r"unknown key 'datta' \(did you mean 'data'\?\)"),
        ("objective.name=afsll", "did you mean 'afsl'"),
        ("detector.name=resnett", "did you mean 'resnet'"),
        ("objective.eps=8", "write 8/255"),
        ("objective.pairs=some", "all, matched, relu"),
        ("epochs=many", "epochs: .*got 'many'"),
        ("epochs=0", "epochs must be >= 1"),
        ("data.size=big", r"\[data\] size"),
        ("data.augment=[\"flop\"]", "did you mean 'flip'"),
        ("training.precision=8", r"\[training\] precision"),
        ("evaluation.attack=pdg:eps=1/255", "did you mean 'pgd'"),
        ("data=3", r"write \[data\]"),
        ("epochs.x=1", "'epochs' is a value"),
        ("epochs", "KEY=VALUE"),
        (".x=1", "KEY=VALUE"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_line(path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        build(load_recipe(path, [override]))
    assert "\n" not in str(error.value)


def test_overrides_are_values_or_plain_text(path: Path) -> None:
    recipe = load_recipe(
        path, ["objective.eps=1/255", "training.lr=0.5", 'data.augment=["flip", "jpeg"]', "training.precision=32"]
    )
    assert recipe.objective.options["eps"] == "1/255"
    assert recipe.training.model_dump()["lr"] == 0.5
    assert recipe.data.augment == ["flip", "jpeg"]


def test_files_that_are_no_recipe_are_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    with pytest.raises(ConfigError, match="can not be read"):
        load_recipe(broken)
    broken.write_text("epochs = = 3")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_recipe(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="is not TOML"):
        load_recipe(broken)
    broken.write_text("[data]\n")
    with pytest.raises(ConfigError, match=r"epochs is missing.*\[data\] manifest is missing.*--set data.manifest="):
        load_recipe(broken)
    broken.write_text(f'epochs = 1\n[data]\nmanifest = "{tmp_path / "no.parquet"}"\n')
    with pytest.raises(DataError, match="no manifest"):
        build(load_recipe(broken))


def test_train_runs_resumes_and_starts_warm(path: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    recipe = load_recipe(path)
    result = train(recipe, out)
    assert len(result.history) == 2
    assert (out / "recipe.toml").read_text() == dump(recipe)
    assert load_recipe(out).eps == "4/255"
    assert train(recipe, out, resume=True).history == result.history
    with pytest.raises(ConfigError, match="--resume"):
        train(recipe, out)
    with pytest.raises(ConfigError, match="write 8/255"):
        train(load_recipe(path, ["objective.eps=8"]), tmp_path / "never")
    assert not (tmp_path / "never").exists()
    with pytest.raises(ConfigError, match="beta1"):
        train(load_recipe(path, ["objective.beta1=2"]), out, resume=True)
    assert (out / "recipe.toml").read_text() == dump(recipe), "a refused resume keeps the recipe"

    # Before its first state a run has no past: what it goes on with is what it was made with.
    (out / "state.pt").unlink()
    changed = load_recipe(path, ["objective.beta1=2"])
    train(changed, out, resume=True)
    assert (out / "recipe.toml").read_text() == dump(changed)

    warm = build(load_recipe(path, [f"init={out}"])).detector
    kept = checkpoints.load(out)
    assert all(torch.equal(a, b) for a, b in zip(warm.parameters(), kept.parameters(), strict=True))
    with pytest.raises(CheckpointError, match="does not fit"):
        build(load_recipe(path, [f"init={out}", "detector.width=8"]))


def test_attacks_from_text_take_the_recipes_eps(tmp_path: Path) -> None:
    torch.manual_seed(0)
    surrogate = models.create("resnet", width=4)
    checkpoints.save(surrogate, tmp_path / "best.safetensors")
    assert build_attack("pgd", "4/255") == PGD(Linf(4 / 255))
    assert build_attack("pgd:eps=1/255", "4/255").threat == Linf(1 / 255)
    assert build_attack("pgd").threat == Linf(2 / 255)
    assert build_attack("pgd:norm=l2", "4/255").threat == L2(0.5), "a recipe's radius is Linf"
    transfer = build_attack(f"transfer:surrogate={tmp_path},steps=3", "4/255")
    assert isinstance(transfer, Transfer)
    assert transfer.threat == Linf(4 / 255)
    assert transfer.surrogate.spec == surrogate.spec
    with pytest.raises(UnfooledError):
        build_attack(f"transfer:surrogate={tmp_path / 'none'}")


@pytest.mark.parametrize("name", sorted(set(attacks.ATTACKS) - {"transfer"}))
def test_a_recipes_eps_is_for_attacks_without_a_radius_of_their_own(name: str) -> None:
    own = {"cw": math.inf, "deepfool": math.inf, "rwa": 16 / 255, "rbb": 16 / 255, "stat": 60 / 255, "sparse": 32}
    assert build_attack(name, "3/255").threat.eps == pytest.approx(own.get(name, 3 / 255))
    if name not in ("cw", "deepfool", "sparse"):
        assert build_attack(f"{name}:eps=5/255", "3/255").threat.eps == pytest.approx(5 / 255)


def test_the_prior_may_be_that_of_the_data(path: Path) -> None:
    parts = build(load_recipe(path, ["objective.fake_share=data"]))
    assert parts.objective.fake_share == parts.train.fake_share(None)
    assert build(load_recipe(path)).objective.fake_share is None


def test_manipulations_are_left_out_or_kept(path: Path) -> None:
    manifest = Manifest.from_rows(
        [
            {"id": f"{m}{k}", "path": f"{m}{k}.png", "label": int(m != "Real"), "video": f"{m}{k}", "manipulation": m}
            for m in ("Real", "FaceSwap", "Deepfakes")
            for k in range(3)
        ],
        path.parent,
    )
    names: dict[bool, set[str]] = {False: {"Real", "Deepfakes"}, True: {"Real", "FaceSwap"}}
    for keep, left in names.items():
        rows = of_manipulations(manifest, ["FaceSwap"], keep=keep, option="x")
        assert (set(rows.column("manipulation")), len(rows)) == (left, 6)
    assert of_manipulations(manifest, [], keep=True, option="x") is manifest
    with pytest.raises(ConfigError, match=r"x must be of Deepfakes, FaceSwap, got 'Faceswap' .did you mean 'FaceSwap'"):
        of_manipulations(manifest, ["Faceswap"], keep=True, option="x")


def test_what_is_left_out_is_neither_trained_on_nor_validated_with(path: Path) -> None:
    made = {name for frames in _splits(path, []) for name in frames.manifest.column("manipulation")}
    out = sorted(made - {"Real"})[0]
    seen = {name for frames in _splits(path, [out]) for name in frames.manifest.column("manipulation")}
    assert seen == made - {out}


def test_people_and_collections_are_chosen(path: Path) -> None:
    manifest = Manifest.from_rows(
        [
            {
                "id": f"{split}{person}{label}", "path": f"{split}{person}{label}.png", "label": label,
                "video": f"{split}{person}{label}", "identity": f"{split}{person}", "split": split,
                "manipulation": "FaceSwap" if label else "Real", "collection": "gpo" if person % 2 else "london",
            }
            for split in ("train", "validation")
            for person in range(20)
            for label in (0, 1)
        ],
        path.parent,
    )  # fmt: skip

    def people(*changes: str) -> dict[str, set[str]]:
        rows = learnt_from(load_recipe(path, list(changes)), manifest)
        return {s: set(rows.select(split=s).column("identity")) for s in ("train", "validation")}

    everybody = people()
    assert [len(found) for found in everybody.values()] == [20, 20]
    few, more = people("data.people=0.1"), people("data.people=0.25")
    assert (len(few["train"]), len(more["train"])) == (2, 5)
    assert few["train"] < more["train"]
    assert few["validation"] == everybody["validation"]
    assert people("data.people=0.1", "seed=1")["train"] != few["train"]
    assert people("data.collections=['gpo']") == {s: {f"{s}{n}" for n in range(1, 20, 2)} for s in everybody}
    for change, text in (
        ("data.collections=['gpa']", r"data.collections must be of gpo, london, got 'gpa' .did you mean 'gpo'"),
        ("data.people=0", r"data.people must be in \(0, 1\], got 0; it is a share"),
        ("data.people=25", r"data.people must be in \(0, 1\], got 25"),
    ):
        with pytest.raises(ConfigError, match=text):
            people(change)


def _splits(path: Path, names: list[str]) -> list[Frames]:
    parts = build(load_recipe(path, [f"data.leave_out={names}"]))
    return [parts.train, parts.validation]
