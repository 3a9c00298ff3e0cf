"""The cheap convolutions give the numbers of the plain ones."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from unfooled.models.separated import Depthwise3d, Pointwise3d

FORMATS = [torch.contiguous_format, torch.channels_last_3d]


def gradients(layer: nn.Module, forward: object, x: Tensor) -> list[Tensor]:
    """Output, and the gradients of input and kernel, under one random pull."""
    leaf = x.detach().requires_grad_()
    out = forward(layer, leaf)  # type: ignore[operator]
    pull = torch.rand(out.shape, generator=torch.Generator().manual_seed(1), dtype=out.dtype)
    return [out, *torch.autograd.grad(out, [leaf, *layer.parameters()], pull)]


@pytest.mark.parametrize("memory", FORMATS, ids=str)
@pytest.mark.parametrize("shape", [(2, 6, 1, 5, 4), (1, 6, 4, 7, 8), (2, 6, 3, 1, 1)], ids=str)
@pytest.mark.parametrize(
    "layer", [Depthwise3d(6), Depthwise3d(6, 2), Pointwise3d(6, 4), Pointwise3d(6, 4, 2)], ids=repr
)
def test_output_and_gradients_are_those_of_conv3d(layer: nn.Module, shape: tuple[int, ...], memory: object) -> None:
    layer.double()
    x = torch.rand(shape, dtype=torch.float64).contiguous(memory_format=memory)  # type: ignore[call-overload]
    ours = gradients(layer, lambda m, x: m(x), x)
    plain = gradients(layer, nn.Conv3d.forward, x)
    for got, want in zip(ours, plain, strict=True):
        assert torch.allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_second_gradient_can_be_taken(stride: int) -> None:
    layer = Depthwise3d(2, stride).double()
    x = torch.rand(1, 2, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, x)


def test_only_what_is_asked_gets_a_gradient() -> None:
    layer = Depthwise3d(3)
    x = torch.rand(1, 3, 2, 4, 4, requires_grad=True)
    layer.requires_grad_(False)
    layer(x).sum().backward()
    assert x.grad is not None
    assert layer.weight.grad is None
    layer.requires_grad_(True)
    layer(x.detach()).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("layer", [Depthwise3d(6, 2), Pointwise3d(6, 4)], ids=repr)
def test_half_precision_works_inside_and_outside_of_autocast(layer: nn.Module) -> None:
    x = torch.rand(1, 6, 3, 8, 8).contiguous(memory_format=torch.channels_last_3d).requires_grad_()
    want = layer(x)
    (slope,) = torch.autograd.grad(want.sum(), x)
    with torch.autocast("cpu", torch.bfloat16):
        got = layer(x)
        assert got.dtype == torch.bfloat16
        (inside,) = torch.autograd.grad(got.sum(), x, retain_graph=True)
    (outside,) = torch.autograd.grad(got.sum(), x)
    assert inside.dtype == outside.dtype == torch.float32
    assert torch.allclose(got.float(), want, atol=0.05)
    assert torch.allclose(inside, slope, atol=0.1)
    assert torch.allclose(outside, slope, atol=0.1)
