"""What every objective shares: terms by name, an adversary that can be scaled, cosines to watch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from unfooled.attacks.gradient import PGD
from unfooled.errors import ConfigError
from unfooled.losses import Pairs, cosine, logit_adjusted_bce, similarity_regularization
from unfooled.models.detector import Detector
from unfooled.threats import Linf

Terms = dict[str, Tensor]


@dataclass(frozen=True)
class Objective(ABC):
    """A loss as a value; the detector, in training mode, is an argument.

    Args:
        fake_share: p of the logit adjustment ``ln(p / (1 - p))``, in (0, 1); None: what the sampler delivers (training
            fills it in; 0.5 until then).
    """

    fake_share: float | None = None

    @abstractmethod
    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        """Scalar terms by name, to be summed; names that start with ``cos_`` are diagnostics without a gradient."""

    @property
    def eps(self) -> float:
        """Radius of the adversary in training; 0 without one."""
        return 0.0

    @property
    def needs_attack(self) -> bool:
        """Whether a step searches for x_adv."""
        return self.eps > 0

    def scaled(self, fraction: float) -> Self:
        """The same objective with eps * ``fraction``; 0 is the clean limit, which runs no attack at all."""
        return self

    def bce(self, logits: Tensor, y: Tensor) -> Tensor:
        return logit_adjusted_bce(logits, y, 0.5 if self.fake_share is None else self.fake_share)


@dataclass(frozen=True)
class Robust(Objective):
    """What the adversarial objectives share: an adversary, and one update forward on clean and perturbed rows.

    Args:
        attack: threat, steps and step size of the search; which loss it ascends is the objective's own. It sees the
            detector in eval mode with frozen weights. None: no adversary, the clean limit.
        batch_norm: ``joint``: one forward on clean and perturbed rows together; ``separate``: one forward each, so
            that each half is normalised by its own statistics.
        noise: radius, in eps, of uniform noise on the input before the search, which then starts there and goes up to
            eps further, without a random start of its own: with 2 and one step this is N-FGSM (arXiv:2202.01181). The
            noise stays, so x_adv lies up to ``(1 + noise) * eps`` away. 0: none. Only for an adversary that ascends
            the margin: a distance to what the clean input gives has no gradient at its own start.
    """

    attack: PGD | None = field(default_factory=lambda: PGD(Linf(2 / 255), steps=5, keep="last", seed=None))
    batch_norm: Literal["joint", "separate"] = "joint"
    noise: float = 0.0

    @property
    def eps(self) -> float:
        return self.attack.threat.eps if self.attack else 0.0

    def need_margin(self, adversary: str) -> None:
        """Refuse noise for an adversary that has no gradient at its start.

        Raises:
            ConfigError: it has none.
        """
        if self.noise:
            raise ConfigError(f"noise needs an adversary that ascends the margin, got {adversary}; leave noise out")

    def scaled(self, fraction: float) -> Self:
        if self.attack is None or fraction == 0:
            return replace(self, attack=None)
        threat = replace(self.attack.threat, eps=self.attack.threat.eps * fraction)
        step = self.attack.step_size
        return replace(
            self, attack=replace(self.attack, threat=threat, step_size=None if step is None else step * fraction)
        )

    def perturbed(self, detector: Detector, x: Tensor, y: Tensor, **search: Any) -> Tensor:
        """x_adv: what the adversary makes of ``x``.

        Args:
            search: fields of the attack that the objective decides, such as ``loss``.
        """
        assert self.attack is not None, "the clean limit has no adversary"
        attack = replace(self.attack, **search)
        if not self.noise:
            return attack.search(detector, x, y)
        wide = replace(attack.threat, eps=self.noise * attack.threat.eps)
        start = wide.project(x, wide.sample(x, None))
        return replace(attack, random_start=False).search(detector, start, y)

    def both(self, detector: Detector, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) features of the clean and of the perturbed rows."""
        if self.batch_norm == "separate":
            return wide(detector.features(x)), wide(detector.features(x_adv))
        features, features_adv = wide(detector.features(torch.cat([x, x_adv]))).chunk(2)
        return features, features_adv


def forward(detector: Detector, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (B, D) and logits (B,), in float32 or wider."""
    features = wide(detector.features(x))
    return features, classify(detector, features)


def classify(detector: Detector, features: Tensor) -> Tensor:
    """Logits (B,) of features, outside of autocast."""
    # A cosine head scales by 64: in bfloat16 its logits would be wrong by up to 0.1.
    with torch.autocast(features.device.type, enabled=False):
        return detector.classify(features)


def real_fake(features: Tensor, y: Tensor, pairs: Pairs = "all") -> Tensor:
    """L_srl outside of autocast."""
    with torch.autocast(features.device.type, enabled=False):
        return similarity_regularization(features, y, pairs=pairs)


def wide(tensor: Tensor) -> Tensor:
    """Half precision ends here: losses and cosines are taken in float32 or wider."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@torch.no_grad()
def similarities(detector: Detector, y: Tensor, features: Tensor, features_adv: Tensor | None = None) -> Terms:
    """Mean cos(real, fake), cos(x, x_adv) and |cos(f, w)|: signs of the two classes would cancel in the last."""
    found = {"cos_real_fake": real_fake(features, y)}
    if features_adv is not None:
        found["cos_adv"] = cosine(features, features_adv).mean()
    weight = getattr(detector.head, "weight", None)
    if isinstance(weight, Tensor) and weight.shape == (1, features.shape[1]):
        found["cos_weight"] = cosine(features, weight.expand_as(features).to(features)).abs().mean()
    return found
