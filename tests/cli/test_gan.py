"""``unfooled gan``: from reals to a manifest that training takes, and every mistake in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from unfooled.codecs import NOTE
from unfooled.data.manifest import Manifest

Run = Callable[..., int]
TINY = ("--size", 32, "--width", 2, "--steps", 2, "--every", 1, "--batch-size", 4, "--samples", 8, "--device", "cpu")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, album: Callable[..., Path], run: Run) -> Path:
    """A forged set, its manifest and a trained generator."""
    home = tmp_path_factory.mktemp("gan")
    album(home / "photos", {"london": 12})
    assert run("data", "forge", home / "photos", "--out", home / "set", "--size", 32, "--manipulation", "FaceSwap") == 0
    assert run("data", "index", "ffpp", home / "set", "--out", home / "set/manifest.parquet") == 0
    assert run("gan", "train", home / "set/manifest.parquet", "--out", home / "gan", *TINY) == 0
    return home


def test_train_tells_its_distance_warns_of_few_images_and_goes_on(
    home: Path, run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = home / "set/manifest.parquet"
    assert run("gan", "train", manifest, "--out", tmp_path / "run", *TINY) == 0
    shown = capfd.readouterr()
    assert "images to learn from; below 100" in shown.out
    assert "best Frechet distance" in shown.out
    assert "Frechet distance" in shown.err
    assert "step      2" in shown.err
    assert run("gan", "train", manifest, "--out", tmp_path / "run", *TINY) == 2
    assert run("gan", "train", manifest, "--out", tmp_path / "run", *TINY, "--steps", 3, "--resume") == 0
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 3


def test_samples_join_a_manifest_and_train_a_detector(
    home: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    index = home / "set/manifest.parquet"
    assert run("gan", "sample", home / "gan", "-n", 10, "--index", index, "--out", "both") == 0
    both = Manifest.read(tmp_path / "both/manifest.parquet")
    assert sum(both.column("manipulation") == "GAN") == 10
    assert run("data", "check", "both/manifest.parquet") == 0
    assert run("gan", "sample", home / "gan", "-n", 10, "--out", "alone") == 0
    with Image.open(next((tmp_path / "alone/fake/GAN").iterdir())) as picture:
        assert picture.text["Comment"] == NOTE
    assert run("data", "merge", index, "alone/manifest.parquet", "--out", "merged.parquet") == 0
    assert set(Manifest.read("merged.parquet").column("id")) == set(both.column("id"))
    Path("recipe.toml").write_text(
        'epochs = 1\n[data]\nmanifest = "both/manifest.parquet"\nsize = 32\n'
        "[detector]\nwidth = 2\n[training]\nbatch_size = 4\nworkers = 0\n"
    )
    assert run("train", "recipe.toml", "--out", "detector", "--device", "cpu") == 0


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train none.parquet --out new", "no manifest at none.parquet"),
        ("train set/manifest.parquet --out new --size 48", "size must be 32, 64 or 128 pixels, got 48"),
        ("train set/manifest.parquet --out new --steps 0", "steps must be >= 1, got 0"),
        ("train set/manifest.parquet --out new --augment color", "did you mean 'colour'"),
        ("train set/manifest.parquet --out new --lr nan", "lr must be > 0"),
        ("train set/manifest.parquet --out new --precision 16", "precision must be 32 or bf16-mixed"),
        ("train set/manifest.parquet --out new --features set", "holds no best.safetensors"),
        ("train set/manifest.parquet --out new --device tpu", "device must be auto, cpu, cuda"),
        ("train set/manifest.parquet --out new --resume", "is no run to resume"),
        ("train set/manifest.parquet --out gan", "holds a run already"),
        ("sample set --out new", "no generator at"),
        ("sample gan --out new -n 0", "the number of samples must be >= 1, got 0"),
        ("sample gan --out set", "set is not empty"),
        ("sample gan --out new --index none.parquet", "no manifest at none.parquet"),
        ("sample gan --out new --device tpu", "device must be auto, cpu, cuda"),
        ("sample gan", "Missing option '--out'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    home: Path, run: Run, command: str, message: str, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    before = sorted(path.name for path in home.iterdir())
    capfd.readouterr()
    assert run("gan", *command.split()) == 2
    shown = capfd.readouterr()
    assert shown.err.startswith("error: ")
    assert message in shown.err
    assert len(shown.err.strip().splitlines()) == 1
    assert sorted(path.name for path in home.iterdir()) == before
