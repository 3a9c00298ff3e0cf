"""AFSL as published, and one that ranks perturbed fakes above perturbed reals too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from unfooled.losses import Pairs, adversarial_similarity, pairwise_ranking
from unfooled.models.detector import Detector
from unfooled.objectives.base import Robust, Terms, classify, forward, real_fake, similarities


@dataclass(frozen=True)
class AFSL(Robust):
    """L_dcl + beta1 * L_asl + beta2 * L_srl: adversarial feature similarity learning (AFSL, 2024).

    Args:
        beta1: weight of 1 - cos(f(x), f(x_adv)), >= 0. With features after a ReLU the published 1 gives no robustness
            here, 16 to 64 does.
        beta2: weight of the mean cos(real, fake), >= 0.
        stop_gradient: hold the clean branch of L_asl fixed.
        pairs: of L_srl: ``all`` | ``matched`` (i-th real with i-th fake of the batch: source pairs only where the
            sampler lines them up, which ours does not promise) | ``relu`` (all, negative cosines count 0).
        adversary: ascends ``bce`` of the raw logit | 1 - cos to the clean ``features`` | ``both``.

    ``scaled`` lets beta2 grow with eps, so its clean limit is the undefended objective: from scratch, L_srl with a
    beta2 that keeps real and fake apart under attack stops the detector from learning anything.

    Source: arXiv:2403.08806. Deviation: the adversary's ``bce`` is the margin (the same attack for one logit, without
    underflow); what the paper leaves open is a switch.
    """

    beta1: float = 1.0
    beta2: float = 0.1
    stop_gradient: bool = False
    pairs: Pairs = "all"
    adversary: Literal["bce", "features", "both"] = "bce"

    def __post_init__(self) -> None:
        if self.adversary == "features":
            self.need_margin("the features of adversary=features")

    def scaled(self, fraction: float) -> Self:
        return replace(super().scaled(fraction), beta2=self.beta2 * fraction)

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        if self.attack is None:
            features, logits = forward(detector, x)
            return {
                "dcl": self.bce(logits, y),
                "srl": self.beta2 * real_fake(features, y, self.pairs),
                **similarities(detector, y, features),
            }
        x_adv = self.perturbed(detector, x, y, loss=ADVERSARIES[self.adversary])
        features, features_adv = self.both(detector, x, x_adv)
        reference = features.detach() if self.stop_gradient else features
        return {
            **self.classification(detector, features, features_adv, y),
            "asl": self.beta1 * adversarial_similarity(reference, features_adv),
            "srl": self.beta2 * real_fake(features, y, self.pairs),
            **similarities(detector, y, features, features_adv),
        }

    def classification(self, detector: Detector, features: Tensor, features_adv: Tensor, y: Tensor) -> Terms:
        """L_dcl, on clean inputs alone."""
        return {"dcl": self.bce(classify(detector, features), y)}


@dataclass(frozen=True)
class AFSLPlus(AFSL):
    """AFSL + beta3 * L_rank: every perturbed fake of the batch above every perturbed real.

    The published L_dcl sees clean inputs alone: only the similarity of features keeps a perturbed input on its side.
    L_rank asks for what a robust AUC counts, the order of perturbed pairs, and leaves the threshold to L_dcl; a
    cross-entropy of perturbed inputs in its place costs clean AUC (docs/robust-training.md).

    Args:
        beta3: weight of L_rank, >= 0; ``scaled`` lets it grow with eps, as beta2.

    Source: ours, after AFSL, arXiv:2403.08806. Deviation from it: L_rank (``losses.pairwise_ranking``).
    """

    beta3: float = 2.0

    def scaled(self, fraction: float) -> Self:
        return replace(super().scaled(fraction), beta3=self.beta3 * fraction)

    def classification(self, detector: Detector, features: Tensor, features_adv: Tensor, y: Tensor) -> Terms:
        """L_dcl on clean inputs, and L_rank on perturbed ones."""
        logits, logits_adv = classify(detector, torch.cat([features, features_adv])).chunk(2)
        return {"dcl": self.bce(logits, y), "rank": self.beta3 * pairwise_ranking(logits_adv, y)}


ADVERSARIES: Mapping[str, Literal["margin", "features", "margin+features"]] = {
    "bce": "margin",
    "both": "margin+features",
    "features": "features",
}
