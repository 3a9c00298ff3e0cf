"""Saliency marks what the detector looks at."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.models.detector import Detector
from unfooled.scanning.points import Shape
from unfooled.scanning.saliency import drawn_over, saliency


class Corner(nn.Module):
    """Sees the upper left corner alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x[..., :8, :8].square().flatten(1).sum(1, keepdim=True)


@pytest.mark.parametrize("clip", [None, 3])
def test_the_corner_that_counts_is_bright(clip: int | None) -> None:
    shown = np.random.default_rng(0).integers(0, 255, (clip or 1, 48, 48, 3), np.uint8)
    heat = saliency(Detector(Corner(), nn.Identity()), shown, Shape(48, clip))
    assert heat.shape == (48, 48)
    assert heat.min() >= 0
    assert heat.max() == 1
    assert heat[:8, :8].mean() > 0.5
    assert heat[16:, 16:].max() == 0
    again = saliency(Detector(Corner(), nn.Identity()), shown, Shape(48, clip))
    assert np.array_equal(heat, again)


def test_a_detector_that_looks_at_nothing_marks_nothing() -> None:
    class Blind(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 0).flatten(1).sum(1, keepdim=True)

    shown = np.zeros((1, 16, 16, 3), np.uint8)
    assert saliency(Detector(Blind(), nn.Identity()), shown, Shape(16)).max() == 0


def test_the_drawing_is_brighter_where_the_heat_is() -> None:
    face = np.full((16, 16, 3), 90, np.uint8)
    heat = np.zeros((16, 16), np.float32)
    heat[:8] = 1
    drawn = drawn_over(face, heat)
    assert drawn.shape == face.shape
    assert drawn.dtype == np.uint8
    assert drawn[:8].mean() > drawn[8:].mean() + 30
    assert torch.tensor(drawn[8:].astype(int)).float().mean() < 90
