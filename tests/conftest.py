"""Fixtures that every test may ask for."""

from __future__ import annotations

import csv
import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.models.detector import Detector, LinearHead
from unfooled.synthesis.landmarks import MEAN_SHAPE, Points, five_of
from unfooled.synthesis.photographs import Portrait

SHARED = Path(__file__).resolve().parents[2] / "shared"
OWN_GOLDEN = Path(__file__).parent / "golden"


def need(path: Path) -> Path:
    """``path`` where it exists; else the test is skipped, or fails where CI promises that it exists."""
    if not path.exists():
        message = f"reference material is not here: {path.name}"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return path


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """``training/toy.py``: a made-up data set and short runs on it."""
    path = Path(__file__).parent / "training" / "toy.py"
    spec = importlib.util.spec_from_file_location("toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of photographs, weights and golden numbers beside the checkout."""
    return need(SHARED)


@pytest.fixture(scope="session")
def golden() -> Callable[[str], Path]:
    """A golden file by name: from tests/golden where it may be kept, else from the folder beside the checkout."""
    return lambda name: OWN_GOLDEN / name if (OWN_GOLDEN / name).exists() else need(SHARED / "golden" / name)


@pytest.fixture
def tiny_detector() -> Detector:
    """A small convolutional detector with 16 features, batch norm and dropout; any input size."""
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1),
    )  # fmt: skip
    return Detector(backbone, LinearHead(16), mean=0.5, std=0.5).eval()


class Flat(nn.Module):
    """Features are the pixels themselves."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.fixture
def linear_detector() -> Detector:
    """z = w.x + b on 3x8x8 pixels: every attack on it has a closed form."""
    torch.manual_seed(1)
    detector = Detector(Flat(), LinearHead(3 * 8 * 8)).eval()
    nn.init.normal_(detector.head.weight, std=0.1)
    nn.init.zeros_(detector.head.bias)
    return detector


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    """Eight 3x32x32 images away from the edges of the pixel range, labels alternating."""
    x = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    return x, torch.arange(8) % 2


def _draw(seed: int, size: int = 96) -> tuple[np.ndarray, Points]:
    """A drawn face, flat ellipses with grain: a picture (size, size, 3) uint8 RGB and its 68 points."""
    rng = np.random.default_rng(seed)
    unit = size * rng.uniform(0.27, 0.31)
    shape = MEAN_SHAPE * (rng.uniform(0.95, 1.05), 1) * unit + (size / 2, size * 0.36)
    image = np.full((size, size, 3), rng.integers(60, 200, 3), np.uint8)
    skin = rng.integers(90, 220, 3).tolist()
    cv2.fillConvexPoly(image, cv2.convexHull(np.int32(np.vstack([shape[:17], shape[17:27] - (0, unit * 0.4)]))), skin)
    for part in (shape[36:42], shape[42:48], shape[48:60]):
        cv2.fillConvexPoly(image, np.int32(part), rng.integers(20, 120, 3).tolist())
    cv2.polylines(image, [np.int32(shape[27:31])], False, rng.integers(40, 200, 3).tolist(), 2)
    grain = cv2.resize(rng.normal(0, 12, (size // 2, size // 2, 3)), (size, size)) + rng.normal(0, 8, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8), shape


def _portrait(seed: int, size: int = 96) -> Portrait:
    return Portrait(*_draw(seed, size))


def _album(folder: Path, people: dict[str, int], shots: int = 1, points: int = 5) -> Path:
    """A folder of drawn photographs with faces.csv: so many people in each collection."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "faces.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["file", "identity", "landmarks"])
        for c, (collection, count) in enumerate(people.items()):
            for who in range(count):
                for shot in range(shots):
                    image, shape = _draw(1000 * c + 10 * who + shot)
                    name = f"{collection}_{who:03}_{shot}.png"
                    cv2.imwrite(str(folder / name), image[:, :, ::-1])
                    marks = five_of(shape) if points == 5 else shape
                    table.writerow([name, f"{collection}-{who}", " ".join(f"{v:.2f}" for v in marks.ravel())])
    return folder


@pytest.fixture(scope="session")
def portrait() -> Callable[..., Portrait]:
    """``portrait(seed, size=96)``: a drawn face."""
    return _portrait


@pytest.fixture(scope="session")
def album() -> Callable[..., Path]:
    """``album(folder, {"collection": people}, shots=1, points=5)``: a folder of drawn faces with its table."""
    return _album


CHROMIUM = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; without it the test is skipped, or fails where CI promises that it is there."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        _missing("no chromium here; apt-get install chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("no playwright here; pip install playwright")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=program, args=CHROMIUM)
        yield chromium
        chromium.close()


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)
