"""The losses of the papers: pure functions of tensors, each a batch mean, stable at any logit."""

from __future__ import annotations

import math
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from unfooled.errors import ConfigError, DataError

Pairs = Literal["all", "matched", "relu"]
NORM_FLOOR = 1e-8


def logit_adjusted_bce(logits: Tensor, y: Tensor, fake_share: float = 0.5) -> Tensor:
    """Mean binary cross-entropy of ``logits + ln(p / (1 - p))``; >= 0, plain BCE at p = 0.5.

    Args:
        logits: (B,), raw; +-100 gives the exact value.
        y: (B,), 1 = fake.
        fake_share: p in (0, 1), the share of fakes that the sampler delivers; towards 1 a real weighs more.

    Raises:
        ConfigError: the share is not strictly between 0 and 1.
        DataError: the shapes differ.

    Source: Menon et al., arXiv:2007.07314; L_dcl of AFSL, arXiv:2403.08806. Deviation: none.
    """
    if not 0 < fake_share < 1:
        raise ConfigError(f"fake_share must be > 0 and < 1, got {fake_share:g}: training needs real and fake rows")
    _same_shape("logits", logits, "y", y)
    log_odds = math.log(fake_share / (1 - fake_share))
    return F.binary_cross_entropy_with_logits(logits + log_odds, y.to(logits))


def binary_kl(logits: Tensor, logits_adv: Tensor) -> Tensor:
    """Mean KL(p || p_adv) of two Bernoulli variables with p = sigmoid(logit); >= 0, 0 when they are equal.

    Args:
        logits: (B,), of the clean rows: the reference p.
        logits_adv: (B,), of the perturbed rows.

    Raises:
        DataError: the shapes differ.

    Source: TRADES, arXiv:1901.08573. Deviation: one logit, which equals its two logits [0, z].
    """
    _same_shape("logits", logits, "logits_adv", logits_adv)
    p = logits.sigmoid()
    fake = p * (F.logsigmoid(logits) - F.logsigmoid(logits_adv))
    real = (-logits).sigmoid() * (F.logsigmoid(-logits) - F.logsigmoid(-logits_adv))
    return (fake + real).mean()


def adversarial_similarity(features: Tensor, features_adv: Tensor) -> Tensor:
    """1 - mean cosine of clean and perturbed features; in [0, 2], 0 when they point alike.

    Args:
        features: (B, D), any scale; a zero row counts as cosine 0.
        features_adv: (B, D); row i belongs to row i of ``features``.

    Raises:
        DataError: the shapes differ.

    Source: AFSL, arXiv:2403.08806, L_asl. Deviation: none.
    """
    _same_shape("features", features, "features_adv", features_adv)
    return (1 - cosine(features, features_adv)).mean()


def similarity_regularization(features: Tensor, y: Tensor, *, pairs: Pairs = "all") -> Tensor:
    """Mean cosine of real and fake features; in [-1, 1], 0 when a class is absent.

    Args:
        features: (B, D) of clean rows, any scale; a zero row counts as cosine 0.
        y: (B,), 1 = fake.
        pairs: ``all`` real x fake pairs; ``matched``: the i-th real with the i-th fake, as far as both go;
            ``relu``: all pairs, negative cosines count as 0.

    Raises:
        DataError: ``features`` and ``y`` differ in length.

    Source: AFSL, arXiv:2403.08806, L_srl. Deviation: the paper leaves the pairs open, so they are a switch; an absent
    class gives 0.
    """
    if len(features) != len(y):
        raise DataError(f"features and y must have one row each per sample, got {len(features)} and {len(y)}")
    real, fake = features[y == 0], features[y == 1]
    if not len(real) or not len(fake):
        return 0 * features.sum()
    if pairs == "matched":
        count = min(len(real), len(fake))
        return cosine(real[:count], fake[:count]).mean()
    cosines = unit(real) @ unit(fake).t()
    return cosines.relu().mean() if pairs == "relu" else cosines.mean()


def pairwise_ranking(logits: Tensor, y: Tensor) -> Tensor:
    """Mean softplus(z_real - z_fake) over all real x fake pairs; > 0, ln 2 where all are equal, 0 if a class is absent.

    Divided by ln 2 it is an upper bound of 1 - AUC: each pair that is ranked wrongly costs at least ln 2.

    Args:
        logits: (B,).
        y: (B,), 1 = fake.

    Raises:
        DataError: ``logits`` and ``y`` differ in length.

    Source: RankNet, Burges et al. 2005, doi:10.1145/1102351.1102363. Deviation: real x fake pairs alone.
    """
    _same_shape("logits", logits, "y", y)
    real, fake = logits[y == 0], logits[y == 1]
    if not len(real) or not len(fake):
        return 0 * logits.sum()
    return F.softplus(real[:, None] - fake[None]).mean()


def unit(features: Tensor) -> Tensor:
    """Each row divided by max(its length, 1e-8); a zero row stays zero."""
    return F.normalize(features, dim=1, eps=NORM_FLOOR)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B,) cosine of row i of ``a`` with row i of ``b``; 0 for a zero row."""
    return (unit(a) * unit(b)).sum(1)


def _same_shape(name: str, tensor: Tensor, other: str, second: Tensor) -> None:
    if tensor.shape != second.shape:
        raise DataError(f"{name} and {other} must have one shape, got {tuple(tensor.shape)} and {tuple(second.shape)}")
