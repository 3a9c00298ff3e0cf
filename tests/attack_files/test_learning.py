"""Attacks on files that learn from a manifest's training faces first."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unfooled.attack_files import attack_files
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.models.remote import remote


@pytest.fixture
def lessons(tmp_path: Path, draw: object) -> Path:
    """Eight training images, half of them fakes, all bright, and a test image that must not be learnt from."""
    rows = []
    for k in range(9):
        path = tmp_path / "lessons" / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(draw(2 + k % 2)).save(path)  # type: ignore[operator]
        kind = "FaceSwap" if k % 2 else "Real"
        split = "train" if k < 8 else "test"
        rows.append(
            {"id": str(k), "path": path.name, "label": k % 2, "video": str(k), "manipulation": kind, "split": split}
        )
    manifest = Manifest.from_columns({key: [row[key] for row in rows] for key in rows[0]}, tmp_path / "lessons")
    path = tmp_path / "lessons" / "manifest.parquet"
    manifest.write(path)
    return path


def test_one_perturbation_is_learnt_and_worn_by_every_image(
    folder: Path, brightness: Detector, lessons: Path, tmp_path: Path
) -> None:
    attack = "universal:eps=4/255,epochs=2,step_size=4/255"
    attack_files(folder, brightness, attack, tmp_path / "out", size=32, learn_from=lessons)
    changes = []
    for name in ("1.png", "2.png", "3.png", "b/1.png"):
        before = attack_files(folder / name, brightness, "noise:eps=0", tmp_path / "same" / name, size=32)
        x = np.asarray(Image.open(before.folder / before.rows[0]["out"])).astype(int)
        x_adv = np.asarray(Image.open(tmp_path / "out" / name)).astype(int)
        inside = (x > 4) & (x < 251)
        changes.append(np.where(inside, x_adv - x, -4))
    # Darker is more real for this detector, everywhere alike.
    assert all((change == -4).all() for change in changes)


def test_guides_are_learnt_for_stat(folder: Path, brightness: Detector, lessons: Path, tmp_path: Path) -> None:
    result = attack_files(folder, brightness, "stat:steps=2", tmp_path / "out", size=32, learn_from=lessons)
    assert result.statuses == {"ok": 4}


@pytest.mark.parametrize(
    ("attack", "options", "message"),
    [
        ("universal", {"size": 32}, "--learn-from sets/faces/manifest.parquet and --size 96"),
        ("stat", {"learn": True}, "--learn-from sets/faces/manifest.parquet and --size 96"),
        ("pgd", {"learn": True, "size": 32}, "pgd has nothing to learn; leave out learn_from"),
    ],
)
def test_what_is_missing_or_too_much_is_said(
    attack: str, options: dict[str, object], message: str, folder: Path, brightness: Detector, lessons: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    given = {"size": options.get("size"), "learn_from": lessons if options.get("learn") else None}
    with pytest.raises(ConfigError, match=message):
        attack_files(folder, brightness, attack, tmp_path / "out", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "out").exists()


def test_nothing_is_learnt_from_a_detector_one_can_only_call(folder: Path, lessons: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="universal learns from gradients"):
        attack_files(folder, remote(lambda _: 0.7), "universal", tmp_path / "out", size=32, learn_from=lessons)
