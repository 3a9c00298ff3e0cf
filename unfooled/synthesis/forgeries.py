"""The five manipulations: target and donor become one forged picture; strength 0 gives the target's bytes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar, final

import cv2
import numpy as np

from unfooled.errors import ConfigError, DataError
from unfooled.synthesis.eigenfaces import PATCH_SHAPE, Eigenfaces, patch
from unfooled.synthesis.expressions import expression, grimace
from unfooled.synthesis.flicker import Draws
from unfooled.synthesis.landmarks import Points, eye_distance
from unfooled.synthesis.photographs import Image, Portrait
from unfooled.synthesis.warps import (
    Float,
    blend,
    box_points,
    carry,
    coarsen,
    face_points,
    grid,
    match_colour,
    mouth_points,
    polygon,
    pull,
    sample,
    soften,
)


@dataclass(frozen=True)
class Forgery:
    """A forged picture and where it was forged.

    Args:
        image: (S, S, 3) uint8; equal to the target's image wherever the mask is 0.
        mask: (S, S) float32 in [0, 1].
    """

    image: Image
    mask: Float


@dataclass(frozen=True)
class Manipulation(ABC):
    """A way to forge; a value, so it can be compared, printed and sent to another process."""

    of_itself: ClassVar[bool] = False
    """The donor is the target itself."""
    aligned: ClassVar[bool] = False
    """One face is laid over another by landmarks that an alignment found in every frame anew."""

    @abstractmethod
    def face(self, target: Portrait, donor: Portrait, rng: Draws, strength: float) -> tuple[Float, Float]:
        """The forged face as a whole picture (S, S, 3), and its mask (S, S) at full opacity times ``strength``."""

    @final
    def __call__(self, target: Portrait, donor: Portrait, rng: Draws, strength: float = 1.0) -> Forgery:
        """Forge one picture.

        Args:
            target: whose picture it stays.
            donor: whose face or expression comes in; a picture of the same size.
            rng: every draw comes from it; the number of draws does not depend on ``strength``.
            strength: in [0, 1]; 0 returns the bytes of the target, through the same steps.

        Raises:
            ConfigError: strength outside [0, 1].
            DataError: pictures of two sizes.
        """
        if not 0 <= strength <= 1:
            raise ConfigError(f"strength must be in [0, 1], got {strength:g}; write 1 for the full forgery")
        if target.image.shape != donor.image.shape or target.image.shape[0] != target.image.shape[1]:
            raise DataError(
                f"target and donor must be square and of one size, got {target.image.shape} and {donor.image.shape}"
            )
        face, mask = self.face(target, donor, rng, strength)
        return Forgery(blend(target.image, face, mask), mask)


def _pixels(portrait: Portrait) -> Float:
    return portrait.image.astype(np.float32)


def _inside(outline: Points, target: Portrait) -> Float:
    """The hard mask of an outline, cut to the target's face."""
    size = len(target.image)
    return np.minimum(polygon(outline, size), polygon(face_points(target.shape), size))


@dataclass(frozen=True)
class Deepfakes(Manipulation):
    """The donor's face through a low-rank autoencoder, pasted into the target.

    Args:
        eigenfaces: the autoencoder; ``fit`` makes it from faces of other people than target and donor.
        rank: numbers that a face is squeezed into.

    Source: METHODS 9; the family of faceswap's shared-encoder autoencoders. Deviation: principal components of
    shape-free patches in place of a trained network.
    """

    aligned: ClassVar[bool] = True

    eigenfaces: Eigenfaces | None = None
    rank: int = 128

    def fit(self, patches: Float) -> Deepfakes:
        """With an autoencoder learnt from (N, PATCH, PATCH, 3) patches of ``eigenfaces.patch``."""
        return replace(self, eigenfaces=Eigenfaces.fit(patches, self.rank))

    def face(self, target: Portrait, donor: Portrait, rng: Draws, strength: float) -> tuple[Float, Float]:
        if self.eigenfaces is None:
            raise ConfigError("Deepfakes has no autoencoder yet; call Deepfakes().fit(patches) first")
        size = len(target.image)
        decoded = self.eigenfaces.reconstruct(patch(donor))
        face = carry(decoded, PATCH_SHAPE, target.shape, size)
        boxed, feather, amount = rng.random() < 0.4, rng.uniform(0.10, 0.22), rng.uniform(0.8, 1.0)
        outline = box_points(target.shape) if boxed else face_points(target.shape, forehead=0.05)
        hard = _inside(outline, target)
        mask = soften(hard, feather * eye_distance(target.shape))
        face = match_colour(face, _pixels(target), hard, amount)
        return face, mask * np.float32(strength)


@dataclass(frozen=True)
class Face2Face(Manipulation):
    """The target's face, warped towards the donor's expression.

    Source: METHODS 9; the family of arXiv:2007.14808. Deviation: a thin-plate warp of the picture, a little coarser and
    of a slightly other light, no 3-D model.
    """

    def face(self, target: Portrait, donor: Portrait, rng: Draws, strength: float) -> tuple[Float, Float]:
        wanted = expression(target.shape, donor.shape, grimace(rng, least=0.6))
        face = pull(_pixels(target), target.shape, target.shape + strength * wanted)
        gain, shade = rng.uniform(0.98, 1.02, 3), rng.uniform(-5, 5)
        face += np.float32(strength) * (coarsen(face, rng.uniform(1.3, 1.7)) - face)
        face *= (1 + strength * (gain - 1)).astype(np.float32)
        face += np.float32(strength * shade)
        hard = _inside(face_points(target.shape, forehead=0.1), target)
        return face, soften(hard, rng.uniform(0.06, 0.14) * eye_distance(target.shape))


