"""Whole runs: they learn, they survive a kill, they choose on validation, they tell what they did."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from unfooled import checkpoints, objectives
from unfooled.errors import CheckpointError, ConfigError, DataError, TrainingError
from unfooled.models import Detector
from unfooled.objectives import Standard
from unfooled.training import FitResult, fit


class Watch:
    def __init__(self) -> None:
        self.steps: list[tuple[int, int, dict[str, float]]] = []
        self.records: list[dict[str, Any]] = []

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None:
        self.steps.append((step, steps, dict(terms)))

    def on_epoch(self, record: dict[str, Any]) -> None:
        self.records.append(record)


@pytest.fixture(scope="module")
def run(toy: ModuleType, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[FitResult, Watch]:
    """An unbroken AFSL run of four epochs."""
    watch = Watch()
    return toy.afsl(manifest, tmp_path_factory.mktemp("runs") / "whole", watch), watch


def script(toy: ModuleType, *arguments: object) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, str(toy.__file__), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_a_run_learns_and_leaves_every_file(run: tuple[FitResult, Watch]) -> None:
    result, watch = run
    assert result.best["val_clean_auc"] > 0.9
    out = result.out
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert lines == result.history == watch.records
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [line["eps"] for line in lines] == pytest.approx([0, 4 / 255, 4 / 255, 4 / 255])
    assert lines[0]["val_robust_auc"] is None
    assert "asl" not in lines[0]
    wanted = {"loss", "dcl", "asl", "srl", "cos_real_fake", "cos_adv", "cos_weight", "lr", "grad_norm", "seconds",
              "images_per_second", "val_clean_auc", "val_robust_auc"}  # fmt: skip
    assert wanted <= lines[-1].keys()
    loss = sum(lines[-1][name] for name in ("dcl", "asl", "srl"))
    assert lines[-1]["loss"] == pytest.approx(loss)
    assert [step for step, _, _ in watch.steps] == list(range(1, 33))
    assert {steps for _, steps, _ in watch.steps} == {32}
    assert list((out / "tensorboard").glob("events*"))
    assert "epoch 4" in (out / "log.txt").read_text()
    assert (out / "warnings.txt").read_text().splitlines() == result.warnings
    card = (out / "model_card.md").read_text()
    for words in ("4 of 4 epochs", "Real 32, Stripes 32", "Intended use", "Limits", "pgd:eps=4/255,steps=2"):
        assert words in card


def test_the_best_epoch_is_chosen_on_validation_at_full_eps(run: tuple[FitResult, Watch]) -> None:
    result, _ = run
    full = [record for record in result.history if record["eps_share"] == 1]
    assert [record["eps_share"] for record in result.history] == [0, 1, 1, 1]
    assert result.best == max(full, key=lambda record: record["score"])
    assert result.best["score"] == (result.best["val_clean_auc"] + result.best["val_robust_auc"]) / 2
    facts = checkpoints.metadata(result.out)
    assert facts["epoch"] == result.best["epoch"]
    assert facts["val_robust_auc"] == result.best["val_robust_auc"]


def test_saved_weights_are_the_average_and_the_state_holds_both(run: tuple[FitResult, Watch]) -> None:
    out = run[0].out
    state = torch.load(out / "state.pt", weights_only=True)
    saved = load_file(out / "last.safetensors")
    for name, tensor in saved.items():
        assert torch.equal(tensor, state["averaged"][f"module.{name}"])
    assert any(not torch.equal(saved[name], state["detector"][name]) for name in saved)


def test_killed_and_resumed_is_bitwise_the_unbroken_run(
    toy: ModuleType, manifest: Path, run: tuple[FitResult, Watch], tmp_path: Path
) -> None:
    whole, _ = run
    killed = script(toy, manifest, tmp_path / "run", "--kill-at", 20)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len((tmp_path / "run" / "metrics.jsonl").read_text().splitlines()) == 2
    watch = Watch()
    resumed = toy.afsl(manifest, tmp_path / "run", watch, resume=True)
    assert watch.steps[0][0] == 17, "only the broken epoch is done again"
    for name in ("best.safetensors", "last.safetensors"):
        assert (resumed.out / name).read_bytes() == (whole.out / name).read_bytes()
    ours, theirs = (torch.load(r.out / "state.pt", weights_only=True) for r in (resumed, whole))
    assert all(torch.equal(ours["detector"][k], v) for k, v in theirs["detector"].items())
    timed = {"seconds", "images_per_second"}
    for a, b in zip(resumed.history, whole.history, strict=True):
        assert {k: v for k, v in a.items() if k not in timed} == {k: v for k, v in b.items() if k not in timed}


def test_resume_of_a_finished_run_changes_nothing_and_of_no_run_is_refused(
    toy: ModuleType, manifest: Path, run: tuple[FitResult, Watch], tmp_path: Path
) -> None:
    before = (run[0].out / "best.safetensors").read_bytes()
    again = toy.afsl(manifest, run[0].out, resume=True)
    assert again.best == run[0].best
    assert (run[0].out / "best.safetensors").read_bytes() == before
    data = toy.frames(manifest), toy.frames(manifest, "validation")
    with pytest.raises(ConfigError, match="new is no run to resume; leave out --resume"):
        fit(toy.detector(), Standard(), *data, toy.settings(epochs=1, resume=True), tmp_path / "new")


def test_a_run_is_neither_overwritten_nor_resumed_with_other_settings(
    toy: ModuleType, manifest: Path, run: tuple[FitResult, Watch], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="--resume or choose another --out"):
        toy.afsl(manifest, run[0].out)
    with pytest.raises(ConfigError, match=r"lr was 0\.05, is 0\.1"):
        toy.afsl(manifest, run[0].out, resume=True, lr=0.1)
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match="can not be resumed from"):
        toy.afsl(manifest, tmp_path, resume=True)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ConfigError, match="can not be a run folder"):
        toy.afsl(manifest, tmp_path / "file")


def test_two_processes_with_half_the_batch_equal_one(toy: ModuleType, manifest: Path, tmp_path: Path) -> None:
    data = toy.frames(manifest), toy.frames(manifest, "validation")
    fit(toy.without_batch_norm(), Standard(), *data, toy.settings(), tmp_path / "1")
    done = script(toy, manifest, tmp_path / "2", "--devices", 2)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "last.safetensors") for name in ("1", "2"))
    start = toy.without_batch_norm().state_dict()
    for name, tensor in one.items():
        torch.testing.assert_close(two[name], tensor, rtol=1e-4, atol=1e-6)
        assert not torch.equal(tensor, start[name])


@dataclass(frozen=True)
class Poisoned(Standard):
    """Turns bad in the second epoch: a term, or only the gradient."""

    kind: str = "term"

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        terms = super().__call__(detector, x, y)
        if detector.backbone.stem[1].num_batches_tracked > 10:  # type: ignore[index, operator, union-attr]
            weight = detector.head.weight
            assert isinstance(weight, Tensor)
            zero = (weight - weight.detach()).sum()
            terms["extra"] = zero.sqrt() if self.kind == "gradient" else zero / 0
        return terms


@pytest.mark.parametrize(("kind", "words"), [("term", "extra is nan"), ("gradient", "the gradient is")])
def test_what_is_not_finite_never_reaches_the_weights(
    toy: ModuleType, manifest: Path, tmp_path: Path, kind: str, words: str
) -> None:
    detector = toy.detector()

    class Snapshot(Watch):
        def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None:
            self.weights = [t.detach().clone() for t in detector.state_dict().values() if t.is_floating_point()]

    last, data = Snapshot(), (toy.frames(manifest), toy.frames(manifest, "validation"))
    with pytest.raises(TrainingError, match=words) as error:
        fit(detector, Poisoned(kind=kind), *data, toy.settings(epochs=3), tmp_path, progress=last)
    assert "step 11" in str(error.value)
    assert "training.lr" in str(error.value)
    after = [t for t in detector.state_dict().values() if t.is_floating_point()]
    assert all(torch.equal(a, b) for a, b in zip(after, last.weights, strict=True))
    assert checkpoints.metadata(tmp_path / "last.safetensors")["epoch"] == 1
    assert words in (tmp_path / "log.txt").read_text()


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(
    toy: ModuleType, manifest: Path, tmp_path: Path
) -> None:
    data = toy.frames(manifest), toy.frames(manifest, "validation")
    objective = objectives.create("at", steps=1)
    torch.manual_seed(5)
    expected = torch.rand(3)
    found = []
    for name, seed, optimizer in (("a", 0, "adam"), ("b", 0, "adam"), ("c", 1, "adam")):
        torch.manual_seed(5)
        detector = toy.detector()
        torch.manual_seed(5)
        settings = toy.settings(epochs=1, seed=seed, optimizer=optimizer, precision="bf16-mixed", views=32)
        fit(detector, objective, *data, settings, tmp_path / name)
        assert torch.equal(torch.rand(3), expected)
        found.append(torch.cat([p.flatten() for p in detector.parameters()]))
    assert torch.equal(found[0], found[1])
    assert not torch.equal(found[0], found[2])
    assert all(torch.isfinite(weights).all() for weights in found)


def test_the_delivered_share_of_fakes_reaches_the_loss(toy: ModuleType, manifest: Path, tmp_path: Path) -> None:
    data = toy.frames(manifest), toy.frames(manifest, "validation")
    for name, share in (("delivered", None), ("fixed", 0.5)):
        settings = toy.settings(epochs=1, fake_share=0.75)
        fit(toy.detector(), Standard(share), *data, settings, tmp_path / name)
    assert "fake_share=0.75" in (tmp_path / "delivered" / "log.txt").read_text()
    a, b = ((tmp_path / name / "last.safetensors").read_bytes() for name in ("delivered", "fixed"))
    assert a != b


def test_frames_of_one_class_are_refused(toy: ModuleType, manifest: Path, tmp_path: Path) -> None:
    train, validation = toy.frames(manifest), toy.frames(manifest, "validation")
    reals = replace(validation.manifest, table=validation.manifest.select(label=0).table)
    with pytest.raises(DataError, match="validation rows hold one class"):
        fit(toy.detector(), Standard(), train, type(train)(reals, 32), toy.settings(), tmp_path)


def test_devices_that_are_not_there_are_refused(toy: ModuleType, manifest: Path, tmp_path: Path) -> None:
    data = toy.frames(manifest), toy.frames(manifest, "validation")
    bad: list[tuple[dict[str, Any], str]] = [
        ({"device": "tpu"}, "auto, cpu, cuda"),
        ({"device": "cpu", "precision": "16-mixed"}, "bf16-mixed"),
    ]
    if not torch.cuda.is_available():
        bad.append(({"device": "cuda"}, "--device cpu"))
    for options, words in bad:
        with pytest.raises(ConfigError, match=words):
            fit(toy.detector(), Standard(), *data, toy.settings(**options), tmp_path)
