"""APGD: gradient ascent that chooses its own step size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from unfooled.attacks.base import Attack, Worst, per_row, wrong_way
from unfooled.attacks.gradient import Slope, autograd, margin, need_finite
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import seed_of
from unfooled.threats import Threat


def checkpoints(steps: int) -> list[int]:
    """The steps after which the step size is looked at: shares .22, .41, .57, ... of all, closer and closer."""
    shares, gap = [0.0], 0.22
    while shares[-1] < 1:
        shares.append(shares[-1] + gap)
        gap = max(gap - 0.03, 0.06)
    return [ceil(round(share * steps, 6)) for share in shares[1:] if share <= 1]


def climb(
    threat: Threat,
    x: Tensor,
    start: Tensor,
    slope: Slope,
    harm: Callable[[Tensor], Tensor],
    steps: int,
    momentum: float = 0.75,
    rho: float = 0.75,
    see: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """``steps`` steps with momentum; a row that stalls goes back to its best point and halves its step from 2 * eps.

    Args:
        x: (B, 3, ...) centre of the ball.
        start: shape of ``x``; where the walk begins.
        slope: source of the gradient.
        harm: logits (B,) -> (B,) what is ascended.
        momentum: weight of the gradient's step in [0, 1]; the rest goes on in the direction of the last move.
        rho: in [0, 1]; a row stalls if fewer than this share of the steps since the last checkpoint did more harm than
            the one before, or if neither its step nor its best harm has changed since.
        see: is shown (x_adv, logits) before each step; the last point has no logits yet.
    """
    project = threat.projector(x)
    x_adv, before, best, best_gradient = start, start, start, torch.zeros_like(x)
    size = x.new_full((len(x),), 2 * threat.eps)
    most, last = (x.new_full((len(x),), -torch.inf) for _ in range(2))
    most_then, size_then, risen, looked = most, size, torch.zeros_like(size), 0
    looks = checkpoints(steps)
    for step in range(steps):
        logits, gradient = slope(x_adv)
        if see is not None:
            see(x_adv, logits)
        now = harm(logits).to(size)
        risen = risen + (now > last)
        more = now > most
        most, last = torch.where(more, now, most), now
        best, best_gradient = (
            torch.where(per_row(more, x), new, old) for new, old in ((x_adv, best), (gradient, best_gradient))
        )
        if step in looks:
            unchanged = (size == size_then) & (most == most_then)
            stalled = (risen < rho * (step - looked)) | unchanged
            most_then, size_then, looked = most, size, step
            size, risen = torch.where(stalled, size / 2, size), torch.zeros_like(risen)
            back = per_row(stalled, x)
            x_adv, gradient = torch.where(back, best, x_adv), torch.where(back, best_gradient, gradient)
        there = project(x_adv + per_row(size, x) * threat.direction(gradient))
        if step > 0:
            there = project(x_adv + momentum * (there - x_adv) + (1 - momentum) * (x_adv - before))
        before, x_adv = x_adv, there
    return x_adv


@dataclass(frozen=True)
class APGD(Attack):
    """Projected gradient ascent on the margin with momentum and a step size that halves where a sample stalls.

    Args:
        steps: >= 1 for each restart.
        restarts: >= 1 walks from different random points of the ball.
        momentum: in [0, 1]; 1 is none.
        rho: in [0, 1]; share of steps that must do more harm than the one before, or else the step size is halved.
        seed: of the starts, which belong to the sample; None draws from torch's global generator.

    Raises:
        ConfigError: an option is out of range, or eps is inf.

    Source: arXiv:2003.01690. Deviations: the margin is ascended, as the losses of the paper are either blind (cross
    entropy underflows) or undefined for two classes (DLR); starts are uniform in the ball; the most harmful logit is
    kept, x itself included, and a sample is not left at its flip.
    """

    steps: int = 100
    restarts: int = 5
    momentum: float = 0.75
    rho: float = 0.75
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("momentum", "rho"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} must be in [0, 1], got {getattr(self, name):g}; the published one is 0.75")

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        slope, worst = autograd(detector, margin(y)), Worst(x, y)
        with torch.no_grad():
            worst.see(x, detector(x))
        for restart in range(self.restarts):
            start = self.threat.project(
                x, self.threat.sample(x, None if self.seed is None else seed_of(self.seed, restart))
            )
            x_adv = climb(
                self.threat,
                x,
                start,
                slope,
                lambda z: wrong_way(y, z) * z,
                self.steps,
                self.momentum,
                self.rho,
                worst.see,
            )
            with torch.no_grad():
                worst.see(x_adv, detector(x_adv))
        return worst.x
