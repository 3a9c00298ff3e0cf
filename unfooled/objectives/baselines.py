"""The undefended detector, AT and TRADES."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from unfooled.losses import binary_kl
from unfooled.models.detector import Detector
from unfooled.objectives.base import Objective, Robust, Terms, classify, forward, similarities


@dataclass(frozen=True)
class Standard(Objective):
    """Logit-adjusted cross-entropy on clean inputs: the undefended detector (Menon et al. 2020)."""

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        features, logits = forward(detector, x)
        return {"bce": self.bce(logits, y), **similarities(detector, y, features)}


@dataclass(frozen=True)
class AdversarialTraining(Robust):
    """Cross-entropy on perturbed inputs (AT, Madry et al. 2018).

    Args:
        half: the mean of the losses on clean and on perturbed rows instead.

    Source: arXiv:1706.06083. Deviation: the adversary ascends the margin, which for one logit is the same attack as
    cross-entropy and does not underflow; logit-adjusted like every cross-entropy here (nothing changes at share 0.5).
    """

    half: bool = False

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        if self.attack is None:
            features, logits = forward(detector, x)
            return {"bce": self.bce(logits, y), **similarities(detector, y, features)}
        x_adv = self.perturbed(detector, x, y, loss="margin")
        if not self.half:
            features, logits = forward(detector, x_adv)
            return {"bce_adv": self.bce(logits, y), **similarities(detector, y, features)}
        features, features_adv = self.both(detector, x, x_adv)
        return {
            "bce": self.bce(classify(detector, features), y) / 2,
            "bce_adv": self.bce(classify(detector, features_adv), y) / 2,
            **similarities(detector, y, features, features_adv),
        }


@dataclass(frozen=True)
class Trades(Robust):
    """Cross-entropy on clean inputs + beta * KL(clean || perturbed) (TRADES, Zhang et al. 2019).

    Args:
        beta: weight of the KL, >= 0; 0 leaves the cross-entropy.

    Source: arXiv:1901.08573. Deviation: one logit (Bernoulli KL); the cross-entropy is logit-adjusted.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        self.need_margin("the KL of trades")

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        if self.attack is None:
            features, logits = forward(detector, x)
            return {"bce": self.bce(logits, y), **similarities(detector, y, features)}
        x_adv = self.perturbed(detector, x, y, loss="kl", start="gaussian")
        features, features_adv = self.both(detector, x, x_adv)
        logits, logits_adv = classify(detector, torch.cat([features, features_adv])).chunk(2)
        return {
            "bce": self.bce(logits, y),
            "kl": self.beta * binary_kl(logits, logits_adv),
            **similarities(detector, y, features, features_adv),
        }
