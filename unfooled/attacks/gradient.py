"""Attacks that follow a gradient: one loop over threat, start and source of the gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.attacks.base import Attack, Worst, wrong_way
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import normal_like, seed_of
from unfooled.threats import Threat

Loss: TypeAlias = Literal["margin", "features", "margin+features", "kl"]
Harm: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""(features (B, D), logits (B,)) -> (B,) what the adversary ascends."""
Slope: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""x_adv -> (logits (B,), gradient of the harm, shape of x_adv)."""


def margin(y: Tensor) -> Harm:
    """The logit on its wrong way: up for reals, down for fakes; the same attack as BCE, which is monotone in it.

    Deviation from 1706.06083: BCE's gradient underflows to 0 for confident logits (float32: at 20 on the fake side),
    the margin's never does.
    """
    return lambda features, logits: wrong_way(y, logits) * logits


def feature_distance(clean: Tensor) -> Harm:
    """1 - cosine to the ``clean`` features (B, D); in [0, 2]. Its gradient is 0 at the clean input itself."""
    return lambda features, logits: 1 - F.cosine_similarity(features, clean)


def divergence(clean: Tensor) -> Harm:
    """Climbs the Bernoulli KL(p(x) || p(x_adv)) away from the ``clean`` logits (B,).

    Source: TRADES, arXiv:1901.08573. Deviation: ascends |z_adv - z|. For one logit the KL is monotone in it on either
    side, so a step of fixed length is the same, and it does not underflow where both probabilities are near 0 or 1.
    Where the start noise left the logit as it was (bfloat16), the step goes up instead of nowhere.
    """
    return lambda features, logits: torch.where(logits >= clean, logits - clean, clean - logits)


def both(first: Harm, second: Harm, weight: float) -> Harm:
    """``first + weight * second``."""
    return lambda features, logits: first(features, logits) + weight * second(features, logits)


def autograd(detector: Detector, harm: Harm, needed: Callable[[Tensor], bool] | None = None) -> Slope:
    """The exact gradient of the input: one forward and one backward to ``x_adv`` alone.

    Args:
        needed: is shown the logits; where it says no, the backward is spared and the gradient is 0.

    Raises:
        ConfigError: the detector can be called but not differentiated.
    """

    def slope(x_adv: Tensor) -> tuple[Tensor, Tensor]:
        leaf = x_adv.detach().requires_grad_()
        features = detector.features(leaf)
        logits = detector.classify(features)
        if not logits.requires_grad:
            raise ConfigError("a white-box attack needs a detector with gradients, this one has none; use square")
        if needed is not None and not needed(logits.detach()):
            return logits.detach(), torch.zeros_like(x_adv)
        (gradient,) = torch.autograd.grad(harm(features, logits).sum(), leaf, allow_unused=True, materialize_grads=True)
        # An undefined slope in one pixel must not poison the rest of the search.
        return logits.detach(), gradient if gradient.sum().isfinite() else gradient.nan_to_num(nan=0.0)

    return slope


def ascend(
    threat: Threat,
    x: Tensor,
    start: Tensor,
    slope: Slope,
    steps: int,
    step_size: float,
    see: Callable[[Tensor, Tensor], None] | None = None,
) -> Tensor:
    """``steps`` steps of length ``step_size`` along the slope, each projected into the ball around ``x``.

    Args:
        x: (B, 3, ...) centre of the ball.
        start: shape of ``x``; where the walk begins.
        slope: source of the gradient (exact, estimated, mean over views).
        see: is shown (x_adv, logits) before each step; the last point has no logits yet.
    """
    x_adv, project = start, threat.projector(x)
    for _ in range(steps):
        logits, gradient = slope(x_adv)
        if see is not None:
            see(x_adv, logits)
        # In place: fresh memory for every step costs more than the arithmetic.
        step = threat.direction(gradient)
        x_adv = project(torch.add(x_adv, step, alpha=step_size, out=step))
    return x_adv


def need_finite(threat: Threat) -> None:
    """Refuse eps = inf, which only a minimum-norm attack can do with."""
    if math.isinf(threat.eps):
        raise ConfigError("eps must be finite for this attack, got inf; write 8/255")


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of length eps along the gradient of the margin.

    Source: arXiv:1412.6572. Deviation: the margin in place of BCE (same sign, no underflow).
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        return ascend(self.threat, x, x, autograd(detector, margin(y)), 1, self.threat.eps)


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent from random starts.

    Args:
        steps: >= 1.
        step_size: length of a step in pixel units, > 0; None means 2.5 * eps / steps.
        random_start: False starts at x itself.
        restarts: >= 1 walks from different starts; more than one needs a random start and keep="worst".
        loss: what is ascended: the logit margin, 1 - cosine to the clean features, margin + weight * (1 - cosine)
            (the adaptive attack on AFSL), or the KL to the clean prediction (TRADES; ignores the labels).
        weight: of the feature term; used by "margin+features" alone.
        keep: "worst" keeps the most harmful logit met on the way, x itself included (evaluation); "last" the end of
            the walk.
        start: "ball" is uniform in the ball, "gaussian" is x + 0.001 * N(0, 1) as in TRADES.
        seed: of the starts, which belong to the sample; None draws from torch's global generator (training).

    Raises:
        ConfigError: an option is out of range, or a loss without gradient at x is to start there.

    Source: arXiv:1706.06083. Deviations: the margin in place of BCE (same sign, no underflow), and keep="worst".
    """

    steps: int = 10
    step_size: float | None = None
    random_start: bool = True
    restarts: int = 1
    loss: Loss = "margin"
    weight: float = 1.0
    keep: Literal["worst", "last"] = "worst"
    start: Literal["ball", "gaussian"] = "ball"
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)
        for option, allowed in (("loss", get_args(Loss)), ("keep", ("worst", "last")), ("start", ("ball", "gaussian"))):
            if getattr(self, option) not in allowed:
                raise ConfigError(f"{option} must be one of {', '.join(allowed)}, got {getattr(self, option)!r}")
        if self.steps < 1:
            raise ConfigError(f"steps must be >= 1, got {self.steps}")
        if self.step_size is not None and not 0 < self.step_size < math.inf:
            raise ConfigError(f"step_size must be > 0 and finite, got {self.step_size:g}; none means 2.5*eps/steps")
        if self.step_size is not None and self.step_size > 2 * self.threat.eps > 0:
            raise ConfigError(
                f"step_size must be <= 2 * eps, across the ball, got {self.step_size:g} with eps {self.threat.eps:g}; "
                f"in pixel units write {self.step_size:g}/255"
            )
        if self.restarts < 1:
            raise ConfigError(f"restarts must be >= 1, got {self.restarts}")
        if self.restarts > 1 and not (self.random_start and self.keep == "worst"):
            raise ConfigError(f"restarts={self.restarts} needs random_start=true and keep=worst, else they add nothing")
        if self.loss in ("features", "kl") and not self.random_start:
            raise ConfigError(f"loss={self.loss} has no gradient at x itself; set random_start=true")
        if self.start == "gaussian" and not self.random_start:
            raise ConfigError("start=gaussian needs random_start=true")
        if not math.isfinite(self.weight):
            raise ConfigError(f"weight must be finite, got {self.weight:g}")

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        slope = autograd(detector, self._harm(detector, x, y))
        step_size = 2.5 * self.threat.eps / self.steps if self.step_size is None else self.step_size
        if self.keep == "last":
            return ascend(self.threat, x, self._begin(x, 0), slope, self.steps, step_size)
        worst = Worst(x, y)
        with torch.no_grad():
            # An adversary may also leave the input as it is: no start may cost it that.
            worst.see(x, detector(x))
        for restart in range(self.restarts):
            x_adv = ascend(self.threat, x, self._begin(x, restart), slope, self.steps, step_size, worst.see)
            with torch.no_grad():
                worst.see(x_adv, detector(x_adv))
        return worst.x

    def _begin(self, x: Tensor, restart: int) -> Tensor:
        if not self.random_start:
            return x
        seed = None if self.seed is None else seed_of(self.seed, restart)
        if self.start == "ball":
            return self.threat.project(x, self.threat.sample(x, seed))
        return self.threat.project(x, x + 0.001 * normal_like(x, seed, "gaussian start"))

    def _harm(self, detector: Detector, x: Tensor, y: Tensor) -> Harm:
        if self.loss == "margin":
            return margin(y)
        with torch.no_grad():
            clean = detector.features(x)
            if self.loss == "kl":
                return divergence(detector.classify(clean))
        far = feature_distance(clean)
        return far if self.loss == "features" else both(margin(y), far, self.weight)
