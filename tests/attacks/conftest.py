"""What the tests of attacks share: the net of the golden numbers, and the libraries to compare with."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.models.detector import Detector

Golden = Callable[[str], Path]


@pytest.fixture(scope="session")
def peer() -> Callable[[str], Any]:
    """A library of the extra ``bench`` by name; without it the test is skipped."""

    def find(name: str) -> Any:
        try:
            return import_module(name)
        except (ImportError, RuntimeError):  # torchattacks asks for torchvision, which a CPU torch may break
            pytest.skip(f"{name} does not import here")

    return find


class GoldenBackbone(nn.Module):
    """golden/README.md section 7."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 16, 3, 2, 1)
        self.conv3 = nn.Conv2d(16, 16, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        for layer in (self.conv1, self.conv2, self.conv3):
            x = layer(x).relu()
        return x.flatten(1)


@pytest.fixture(scope="module")
def numbers(golden: Golden) -> dict[str, np.ndarray]:
    with np.load(golden("attacks.npz")) as stored:
        return dict(stored)


@pytest.fixture(params=[torch.float64, torch.float32], ids=["f64", "f32"])
def net(request: pytest.FixtureRequest, numbers: dict[str, np.ndarray]) -> tuple[Detector, Tensor, Tensor]:
    detector = Detector(GoldenBackbone(), nn.Linear(1024, 1)).to(request.param)
    weights = {k.removeprefix("w_"): torch.tensor(v).double() for k, v in numbers.items() if k.startswith("w_")}
    detector.head.load_state_dict({k.removeprefix("fc."): 20 * v for k, v in weights.items() if k.startswith("fc.")})
    detector.backbone.load_state_dict({k: v for k, v in weights.items() if not k.startswith("fc.")})
    x, y = torch.tensor(numbers["x"]).to(request.param), torch.tensor(numbers["y"])
    return detector, x, y
