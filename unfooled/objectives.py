"""What training minimises: named, already weighted terms of a batch; the loop sums and logs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal, Self

import torch
from torch import Tensor

from unfooled.attacks.gradient import PGD
from unfooled.errors import ConfigError, suggest
from unfooled.losses import (
    Pairs,
    adversarial_similarity,
    binary_kl,
    cosine,
    logit_adjusted_bce,
    similarity_regularization,
)
from unfooled.models.detector import Detector
from unfooled.registry import build, lookup, number
from unfooled.threats import L2, Linf

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
class Standard(Objective):
    """Logit-adjusted cross-entropy on clean inputs: the undefended detector (Menon et al. 2020)."""

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        features, logits = _forward(detector, x)
        return {"bce": self.bce(logits, y), **_similarities(detector, y, features)}


@dataclass(frozen=True)
class Robust(Objective):
    """What the adversarial objectives share: an adversary, and one update forward on clean and perturbed rows.

    Args:
        attack: threat, steps and step size of the search; which loss it ascends is the objective's own. It sees the
            detector in eval mode with frozen weights. None: no adversary, the clean limit.
        batch_norm: ``joint``: one forward on clean and perturbed rows together; ``separate``: one forward each, so
            that each half is normalised by its own statistics.
    """

    attack: PGD | None = field(default_factory=lambda: PGD(Linf(2 / 255), steps=5, keep="last", seed=None))
    batch_norm: Literal["joint", "separate"] = "joint"

    @property
    def eps(self) -> float:
        return self.attack.threat.eps if self.attack else 0.0

    def scaled(self, fraction: float) -> Self:
        if self.attack is None or fraction == 0:
            return replace(self, attack=None)
        threat = replace(self.attack.threat, eps=self.attack.threat.eps * fraction)
        step = self.attack.step_size
        return replace(
            self, attack=replace(self.attack, threat=threat, step_size=None if step is None else step * fraction)
        )

    def both(self, detector: Detector, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """(B, D) features of the clean and of the perturbed rows."""
        if self.batch_norm == "separate":
            return _wide(detector.features(x)), _wide(detector.features(x_adv))
        features, features_adv = _wide(detector.features(torch.cat([x, x_adv]))).chunk(2)
        return features, features_adv


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
            features, logits = _forward(detector, x)
            return {"bce": self.bce(logits, y), **_similarities(detector, y, features)}
        x_adv = replace(self.attack, loss="margin").search(detector, x, y)
        if not self.half:
            features, logits = _forward(detector, x_adv)
            return {"bce_adv": self.bce(logits, y), **_similarities(detector, y, features)}
        features, features_adv = self.both(detector, x, x_adv)
        return {
            "bce": self.bce(_classify(detector, features), y) / 2,
            "bce_adv": self.bce(_classify(detector, features_adv), y) / 2,
            **_similarities(detector, y, features, features_adv),
        }


@dataclass(frozen=True)
class Trades(Robust):
    """Cross-entropy on clean inputs + beta * KL(clean || perturbed) (TRADES, Zhang et al. 2019).

    Args:
        beta: weight of the KL, >= 0; 0 leaves the cross-entropy.

    Source: arXiv:1901.08573. Deviation: one logit (Bernoulli KL); the cross-entropy is logit-adjusted.
    """

    beta: float = 6.0

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        if self.attack is None:
            features, logits = _forward(detector, x)
            return {"bce": self.bce(logits, y), **_similarities(detector, y, features)}
        x_adv = replace(self.attack, loss="kl", start="gaussian").search(detector, x, y)
        features, features_adv = self.both(detector, x, x_adv)
        logits, logits_adv = _classify(detector, torch.cat([features, features_adv])).chunk(2)
        return {
            "bce": self.bce(logits, y),
            "kl": self.beta * binary_kl(logits, logits_adv),
            **_similarities(detector, y, features, features_adv),
        }


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

    def scaled(self, fraction: float) -> Self:
        return replace(super().scaled(fraction), beta2=self.beta2 * fraction)

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Terms:
        if self.attack is None:
            features, logits = _forward(detector, x)
            return {
                "dcl": self.bce(logits, y),
                "srl": self.beta2 * _real_fake(features, y, self.pairs),
                **_similarities(detector, y, features),
            }
        x_adv = replace(self.attack, loss=ADVERSARIES[self.adversary]).search(detector, x, y)
        features, features_adv = self.both(detector, x, x_adv)
        reference = features.detach() if self.stop_gradient else features
        return {
            "dcl": self.bce(_classify(detector, features), y),
            "asl": self.beta1 * adversarial_similarity(reference, features_adv),
            "srl": self.beta2 * _real_fake(features, y, self.pairs),
            **_similarities(detector, y, features, features_adv),
        }


ADVERSARIES: Mapping[str, Literal["margin", "features", "margin+features"]] = {
    "bce": "margin",
    "both": "margin+features",
    "features": "features",
}

ADVERSARY: dict[str, object] = {"eps": "2/255", "norm": "linf", "step_size": None, "steps": 5}

OBJECTIVES: dict[str, type[Objective]] = {
    "afsl": AFSL,
    "at": AdversarialTraining,
    "standard": Standard,
    "trades": Trades,
}


def create(name: str, **options: object) -> Objective:
    """An objective by name.

    Args:
        name: a key of ``OBJECTIVES``.
        options: its fields, and for the adversary ``eps`` (2/255), ``norm`` (linf | l2), ``steps`` (5) and
            ``step_size`` (none: 2.5 * eps / steps). ``fake_share`` may be ``delivered``: the sampler's own; in a
            recipe also ``data``: that of the training rows.

    Raises:
        ConfigError: the name or an option is unknown, or a value is not allowed.
    """
    known = defaults(name)
    for key in options:
        if key not in known:
            raise ConfigError(f"objective {name!r} has no option {key!r}{suggest(key, known)}")
    own = {key: value for key, value in options.items() if key not in ADVERSARY}
    if own.get("fake_share") == "delivered":
        del own["fake_share"]
    for key in ("beta", "beta1", "beta2"):
        if key in own and not number(f"objective {name}: {key}", own[key]) >= 0:
            raise ConfigError(f"objective {name}: {key} must be >= 0, got {own[key]}")
    objective: Objective = build("objective", name, OBJECTIVES[name], own)
    if isinstance(objective, Robust):
        return replace(objective, attack=_adversary(**{k: options.get(k, v) for k, v in ADVERSARY.items()}))
    return objective


def defaults(name: str) -> dict[str, object]:
    """Every option of an objective with its default; ``create`` takes no others."""
    kind = lookup("objective", OBJECTIVES, name)
    own: dict[str, object] = {f.name: f.default for f in fields(kind) if f.name != "attack"}
    return own | {"fake_share": "delivered"} | (ADVERSARY if issubclass(kind, Robust) else {})


def _adversary(norm: object, eps: object, **options: object) -> PGD:
    threat = lookup("norm", {"l2": L2, "linf": Linf}, str(norm))(number("eps", eps))
    return build("attack", "pgd", PGD, {**options, "threat": threat, "keep": "last", "seed": None})


def _forward(detector: Detector, x: Tensor) -> tuple[Tensor, Tensor]:
    features = _wide(detector.features(x))
    return features, _classify(detector, features)


def _classify(detector: Detector, features: Tensor) -> Tensor:
    # A cosine head scales by 64: in bfloat16 its logits would be wrong by up to 0.1.
    with torch.autocast(features.device.type, enabled=False):
        return detector.classify(features)


def _real_fake(features: Tensor, y: Tensor, pairs: Pairs = "all") -> Tensor:
    with torch.autocast(features.device.type, enabled=False):
        return similarity_regularization(features, y, pairs=pairs)


def _wide(tensor: Tensor) -> Tensor:
    """Half precision ends here: losses and cosines are taken in float32 or wider."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@torch.no_grad()
def _similarities(detector: Detector, y: Tensor, features: Tensor, features_adv: Tensor | None = None) -> Terms:
    """Mean cos(real, fake), cos(x, x_adv) and |cos(f, w)|: signs of the two classes would cancel in the last."""
    found = {"cos_real_fake": _real_fake(features, y)}
    if features_adv is not None:
        found["cos_adv"] = cosine(features, features_adv).mean()
    weight = getattr(detector.head, "weight", None)
    if isinstance(weight, Tensor) and weight.shape == (1, features.shape[1]):
        found["cos_weight"] = cosine(features, weight.expand_as(features).to(features)).abs().mean()
    return found
