"""The painted skin of a person: tone, flush, lips, brows, beard, freckles, wrinkles and pores, before any light."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
from numpy.random import Generator

from unfooled.synthesis.head import FINE, Float, Plan, bump, lower_lip, step, upper_lip
from unfooled.synthesis.identity import Colour, Identity


def linear(colour: Colour | Float) -> Float:
    """Linear light of an sRGB colour, by a power of 2.2."""
    return np.asarray(np.asarray(colour, np.float32) ** np.float32(2.2), np.float32)


def noise(rng: Generator, like: Float, cell: float) -> Float:
    """Smooth unit noise of the shape of ``like``; ``cell`` is its grain in eye distances."""
    high, wide = like.shape
    shape = max(int(high / FINE / cell), 2), max(int(wide / FINE / cell), 2)
    return np.asarray(
        cv2.resize(rng.standard_normal(shape, np.float32), (wide, high), interpolation=cv2.INTER_CUBIC), np.float32
    )


@dataclass
class Canvas:
    """What is painted on: linear albedo, relief in eye distances, gloss in [0, 1]; all in place."""

    albedo: Float
    relief: Float
    gloss: Float

    def tint(self, mask: Float, colour: Float) -> None:
        """Mix a linear colour in."""
        self.albedo += mask[..., None] * (colour - self.albedo)

    def shade(self, mask: Float, factor: Float | tuple[float, float, float] | float) -> None:
        """Multiply where the mask is 1."""
        self.albedo *= 1 + mask[..., None] * (np.asarray(factor, np.float32) - 1)


def paint(who: Identity, shape: Plan, x: Float, y: Float, rng: Generator) -> Canvas:
    """Skin over the whole surface.

    Args:
        x, y: (H, W) frontal position of every pixel of the map.
    """
    tone = linear(who.skin)
    canvas = Canvas(np.tile(tone, (*x.shape, 1)), np.zeros_like(x), np.full_like(x, 0.45 * who.gloss))
    depth = 1 - 0.5 * who.melanin
    mottle = 0.5 * noise(rng, x, 0.5) + 0.35 * noise(rng, x, 0.18) + 0.25 * noise(rng, x, 0.07)
    canvas.albedo *= 1 + mottle[..., None] * np.array([0.03, 0.065, 0.07], np.float32)
    flush = (
        bump(x, y, 0.62, 0.5, 0.24, 0.2) + 0.9 * bump(x, y, 0, 0.62, 0.2, 0.13) + 0.3 * bump(x, y, 0, 1.6, 0.25, 0.15)
    )
    flush = np.clip(flush + 0.8 * bump(x, y, 1.2, 0.3, 0.1, 0.4), 0, 1)
    rosy = (0.5 + 0.5 * who.makeup + 0.5 * rng.random()) * depth
    canvas.shade(flush.astype(np.float32), tuple(1 - rosy * np.array([0.02, 0.19, 0.15])))
    canvas.shade(bump(x, y, 0, -0.7, 0.7, 0.35), (1.04, 1.04, 0.98))
    ex, ey, *_ = shape.eye
    tired = 0.35 + 0.3 * rng.random() + 0.3 * (who.age > 50)
    canvas.shade(tired * bump(x, y, ex - 0.04, ey + 0.17, 0.19, 0.055), (0.84, 0.76, 0.80))
    canvas.shade(bump(x, y, ex, ey - 0.10, 0.22, 0.07), (0.86, 0.78, 0.78))
    canvas.shade(0.6 * bump(x, y, ex - 0.25, ey + 0.02, 0.07, 0.12), (0.8, 0.72, 0.72))
    if who.makeup > 0.3:
        shadow = linear(rng.uniform(0.15, 0.5, 3).astype(np.float32)) * (0.4 + tone)
        canvas.tint(0.5 * who.makeup * bump(x, y, ex + 0.03, ey - 0.11, 0.2, 0.06), shadow)
    canvas.shade(bump(x, y, 0.105, 0.755 * shape.nose[0], 0.05, 0.022), (0.25, 0.16, 0.15))
    canvas.shade(0.35 * bump(x, y, shape.nose[1] + 0.03, 0.7 * shape.nose[0], 0.025, 0.06), (0.7, 0.55, 0.5))
    _age(canvas, who, shape, x, y, rng)
    _spots(canvas, who, x, y, rng)
    _lips(canvas, who, shape, x, y, rng)
    if who.beard != "none" or who.masculine > 0.5:
        _beard(canvas, who, shape, x, y, rng)
    _brows(canvas, who, shape, x, y, rng)
    pores = noise(rng, x, 0.016) + 0.7 * noise(rng, x, 0.03)
    zone = np.clip(0.3 + bump(x, y, 0, 0.4, 0.5, 0.4) + bump(x, y, 0, -0.6, 0.6, 0.3), 0, 1)
    canvas.relief += (0.0008 + 0.0003 * max(who.age - 30, 0) / 50) * pores * (0.5 + zone)
    canvas.albedo *= 1 + (0.03 * pores * (0.4 + zone))[..., None]
    shiny = bump(x, y, 0, -0.62, 0.45, 0.25) + bump(x, y, 0, 0.45, 0.1, 0.3) + 0.7 * bump(x, y, 0.6, 0.35, 0.2, 0.12)
    canvas.gloss *= np.clip(0.45 + 0.7 * shiny + 0.12 * noise(rng, x, 0.05), 0, 1.5)
    np.clip(canvas.albedo, 0.002, 0.95, out=canvas.albedo)
    return canvas


def _line(x: Float, y: Float, points: list[tuple[float, float]], width: float) -> Float:
    """A soft stroke through points of the image-right half, drawn on both sides."""
    nearest = np.full_like(x, 9.0)
    ax = np.abs(x)
    for (x0, y0), (x1, y1) in pairwise(points):
        dx, dy = x1 - x0, y1 - y0
        t = np.clip(((ax - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        nearest = np.minimum(nearest, (ax - x0 - t * dx) ** 2 + (y - y0 - t * dy) ** 2)
    return np.asarray(np.exp(-0.5 * nearest / width**2), np.float32)


def _age(canvas: Canvas, who: Identity, shape: Plan, x: Float, y: Float, rng: Generator) -> None:
    old = float(np.clip((who.age - 26) / 40, 0.04, 1.2))
    ex, ey, half, *_ = shape.eye
    wide, line, *_ = shape.mouth
    fold = _line(x, y, [(shape.nose[1] + 0.05, 0.66), (0.36, 0.82), (wide + 0.06, line - 0.02)], 0.028)
    marionette = _line(x, y, [(wide + 0.02, line + 0.03), (wide + 0.06, line + 0.25)], 0.02)
    bag = _line(x, y, [(ex - 0.2, ey + 0.12), (ex, ey + 0.2), (ex + 0.18, ey + 0.16)], 0.02)
    wrinkles = (0.45 + 0.55 * old) * fold + old * (0.7 * marionette + 0.9 * bag)
    feet = sum(
        _line(x, y, [(ex + half + 0.05, ey + 0.01 + k), (ex + half + 0.2, ey + 0.02 + 3 * k)], 0.008)
        for k in (-0.04, 0.0, 0.04)
    )
    brow = sum(
        np.exp(-0.5 * ((y + h + 0.04 * np.cos(2 * x + h)) / 0.012) ** 2) * bump(x, y, 0, -h, 0.5, 0.3)
        for h in (0.62, 0.78, 0.95)
    )
    glabella = _line(x, y, [(0.08, -0.32), (0.1, -0.16)], 0.012)
    wrinkles = wrinkles + max(old - 0.3, 0) * (feet + 0.8 * brow * (0.7 + 0.4 * noise(rng, x, 0.2)) + glabella)
    canvas.relief -= (0.016 * wrinkles).astype(np.float32)
    canvas.shade(np.clip(0.28 * wrinkles, 0, 0.6).astype(np.float32), (0.72, 0.58, 0.54))


def _spots(canvas: Canvas, who: Identity, x: Float, y: Float, rng: Generator) -> None:
    if who.freckles > 0.05:
        spots = np.clip(noise(rng, x, 0.028) - 1.1, 0, 1) * np.clip(0.5 + noise(rng, x, 0.3), 0, 1.5)
        where = bump(x, y, 0.4, 0.38, 0.42, 0.26) + 0.3 * bump(x, y, 0, -0.6, 0.6, 0.3)
        canvas.shade(np.clip(who.freckles * spots * where, 0, 0.75), (0.72, 0.5, 0.36))
    for _ in range(int(rng.poisson(1.6))):
        mx, my, size = rng.uniform(-0.9, 0.9), rng.uniform(-0.9, 1.5), rng.uniform(0.012, 0.028)
        mole = np.exp(-0.5 * (((x - mx) ** 2 + (y - my) ** 2) / size**2)).astype(np.float32)
        canvas.shade(0.8 * mole, (0.42, 0.28, 0.22))


def _lips(canvas: Canvas, who: Identity, shape: Plan, x: Float, y: Float, rng: Generator) -> None:
    wide, line, *_ = shape.mouth
    t = x / wide
    edge = 0.016 if who.makeup > 0.4 else 0.03
    inside = step(-edge, edge, y - upper_lip(t, shape.mouth, who.build["cupid"])) * step(
        -edge, edge, lower_lip(t, shape.mouth) - y
    )
    inside = inside * step(1.04, 0.94, np.abs(t)) * (np.abs(x) < 1.0)
    lips = linear(who.lips)
    canvas.tint(0.92 * inside, lips * (1 + 0.1 * noise(rng, x, 0.05))[..., None])
    creases = noise(rng, x[:1].repeat(2, 0), 0.02)[:1] * np.ones_like(x)
    canvas.shade(np.clip(0.5 * inside * np.clip(creases, 0, 1), 0, 1), (0.86, 0.8, 0.8))
    upper = inside * step(line + 0.01, line - 0.03, y)
    canvas.shade(0.6 * upper, (0.78, 0.72, 0.74))
    canvas.shade(bump(x, y, 0, line, 0.5 * wide + 0.08, 0.013) * (np.abs(t) < 1.02), (0.42, 0.3, 0.3))
    canvas.shade(0.7 * bump(x, y, wide, line, 0.035, 0.022), (0.55, 0.42, 0.4))
    canvas.relief -= 0.004 * inside * creases
    canvas.gloss += inside * (0.25 + 0.5 * who.makeup)


def _brows(canvas: Canvas, who: Identity, shape: Plan, x: Float, y: Float, rng: Generator) -> None:
    right = shape.rest[22:27]
    thick = 0.044 + 0.009 * who.build["brow thick"] + 0.014 * (who.masculine - 0.5)
    ax = np.abs(x)
    middle: Float = np.interp(ax, right[:, 0], right[:, 1] + 0.02).astype(np.float32)
    middle = cv2.GaussianBlur(middle, (0, 0), 0.05 * FINE)
    t = (ax - right[0, 0]) / (right[-1, 0] - right[0, 0])
    width = thick * np.clip(1.15 - 0.75 * np.clip(t, 0, 1) ** 1.4, 0.2, 2)
    d = (y - middle) / width
    hairs = strokes(rng, ax + 0.55 * (y - middle) * (1 - 1.8 * t), y, 0.017, 0.09)
    body = np.exp(-0.5 * np.abs(d) ** 2.6) * step(-0.07, 0.08, t) * step(1.06, 0.9, t)
    mask = np.clip(body * (0.72 + 0.4 * hairs), 0, 0.95).astype(np.float32)
    canvas.tint(mask * (0.9 if who.brows[0] < 0.4 else 0.75), linear(who.brows) * np.float32(0.9))
    canvas.relief += 0.006 * mask * (0.7 + 0.3 * hairs)
    canvas.gloss *= 1 - 0.8 * mask


def strokes(rng: Generator, across: Float, along: Float, fine: float, long: float) -> Float:
    """Unit noise, drawn out along one coordinate."""
    grain = cv2.GaussianBlur(rng.standard_normal((256, 256), np.float32), (0, 0), 0.8)
    grain = np.asarray((grain - grain.mean()) / grain.std(), np.float32)
    u, v = (across / fine * 1.2).astype(np.float32) % 256, (along / long * 1.2).astype(np.float32) % 256
    return np.asarray(cv2.remap(grain, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32)


def _beard(canvas: Canvas, who: Identity, shape: Plan, x: Float, y: Float, rng: Generator) -> None:
    wide, line, *_ = shape.mouth
    ax = np.abs(x) + 0.03 * noise(rng, x, 0.12)
    cheek: Float = np.interp(ax, [0.0, 0.35, 0.5, 0.75, 0.95, 1.05], [0.74, 0.80, 1.0, 0.86, 0.5, 0.1])
    cheek = cv2.GaussianBlur(cheek.astype(np.float32), (0, 0), 0.06 * FINE)
    area = step(-0.05, 0.1, y - cheek) * step(2.02, 1.85, y)
    moustache = bump(x, y, 0.15, 0.88, 0.14, 0.05) + 0.8 * bump(x, y, wide - 0.02, line - 0.05, 0.06, 0.08)
    chin = (
        bump(x, y, 0, 1.6, 0.26, 0.19) + bump(x, y, wide + 0.04, 1.2, 0.06, 0.2) + 0.7 * bump(x, y, 0, 1.33, 0.05, 0.1)
    )
    masks = {
        "full": area,
        "stubble": area,
        "none": area,
        "goatee": np.clip(1.4 * (moustache + chin), 0, 1),
        "moustache": np.clip(1.6 * moustache, 0, 1),
    }
    mask = np.clip(masks[who.beard], 0, 1).astype(np.float32)
    t = x / wide
    clear = 1 - step(-0.03, 0.02, y - upper_lip(t, shape.mouth, 0.0)) * step(
        -0.02, 0.03, lower_lip(t, shape.mouth) - y
    ) * (np.abs(t) < 1)
    mask = cv2.GaussianBlur(mask * clear, (0, 0), 0.015 * FINE)
    strands = strokes(rng, x + 0.25 * x * (y - 1) + 0.02 * noise(rng, x, 0.1), y, 0.014, 0.13)
    tone = linear(who.brows) * np.float32(0.85)
    if who.beard in ("none", "stubble"):
        amount = float(rng.uniform(0.06, 0.2)) if who.beard == "none" else float(rng.uniform(0.35, 0.62))
        dots = np.clip(0.55 + 0.5 * noise(rng, x, 0.018) + 0.3 * noise(rng, x, 0.1), 0, 1.3)
        canvas.tint(np.clip(amount * mask * dots, 0, 0.8), tone * 0.8 + 0.12 * canvas.albedo.mean((0, 1)))
        return
    opacity = np.clip(mask * (1.5 + 0.3 * strands), 0, 0.97)
    canvas.tint(opacity.astype(np.float32), tone * np.clip(1 + 0.22 * strands, 0.4, 2.0)[..., None])
    canvas.relief += (mask * (0.035 + 0.003 * strands)).astype(np.float32)
    canvas.gloss *= 1 - 0.7 * mask
