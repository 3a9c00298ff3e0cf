"""Carlini and Wagner: the shortest perturbation by optimisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.attacks.base import Attack, is_wrong, only, per_row, wrong_way
from unfooled.attacks.gradient import Slope, autograd, margin
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Threat

EDGE = 1e-6
"""2x - 1 is kept so far from -1 and 1, where atanh is infinite."""


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """Adam on ``|x_adv - x|^2 + c * max(m, -kappa)``, m the margin on the right side; a minimum-norm attack.

    It walks in w with ``x_adv = (tanh(w) + 1) / 2``, so [0, 1] holds by itself, and keeps the nearest point of each
    sample that is wrong by at least ``kappa``. A sample without such a point stays as it is, and so does one that is
    wrong already. Its result is a distance (``metrics.accuracy_over_eps``) and no robust AUC.

    Args:
        threat: L2; with a finite eps the point is cut to the ball, and mostly right again where it was further away.
        c: > 0; weight of the margin, at first or for good.
        kappa: >= 0 logits beyond the threshold.
        steps: >= 1 of Adam, for each c.
        lr: > 0 of Adam.
        binary_search: >= 0 further values of c for each sample: ten times larger until one succeeds, then half-way
            between the largest that failed and the smallest that succeeded. 0 keeps c.
        early_stop: a sample whose objective has risen from one tenth of the steps to the next rests; faster, and its
            perturbation is longer.

    Raises:
        ConfigError: an option is out of range, or the threat is not L2.

    Source: arXiv:1608.04644. Deviations: 50 steps and constant c as in torchattacks; its early stop is off, and where
    it is on every sample stops by its own objective; m is the whole margin z (torchattacks: half of it for two
    classes).
    """

    threats: ClassVar[tuple[type[Threat], ...]] = (L2,)
    least_norm: ClassVar[bool] = True

    c: float = 1.0
    kappa: float = 0.0
    steps: int = 50
    lr: float = 0.01
    binary_search: int = 0
    early_stop: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("c", "lr"):
            if not 0 < getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be > 0 and finite, got {getattr(self, name):g}")
        if not 0 <= self.kappa < math.inf:
            raise ConfigError(f"kappa must be >= 0 and finite, got {self.kappa:g}")
        if self.steps < 1:
            raise ConfigError(f"steps must be >= 1, got {self.steps}")
        if self.binary_search < 0:
            raise ConfigError(f"binary_search must be >= 0, got {self.binary_search}; 0 keeps c constant")

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        found, least = x, x.new_full((len(x),), math.inf)
        c, low, high = x.new_full((len(x),), self.c), x.new_zeros(len(x)), x.new_full((len(x),), math.inf)
        for _ in range(1 + self.binary_search):
            rows = (least > 0).nonzero().flatten()
            if not len(rows):
                break
            with only(rows):
                x_adv, squared = self._descend(detector, x[rows], y[rows], c[rows])
            nearer = squared < least[rows]
            found, least = found.clone(), least.clone()
            found[rows[nearer]], least[rows[nearer]] = x_adv[nearer], squared[nearer]
            success = torch.zeros_like(least, dtype=torch.bool)
            success[rows] = squared.isfinite()
            high, low = torch.where(success, c.minimum(high), high), torch.where(success, low, c.maximum(low))
            c = torch.where(high.isfinite(), (low + high) / 2, 10 * c)
        return found

    def _descend(self, detector: Detector, x: Tensor, y: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """The nearest success of one walk for each row, and its squared distance: inf where there is none."""
        found, least = x.clone(), x.new_full((len(x),), math.inf)
        left = torch.arange(len(x), device=x.device)
        w = torch.atanh((2 * x - 1).clamp(EDGE - 1, 1 - EDGE))
        speed, power = torch.zeros_like(w), torch.zeros_like(w)
        cost_then = least.clone()
        for step in range(self.steps):
            t = torch.tanh(w)
            # The first point is x itself: what is wrong already is found at distance 0.
            x_adv = (t + 1) / 2 if step else x
            delta = x_adv - x[left]
            squared = delta.flatten(1).square().sum(1)
            with only(left):
                logits, gradient = self._slope(detector, y[left])(x_adv)
            harm = _beyond(detector, logits, y[left]).to(x)
            nearer = is_wrong(detector, logits, y[left]) & (harm >= self.kappa) & (squared < least[left])
            found[left[nearer]], least[left[nearer]] = x_adv[nearer], squared[nearer]
            pushed = per_row(c[left] * (harm < self.kappa), x)
            down = (2 * delta - pushed * gradient) * (1 - t.square()) / 2
            speed, power = 0.9 * speed + 0.1 * down, 0.999 * power + 0.001 * down.square()
            unbiased = power.div(1 - 0.999 ** (step + 1)).sqrt() + 1e-8
            w = w - self.lr / (1 - 0.9 ** (step + 1)) * speed / unbiased
            going = least[left] > 0
            if self.early_stop and step % max(self.steps // 10, 1) == 0:
                cost = squared + c[left] * (-harm).clamp_min(-self.kappa)
                going &= ~(cost > cost_then[left])
                cost_then[left] = cost
            if not going.all():
                left, w, speed, power = left[going], w[going], speed[going], power[going]
                if not len(left):
                    break
        return found, least

    def _slope(self, detector: Detector, y: Tensor) -> Slope:
        """Without a backward where everybody is wrong by enough."""
        return autograd(detector, margin(y), lambda z: bool((_beyond(detector, z, y) < self.kappa).any()))


def _beyond(detector: Detector, logits: Tensor, y: Tensor) -> Tensor:
    """(B,) how far the logits are on the wrong side of the threshold; negative on the right one."""
    return wrong_way(y, logits) * (logits - detector.threshold.to(logits))
