"""A low-rank autoencoder of faces: principal components of faces brought into one shape."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unfooled.synthesis.landmarks import MEAN_SHAPE, Points
from unfooled.synthesis.photographs import Portrait
from unfooled.synthesis.warps import Float, carry

PATCH = 96


def _patch_shape() -> Points:
    low, high = MEAN_SHAPE.min(0), MEAN_SHAPE.max(0)
    placed: Points = (MEAN_SHAPE - (low + high) / 2) * (0.9 * PATCH / float((high - low).max())) + (PATCH - 1) / 2
    return placed


PATCH_SHAPE: Points = _patch_shape()
"""(68, 2) where the mean face lies in a patch."""


def patch(portrait: Portrait) -> Float:
    """(PATCH, PATCH, 3) the face of a portrait with every point where the mean face has it; values in [0, 255]."""
    return carry(portrait.image.astype(np.float32), portrait.shape, PATCH_SHAPE, PATCH)


@dataclass(frozen=True)
class Eigenfaces:
    """Mean, components and spreads of a set of face patches.

    Args:
        mean: (D,) the mean patch, flat.
        components: (R, D) orthonormal rows, the widest spread first.
        spread: (R,) standard deviation along each component.
    """

    mean: NDArray[np.float32]
    components: NDArray[np.float32]
    spread: NDArray[np.float32]

    @classmethod
    def fit(cls, patches: Float, rank: int) -> Eigenfaces:
        """Fit to (N, PATCH, PATCH, 3) patches; the rank is cut to N - 1.

        The eigenvectors come from the N x N table of inner products, which is smaller than D x D.
        """
        flat = patches.reshape(len(patches), -1)
        mean = flat.mean(0)
        rest = flat - mean
        values, vectors = np.linalg.eigh((rest @ rest.T).astype(np.float64))
        keep = [i for i in np.argsort(values)[::-1][: min(rank, len(flat) - 1)] if values[i] > 1e-6 * values[-1]]
        components = (vectors[:, keep] / np.sqrt(values[keep])).T.astype(np.float32) @ rest
        return cls(mean, components, np.sqrt(values[keep] / len(flat)).astype(np.float32))

    def reconstruct(self, face: Float) -> Float:
        """A patch squeezed through the components; no coefficient goes beyond 3 standard deviations."""
        code = self.components @ (face.reshape(-1) - self.mean)
        limit = 3 * self.spread
        return np.asarray(self.mean + np.clip(code, -limit, limit) @ self.components, np.float32).reshape(face.shape)
