"""A person ready to be rendered: the painted maps, the surface, its normals; made once and kept for a while."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.random import Generator

from unfooled.randomness import seed_of
from unfooled.synthesis.deformation import Deformation, Muscles, look_up, moved, muscles
from unfooled.synthesis.hair import LONG, dress
from unfooled.synthesis.head import COARSE, FINE, RADIUS, TOP, Float, Plan, axes, bare, plan, step
from unfooled.synthesis.identity import Identity, identity
from unfooled.synthesis.landmarks import Points
from unfooled.synthesis.motion import State
from unfooled.synthesis.skin import Canvas, linear, noise, paint, strokes

KEPT = 24
"""People whose maps are kept, about 8 MB each."""


@dataclass(frozen=True)
class Model:
    """A person.

    Args:
        who, shape, face: identity, proportions, muscles.
        radius: (h, w) the surface at rest, ``COARSE``.
        albedo: (H, W, 3) linear, ``FINE``.
        normal: (H, W, 3) unit normals at rest, ``FINE``.
        extra: (H, W, 4) ambient occlusion, gloss, hair, frontal x at rest; ``FINE``.
        rest: (68, 2) angle and height of the landmarks at rest.
        bare: (h, w) the surface without hair, ``COARSE``.
    """

    who: Identity
    shape: Plan
    face: Muscles
    radius: Float
    bare: Float
    albedo: Float
    normal: Float
    extra: Float
    rest: Points


@lru_cache(maxsize=KEPT)
def model(seed: int, person: int) -> Model:
    """Paint a person; about a third of a second."""
    who = identity(seed, person)
    rng = np.random.default_rng(seed_of(who.texture, "paint"))
    shape = plan(who)
    angle, y = axes(FINE)
    hidden = who.style in (*LONG, "scarf") or (who.style == "curly" and who.masculine < 0.5)
    coarse = bare(who, shape, COARSE, ears=not hidden)
    radius = cv2.resize(coarse, angle.shape[::-1], interpolation=cv2.INTER_CUBIC)
    x = (radius * np.sin(angle)).astype(np.float32)
    # Behind the face nothing may be painted that lies at the same frontal position.
    painted_x = np.where(np.cos(angle) > 0, x, np.sign(x) * (2.5 - np.abs(x))).astype(np.float32)
    canvas = paint(who, shape, painted_x, y, rng)
    radius = _clothe(canvas, who, radius, angle, y, rng)
    shell, hairy = dress(canvas, who, radius, angle, y, rng)
    relief = cv2.GaussianBlur(canvas.relief, (0, 0), 0.007 * FINE)
    normal = _normals(shell + relief, angle)
    ambient = _occlusion(shell, coarse) ** 1.3
    extra = np.stack([ambient, np.clip(canvas.gloss, 0, 1), hairy, x], -1).astype(np.float32)
    # Loose hairs make the outline uneven; in the normals they would look like clay.
    loose = (
        (0.045 if who.style == "curly" else 0.02) * cv2.GaussianBlur(hairy, (0, 0), 0.08 * FINE) * noise(rng, y, 0.04)
    )
    held = cv2.resize(shell + loose, coarse.shape[::-1], interpolation=cv2.INTER_AREA)
    face = muscles(shape, coarse)
    return Model(who, shape, face, held, coarse, canvas.albedo, normal, extra, _on_surface(coarse, shape.rest))


def _normals(radius: Float, angle: Float) -> Float:
    x, z = radius * np.sin(angle), radius * np.cos(angle)
    step_y, step_a = np.float32(2 / FINE), np.float32(2 / FINE / RADIUS)

    def along(f: Float, axis: int) -> Float:
        kernel = np.array([[-1, 0, 1]], np.float32)
        return np.asarray(
            cv2.filter2D(f, -1, kernel if axis else kernel.T, borderType=cv2.BORDER_REPLICATE), np.float32
        )

    xa, za = along(x, 1) / step_a, along(z, 1) / step_a
    xy, zy = along(x, 0) / step_y, along(z, 0) / step_y
    # d/dy x d/da, with y running down: points outwards.
    n = np.stack([-za, za * xy - zy * xa, xa], -1)
    n[..., 1] = za * xy - xa * zy
    n /= np.linalg.norm(n, axis=-1, keepdims=True)
    return np.asarray(n, np.float32)


def _occlusion(shell: Float, coarse: Float) -> Float:
    """Ambient light that reaches a point: less in hollows, at three sizes."""
    small = cv2.resize(shell, coarse.shape[::-1], interpolation=cv2.INTER_AREA)
    light = np.ones_like(small)
    for sigma, gain in ((0.05, 4.0), (0.12, 2.2), (0.3, 1.1)):
        hollow = cv2.GaussianBlur(small, (0, 0), sigma * COARSE) - small
        light *= np.exp(-gain * np.maximum(hollow, 0))
    return np.asarray(cv2.resize(light, shell.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _on_surface(radius: Float, frontal: Points) -> Points:
    """Angle of points given by their frontal x, on the front of the bare surface."""
    angle, y = axes(COARSE)
    found = frontal.copy()
    for k, (px, py) in enumerate(frontal):
        row = int(np.clip(round((py - TOP) * COARSE - 0.5), 0, len(y) - 1))
        line = radius[row] * np.sin(angle[row])
        ahead = np.abs(angle[row]) < 1.45
        found[k, 0] = np.interp(px, np.maximum.accumulate(line[ahead]), angle[row][ahead])
    return found


def lids(shape: Plan, now: State) -> tuple[float, float, float, float]:
    """Opening above and below at full width, how far the lid is down in [0, 1], and the squint of the lower one."""
    _, _, _, above, below, _ = shape.eye
    above = above * (1 - 0.12 * max(now.squint, -0.4) + 0.12 * now.brows) + 0.25 * now.look[1]
    return above, below * (1 - 0.45 * now.squint), now.blink, now.squint


def upper_lid(p: Float, opening: tuple[float, float, float, float]) -> Float:
    """Height of the upper lid's edge over the corner line at ``p`` in [-1 inner, 1 outer]; negative is up."""
    above, _, shut, _ = opening
    arch = np.clip(1 - np.abs(p) ** 2.3, 0, 1) * (1 - 0.16 * p)
    return np.asarray(-(1 - shut) * above * arch + shut * 0.8 * lower_lid(p, opening), np.float32)


