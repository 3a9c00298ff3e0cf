"""Moving, masking, colouring and blending faces: pure functions on float32 RGB in [0, 255]."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from unfooled.synthesis.landmarks import JAW, MOUTH, Points, eye_distance

Float = NDArray[np.float32]
Image = NDArray[np.uint8]


def thin_plate(at: Points, values: Points, size: int, stiffness: float = 0.0) -> Float:
    """A smooth field over a picture that takes given values at given points.

    Args:
        at: (N, 2) points in pixels.
        values: (N, 2) the field there; all zeros give exactly zero everywhere.
        size: the field is (size, size, 2).
        stiffness: >= 0; 0 passes through the values, more bends less and misses them a little.

    Source: thin-plate splines (Bookstein 1989). Deviation: the bending part is evaluated on a grid of every fourth
    pixel and enlarged, the affine part on every pixel.
    """
    scale = float(size)
    p = at / scale
    n = len(p)
    system = np.zeros((n + 3, n + 3))
    system[:n, :n] = _kernel(p, p) + stiffness * np.eye(n)
    system[:n, n], system[:n, n + 1 :] = 1, p
    system[n:, :n] = system[:n, n:].T
    weights = np.linalg.solve(system, np.vstack([values, np.zeros((3, 2))]))
    coarse = max(size // 4, 2)
    ticks = (np.arange(coarse) + 0.5) / coarse - 0.5 / scale
    nodes = np.stack(np.meshgrid(ticks, ticks), -1).reshape(-1, 2)
    bent = (_kernel(nodes, p) @ weights[:n]).reshape(coarse, coarse, 2).astype(np.float32)
    line = np.arange(size) / scale
    x, y = np.meshgrid(line, line)
    flat = weights[n] + x[..., None] * weights[n + 1] + y[..., None] * weights[n + 2]
    return np.asarray(
        cv2.resize(bent, (size, size), interpolation=cv2.INTER_CUBIC) + flat.astype(np.float32), np.float32
    )


def _kernel(a: Points, b: Points) -> Points:
    squared = ((a[:, None] - b[None]) ** 2).sum(-1)
    return np.asarray(0.5 * squared * np.log(np.maximum(squared, 1e-12)))


def grid(size: int) -> Float:
    """(size, size, 2) pixel coordinates (x, y)."""
    line = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), -1).astype(np.float32)


def sample(image: Float, where: Float) -> Float:
    """``image`` read at ``where``; at whole pixels exactly the pixel, beyond the edge the mirrored picture."""
    moved = cv2.remap(image, where[..., 0], where[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(moved, np.float32)


def pull(image: Float, shape: Points, moved: Points) -> Float:
    """The picture with the face points of ``shape`` drawn to ``moved``; the edge of the picture stays where it is.

    Args:
        image: (S, S, 3).
        shape: (N, 2) points in pixels.
        moved: (N, 2) where they go; equal to ``shape`` gives exactly ``image``.
    """
    size = len(image)
    ends = np.linspace(0, size - 1, 4)
    edge = np.array([(x, y) for x in ends for y in ends if {x, y} & {ends[0], ends[-1]}])
    at = np.vstack([moved, edge])
    back = np.vstack([shape - moved, np.zeros_like(edge)])
    return sample(image, grid(size) + thin_plate(at, back, size, stiffness=1e-4))


def carry(image: Float, shape: Points, target: Points, size: int) -> Float:
    """A face redrawn so that its points ``shape`` come to lie on ``target`` in a picture of ``size`` pixels."""
    return sample(image, thin_plate(target, shape, size, stiffness=1e-3))


def polygon(points: Points, size: int) -> Float:
    """(S, S) 1 inside the convex hull of the points, 0 outside, the edge in between."""
    mask = np.zeros((size, size), np.uint8)
    hull = cv2.convexHull(np.round(points * 16).astype(np.int32))
    cv2.fillConvexPoly(mask, hull, 255, lineType=cv2.LINE_AA, shift=4)
    return np.asarray(mask / np.float32(255), np.float32)


def soften(mask: Float, radius: float) -> Float:
    """``mask`` with a soft edge of about ``radius`` pixels that lies inside of the hard one and is 0 beyond it."""
    reach = max(round(radius), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    shrunk = cv2.erode(mask, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    # A box of the same reach, twice half of it: the support is known, so nothing leaks out of the hard mask.
    half = max(reach // 2, 1)
    box = (2 * half + 1, 2 * half + 1) if reach > 1 else (3, 3)
    once = cv2.blur(shrunk, box, borderType=cv2.BORDER_CONSTANT)
    twice = cv2.blur(once, box, borderType=cv2.BORDER_CONSTANT) if reach > 1 else once
    return np.asarray(np.clip(twice, 0, 1) * (mask > 0), np.float32)


def face_points(shape: Points, forehead: float = 0.25) -> Points:
    """Jaw, brows and the brows lifted by ``forehead`` eye distances: the outline of what is exchanged."""
    up = shape[27] - shape[8]
    lift = forehead * eye_distance(shape) * up / np.linalg.norm(up)
    # The jaw line of a mean face may lie on the background; a little inside is skin.
    centre = shape.mean(0)
    return np.vstack([centre + 0.9 * (shape[JAW] - centre), shape[17:27], shape[18:26] + lift])


def box_points(shape: Points) -> Points:
    """The four corners of the upright face box from brow to just over the chin, turned with the face."""
    eyes = shape[42:48].mean(0) - shape[36:42].mean(0)
    down = np.array([-eyes[1], eyes[0]])
    middle = (shape[42:48].mean(0) + shape[36:42].mean(0)) / 2
    return np.stack(
        [middle + u * eyes + v * down for u, v in ((-0.85, -0.5), (0.85, -0.5), (0.85, 1.55), (-0.85, 1.55))]
    )


def mouth_points(shape: Points) -> Points:
    """The mouth and the skin around it, from under the nose to the chin."""
    centre = shape[MOUTH].mean(0)
    around = centre + 1.6 * (shape[48:60] - centre)
    chin = 0.75 * shape[6:11] + 0.25 * shape[57]
    return np.vstack([around, 0.35 * shape[33] + 0.65 * shape[51], chin])


def match_colour(image: Float, like: Float, mask: Float, amount: float = 1.0) -> Float:
    """``image`` with the Lab mean and spread that ``like`` has under the mask.

    Args:
        image: (S, S, 3); its statistics are taken under the same mask.
        like: (S, S, 3).
        mask: (S, S) weights >= 0, somewhere > 0.
        amount: 0 leaves the colours, 1 matches them.

    Source: colour transfer (Reinhard et al. 2001). Deviation: CIE Lab; the spread grows by at most 1.4,
    and that of lightness shrinks to no less than .7.
    """
    weight = (mask / mask.sum())[..., None]

    def moments(x: Float) -> tuple[Float, Float]:
        mean = (weight * x).sum((0, 1))
        return mean, np.sqrt((weight * (x - mean) ** 2).sum((0, 1)))

    lab = _lab(image)
    (mean, spread), (mean_to, spread_to) = moments(lab), moments(_lab(like))
    # No lower limit for the two colour channels: a grey photograph must stay grey.
    gain = np.clip(spread_to / np.maximum(spread, 1e-3), np.array([0.7, 0, 0], np.float32), np.float32(1.4))
    matched = lab + np.float32(amount) * ((lab - mean) * gain + mean_to - lab)
    return np.asarray(cv2.cvtColor(matched.astype(np.float32), cv2.COLOR_LAB2RGB) * 255, np.float32)


def _lab(image: Float) -> Float:
    return np.asarray(cv2.cvtColor(np.clip(image, 0, 255) / np.float32(255), cv2.COLOR_RGB2LAB), np.float32)


def coarsen(image: Float, factor: float) -> Float:
    """``image`` shrunk by ``factor`` >= 1 and enlarged again."""
    size = len(image)
    small = max(round(size / factor), 2)
    down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(down, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)


def blend(real: Image, face: Float, mask: Float) -> Image:
    """``real`` where the mask is 0, ``face`` where it is 1; rounded to whole pixel values."""
    base = real.astype(np.float32)
    return np.clip(np.rint(base + mask[..., None] * (face - base)), 0, 255).astype(np.uint8)
