"""Randomised smoothing: the detector is asked about noisy copies; its vote has a certificate in L2."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.attacks.base import frozen
from unfooled.defenses.base import Answer, Defense, check_shape
from unfooled.errors import ConfigError, DataError
from unfooled.metrics.shares import at_most, clopper_pearson
from unfooled.models.detector import Detector
from unfooled.randomness import generators

ABSTAIN = -1
TOGETHER = 64
"""Noisy pictures that go through the detector at once."""


@dataclass(frozen=True, eq=False)
class Certificate:
    """What is certified of each sample.

    Args:
        y: (B,) int64, the class of the smoothed detector, or ``ABSTAIN``.
        radius: (B,) L2 in pixel units; no change shorter than this turns the smoothed detector's class. 0 where it
            abstains.
    """

    y: Tensor
    radius: Tensor


@dataclass(frozen=True)
class Smoothing(Defense):
    """Scores the mean logit over copies with Gaussian noise; wants a detector trained with the same noise.

    The mean logit ranks samples (an AUC) and is what an attacker sees, its gradient the mean over the same noise. It
    carries no guarantee: what ``predict`` and ``certify`` say is about the majority of the noisy copies' classes at
    the detector's threshold, one frame or clip at a time, in L2. It is no statement about a video's verdict or an AUC.
    Noisy copies are limited to [0, 1], as in training; that is part of the detector and leaves the certificate valid.

    Args:
        sigma: standard deviation of the noise in pixel units, > 0.
        n: noisy copies behind a logit, >= 1.
        seed: of the noise, which belongs to the sample.

    Source: Cohen et al., arXiv:1902.02918. Deviation: the mean logit beside the vote.
    """

    name: ClassVar[str] = "smoothing"
    sigma: float = 0.25
    n: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.sigma < math.inf:
            raise ConfigError(f"smoothing: sigma must be > 0 and finite, got {self.sigma:g}; write sigma=0.25")
        if self.n < 1:
            raise ConfigError(f"smoothing: n must be >= 1 noisy copy, got {self.n}; write n=32")

    def adapt(self, detector: Detector, x: Tensor) -> Answer:
        def answer(there: Tensor) -> Tensor:
            total = there.new_zeros(len(there))
            for noise in self._noise(x, self.n, "logit"):
                total = total + self._ask(detector, there, noise).sum(0)
            return total / self.n

        return answer

    def predict(self, detector: Detector, x: Tensor, *, n: int = 1000, alpha: float = 0.001) -> Tensor:
        """(B,) int64 the majority class of n noisy copies, or ``ABSTAIN`` where chance could have decided.

        Args:
            x: float (B, 3, H, W) or (B, 3, T, H, W) in [0, 1].
            n: noisy copies, >= 1; 10^4 is usual.
            alpha: share of samples, at most, where another class than the smoothed detector's is told, in (0, 1).

        Raises:
            ConfigError: a number is out of its range.
            DataError: ``x`` is not as above, or the detector answers NaN.
        """
        fakes = self._fakes(detector, x, _checked(n, alpha), "predict").tolist()
        said = []
        for count in fakes:
            most = max(count, n - count)
            p_value = min(1.0, 2 * (1 - at_most(most - 1, n, 0.5)))
            said.append(ABSTAIN if p_value > alpha else int(2 * count > n))
        return torch.tensor(said, dtype=torch.int64)

    def certify(
        self, detector: Detector, x: Tensor, *, n0: int = 100, n: int = 10_000, alpha: float = 0.001
    ) -> Certificate:
        """The class of the smoothed detector and the L2 radius within which nothing changes it.

        Args:
            x: float (B, 3, H, W) or (B, 3, T, H, W) in [0, 1].
            n0: noisy copies that choose the class, >= 1.
            n: noisy copies that certify it, >= 1; the radius can not exceed sigma * Phi^-1(alpha^(1/n)).
            alpha: share of certificates, at most, that are wrong, in (0, .5).

        Raises:
            ConfigError: a number is out of its range.
            DataError: ``x`` is not as above, or the detector answers NaN.
        """
        _checked(min(n0, n), alpha)
        if alpha >= 0.5:
            raise ConfigError(f"smoothing: alpha of a certificate must be < 0.5, got {alpha:g}; write alpha=0.001")
        y = (2 * self._fakes(detector, x, n0, "choose") > n0).long().cpu()
        fakes = self._fakes(detector, x, n, "certify").cpu()
        votes = torch.where(y == 1, fakes, n - fakes)
        # One-sided at alpha: the lower end of the two-sided interval at 1 - 2 alpha.
        p = torch.tensor([clopper_pearson(v, n, 1 - 2 * alpha)[0] for v in votes.tolist()], dtype=torch.float64)
        sure = p > 0.5
        radius = torch.where(sure, self.sigma * torch.special.ndtri(p.clamp(0.5, 1)), 0.0)
        return Certificate(torch.where(sure, y, ABSTAIN), radius)

    def _fakes(self, detector: Detector, x: Tensor, n: int, purpose: str) -> Tensor:
        """(B,) how many of n noisy copies are called fake."""
        check_shape(x)
        if not len(x) or x.min() < 0 or x.max() > 1:
            found = f"{x.min():g} to {x.max():g}" if len(x) else "none"
            raise DataError(f"x must hold pixels in [0, 1], got {found}; divide 8-bit values by 255")
        count = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        with torch.no_grad(), frozen(detector):
            for noise in self._noise(x, n, purpose):
                logits = self._ask(detector, x, noise)
                if logits.isnan().any():
                    raise DataError("the detector answered NaN under noise; its weights are broken")
                count += (logits > detector.threshold).sum(0)
        return count

    def _noise(self, x: Tensor, n: int, purpose: str) -> Iterator[Tensor]:
        """(k, B, ...) at a time; the noise of a row depends on (seed, purpose, content of the row) alone."""
        own = generators(x, self.seed, f"smoothing {purpose}")
        each = max(1, TOGETHER // len(x))
        for first in range(0, n, each):
            k = min(each, n - first)
            # One copy after the other: a row's k-th noise must not depend on how many are drawn together.
            rows = [torch.stack([torch.empty(x.shape[1:]).normal_(generator=g) for _ in range(k)]) for g in own]
            yield self.sigma * torch.stack(rows, 1).to(x)

    def _ask(self, detector: Detector, x: Tensor, noise: Tensor) -> Tensor:
        """(k, B) logits of the noisy copies."""
        noisy = (x + noise).clamp(0, 1)
        logits: Tensor = detector(noisy.flatten(0, 1))
        return logits.reshape(noisy.shape[:2])


def _checked(n: int, alpha: float) -> int:
    if n < 1 or not 0 < alpha < 1:
        raise ConfigError(f"smoothing needs n >= 1 noisy copies and alpha in (0, 1), got {n} and {alpha:g}")
    return n
