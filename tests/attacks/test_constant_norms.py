"""Batch norms as constants: the same outputs, the same gradients, and everything as it was afterwards."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unfooled import models
from unfooled.attacks.constant_norms import constant_norms


def network(affine: bool = True, channels: int = 4, kind: type[nn.Module] = nn.BatchNorm2d) -> nn.Sequential:
    torch.manual_seed(0)
    conv = nn.Conv3d if kind is nn.BatchNorm3d else nn.Conv2d
    net = nn.Sequential(conv(3, channels, 3), kind(channels, affine=affine), nn.ReLU(), conv(channels, 2, 3))
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_()
            module.running_var.uniform_(0.1, 2)
            if affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return net.double().eval()


def gradient(net: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.clone().requires_grad_()
    out = net(leaf)
    return out.detach(), torch.autograd.grad(out.square().sum(), leaf)[0]


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("kind", [nn.BatchNorm2d, nn.BatchNorm3d])
def test_outputs_are_the_same_bits_and_gradients_agree(affine: bool, kind: type[nn.Module]) -> None:
    net = network(affine, kind=kind)
    x = torch.rand(2, 3, *([6] if kind is nn.BatchNorm3d else []), 8, 8, dtype=torch.float64)
    before = gradient(net, x)
    with constant_norms(net):
        inside = gradient(net, x)
    assert torch.equal(before[0], inside[0])
    torch.testing.assert_close(before[1], inside[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ["meso4", "xception", "resnet"])
def test_detectors_agree_with_channels_last(name: str) -> None:
    torch.manual_seed(0)
    detector = models.create(name).eval().requires_grad_(False)
    x = torch.rand(2, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    before = gradient(detector, x)
    with constant_norms(detector):
        inside = gradient(detector, x)
    assert torch.equal(before[0], inside[0])
    torch.testing.assert_close(before[1], inside[1], rtol=1e-3, atol=1e-5 * float(before[1].abs().max()))


def test_a_norm_that_learns_stays_as_it_is() -> None:
    net = network().train()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64)
    with constant_norms(net):
        net(x).sum().backward()
    assert net[1].weight.grad is not None
    assert not any("forward" in vars(module) for module in net.modules())


def test_everything_is_put_back_also_from_the_inner_of_two_and_after_an_error() -> None:
    net = network()
    with constant_norms(net):
        with constant_norms(net):
            assert "forward" in vars(net[1])
        assert "forward" in vars(net[1])
    assert "forward" not in vars(net[1])
    with pytest.raises(ZeroDivisionError), constant_norms(net):
        _ = 1 / 0
    assert "forward" not in vars(net[1])


def test_the_gradient_costs_less_than_a_batch_norm_backward() -> None:
    net = network()
    x = torch.rand(2, 3, 8, 8, dtype=torch.float64).requires_grad_()
    with constant_norms(net), torch.autograd.profiler.profile() as told:
        net(x).sum().backward()
    assert not any("batch_norm_backward" in event.key for event in told.key_averages())
