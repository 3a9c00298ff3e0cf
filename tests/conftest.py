"""Fixtures that every test may ask for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unfooled.models.detector import Detector, LinearHead

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
