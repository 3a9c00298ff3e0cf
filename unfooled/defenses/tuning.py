"""A few steps of SGD on a copy of a detector: many heads at once over fixed features, or one whole network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from unfooled.attacks.constant_norms import KINDS
from unfooled.models.detector import CosineHead, Detector, LinearHead

NORMS = (*KINDS, nn.SyncBatchNorm)
"""With their subclasses."""

Weights: TypeAlias = dict[str, Tensor]
TOGETHER = 64
"""Samples that go through a network at once: a training set may hold thousands of neighbours."""


@dataclass(frozen=True)
class SGD:
    """Steps of stochastic gradient descent with momentum, no Nesterov, no decay, from rest."""

    lr: float
    momentum: float

    def step(self, weights: Weights, gradients: Sequence[Tensor], velocity: list[Tensor]) -> Weights:
        """The weights after one step; ``velocity``, empty at first, is changed."""
        if not velocity:
            velocity.extend(g.clone() for g in gradients)
        else:
            torch._foreach_mul_(velocity, self.momentum)
            torch._foreach_add_(velocity, list(gradients))
        moved = torch._foreach_sub(list(weights.values()), torch._foreach_mul(velocity, self.lr))
        return dict(zip(weights, moved, strict=True))


def tune_heads(head: nn.Module, features: Tensor, y: Tensor, masks: Sequence[Tensor], sgd: SGD) -> Weights:
    """A head of its own for every sample, tuned on the rows of ``features`` that its masks name.

    Args:
        head: in evaluation mode, with weights; maps (N, D) to (N, 1) and is not changed.
        features: (N, D), fixed.
        y: (N,) the true labels.
        masks: (B, N) bool for each iteration, at least one True in every row.

    Returns:
        The weights of B heads by name, stacked along a new first dimension.
    """
    stacked = {name: p.detach().repeat(len(masks[0]), *[1] * p.dim()) for name, p in head.named_parameters()}
    velocity: list[Tensor] = []
    for mask in masks:
        leaves = {name: w.requires_grad_() for name, w in stacked.items()}
        with torch.enable_grad():
            each = _every_head(head, leaves, features)
            losses = F.binary_cross_entropy_with_logits(each, y.to(each).expand_as(each), reduction="none")
            loss = ((losses * mask).sum(1) / mask.sum(1)).sum()
            gradients = torch.autograd.grad(loss, list(leaves.values()))
        stacked = sgd.step({name: w.detach() for name, w in leaves.items()}, gradients, velocity)
    return stacked


def ask_heads(head: nn.Module, stacked: Weights, features: Tensor) -> Tensor:
    """(B,) logits: head i of row i of ``features`` (B, D); differentiable."""

    def one(weights: Weights, row: Tensor) -> Tensor:
        logit: Tensor = functional_call(head, weights, (row.unsqueeze(0),))
        return logit.reshape(())

    found: Tensor = vmap(one)(stacked, features)
    return found


def _every_head(head: nn.Module, stacked: Mapping[str, Tensor], features: Tensor) -> Tensor:
    """(B, N) logits of every head for every row."""
    if type(head) in (nn.Linear, LinearHead, CosineHead):
        # Heads of one row each are one head of B rows: a single matrix product.
        together = {name: w.flatten(0, 1) for name, w in stacked.items()}
        logits: Tensor = functional_call(head, together, (features,))
        return logits.t()

    def one(weights: Weights) -> Tensor:
        found: Tensor = functional_call(head, weights, (features,))
        return found.squeeze(1)

    each: Tensor = vmap(one)(dict(stacked))
    return each


def skeleton(detector: Detector, moving_norms: bool = False) -> Detector:
    """A copy of the detector to run with other weights: evaluation mode, plain batch norms.

    Args:
        moving_norms: batch norms use, and gather, the statistics of what they see.
    """
    copy = deepcopy(detector).eval().requires_grad_(False)
    for module in copy.modules():
        if type(module) in KINDS:
            # An attack may have told the detector that its norms are constants; here their weights move.
            vars(module).pop("forward", None)
        if isinstance(module, NORMS):
            module.training = moving_norms
    return copy


def tune_network(
    copy: Detector,
    pixels: Callable[[Tensor], Tensor],
    y: Tensor,
    plan: Sequence[Tensor],
    sgd: SGD,
    *,
    head_only: bool = False,
) -> Weights:
    """All weights (or those of the head) after a step on the samples of each iteration, and all buffers.

    Args:
        copy: a ``skeleton``; it is not changed.
        pixels: positions (n,) to samples (n, ...) in [0, 1].
        y: (N,) the true labels.
        plan: positions for each iteration.
    """
    every = dict(copy.named_parameters())
    moving = {n: p.detach() for n, p in every.items() if not head_only or n.startswith("head.")}
    fixed = {n: p for n, p in every.items() if n not in moving} | {n: b.clone() for n, b in copy.named_buffers()}
    norms = [module for module in copy.modules() if isinstance(module, NORMS) and module.training]
    velocity: list[Tensor] = []
    for rows in plan:
        leaves = {name: w.detach().requires_grad_() for name, w in moving.items()}
        for norm in norms:
            norm.training = len(rows) > 1  # one sample has no statistics
        gradients: list[Tensor] = []
        # Where norms take the statistics of a batch, it stays whole.
        for part in [rows] if norms else torch.split(rows, TOGETHER):
            with torch.enable_grad():
                logits = functional_call(copy, {**fixed, **leaves}, (pixels(part),))
                loss = F.binary_cross_entropy_with_logits(logits, y[part].to(logits), reduction="sum") / len(rows)
                found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True, materialize_grads=True)
            gradients = list(torch._foreach_add(gradients, list(found)) if gradients else found)
        moving = sgd.step({name: w.detach() for name, w in leaves.items()}, gradients, velocity)
    for norm in norms:
        norm.training = True
    return {**fixed, **moving}
