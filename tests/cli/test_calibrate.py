"""``unfooled calibrate`` as somebody types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unfooled import checkpoints
from unfooled.codecs import encode_png
from unfooled.data.manifest import Manifest
from unfooled.models import create

Run = Callable[..., int]


@pytest.fixture
def detector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run and, where its recipe says, the manifest of 24 face crops."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    folder, rng, rows = tmp_path / "run", np.random.default_rng(0), []
    checkpoints.save(create("resnet", width=4, blocks=1, stem_stride=2).eval(), folder / "best.safetensors")
    (folder / "recipe.toml").write_text('epochs = 1\n[data]\nmanifest = "set/manifest.parquet"\nsize = 24\n')
    (tmp_path / "set").mkdir()
    for k in range(24):
        name = f"{k}.png"
        pixels = rng.integers(0, 200 + 50 * (k % 2), (24, 24, 3), np.uint8)
        (tmp_path / "set" / name).write_bytes(encode_png(pixels))
        rows.append(
            {"id": name, "path": name, "label": k % 2, "video": name, "manipulation": "Toy" if k % 2 else "Real",
             "collection": "ab"[k % 4 // 2], "split": "validation" if k < 20 else "test"}
        )  # fmt: skip
    Manifest.from_rows(rows, tmp_path / "set").write(tmp_path / "set" / "manifest.parquet")
    return folder


def test_it_writes_the_calibration_and_shows_the_rates(
    run: Run, detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("calibrate", detector, "--attacked", "2", "--target-fpr", "0.1") == 0
    shown = capsys.readouterr().out
    for text in ("real called fake", "fake called real", "left undecided", "collection a", "flagged as tampered",
                 "temperature", "10 real and 10 fake files -> ", "calibration.json"):  # fmt: skip
        assert text in " ".join(shown.split()), text
    found = json.loads((detector / "calibration.json").read_text())
    assert (found["n_real"], found["n_fake"], found["target_fpr"], found["split"]) == (10, 10, 0.1, "validation")
    assert found["detector"] == checkpoints.load(detector).digest()
    # Again, over one of other weights or a damaged one.
    (detector / "calibration.json").write_text("{")
    assert run("calibrate", detector, "--attacked", "2", "--target-fpr", "0.1") == 0
    assert json.loads((detector / "calibration.json").read_text()) == found


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--split", "test"), "never fitted on test"),
        (("--split", "train"), "--split must be one of"),
        (("--faces", "some"), "--faces must be given or found"),
        (("--target-fpr", "0"), "target_fpr must be in"),
        (("--data", "nowhere.parquet"), "no manifest at"),
        (("--subgroup", "height"), "--subgroup height is no column"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    arguments: tuple[str, ...], words: str, run: Run, detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("calibrate", detector, *arguments) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert "Traceback" not in shown
    assert not (detector / "calibration.json").exists()