@dataclass(frozen=True)
class FaceSwap(Manipulation):
    """The donor's face warped onto the target's, colour-matched and blended.

    Source: METHODS 9; FF++'s graphics-based FaceSwap, arXiv:1901.08971. Deviation: a thin-plate warp of the picture, a
    little coarser than the target as a rendered texture is.
    """

    aligned: ClassVar[bool] = True

    def face(self, target: Portrait, donor: Portrait, rng: Draws, strength: float) -> tuple[Float, Float]:
        size = len(target.image)
        face = carry(_pixels(donor), donor.shape, target.shape, size)
        face = coarsen(face, rng.uniform(1.3, 1.7))
        amount, feather, forehead = rng.uniform(0.75, 0.95), rng.uniform(0.05, 0.13), rng.uniform(0.0, 0.15)
        hard = _inside(face_points(target.shape, forehead), target)
        face = match_colour(face, _pixels(target), hard, amount)
        return face, soften(hard, feather * eye_distance(target.shape)) * np.float32(strength)


@dataclass(frozen=True)
class NeuralTextures(Manipulation):
    """The target's mouth, moved and drawn again at a lower resolution.

    Source: METHODS 9; the family of arXiv:1904.12356. Deviation: a warp and a coarser grid, no learnt texture.
    """

    def face(self, target: Portrait, donor: Portrait, rng: Draws, strength: float) -> tuple[Float, Float]:
        wanted = expression(target.shape, donor.shape, grimace(rng, least=0.4))
        moved = pull(_pixels(target), target.shape, target.shape + strength * wanted)
        factor = rng.uniform(1.6, 2.4) * eye_distance(target.shape) / 40
        face = coarsen(moved, max(factor, 1.3))
        gain = rng.uniform(0.95, 1.05)
        middle = face.mean((0, 1))
        face = (middle + np.float32(gain) * (face - middle)).astype(np.float32)
        hard = _inside(mouth_points(target.shape), target)
        mask = soften(hard, rng.uniform(0.08, 0.14) * eye_distance(target.shape))
        return face, mask * np.float32(strength)


@dataclass(frozen=True)
class SelfBlended(Manipulation):
    """Two differently augmented copies of one face, blended with a deformed soft mask.

    Source: arXiv:2204.08376. Deviation: the copy outside of the mask stays as it is, because there a fake must
    equal the real; a blend ratio of .25 or .5 is never drawn.
    """

    of_itself: ClassVar[bool] = True

    def face(self, target: Portrait, donor: Portrait, rng: Draws, strength: float) -> tuple[Float, Float]:
        size, unit = len(donor.image), eye_distance(donor.shape)
        face = self._recolour(_pixels(donor), rng, strength)
        detail = coarsen(face, rng.uniform(1.6, 2.4))
        sharpen = rng.random() < 0.35
        face = face + np.float32(strength) * ((face - detail) * np.float32(0.8) if sharpen else detail - face)
        angle, grow = rng.uniform(-3, 3), rng.uniform(0.97, 1.05)
        shift = rng.uniform(-0.035, 0.035, 2) * unit
        turn = cv2.getRotationMatrix2D(tuple(donor.shape.mean(0)), strength * angle, 1 + strength * (grow - 1))
        turn[:, 2] = turn[:, 2] + strength * shift
        back = cv2.invertAffineTransform(turn)
        where = grid(size) @ back[:, :2].T + back[:, 2]
        face = sample(face, where.astype(np.float32))
        ratio = rng.choice([0.75, 1.0, 1.0, 1.0])
        return face, self._mask(target, rng) * np.float32(strength * ratio)

    @staticmethod
    def _recolour(image: Float, rng: Draws, strength: float) -> Float:
        shift, gain, bright = rng.uniform(-6, 6, 3), rng.uniform(0.92, 1.08), rng.uniform(-8, 8)
        changed = (image - 128) * gain + 128 + shift + bright
        return np.asarray(np.clip(image + strength * (changed - image), 0, 255), np.float32)

    @staticmethod
    def _mask(target: Portrait, rng: Draws) -> Float:
        unit = eye_distance(target.shape)
        whole = face_points(target.shape, rng.uniform(0.0, 0.2))
        parts = [whole, whole, mouth_points(target.shape), np.vstack([target.shape[17:48]])]
        outline = parts[int(rng.integers(len(parts)))]
        hard = _inside(outline + rng.normal(0, 0.06 * unit, outline.shape), target)
        return soften(hard, rng.uniform(0.06, 0.22) * unit)


MANIPULATIONS: dict[str, type[Manipulation]] = {
    "Deepfakes": Deepfakes,
    "Face2Face": Face2Face,
    "FaceSwap": FaceSwap,
    "NeuralTextures": NeuralTextures,
    "SelfBlended": SelfBlended,
}
