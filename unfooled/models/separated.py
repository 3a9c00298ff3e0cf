"""The two convolutions of channel-separated networks, with gradients as cheap as their forward pass on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv3d_weight


class Pointwise3d(nn.Conv3d):
    """A 1x1x1 convolution without a bias; ``stride`` is spatial alone.

    On a CPU with channels last it is done as the matrix product that it is, 2 to 5 times as fast as a convolution.
    """

    def __init__(self, width_in: int, width: int, stride: int = 1) -> None:
        super().__init__(width_in, width, 1, (1, stride, stride), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not x.is_contiguous(memory_format=torch.channels_last_3d):
            return super().forward(x)
        stride = self.stride[-1]
        seen = x if stride == 1 else x[..., ::stride, ::stride]
        return F.linear(seen.permute(0, 2, 3, 4, 1), self.weight.flatten(1)).permute(0, 4, 1, 2, 3)


class Depthwise3d(nn.Conv3d):
    """One 3x3x3 kernel per channel, zero padding 1, no bias; ``stride`` is spatial alone.

    PyTorch's CPU forward of it is fast, its gradient with respect to the input 3 to 10 times as slow as need be. That
    gradient is the same convolution with the kernel turned round, so this is what is called.
    """

    def __init__(self, width: int, stride: int = 1) -> None:
        super().__init__(width, width, 3, (1, stride, stride), 1, groups=width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not (x.requires_grad and torch.is_grad_enabled()):
            return super().forward(x)
        weight = self.weight
        if torch.is_autocast_enabled("cpu"):  # the inside of an autograd.Function does not know of it
            x, weight = (each.to(torch.get_autocast_dtype("cpu")) for each in (x, weight))
        out: Tensor = _Depthwise.apply(x, weight, self.stride[-1])  # type: ignore[no-untyped-call]
        return out


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride = stride
        return F.conv3d(x, weight, None, (1, stride, stride), 1, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        stride, grad = ctx.stride, gradients[0]
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            spread = grad
            if stride > 1:
                spread = torch.zeros_like(x)
                spread[..., ::stride, ::stride] = grad
            of_x = F.conv3d(spread, weight.flip(2, 3, 4), None, 1, 1, groups=len(weight))
        if ctx.needs_input_grad[1]:
            of_weight = conv3d_weight(  # type: ignore[no-untyped-call]
                x, weight.shape, grad, (1, stride, stride), 1, groups=len(weight)
            )
        return of_x, of_weight, None
