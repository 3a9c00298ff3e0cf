"""DeepFool: the nearest point beyond the threshold, if the detector were a plane."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.attacks.base import Attack, is_wrong, only, per_row
from unfooled.attacks.gradient import Slope, autograd, margin
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Threat

LEAST = 1e-3
"""Of the first step's logit: a step to a nearer threshold would be lost in the rounding of pixels, just short of it."""
DOUBLED = 1e-6
"""A logit that doubles with every step, for a sample that lies on its threshold at first."""


@dataclass(frozen=True)
class DeepFool(Attack):
    """Steps to where the tangent plane meets the threshold, until the detector is wrong; a minimum-norm attack.

    ``r = -z g / |g|^2`` for z the logit above the threshold and g its gradient. A sample that is wrong already stays
    as it is, and so does one that is right after the last step. Its point lies just beyond the threshold, so its
    result is a distance (``metrics.accuracy_over_eps``) and no robust AUC.

    Args:
        threat: L2; with a finite eps the point is cut to the ball, and mostly right again where it was further away.
        steps: >= 1, at most so many for each sample.
        overshoot: >= 0; each step is longer by this share.

    Raises:
        ConfigError: an option is out of range, or the threat is not L2.

    Source: arXiv:1511.04599. Deviations: one logit; the overshoot is part of every step and every step is limited to
    [0, 1] (as in torchattacks), where the paper overshoots once at the end; no step aims for less than a thousandth of
    the first step's logit.
    """

    threats: ClassVar[tuple[type[Threat], ...]] = (L2,)
    least_norm: ClassVar[bool] = True

    steps: int = 50
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise ConfigError(f"steps must be >= 1, got {self.steps}")
        if not 0 <= self.overshoot < math.inf:
            raise ConfigError(f"overshoot must be >= 0 and finite, got {self.overshoot:g}; the published one is 0.02")

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        found, x_adv, left = x.clone(), x, torch.arange(len(x), device=x.device)
        least = x.new_zeros(len(x))
        for step in range(self.steps + 1):
            with only(left):
                logits, gradient = self._slope(detector, y[left], step)(x_adv)
            going = ~is_wrong(detector, logits, y[left])
            found[left[~going]] = x_adv[~going]
            left, x_adv, gradient = left[going], x_adv[going], gradient[going]
            if not len(left):
                break
            away = (logits[going] - detector.threshold.to(logits)).abs().to(x)
            if step == 0:
                least[left] = LEAST * away
            away = away.maximum(least[left]).clamp_min(DOUBLED * 2.0**step)
            unit = self.threat.direction(gradient)
            steepness = (gradient * unit).flatten(1).sum(1)
            length = torch.where(steepness > 0, (1 + self.overshoot) * away / steepness, 0)
            x_adv = (x_adv + per_row(length, x) * unit).clamp(0, 1)
        return found

    def _slope(self, detector: Detector, y: Tensor, step: int) -> Slope:
        """Without a backward where nobody will move any more."""
        return autograd(detector, margin(y), lambda z: step < self.steps and not is_wrong(detector, z, y).all())
