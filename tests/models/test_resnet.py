"""The residual network's structure."""

from __future__ import annotations

import torch

from unfooled import models


def test_the_default_has_about_a_third_of_a_million_parameters_and_128_features() -> None:
    detector = models.create("resnet").eval()
    assert 0.29e6 < sum(p.numel() for p in detector.parameters()) < 0.32e6
    assert detector.features(torch.rand(1, 3, 16, 16)).shape == (1, 128)


def test_linear_features_have_both_signs_and_become_the_relu_ones() -> None:
    relu, linear = (models.create("resnet", features=kind).eval() for kind in ("relu", "linear"))
    linear.load_state_dict(relu.state_dict())
    x = torch.rand(2, 3, 48, 48)
    with torch.no_grad():
        assert relu.features(x).min() >= 0
        assert linear.features(x).min() < 0
        linear.backbone.stages.append(torch.nn.ReLU())
        assert torch.equal(linear.features(x), relu.features(x))


def test_the_strides_are_those_of_the_stages() -> None:
    for stride, side in ((1, 8), (2, 4)):
        backbone = models.create("resnet", stem_stride=stride, blocks=2).eval().backbone
        assert backbone.stages(backbone.stem(torch.rand(1, 3, 64, 64))).shape == (1, 128, side, side)
