"""Attacks whose result still works after blur, shifts and rescaling: robust white-box and robust black-box."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unfooled.attacks.base import only
from unfooled.attacks.evasion import Evasion, need_count, need_step
from unfooled.attacks.gradient import Harm, Slope, ascend, autograd
from unfooled.attacks.nes import nes
from unfooled.attacks.views import Identity, View, average, fixed_views, over_views, random_views
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import normal_like, seed_of


def hinge(detector: Detector, confidence: float) -> Harm:
    """Minus ``max(z - threshold + confidence, 0)``: presses fakes under the threshold, and no further than asked."""
    return lambda features, logits: -(logits - detector.threshold.to(logits) + confidence).clamp_min(0)


def real_enough(detector: Detector, p_real: float) -> float:
    """The logit up to which a fake counts as passed: there P(real) is ``p_real``, with the threshold at one half."""
    return detector.threshold.item() - math.log(p_real / (1 - p_real))


def behind(detector: Detector, view: View) -> Callable[[Tensor], Tensor]:
    """The logits of what the detector sees through a view."""
    return lambda x: detector(view(x))


def _need_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{name} must be in (0, 1), got {value:g}; write {name}=0.95")


@dataclass(frozen=True)
class RobustWhiteBox(Evasion):
    """Robust white-box attack: sign steps down the mean hinge over 17 fixed views.

    Args:
        steps: >= 1, at most so many for each fake.
        step_size: of a step in pixel units, > 0.
        p_real: in (0, 1); a fake rests once every view of it has at least this probability of being real.
        confidence: the hinge is 0 where the logit is this far under the threshold.
        seed: of the noise in one of the views, which belongs to the sample; None draws from torch's global generator.

    Raises:
        ConfigError: an option is out of range, or the threat is not Linf.

    Source: arXiv:2002.12749, Linf 16/255. Deviations: those of ``fixed_views``; probabilities are measured from the
    detector's threshold, which is the same where that is 0.
    """

    steps: int = 100
    step_size: float = 1 / 255
    p_real: float = 0.95
    confidence: float = 10.0
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_count("steps", self.steps)
        need_step("step_size", self.step_size)
        _need_share("p_real", self.p_real)
        if not 0 <= self.confidence < math.inf:
            raise ConfigError(f"confidence must be >= 0 and finite, got {self.confidence:g}; write confidence=10")

    def evade(self, detector: Detector, x: Tensor) -> Tensor:
        enough = real_enough(detector, self.p_real)
        slope = autograd(detector, hinge(detector, self.confidence))
        noise = normal_like(x, self.seed, "view")
        x_adv, left = x.clone(), torch.arange(len(x), device=x.device)
        highest: list[Tensor] = []

        def see(_: Tensor, logits: Tensor) -> None:
            highest.append(logits)

        for _ in range(self.steps):
            viewed = over_views(slope, fixed_views(noise[left]))
            with only(left):
                moved = ascend(self.threat, x[left], x_adv[left], viewed, 1, self.step_size, see)
            going = highest.pop() > enough
            left = left[going]
            if not len(left):
                break
            x_adv[left] = moved[going]
        return x_adv


@dataclass(frozen=True)
class RobustBlackBox(Evasion):
    """Robust black-box attack: sign steps along a gradient estimated from logits, over views redrawn at each step.

    It starts without views; a fake gets them once it is passed as real without.

    Args:
        steps: >= 1, at most so many for each fake.
        step_size: of a step in pixel units, > 0.
        pairs: >= 1 antithetic draws for each view; a step costs 2 * pairs + 1 queries a view.
        sigma: of the draws in pixel units, > 0; a detector that reads 8-bit files notices nothing below 1/255.
        p_real: in (0, 1); above it the warm start is over, and then a fake rests once every view has at least it.
        seed: of draws and views; None draws from torch's global generator.

    Raises:
        ConfigError: an option is out of range, or the threat is not Linf.

    Source: arXiv:2002.12749, Linf 16/255. Deviations: those of ``nes`` and ``random_views``; probabilities are measured
    from the detector's threshold, which is the same where that is 0.
    """

    steps: int = 100
    step_size: float = 1 / 255
    pairs: int = 20
    sigma: float = 0.001
    p_real: float = 0.9
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_count("steps", self.steps)
        need_count("pairs", self.pairs)
        need_step("step_size", self.step_size)
        need_step("sigma", self.sigma)
        _need_share("p_real", self.p_real)

    @torch.no_grad()
    def evade(self, detector: Detector, x: Tensor) -> Tensor:
        enough = real_enough(detector, self.p_real)
        x_adv, left = x.clone(), torch.arange(len(x), device=x.device)
        warm = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        for step in range(self.steps):
            views = random_views(self.seed, step)
            cold = left[~warm[left]]
            if len(cold):
                with only(cold):
                    warm[cold] = detector(x_adv[cold]) < enough
            hot, cold = left[warm[left]], cold[~warm[cold]]
            if len(hot):
                with only(hot):
                    highest = torch.stack([detector(view(x_adv[hot])) for view in views]).amax(0)
                hot = hot[highest > enough]
            left = torch.cat([cold, hot])
            if not len(left):
                break
            for rows, shown in ((cold, [Identity()]), (hot, views)):
                if len(rows):
                    slope = self._slope(detector, shown, x[rows], step)
                    with only(rows):
                        x_adv[rows] = ascend(self.threat, x[rows], x_adv[rows], slope, 1, self.step_size)
        return x_adv

    def _slope(self, detector: Detector, views: Sequence[View], x: Tensor, step: int) -> Slope:
        """The mean of the slopes behind the views, each estimated from its own draws."""
        down = -x.new_ones(len(x))
        seeds = [None if self.seed is None else seed_of(self.seed, step, position) for position in range(len(views))]
        return average(
            [
                nes(behind(detector, view), down, x, self.pairs, self.sigma, seed)
                for view, seed in zip(views, seeds, strict=True)
            ]
        )
