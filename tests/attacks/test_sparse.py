"""The sparse attack: the best there is on a linear detector, few pixels on any."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import Sparse, create
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector, LinearHead
from unfooled.threats import L0, L2


class Flat(nn.Module):
    """Features are the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def linear(shape: tuple[int, ...]) -> Detector:
    torch.manual_seed(1)
    count = int(torch.tensor(shape).prod())
    return Detector(Flat(), LinearHead(count)).double().eval()


@pytest.mark.parametrize("shape", [(3, 6, 5), (3, 2, 4, 5)])
@pytest.mark.parametrize(("pixels", "steps"), [(1, 1), (4, 16), (7, 3), (7, 1), (1000, 5)])
def test_a_linear_detector_has_its_closed_form(shape: tuple[int, ...], pixels: int, steps: int) -> None:
    detector = linear(shape)
    x, y = torch.rand(4, *shape, dtype=torch.float64), torch.tensor([0, 1, 0, 1])
    found = Sparse(L0(pixels), steps=steps)(detector, x, y)
    weight = next(detector.head.parameters()).detach().reshape(shape)
    for row in range(4):
        slope = weight if y[row] == 0 else -weight
        gain = torch.where(slope > 0, slope * (1 - x[row]), -slope * x[row]).sum(0).flatten()
        best = gain.sort(descending=True).values[:pixels].sum()
        moved = (found.logits[row] - detector(x[row : row + 1]).item()) * (1 if y[row] == 0 else -1)
        assert moved.item() == pytest.approx(best.item(), rel=1e-9)
    assert (found.distance == min(pixels, x[0, 0].numel())).all()


def test_more_steps_see_what_the_first_pixels_changed() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), nn.Conv2d(16, 16, 3, 1, 1), nn.ReLU(), nn.Flatten())
    detector = Detector(body, LinearHead(16 * 144)).double().eval()
    x, y = torch.rand(8, 3, 12, 12, dtype=torch.float64), torch.arange(8) % 2
    sign = 1 - 2 * y
    clean = sign * detector(x).detach()
    one, many = (sign * Sparse(L0(12), steps=steps)(detector, x, y).logits for steps in (1, 12))
    assert (one > clean).all()
    assert many.mean() > one.mean()


def test_one_seed_needs_none_and_the_threat_is_l0() -> None:
    attack = create("sparse", eps=10)
    assert attack == Sparse(L0(10))
    assert create("sparse").threat == L0(32)
    with pytest.raises(ConfigError, match="attack under norm l0, got l2"):
        Sparse(L2(1.0))
    with pytest.raises(ConfigError, match="steps must be >= 1"):
        replace(attack, steps=0)
    with pytest.raises(ConfigError, match=r"counts pixels and must be whole, got 0.5; write 32"):
        create("sparse", eps=0.5)
    with pytest.raises(ConfigError, match="attack under norm linf or l2, got l0"):
        create("pgd", norm="l0", eps=3)
