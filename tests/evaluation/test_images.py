"""Somebody's adversarial images: matched by name, scored, measured; what is missing is listed."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unfooled.attacks import PGD
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import DataError
from unfooled.evaluation import evaluate_images
from unfooled.evaluation.images import match
from unfooled.models.detector import Detector
from unfooled.threats import Linf


@pytest.fixture
def attacked(trained: Detector, frames: Frames, tmp_path: Path) -> Path:
    """Every sample attacked and saved as 8-bit PNG under the manifest's path."""
    (batch,) = frames.test_loader(len(frames))
    x_adv = PGD(Linf(4 / 255))(trained, batch.x, batch.y).x
    pixels = (x_adv * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    folder = tmp_path / "adv"
    for path, picture in zip(frames.manifest.column("path"), pixels, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(picture)).save(folder / path)
    return folder


def test_images_are_scored_and_measured(trained: Detector, frames: Frames, attacked: Path) -> None:
    found = evaluate_images(trained, frames, attacked, name="theirs")
    condition = found.condition("images:adv")
    assert condition.distance_max == pytest.approx(4 / 255, abs=1e-6)
    assert 0 < condition.l2_median <= 4 / 255 * (3 * 16 * 16) ** 0.5 + 1e-6
    clean = found.condition("clean").metrics["frame/auc"].value
    assert condition.metrics["robust/both/frame_auc"].value < clean
    assert found.missing == []
    assert found.unreadable == []


def test_a_class_without_images_counts_as_not_attacked(trained: Detector, frames: Frames, attacked: Path) -> None:
    shutil.rmtree(attacked / "Real")
    (attacked / "FaceSwap/001/0001.png").unlink()
    (attacked / "FaceSwap/002/0000.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = evaluate_images(trained, frames, attacked)
    condition = found.conditions[1]
    assert found.missing == ["FaceSwap/001/0001.png"]
    assert found.unreadable[0].startswith("FaceSwap/002/0000.png")
    assert len(found.samples.id) == 22
    assert [k for k in condition.metrics if k.startswith("robust/") and k.endswith("frame_auc") and "man" not in k] == [
        "robust/fakes_only/frame_auc"
    ]
    assert len(found.warnings) == 2
    real = np.array(found.samples.label) == 0
    assert np.array_equal(np.array(condition.logits)[real], np.array(found.conditions[0].logits)[real])


def test_names_are_matched_by_path_id_or_unique_stem(faces: Callable[..., Manifest], tmp_path: Path) -> None:
    manifest = faces(tmp_path / "set", people=2)
    folder = tmp_path / "adv"
    places = {0: "Real/000/0000.jpg", 1: "made/Real/raw/000/0001.png", 2: "0000.png"}
    for place in places.values():
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(b"x")
    # 0000 and 0001 are the names of many frames, so the bare name belongs to none of them.
    assert match(manifest, folder) == {0: places[0], 1: places[1]}
    unique = manifest.with_column("path", [f"x/{i}.png" for i in range(len(manifest))])
    (folder / "7.png").write_bytes(b"x")
    assert match(unique, folder)[7] == "7.png"
    (folder / "7.jpg").write_bytes(b"x")
    with pytest.raises(DataError, match=r"keep one image"):
        match(unique, folder)


def test_a_folder_without_images_of_ours_is_an_error(trained: Detector, frames: Frames, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no image that belongs"):
        evaluate_images(trained, frames, tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        evaluate_images(trained, frames, tmp_path / "none")
