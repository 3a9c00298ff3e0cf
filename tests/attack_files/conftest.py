"""Images to attack, and a detector whose answers have a closed form."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfooled.models.detector import Detector

Draw = Callable[..., np.ndarray]


def _draw(seed: int, height: int = 40, width: int = 48) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    smooth = np.stack([x / width, y / height, (x + y) / (width + height)], axis=2) * 120 + 30 + 22 * seed
    return np.clip(smooth + np.random.default_rng(seed).normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def draw() -> Draw:
    """``draw(seed, height=40, width=48)``: a grainy slope; 0 and 1 are dark, 2 and 3 are bright."""
    return _draw


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images, one of them in a folder below."""
    place = tmp_path / "faces"
    (place / "b").mkdir(parents=True)
    for k, name in enumerate(("1.png", "2.png", "3.png", "b/1.png")):
        Image.fromarray(_draw(k)).save(place / name)
    return place


@pytest.fixture
def brightness() -> Detector:
    """z = 40 (mean - 0.45): bright is fake; any size."""

    class Mean(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((2, 3))

    head = torch.nn.Linear(3, 1)
    with torch.no_grad():
        head.weight.fill_(40 / 3)
        head.bias.fill_(-40 * 0.45)
    return Detector(Mean(), head, smallest=8).eval()
