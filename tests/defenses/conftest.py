"""A pool of made training samples, and a small detector whose features point in different directions."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.errors import DataError
from unfooled.models.detector import CosineHead, Detector, LinearHead

SIZE = 12


@dataclass
class Pixels:
    """Samples in memory as a defense's pool; ``broken`` do not decode."""

    x: Tensor
    labels: np.ndarray
    broken: tuple[int, ...] = ()
    read: int = 0

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, position: int) -> Tensor:
        self.read += 1
        if position in self.broken:
            raise DataError(f"sample {position} does not decode")
        return self.x[position]

    def digest(self) -> str:
        return hashlib.sha256(self.x.numpy().tobytes() + self.labels.tobytes()).hexdigest()


def draw(count: int, seed: int, clip: int | None = None) -> tuple[Tensor, Tensor]:
    """uint8 faces of two classes that differ by a faint stripe, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    shape = (3, SIZE, SIZE) if clip is None else (3, clip, SIZE, SIZE)
    y = torch.arange(count) % 2
    base = torch.rand(count, 3, *[1] * (len(shape) - 1), generator=generator) * 120 + 60
    noise = torch.randn(count, *shape, generator=generator) * 12
    stripe = 14 * (-1.0) ** torch.arange(SIZE)
    fakes = y.reshape(-1, *[1] * len(shape)) * stripe
    return (base + noise + fakes).clamp(0, 255).round().to(torch.uint8), y


@pytest.fixture
def pool() -> Pixels:
    """80 samples, both classes."""
    x, y = draw(80, 1)
    return Pixels(x, y.numpy())


@pytest.fixture
def pixels() -> Callable[..., Pixels]:
    """``pixels(count, seed, clip=None)``: another pool."""
    return lambda count, seed, clip=None: Pixels(*(lambda x, y: (x, y.numpy()))(*draw(count, seed, clip)))


@pytest.fixture
def x() -> Tensor:
    """32 test samples in [0, 1]."""
    return draw(32, 2)[0].float() / 255


def _train(detector: Detector, x: Tensor, y: Tensor) -> Detector:
    optimizer = torch.optim.Adam(detector.parameters(), 0.02)
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(detector.train()(x), 0.2 + 0.6 * y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return detector.eval()


@pytest.fixture(scope="session")
def _trained() -> Detector:
    torch.manual_seed(0)
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.Softplus(), nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12),
        nn.Softplus(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(12), nn.Dropout(0.3),
    )  # fmt: skip
    x, y = draw(64, 3)
    return _train(Detector(backbone, LinearHead(12, dropout=0.4), mean=0.5, std=0.25), x.float() / 255, y)


@pytest.fixture
def detector(_trained: Detector) -> Detector:
    """A trained detector of frames with batch norm and dropout."""
    _trained.requires_grad_(True)
    return _trained.eval()


@pytest.fixture(scope="session")
def cosine_detector() -> Detector:
    """With a cosine head."""
    torch.manual_seed(1)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Softplus(), nn.AdaptiveAvgPool2d(2), nn.Flatten())
    x, y = draw(64, 3)
    return _train(Detector(backbone, CosineHead(32, scale=8.0), mean=0.5, std=0.25), x.float() / 255, y)


@pytest.fixture(scope="session")
def clip_detector() -> Detector:
    """Of clips."""
    torch.manual_seed(2)
    backbone = nn.Sequential(
        nn.Conv3d(3, 6, 3, 2, 1), nn.BatchNorm3d(6), nn.Softplus(), nn.AdaptiveAvgPool3d(1), nn.Flatten(),
        nn.BatchNorm1d(6),
    )  # fmt: skip
    x, y = draw(48, 4, clip=4)
    return _train(Detector(backbone, LinearHead(6), mean=0.5, std=0.25, clips=True), x.float() / 255, y)
