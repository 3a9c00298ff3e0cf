"""A few pixels, each of them as far as it can go."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.attacks.base import Attack, Worst
from unfooled.attacks.gradient import autograd, margin, need_finite
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L0, Threat


@dataclass(frozen=True)
class Sparse(Attack):
    """The pixels that promise most by the gradient get the colour, 0 or 1 in each channel, that it asks for.

    Each step takes an equal share of the ``eps`` pixels, looks at the gradient anew, and never takes one back; on a
    linear detector the result is the best there is.

    Args:
        threat: L0; eps counts pixels (of clips: of all frames together).
        steps: >= 1 gradients; with as many as pixels they are chosen one by one.

    Raises:
        ConfigError: an option is out of range, or the threat is not L0.

    Source: the greedy saliency of arXiv:1511.07528 (JSMA) under the L0 ball of arXiv:1909.05040. Deviations: one logit,
    so the gradient of the margin is the whole saliency; several pixels a step.
    """

    threats: ClassVar[tuple[type[Threat], ...]] = (L0,)

    steps: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)
        if self.steps < 1:
            raise ConfigError(f"steps must be >= 1, got {self.steps}")

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        slope, worst, x_adv = autograd(detector, margin(y)), Worst(x, y), x
        pixels = x[0, 0].numel()
        budget = min(int(self.threat.eps), pixels)
        changed = torch.zeros(len(x), pixels, dtype=torch.bool, device=x.device)
        for step in range(self.steps):
            logits, gradient = slope(x_adv)
            worst.see(x_adv, logits)
            count = ceil(budget * (step + 1) / self.steps) - ceil(budget * step / self.steps)
            corner = torch.where(gradient > 0, 1, torch.where(gradient < 0, 0, x)).to(x)
            promise = (gradient * (corner - x)).sum(1).flatten(1).masked_fill(changed, -1)
            changed.scatter_(1, promise.topk(count, dim=1).indices, True)
            fresh = changed.reshape(len(x), 1, *x.shape[2:]) & (x_adv == x).all(1, keepdim=True)
            x_adv = torch.where(fresh, corner, x_adv)
        with torch.no_grad():
            worst.see(x_adv, detector(x_adv))
        return worst.x
