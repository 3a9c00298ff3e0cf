"""A gradient from scores alone: natural evolution strategies."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unfooled.attacks.base import per_row, pixels_together
from unfooled.attacks.gradient import Slope
from unfooled.randomness import generators

ROWS = 16
"""Rows that are asked at once where one pair for each row of the batch is fewer."""


def nes(
    ask: Callable[[Tensor], Tensor],
    way: Tensor,
    x: Tensor,
    pairs: int = 20,
    sigma: float = 0.001,
    seed: int | None = 0,
) -> Slope:
    """The slope of ``way`` times the logit, estimated from 2 * ``pairs`` answers for each row and no gradient.

    ``way * mean_i (z(x + sigma d_i) - z(x - sigma d_i)) / (2 sigma) * d_i``, d_i standard normal. The logits that it
    reports are the mean of those answers, so the point itself is not asked.

    Args:
        ask: (N, 3, ...) in [0, 1] -> (N,) logits; called without gradients.
        way: (B,) +1 or -1.
        x: (B, 3, ...) clean input: the draws belong to its content.
        pairs: >= 1 antithetic draws.
        sigma: > 0 in pixel units; a detector that reads 8-bit files notices nothing below 1/255.
        seed: of the draws; give another at each step. None draws from torch's global generator.

    Source: arXiv:1804.08598, arXiv:2002.12749. Deviations: differences of logits, for probabilities saturate to a
    difference of 0; queries are limited to [0, 1], which halves the estimate where a pixel lies on the edge of it.
    """
    together = max(1, ROWS // (2 * len(x)))

    @torch.no_grad()
    def slope(x_adv: Tensor) -> tuple[Tensor, Tensor]:
        logits, gradient = x_adv.new_zeros(len(x_adv)), torch.zeros_like(x_adv)
        sources = generators(x, seed, "nes")
        for first in range(0, pairs, together):
            draws = torch.stack([_normal(x, sources) for _ in range(first, min(first + together, pairs))])
            either = torch.stack([x_adv + sigma * draws, x_adv - sigma * draws]).clamp(0, 1)
            z = ask(pixels_together(either.flatten(0, 2))).to(x_adv).reshape(either.shape[:3])
            gradient += ((z[0] - z[1]).reshape(*z.shape[1:], *[1] * (x.dim() - 1)) * draws).sum(0)
            logits += z.sum((0, 1))
        return logits / (2 * pairs), per_row(way.to(x_adv) / (2 * pairs * sigma), x) * gradient

    return slope


def _normal(x: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
    """Standard normal, shape of ``x``, the next that each row's source gives."""
    return torch.stack([torch.empty(x.shape[1:]).normal_(generator=source) for source in sources]).to(x)
