"""The shared frame: resizing, normalisation, heads, clips."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from unfooled.errors import ConfigError
from unfooled.models.detector import CosineHead, Detector, LinearHead, make_head


def test_prepare_normalises_and_resizes_each_frame_of_a_clip() -> None:
    detector = Detector(nn.Identity(), nn.Identity(), size=8, mean=[0.1, 0.2, 0.3], std=0.5)
    clip = torch.rand(2, 3, 4, 16, 12)
    got = detector.prepare(clip)
    want = F.interpolate(clip[1, :, 2].unsqueeze(0), (8, 8), mode="bilinear", antialias=True)[0]
    want = (want - torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1)) / 0.5
    assert got.shape == (2, 3, 4, 8, 8)
    assert torch.allclose(got[1, :, 2], want, atol=1e-6)


def test_the_cosine_head_is_bounded_by_its_scale_and_zero_for_a_zero_row() -> None:
    head = CosineHead(8, 64.0)
    along = 3 * head.weight.detach()
    z = head(torch.cat([along, -along, torch.zeros(1, 8)]))
    assert torch.allclose(z[:, 0], torch.tensor([64.0, -64.0, 0.0]), atol=1e-4)


def test_a_linear_head_is_w_times_f_plus_b_and_keeps_its_plain_keys() -> None:
    head = make_head("linear", 4, dropout=0.5).eval()
    f = torch.rand(3, 4)
    assert isinstance(head, LinearHead)
    assert torch.allclose(head(f), f @ head.weight.T + head.bias)
    assert list(head.state_dict()) == ["weight", "bias"]


def test_an_unknown_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="linear or cosine, got 'mlp'"):
        make_head("mlp", 4)
