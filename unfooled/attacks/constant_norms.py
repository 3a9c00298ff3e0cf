"""Batch norms in evaluation mode as what they are, a product with constants: the same numbers, a cheaper gradient."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@contextmanager
def constant_norms(detector: nn.Module) -> Iterator[None]:
    """Inside, gradients pass the detector's batch norms by one product each; outputs are the same to the last bit.

    PyTorch's own backward also forms the sums over the batch that only training needs; on a CPU with channels last
    that is a third of a small detector's input gradient. For frozen detectors: statistics, weight and bias count as
    constants and get no gradient. A norm in training mode, or without statistics, stays as it is.
    """
    changed = []
    for module in detector.modules():
        frozen = type(module) in KINDS and not module.training and module.running_var is not None
        if frozen and "forward" not in vars(module):  # else somebody changed it already, perhaps we
            module.forward = partial(_through, module)
            changed.append(module)
    try:
        yield
    finally:
        for module in changed:
            del module.forward


def _through(norm: Any, x: Tensor) -> Tensor:
    if not (torch.is_grad_enabled() and x.requires_grad):
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
    found: Tensor = _Constant.apply(x, norm)  # type: ignore[no-untyped-call]
    return found


class _Constant(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, norm: Any) -> Tensor:
        ctx.norm = norm
        return F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        norm = ctx.norm
        scale = (norm.running_var + norm.eps).rsqrt()
        scale = scale if norm.weight is None else norm.weight * scale
        # The forward kernel with these numbers is the product with ``scale``, and knows every memory format.
        product = F.batch_norm(
            gradients[0], torch.zeros_like(scale), torch.ones_like(scale), scale, torch.zeros_like(scale), eps=0.0
        )
        return product, None
