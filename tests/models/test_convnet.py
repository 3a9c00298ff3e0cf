"""The DFDC CNN's structure."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from unfooled import models


def test_the_default_is_four_convolutions_and_two_fully_connected_layers_at_256_px() -> None:
    detector = models.create("convnet").eval()
    layers = [m for m in detector.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    assert [type(m).__name__ for m in layers if isinstance(m, nn.Conv2d)] == ["Conv2d"] * 4
    assert [m.out_channels for m in layers if isinstance(m, nn.Conv2d)] == [32, 64, 128, 256]
    assert [(m.in_features, m.out_features) for m in layers if isinstance(m, nn.Linear)] == [(256, 256), (256, 1)]
    assert detector.size == 256
    assert detector.head.dropout == 0.5
    assert 0.45e6 < sum(p.numel() for p in detector.parameters()) < 0.46e6


def test_each_convolution_halves_the_side() -> None:
    backbone = models.create("convnet", depth=3, width=8).eval().backbone
    assert backbone.blocks(torch.rand(1, 3, 32, 40)).shape == (1, 32, 4, 5)


def test_with_group_norm_a_row_in_training_does_not_see_the_others() -> None:
    x = torch.rand(4, 3, 32, 32)
    for norm, alike in (("group", True), ("batch", False)):
        torch.manual_seed(0)
        detector = models.create("convnet", width=8, norm=norm, size=None).train()
        assert torch.allclose(detector.features(x)[:2], detector.features(x[:2]), atol=1e-5) is alike


def test_a_residual_block_without_its_convolution_is_the_shortcut() -> None:
    block = models.create("convnet", width=8, depth=1, residual=True).eval().backbone.blocks[0]
    nn.init.zeros_(block.conv.weight)
    x = torch.rand(1, 3, 8, 8)
    with torch.no_grad():
        assert torch.allclose(block(x), torch.max_pool2d(torch.relu(block.shortcut(x)), 2))


@pytest.mark.parametrize("size", [None, 48])
def test_any_crop_gives_256_features(size: int | None) -> None:
    detector = models.create("convnet", size=size).eval()
    assert detector.features(torch.rand(2, 3, 33, 40)).shape == (2, 256)