def lower_lid(p: Float, opening: tuple[float, float, float, float]) -> Float:
    """Height of the lower lid's edge."""
    return np.asarray(opening[1] * np.clip(1 - np.abs(p) ** 2.2, 0, 1) * (1 + 0.18 * p), np.float32)


def landmarks(who: Model, now: State, change: Deformation) -> tuple[Points, Points]:
    """(68, 3) positions on the head before it turns, and their (68, 2) angle and height."""
    rest = who.rest.copy()
    ex, ey, half, _, _, tilt = who.shape.eye
    opening = lids(who.shape, now)
    p = np.array([1, 0.4, -0.36, -1, -0.36, 0.4], np.float32)
    q = np.concatenate([upper_lid(p[:3], opening), lower_lid(p[3:], opening)])
    q[0] = 0
    along, down = half * p * np.cos(tilt) - q * np.sin(tilt), half * p * np.sin(tilt) + q * np.cos(tilt)
    flat = np.stack([ex + along, ey + down], -1)
    left = flat * (-1, 1)
    eyes = np.concatenate([left, flat[[3, 2, 1, 0, 5, 4]]])
    rest[36:48] = _on_surface(who.bare, eyes)
    below = (rest[:, 1] > who.shape.mouth[1] + 0.03).astype(np.float64)
    below[[55, 56, 57, 58, 59, 65, 66, 67]] = 1
    place = moved(rest, below, change)
    # The resting point, not the moved one, says how far from the axis it lies.
    r = look_up(who.bare, rest)[:, 0]
    return np.stack([r * np.sin(place[:, 0]), place[:, 1], r * np.cos(place[:, 0])], -1), place


def _clothe(canvas: Canvas, who: Identity, radius: Float, angle: Float, y: Float, rng: Generator) -> Float:
    """Paint the garment; the radius with it."""
    out = np.abs(angle)
    neckline = {
        "crew": 2.38 - 0.16 * out,
        "shirt": 2.18 + 0.75 * np.clip(0.5 - out, 0, 1) - 0.06 * out,
        "collar": 2.1 + 0.9 * np.clip(0.36 - out, 0, 1),
        "hood": 2.22 - 0.10 * out,
        "roll neck": 2.02 - 0.03 * out,
        "v neck": 2.3 + 0.55 * np.clip(0.9 - out, 0, 1) - 0.05 * out,
    }[who.clothes].astype(np.float32)
    mask = step(-0.015, 0.015, y - neckline)
    folds = strokes(rng, 1.1 * angle + 0.35 * y + 0.1 * noise(rng, y, 0.6), y, 0.22, 1.2)
    cloth = linear(who.cloth)
    weave = noise(rng, y, 0.014)
    hem = np.exp(-0.5 * ((y - neckline - 0.09) / 0.008) ** 2)
    canvas.tint(mask, cloth * (1 + 0.08 * weave + 0.1 * folds - 0.35 * hem)[..., None])
    if rng.random() < 0.25:
        stripes = 0.5 + 0.5 * np.tanh(
            6 * np.sin(y * rng.uniform(30, 70) if rng.random() < 0.5 else angle * rng.uniform(30, 60))
        )
        canvas.tint(0.5 * mask * stripes, linear(np.clip(np.array(who.cloth) * rng.uniform(0.4, 2.0), 0, 1)))
    canvas.gloss *= 1 - 0.9 * mask
    canvas.relief *= 1 - mask
    rim = {"roll neck": 0.09, "hood": 0.14, "shirt": 0.07, "collar": 0.08}.get(who.clothes, 0.035)
    near = np.exp(-np.clip(y - neckline, 0, 9) / 0.2)
    canvas.relief += 0.0025 * mask * weave
    return np.asarray(radius + mask * (0.03 + rim * near + 0.025 * folds * step(0, 0.3, y - neckline)), np.float32)
