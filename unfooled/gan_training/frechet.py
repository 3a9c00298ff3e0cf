"""The Frechet distance of two sets of images: how far their features lie apart as Gaussians."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.errors import DataError
from unfooled.models.detector import Detector

SIDE = 96
"""Pixels that a detector without a size of its own sees: what the default of a recipe trains with."""


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and covariance (D, D) of features, in double."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> Gaussian:
        """Fitted to (N, D) features, N >= 2.

        Raises:
            DataError: fewer than two rows, or a number that is not finite.
        """
        if len(features) < 2:
            raise DataError(f"a Frechet distance needs at least 2 images on each side, got {len(features)}")
        if not features.isfinite().all():
            raise DataError("the features hold numbers that are not finite; use another detector for them")
        features = features.double()
        mean = features.mean(0)
        rest = features - mean
        return cls(mean, rest.t() @ rest / (len(features) - 1))


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """``|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2))``; 0 for equal Gaussians, symmetric, never below 0.

    The square root's trace is the sum of the roots of the eigenvalues of ``C1^(1/2) C2 C1^(1/2)``, which is symmetric.

    Source: Dowson and Landau 1982; on features: FID, arXiv:1706.08500. Deviation: features of a deepfake detector
    instead of Inception-v3, so values compare only within one detector.
    """
    values, vectors = torch.linalg.eigh(one.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.t()
    mixed = root @ other.covariance @ root
    cross = torch.linalg.eigvalsh((mixed + mixed.t()) / 2).clamp_min(0).sqrt().sum()
    distance = (one.mean - other.mean).square().sum() + one.covariance.trace() + other.covariance.trace() - 2 * cross
    return max(0.0, float(distance))


def features_of(detector: Detector, batches: Iterable[Tensor]) -> Tensor:
    """(N, D) penultimate features of images (B, 3, H, W) in [0, 1], resized to what the detector sees.

    Args:
        detector: of frames, in eval mode; one without a size sees 96 pixels.
    """
    side = detector.size or SIDE
    found = []
    with torch.no_grad():
        for x in batches:
            x = x.to(detector.threshold.device)
            shrinks = x.shape[-2] > side or x.shape[-1] > side
            resized = F.interpolate(x, (side, side), mode="bilinear", antialias=shrinks)
            found.append(detector.features(resized).double().cpu())
    return torch.cat(found) if found else torch.empty(0, 1)
