"""Noise: the worst of some random points, and far weaker than a gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unfooled.attacks import FGSM, Noise
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf


@pytest.mark.parametrize("threat", [Linf(8 / 255), L2(0.5)], ids=str)
def test_a_gradient_beats_noise_by_far(threat: Linf | L2, linear_detector: Detector) -> None:
    x = torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    y = torch.arange(8) % 2
    with torch.no_grad():
        clean = linear_detector(x)
    harm = [((1 - 2 * y) * (a(linear_detector, x, y).logits - clean)).mean() for a in (Noise(threat, 10), FGSM(threat))]
    assert harm[0] < 0.5 * harm[1]


def test_more_draws_never_weaken(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    few, many = ((1 - 2 * y) * Noise(Linf(0.1), draws)(tiny_detector, x, y).logits for draws in (2, 6))
    assert (many >= few).all()
    assert (many > few).any()
