"""The GAN: closed forms of its parts, and whole runs that survive a kill and stop at what is not a number."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfooled import models
from unfooled.codecs import NOTE
from unfooled.data.manifest import Manifest, merge
from unfooled.errors import CheckpointError, ConfigError, DataError, TrainingError
from unfooled.gan_training import (
    GanSettings,
    Gaussian,
    features_of,
    fit_gan,
    frechet_distance,
    load_generator,
    sample,
    save_generator,
)
from unfooled.gan_training.augment import AUGMENTATIONS, augment, colour, cutout, parse, translation
from unfooled.gan_training.images import batches_from, generate, real_faces
from unfooled.gan_training.sampling import spread
from unfooled.gan_training.step import GanStepper, hinge_discriminator, hinge_generator, moving_average
from unfooled.models.detector import Detector
from unfooled.models.gan import Generator
from unfooled.training import Settings
from unfooled.training.engine import make_fabric

TINY = GanSettings(
    size=32,
    width=2,
    latent=4,
    steps=6,
    batch_size=4,
    every=2,
    samples=8,
    lr=1e-3,
    device="cpu",
    seed=3,
)


def write(root: Path, reals: int = 24) -> Path:
    """A manifest of coloured squares: reals of three splits, a person each, and one fake."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, object]] = []
    for number in range(reals + 1):
        split = ("train", "train", "validation", "test")[number % 4]
        fake = number == reals
        pixels = np.full((32, 32, 3), rng.integers(0, 256, 3), np.uint8)
        Image.fromarray(pixels).save(root / f"{number}.png")
        rows.append(
            {"id": f"{number}", "path": f"{number}.png", "label": int(fake), "video": f"v{number}",
             "identity": f"p{number}", "manipulation": "FaceSwap" if fake else "Real", "dataset": "toy",
             "split": "train" if fake else split}
        )  # fmt: skip
    Manifest.from_rows(rows, root).write(root / "manifest.parquet")
    return root / "manifest.parquet"


def judge() -> Detector:
    torch.manual_seed(0)
    return models.create("resnet", width=2, stem_stride=2).eval()


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("reals"))


