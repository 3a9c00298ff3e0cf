"""Purification changes the picture as the codec does, and lets a gradient through."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from unfooled.codecs import round_trip
from unfooled.defenses import Jpeg, Resize
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector


def test_jpeg_is_the_real_codec(detector: Detector, x: Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(Jpeg(30)(detector, x), detector(round_trip(x, "jpeg", 30)))
    assert not torch.allclose(Jpeg(30)(detector, x), Jpeg(90)(detector, x), atol=1e-4)


def test_the_gradient_of_jpeg_is_straight_through(detector: Detector, x: Tensor) -> None:
    leaf, saved = x[:3].clone().requires_grad_(), round_trip(x[:3], "jpeg", 30).requires_grad_()
    (through,) = torch.autograd.grad(detector(Jpeg(30).purify(leaf)).sum(), leaf)
    (at_the_saved,) = torch.autograd.grad(detector(saved).sum(), saved)
    torch.testing.assert_close(through, at_the_saved)


def test_resize(x: Tensor) -> None:
    for there in (x, x[:4].unsqueeze(2).repeat(1, 1, 3, 1, 1)):
        small = Resize(0.5).purify(there)
        assert small.shape == there.shape
        assert small.flatten(1).var(1).mean() < there.flatten(1).var(1).mean()
        assert not torch.allclose(small, Resize(0.25).purify(there), atol=1e-3)
    flat = torch.full((1, 3, 9, 7), 0.3)
    torch.testing.assert_close(Resize(0.1).purify(flat), flat)


def test_bad_options() -> None:
    for quality in (0, 101):
        with pytest.raises(ConfigError, match="quality must be 1 to 100"):
            Jpeg(quality)
    for factor in (0.0, 1.0, float("nan")):
        with pytest.raises(ConfigError, match="factor must be in"):
            Resize(factor)
