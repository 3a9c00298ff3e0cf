"""Runs on clips, from drawn people to a result: trained, resumed and attacked as any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from unfooled import attacks, models, objectives
from unfooled.config import build, dump, evaluate_run, load_recipe, train
from unfooled.data.ffpp import read_ffpp
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector, LinearHead
from unfooled.synthesis.forge import forge

ROOT = Path(__file__).parents[2]
FRAMES = 10
RECIPE = """
epochs = 3
seed = 3

[data]
manifest = "{manifest}"
size = 32
clip = 4
clips_per_video = 2
augment = ["flip", "time_mask:most=1", "erasing:fill=mean", "grayscale:p=0.2"]

[detector]
name = "clip-toy"

[objective]
name = "afsl"
eps = "4/255"
steps = 1

[training]
batch_size = 8
optimizer = "adam"
lr = 0.003
accumulate = 2
ramp_epochs = 1
workers = 0
device = "cpu"

[evaluation]
attack = "pgd:eps=4/255,steps=1"
limit = 8
"""


class Pooled(nn.Module):
    """A small network that looks at space and time."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.Sequential(
            nn.Conv3d(3, 8, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.BatchNorm3d(8), nn.ReLU(),
            nn.Conv3d(8, 16, 3, (1, 2, 2), 1), nn.BatchNorm3d(16), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        if x.dim() != 5:
            raise ConfigError(f"clips are (B, 3, T, H, W), got {tuple(x.shape)}")
        maps: Tensor = self.maps(x)
        return maps.mean((2, 3, 4))


def clip_toy() -> Detector:
    """A detector of clips for the tests."""
    return Detector(Pooled(), LinearHead(16), mean=0.5, std=0.25)


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(models.DETECTORS, "clip-toy", clip_toy)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clips of 10 frames of 9 drawn people, real and swapped."""
    out = tmp_path_factory.mktemp("clips") / "set"
    forge("portraits", out, people=9, frames=FRAMES, size=32, manipulations=["FaceSwap"], workers=0)
    read_ffpp(out).write(out / "manifest.parquet")
    return out / "manifest.parquet"


@pytest.fixture(scope="module")
def path(manifest: Path) -> Path:
    recipe = manifest.with_name("recipe.toml")
    recipe.write_text(RECIPE.format(manifest=manifest))
    return recipe


@pytest.fixture(scope="module")
def run(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(models.DETECTORS, "clip-toy", clip_toy)
        return train(load_recipe(path), tmp_path_factory.mktemp("runs") / "run").out


def test_a_recipe_of_clips_becomes_samples(path: Path) -> None:
    recipe = load_recipe(path)
    parts = build(recipe)
    people = len(set(parts.train.manifest.column("identity")))
    assert parts.train.shape == parts.validation.shape == (3, 4, 32, 32)
    assert len(parts.train) == len(set(parts.train.manifest.column("video"))) >= 2 * people
    assert len(parts.validation) == 2 * len(set(parts.validation.manifest.column("video")))
    assert (parts.settings.accumulate, parts.settings.optimizer) == (2, "adam")
    assert len(build(load_recipe(path, ["data.clips_per_video=1"])).validation) == len(parts.validation) // 2
    assert "clips_per_video = 2" in dump(recipe)
    assert "fps = 25.0" in dump(recipe)
    long = build(load_recipe(path, ["data.clip=12"]))
    assert [note.split(" ", 1)[1].split(",")[0] for note in long.notes] == [
        "tracks are shorter than a clip of 12 frames and hold the last one"
    ] * 2  # fmt: skip
    assert len(build(load_recipe(path, ["data.fps=5"])).train) == len(parts.train), "drawn frames have no times"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.clip=0", "clip must be >= 1"),
        ("data.clips_per_video=0", "clips_per_video must be >= 1"),
        ("data.fps=0", "fps must be > 0"),
        ("data.clip=many", r"\[data\] clip"),
        ("data.clipp=4", "did you mean 'clip'"),
        ("training.accumulate=5", "training.accumulate must leave 2 rows"),
        ("training.accumulate=0", "training.accumulate must be >= 1"),
    ],
)
def test_numbers_that_do_not_fit_are_refused_in_one_line(path: Path, override: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        build(load_recipe(path, [override]))
    assert "\n" not in str(error.value)


def test_time_masks_need_clips(path: Path) -> None:
    recipe = load_recipe(path)
    images = recipe.model_copy(update={"data": recipe.data.model_copy(update={"clip": None})})
    with pytest.raises(ConfigError, match="TimeMask needs clips"):
        build(images)


def test_detectors_of_frames_refuse_clips_and_the_other_way_round(path: Path, run: Path) -> None:
    with pytest.raises(ConfigError, match=r"resnet does not take clips of 4 frames; leave out data\.clip"):
        build(load_recipe(path, ["detector.name=resnet"]))
    recipe = load_recipe(path, ["data.augment=[]"])
    with pytest.raises(ConfigError, match=r"clips are \(B, 3, T, H, W\)"):
        build(recipe.model_copy(update={"data": recipe.data.model_copy(update={"clip": None})}))


def test_training_leaves_a_run_and_does_not_depend_on_workers(path: Path, run: Path, tmp_path: Path) -> None:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 3
    assert all(np.isfinite(line["loss"]) and line["val_robust_auc"] is not None for line in lines)
    other = train(load_recipe(path, ["training.workers=2"]), tmp_path / "run").out
    assert (other / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()


def test_a_run_resumes_to_the_same_weights(path: Path, run: Path, tmp_path: Path) -> None:
    class Stop(Exception):
        pass

    class Watch:
        def on_step(self, step: int, steps: int, terms: Any) -> None: ...

        def on_epoch(self, record: Any) -> None:
            if record["epoch"] == 2:
                raise Stop

    with pytest.raises(Stop):
        train(load_recipe(path), tmp_path / "run", progress=Watch())
    resumed = train(load_recipe(path), tmp_path / "run", resume=True)
    assert len(resumed.history) == 3
    assert (resumed.out / "last.safetensors").read_bytes() == (run / "last.safetensors").read_bytes()
    state = torch.load(resumed.out / "state.pt", weights_only=True)
    del state["identity"]["ema"], state["identity"]["clip"]
    torch.save(state, resumed.out / "state.pt")
    assert train(load_recipe(path), tmp_path / "run", resume=True).history == resumed.history, "older than a setting"
    with pytest.raises(ConfigError, match="train was"):
        train(load_recipe(path, ["data.clip=5"]), tmp_path / "run", resume=True)
    with pytest.raises(ConfigError, match="accumulate was 2, is 1"):
        train(load_recipe(path, ["training.accumulate=1"]), tmp_path / "run", resume=True)


def test_a_run_is_evaluated_on_clips(path: Path, run: Path, manifest: Path, tmp_path: Path) -> None:
    result = evaluate_run(run, ["pgd", "universal:epochs=1"], saved=[90], out=tmp_path / "eval.json", batch_size=5)
    rows = Manifest.read(manifest).select(split="test")
    videos = len(set(rows.column("video")))
    assert len(result.samples.id) == 2 * videos
    assert result.samples.id[0].endswith("#0")
    assert result.provenance["clips"] == {"clip": 4, "fps": 25.0, "clips_per_video": 2}
    clean, pgd, universal = result.conditions
    assert pgd.name == "pgd:eps=4/255,steps=10"
    assert result.video_rule == "mean_logit"
    for condition in result.conditions:
        assert len(condition.logits) == len(result.samples.id)
    assert pgd.distance_max == pytest.approx(4 / 255, abs=1e-6)
    assert universal.metrics["robust/fakes_only/frame_auc"].value is not None
    assert {(e.clip, e.shown) for c in (pgd, universal) for e in c.examples} == {(4, 4)}
    assert sorted(e.label for e in pgd.examples)[:1] == [0]
    assert {"frame/auc", "video/auc"} <= clean.metrics.keys()
    one = evaluate_run(run, checks=False, batch_size=64)
    np.testing.assert_allclose(one.conditions[0].logits, clean.logits, atol=1e-5)
    # The score of a video is the mean logit of its clips.
    mean = {v: np.mean([z for z, w in zip(clean.logits, result.samples.video, strict=True) if w == v])
            for v in result.samples.video}  # fmt: skip
    label = dict(zip(result.samples.video, result.samples.label, strict=True))
    wins = [np.sign(mean[f] - mean[r]) / 2 + 0.5 for f in mean for r in mean if label[f] and not label[r]]
    assert clean.metrics["video/auc"].value == pytest.approx(np.mean(wins))


def test_a_limit_chooses_clips(run: Path) -> None:
    found = evaluate_run(run, ["pgd:steps=1"], limit=4, checks=False)
    assert found.samples.label.count(1) == found.samples.label.count(0) == 2
    whole = evaluate_run(run, checks=False)
    logits = dict(zip(whole.samples.id, whole.conditions[0].logits, strict=True))
    np.testing.assert_allclose(found.conditions[0].logits, [logits[name] for name in found.samples.id], atol=1e-5)


def test_a_checkpoint_alone_needs_the_length_of_its_clips(run: Path, manifest: Path, tmp_path: Path) -> None:
    (tmp_path / "best.safetensors").write_bytes((run / "best.safetensors").read_bytes())
    found = evaluate_run(tmp_path, data=manifest, size=32, clip=4, checks=False)
    assert len(found.samples.id) == len(set(found.samples.video)) * (FRAMES // 4)
    other = evaluate_run(run, clip=3, checks=False)
    assert other.provenance["clips"]["clip"] == 3
    with pytest.raises(ConfigError, match="compares single images"):
        evaluate_run(run, adversarial=tmp_path)


@pytest.mark.parametrize("name", ["standard", "at", "trades", "afsl", "afsl-plus"])
def test_our_recipes_of_clips_are_short_and_come_back_resolved(name: str, tmp_path: Path) -> None:
    path = ROOT / "recipes" / f"clips-csn-{name}.toml"
    assert 5 <= sum(bool(line.strip()) for line in path.read_text().splitlines()) <= 30
    if "csn-small" not in models.DETECTORS:
        pytest.skip("csn-small is not here yet")
    recipe = load_recipe(path)
    assert (recipe.objective.name, recipe.detector.name) == (name, "csn-small")
    assert recipe.data.clip is not None
    (tmp_path / "recipe.toml").write_text(dump(recipe))
    assert dump(load_recipe(tmp_path)) == dump(recipe)


@pytest.mark.parametrize("name", sorted(objectives.OBJECTIVES))
@pytest.mark.parametrize("batch_norm", ["joint", "separate"])
def test_every_objective_takes_clips(name: str, batch_norm: str) -> None:
    options = {} if name == "standard" else {"eps": "4/255", "steps": 2, "batch_norm": batch_norm}
    objective = objectives.create(name, **options)
    torch.manual_seed(0)
    detector, x, y = clip_toy(), torch.rand(6, 3, 4, 16, 16), torch.arange(6) % 2
    terms = objective(detector.train(), x, y)
    sum(term for key, term in terms.items() if not key.startswith("cos_")).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)
    assert detector.backbone.maps[0].weight.grad.abs().max() > 0  # type: ignore[index, union-attr]


@pytest.mark.parametrize("name", ["pgd", "fgsm", "apgd", "square", "noise"])
def test_what_an_attack_does_to_a_clip_does_not_depend_on_its_batch(name: str) -> None:
    if name not in attacks.ATTACKS:
        pytest.skip("no such attack")
    torch.manual_seed(0)
    detector, x, y = clip_toy().eval(), torch.rand(4, 3, 4, 16, 16), torch.arange(4) % 2
    few: dict[str, Any] = {"apgd": {"steps": 5, "restarts": 1}, "square": {"queries": 20}}.get(name, {})
    attack = attacks.create(name, eps="8/255", **few)
    whole, alone = attack(detector, x, y), attack(detector, x[2:3], y[2:3])
    torch.testing.assert_close(whole.x[2:3], alone.x, rtol=0, atol=1e-6)
    assert ((whole.x - x).abs() <= 8 / 255 + 1e-6).all()


def test_every_weight_was_trained(path: Path, run: Path) -> None:
    start = build(load_recipe(path)).detector
    saved = load_file(run / "last.safetensors")
    assert all(not torch.equal(saved[name], weight) for name, weight in start.named_parameters())