@pytest.fixture(scope="module")
def done(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    out = tmp_path_factory.mktemp("runs") / "gan"
    fit_gan(Manifest.read(manifest), TINY, out, features=judge())
    return out


@pytest.fixture(scope="module")
def lively(done: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run with weights so large that any two samples differ in 8 bits too."""
    out = shutil.copytree(done, tmp_path_factory.mktemp("lively") / "gan")
    generator, facts = load_generator(out)
    for weight in generator.parameters():
        weight.mul_(10)
    save_generator(generator, out / "generator.safetensors", **facts)
    return out


def stepper(**options: Any) -> GanStepper:
    return GanStepper(make_fabric(Settings(device="cpu")), replace(TINY, **options))


def test_hinge_losses_have_their_closed_forms() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 1.0])
    assert hinge_discriminator(real, fake).item() == pytest.approx((0 + 0.5 + 2) / 3 + (0 + 1 + 2) / 3)
    assert hinge_discriminator(torch.zeros(2), torch.zeros(5)).item() == 2
    assert hinge_discriminator(torch.full((2,), 1e4), torch.full((2,), -1e4)).item() == 0
    assert hinge_generator(fake).item() == pytest.approx(2 / 3)


def test_the_average_has_its_closed_form_and_copies_counters() -> None:
    average, count = torch.zeros(2, dtype=torch.float64), torch.tensor(0)
    for step in range(5):
        moving_average([average, count], [torch.ones(2, dtype=torch.float64), torch.tensor(step)], 0.9)
    assert average.tolist() == pytest.approx([1 - 0.9**5] * 2)
    assert count == 4


def test_the_average_forgets_its_random_start() -> None:
    assert [TINY.decay(step) for step in (0, 2)] == [0.1, 0.25]
    assert TINY.decay(10**6) == TINY.ema
    assert replace(TINY, ema=0.0).decay(10**6) == 0


@pytest.mark.parametrize("name", sorted(AUGMENTATIONS))
def test_an_augmentation_lets_gradients_through_draws_for_each_image_and_says_so_by_seed(name: str) -> None:
    x = torch.rand(6, 3, 16, 16, dtype=torch.float64, requires_grad=True)
    torch.manual_seed(0)
    changed = augment(x, (name,))
    changed.sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert x.grad.abs().sum() > 0
    assert changed.shape == x.shape
    assert changed.dtype == x.dtype
    torch.manual_seed(0)
    assert torch.equal(changed, augment(x, (name,)))
    same = torch.rand(1, 3, 16, 16).repeat(16, 1, 1, 1)
    assert (AUGMENTATIONS[name](same) - AUGMENTATIONS[name](same)).abs().max() > 0
    assert len({row.numpy().tobytes() for row in AUGMENTATIONS[name](same)}) > 1


def test_gradients_of_the_augmentations_agree_with_differences() -> None:
    x = torch.rand(2, 3, 6, 6, dtype=torch.float64, requires_grad=True)

    def changed(x: Tensor) -> Tensor:
        torch.manual_seed(4)
        return augment(x, ("colour", "translation", "cutout"))

    assert torch.autograd.gradcheck(changed, x)


def test_reals_and_fakes_are_changed_by_the_same_law() -> None:
    x = torch.rand(4, 3, 16, 16)
    policy = parse("colour,translation,cutout")
    torch.manual_seed(5)
    apart = augment(torch.cat([x, x]), policy)
    torch.manual_seed(5)
    assert torch.equal(apart, augment(torch.cat([x, x.clone()]), policy)), "who made an image plays no part"
    assert torch.equal(augment(x, parse("none")), x)


def test_colour_keeps_grey_grey_and_its_strengths_are_the_published_ones() -> None:
    torch.manual_seed(0)
    grey = torch.full((4000, 3, 2, 2), 0.5)
    moved = colour(grey)
    assert torch.allclose(moved[:, 0], moved[:, 1], atol=1e-6)
    assert -0.25 <= (moved - grey).min() < -0.24
    assert 0.24 < (moved - grey).max() <= 0.25
    edge = torch.zeros(4000, 3, 1, 2)
    edge[..., 1] = 1
    gap = (colour(edge)[..., 1] - colour(edge)[..., 0])[:, 0, 0]
    spread_of = colour(edge).diff(dim=3)[:, 0, 0, 0]
    assert gap.isfinite().all()
    assert 0.5 <= spread_of.min() < 0.51
    assert 1.49 < spread_of.max() <= 1.5


def test_translation_moves_whole_pixels_by_up_to_an_eighth_and_grey_comes_in() -> None:
    torch.manual_seed(0)
    x = torch.rand(300, 3, 16, 16)
    moved = translation(x)
    found = set()
    for before, after in zip(x, moved, strict=True):
        for down in range(-2, 3):
            for right in range(-2, 3):
                wanted = torch.full((3, 20, 20), 0.5)
                wanted[:, 2 + down : 18 + down, 2 + right : 18 + right] = before
                if torch.equal(after, wanted[:, 2:18, 2:18]):
                    found.add((down, right))
    assert found == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_cutout_greys_a_square_of_half_the_side() -> None:
    torch.manual_seed(0)
    cut = cutout(torch.ones(400, 3, 16, 16))
    hidden = (cut == 0.5).flatten(1).sum(1) / 3
    assert set(cut.unique().tolist()) == {0.5, 1.0}
    assert hidden.max() == 64
    assert hidden.min() >= 16


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_the_frechet_distance_has_its_closed_form_for_gaussians(scale: float) -> None:
    mean = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    variance = torch.tensor([4.0, 1.0, 0.25], dtype=torch.float64)
    one = Gaussian(torch.zeros(3, dtype=torch.float64), torch.eye(3, dtype=torch.float64))
    other = Gaussian(mean, scale * torch.diag(variance))
    wanted = float(mean.square().sum() + ((scale * variance).sqrt() - 1).square().sum())
    turn, _ = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    for turned in (torch.eye(3, dtype=torch.float64), turn):
        pair = [Gaussian(turned @ g.mean, turned @ g.covariance @ turned.t()) for g in (one, other)]
        assert frechet_distance(*pair) == pytest.approx(wanted)
        assert frechet_distance(*reversed(pair)) == pytest.approx(wanted)
    assert frechet_distance(other, other) == pytest.approx(0, abs=1e-9)


def test_a_degenerate_gaussian_has_a_distance_too() -> None:
    line = Gaussian.of(torch.outer(torch.arange(5.0), torch.tensor([1.0, 0.0])))
    point = Gaussian.of(torch.tensor([[2.0, 3.0], [2.0, 3.0]]))
    assert frechet_distance(line, point) == pytest.approx(9 + 2.5)
    for bad in (torch.zeros(1, 2), torch.full((3, 2), float("nan"))):
        with pytest.raises(DataError):
            Gaussian.of(bad)


def test_features_are_the_detectors_own_of_images_at_its_size() -> None:
    detector = judge()
    x = torch.rand(3, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(features_of(detector, [x[:2], x[2:]]).float()[:2], detector.features(x[:2]))
    small = models.create("resnet", width=2, size=32).eval()
    assert features_of(small, [x]).shape == (3, 16)


def test_only_real_training_rows_are_learnt_from_and_a_resume_meets_the_same_batches(manifest: Path) -> None:
    frames, reasons = real_faces(Manifest.read(manifest), "train", 32)
    assert len(frames) == 12
    assert not reasons
    assert set(frames.labels) == {0}
    whole = list(batches_from(frames, 5, 0, 9, 0))
    assert len(whole) == 9
    for start in (1, 2, 7):
        later = list(batches_from(frames, 5, start, 9, 0))
        assert all(torch.equal(a, b) for a, b in zip(later, whole[start:], strict=True))


def test_a_step_moves_both_networks_and_its_numbers_are_of_the_seed() -> None:
    x = torch.rand(4, 3, 32, 32)
    one, two, other = stepper(), stepper(), stepper(seed=4)
    before = {name: p.clone() for name, p in [*one.generator.named_parameters(), *one.discriminator.named_parameters()]}
    # The first step moves what adds to the image, the second what lies below it.
    numbers, numbers_two, numbers_other = ([one_of(x, 0), one_of(x, 1)] for one_of in (one, two, other))
    assert set(numbers[0]) == {"discriminator", "generator", "real", "fake"}
    assert numbers == numbers_two
    assert numbers != numbers_other
    after = dict([*one.generator.named_parameters(), *one.discriminator.named_parameters()])
    assert not [name for name, p in before.items() if "weight" in name and torch.equal(p, after[name])]
    assert all(p.requires_grad for p in after.values())
    now = one.generator.state_dict()
    start = two.averaged.state_dict()
    assert all(torch.equal(value, start[name]) for name, value in one.averaged.state_dict().items())
    assert not all(torch.equal(value, now[name]) for name, value in one.averaged.state_dict().items())


def test_a_number_that_is_not_finite_stops_before_the_weights_move() -> None:
    one = stepper()
    before = {k: v.clone() for k, v in one.discriminator.state_dict().items() if "original" in k}
    with pytest.raises(TrainingError, match=r"step 8, discriminator: .* is nan"):
        one(torch.full((4, 3, 32, 32), float("nan")), 7)
    assert all(torch.equal(v, one.discriminator.state_dict()[k]) for k, v in before.items())
    assert one.finite()
    next(one.generator.parameters()).data.fill_(float("inf"))
    assert not one.finite()


@pytest.mark.parametrize(
    "name",
    ["width", "latent", "start", "batch_size", "lr", "beta1", "beta2", "ema", "augment", "seed"],
)
def test_every_setting_changes_the_result(name: str, manifest: Path, done: Path, tmp_path: Path) -> None:
    other = {"width": 3, "latent": 5, "batch_size": 6, "lr": 2e-3, 
             "beta1": 0.5, "start": "nothing", "beta2": 0.9, "ema": 0.2,
             "augment": "colour", "seed": 4}[name]  # fmt: skip
    fit_gan(Manifest.read(manifest), replace(TINY, **{name: other}), tmp_path / "run", features=judge())
    one, two = (load_generator(path)[0].state_dict() for path in (done, tmp_path / "run"))
    assert not all(torch.equal(value, two[key]) for key, value in one.items() if value.shape == two[key].shape)


def test_a_run_leaves_its_folder(done: Path) -> None:
    names = {path.name for path in done.iterdir()}
    assert names == {
        "gan.json", "generator.safetensors", "log.txt", "metrics.jsonl", "model_card.md", "samples", "state.pt",
        "train.parquet",
    }  # fmt: skip
    history = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in history] == [2, 4, 6]
    generator, facts = load_generator(done)
    assert facts["frechet"] == min(record["frechet"] for record in history)
    assert not generator.training
    with Image.open(done / "samples" / "step-000004.png") as picture:
        assert picture.size == (256, 256)
        assert picture.text["Comment"] == NOTE
    card = (done / "model_card.md").read_text()
    assert "trained by unfooled on 12 real images" in card
    assert "6 validation reals" in card


def test_the_same_seed_gives_the_same_numbers(manifest: Path, done: Path, tmp_path: Path) -> None:
    fit_gan(Manifest.read(manifest), TINY, tmp_path / "again", features=judge())
    assert same(done, tmp_path / "again")


def same(one: Path, two: Path) -> bool:
    """Whether two runs left the same weights, states and numbers but for the time they took."""
    histories = [
        [{k: v for k, v in json.loads(line).items() if k not in ("seconds", "images_per_second")} for line in lines]
        for lines in ((run / "metrics.jsonl").read_text().splitlines() for run in (one, two))
    ]
    states = [torch.load(run / "state.pt", weights_only=True)["networks"] for run in (one, two)]
    return (
        histories[0] == histories[1]
        and (one / "generator.safetensors").read_bytes() == (two / "generator.safetensors").read_bytes()
        and flat(states[0]) == flat(states[1])
    )


def flat(state: Any) -> Any:
    """Nested tensors as plain values that can be compared."""
    if isinstance(state, Tensor):
        return state.numpy().tobytes()
    if isinstance(state, Mapping):
        return {key: flat(value) for key, value in state.items()}
    return [flat(value) for value in state] if isinstance(state, (list, tuple)) else state


class Kill:
    """Ends the process at a step, as a power cut does."""

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None:
        if step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch(self, record: Mapping[str, Any]) -> None: ...


def test_killed_and_resumed_is_bitwise_the_unbroken_run(manifest: Path, done: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    killed = subprocess.run([sys.executable, __file__, manifest, out], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
    with pytest.raises(ConfigError, match="go on with --resume"):
        fit_gan(Manifest.read(manifest), TINY, out, features=judge())
    with pytest.raises(ConfigError, match="can not go on with other settings: lr was"):
        fit_gan(Manifest.read(manifest), replace(TINY, resume=True, lr=1e-4), out, features=judge())
    fit_gan(Manifest.read(manifest), replace(TINY, resume=True), out, features=judge())
    assert same(done, out)


def test_half_precision_runs_too(manifest: Path, done: Path, tmp_path: Path) -> None:
    found = fit_gan(Manifest.read(manifest), replace(TINY, precision="bf16-mixed"), tmp_path / "run", features=judge())
    assert all(np.isfinite(record["frechet"]) for record in found.history)
    assert not same(done, tmp_path / "run")


def test_more_steps_go_on_from_a_finished_run(manifest: Path, done: Path, tmp_path: Path) -> None:
    table, longer = Manifest.read(manifest), replace(TINY, steps=9)
    whole = fit_gan(table, longer, tmp_path / "whole", features=judge())
    fit_gan(table, TINY, tmp_path / "parts", features=judge())
    parts = fit_gan(table, replace(longer, resume=True), tmp_path / "parts", features=judge())
    assert [r["step"] for r in parts.history] == [r["step"] for r in whole.history] == [2, 4, 6, 8, 9]
    assert same(tmp_path / "whole", tmp_path / "parts")


def test_training_stops_at_nan_and_keeps_the_last_good_point(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ordinary = GanStepper.__call__

    def poisoned(self: GanStepper, x: Tensor, step: int) -> dict[str, float]:
        return ordinary(self, x * float("nan") if step == 4 else x, step)

    monkeypatch.setattr(GanStepper, "__call__", poisoned)
    out = tmp_path / "run"
    with pytest.raises(TrainingError, match=r"step 5, discriminator: .*keeps its last good point"):
        fit_gan(Manifest.read(manifest), TINY, out, features=judge())
    assert torch.load(out / "state.pt", weights_only=True)["done"] == 4
    assert load_generator(out)[1]["step"] <= 4
    assert "stopped: step 5" in (out / "log.txt").read_text()


def test_what_looks_wrong_is_said(tmp_path: Path) -> None:
    path = write(tmp_path / "set", reals=12)
    (path.parent / "0.png").write_bytes(b"no picture")
    table = Manifest.read(path)
    table = table.take([i for i, split in enumerate(table.column("split")) if split != "validation"])
    found = fit_gan(table, replace(TINY, steps=2), tmp_path / "run", features=judge()).warnings
    assert [text.split(":")[0].split(" ")[0] for text in found] == ["only", "no", "1"]
    assert "only 5 images to learn from; below 100" in found[0]
    assert "0.png" in found[2]
    assert "Warning: only 5 images" in (tmp_path / "run" / "model_card.md").read_text()


def test_without_readable_reals_there_is_nothing_to_learn(tmp_path: Path) -> None:
    path = write(tmp_path / "set", reals=4)
    for number in (0, 1):
        (path.parent / f"{number}.png").write_bytes(b"no picture")
    for table, message in (
        (Manifest.read(path), "none of the 2 real images of split 'train' can be read"),
        (Manifest.read(path).select(label=1), "no real rows of split 'train'"),
    ):
        with pytest.raises(DataError, match=message):
            fit_gan(table, TINY, tmp_path / "run", features=judge())
    table = Manifest.read(write(tmp_path / "few", reals=3))
    with pytest.raises(ConfigError, match="2 real images, got 1 real image"):
        fit_gan(table, TINY, tmp_path / "run", features=judge())
    clips = models.create("csn-small", width=8)
    with pytest.raises(ConfigError, match="got a detector of clips"):
        fit_gan(Manifest.read(write(tmp_path / "more")), TINY, tmp_path / "run", features=clips)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 65}, "32, 64 or 128"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"batch_size": 1}, "batch_size must be >= 2"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\)"),
        ({"lr": 0.0}, "lr must be > 0"),
        ({"lr": float("nan")}, "lr must be > 0"),
        ({"precision": "16"}, "32 or bf16-mixed"),
        ({"augment": "color"}, "did you mean 'colour'"),
    ],
)
def test_wrong_settings_say_the_fix(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(TINY, **options)


def test_samples_are_marked_files_whose_manifest_merges_without_a_leak(
    manifest: Path, done: Path, tmp_path: Path
) -> None:
    made = sample(done, 10, tmp_path / "gan", seed=1)
    table = Manifest.read(tmp_path / "gan" / "manifest.parquet")
    assert table.digest() == made.manifest.digest()
    assert (len(table), made.count, made.size) == (10, 10, 32)
    assert set(table.column("manipulation")) == {"GAN"}
    assert set(table.column("label")) == {1}
    assert len(set(table.column("identity"))) == 10
    assert sorted(table.column("split")) == ["test"] * 2 + ["train"] * 6 + ["validation"] * 2
    for path in table.paths():
        with Image.open(path) as picture:
            assert picture.size == (32, 32)
            assert picture.text["Comment"] == NOTE
    both = merge([Manifest.read(manifest), table])
    both.check()
    assert len(both) == 35


def test_samples_join_a_manifest_with_the_shares_of_its_splits(manifest: Path, done: Path, tmp_path: Path) -> None:
    before = manifest.read_bytes()
    index = Manifest.read(manifest)
    sample(done, 8, tmp_path / "gan", index=index)
    table = Manifest.read(tmp_path / "gan" / "manifest.parquet")
    table.check()
    assert len(table) == len(index) + 8
    fakes = table.select(manipulation="GAN")
    assert sorted(fakes.column("split")) == ["test"] * 2 + ["train"] * 4 + ["validation"] * 2
    assert manifest.read_bytes() == before
    assert table.select(dataset="toy").digest() == index.digest()
    with pytest.raises(DataError, match="occur in two manifests"):
        sample(done, 8, tmp_path / "more", index=table)
    assert not (tmp_path / "more").exists()


def test_more_samples_begin_with_the_same_ones_and_another_seed_gives_others(lively: Path, tmp_path: Path) -> None:
    few, many, other = (
        sample(lively, count, tmp_path / str(number), seed=seed).manifest
        for number, (count, seed) in enumerate([(3, 0), (5, 0), (3, 1)])
    )
    bytes_of = [[path.read_bytes() for path in table.paths()] for table in (few, many, other)]
    assert bytes_of[0] == bytes_of[1][:3]
    assert not set(bytes_of[0]) & set(bytes_of[2])
    assert list(few.column("id")) == list(many.column("id"))[:3]
    assert list(few.column("split")) == list(many.column("split"))[:3]
    x = torch.cat(list(generate(load_generator(lively)[0], 3, 0)))
    with Image.open(few.paths()[0]) as picture:
        assert np.array_equal(np.asarray(picture), (x[0] * 255).round().byte().permute(1, 2, 0).numpy())


def test_a_generator_that_saw_the_people_who_are_measured_is_refused(
    manifest: Path, done: Path, tmp_path: Path
) -> None:
    index = Manifest.read(manifest)
    turned = index.with_column("split", ["test" if s == "train" else "train" for s in index.column("split")])
    with pytest.raises(DataError, match="leak: the generator was trained on 12 people"):
        sample(done, 4, tmp_path / "gan", index=turned)
    assert not (tmp_path / "gan").exists()


def test_splits_are_as_close_to_their_shares_as_can_be_after_each_sample() -> None:
    shares = {"train": 0.6, "validation": 0.2, "test": 0.2}
    splits = spread(1000, shares)
    for count in (5, 37, 1000):
        for name, part in shares.items():
            assert abs(splits[:count].count(name) - part * count) <= 1


def test_what_is_no_generator_is_refused_in_one_line(done: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no generator at"):
        load_generator(tmp_path)
    (tmp_path / "generator.safetensors").write_bytes(b"PK pickled")
    with pytest.raises(CheckpointError, match="damaged or no safetensors"):
        load_generator(tmp_path)
    from unfooled import checkpoints

    other = checkpoints.save(judge(), tmp_path / "best.safetensors")
    with pytest.raises(CheckpointError, match="holds no generator of unfooled"):
        load_generator(other)
    save_generator(Generator(32, 2, 4), tmp_path / "generator.safetensors", step=1)
    assert load_generator(tmp_path)[1] == {"step": 1}
    with pytest.raises(ConfigError, match="nobody knows who the generator learnt from"):
        sample(tmp_path, 2, tmp_path / "out", index=Manifest.read(done / "train.parquet"))
    for count, out, message in ((0, "new", "must be >= 1"), (2, "", "is not empty")):
        with pytest.raises(ConfigError, match=message):
            sample(done, count, tmp_path / out)


if __name__ == "__main__":
    torch.set_num_threads(1)
    fit_gan(Manifest.read(sys.argv[1]), TINY, sys.argv[2], features=judge(), progress=Kill())
