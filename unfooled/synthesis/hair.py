"""Hair and scarves: a shell over the head with a colour, a hairline and strands."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from unfooled.synthesis.head import FINE, Float, step
from unfooled.synthesis.identity import Identity
from unfooled.synthesis.skin import Canvas, linear, noise, strokes

LONG = ("long", "wavy", "bob", "fringe")


def _blur(mask: Float, sigma: float) -> Float:
    """Gaussian of ``sigma`` eye distances, on a quarter of the pixels."""
    small = cv2.resize(mask, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), max(sigma * FINE / 4, 0.3))
    return np.asarray(cv2.resize(small, mask.shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def dress(canvas: Canvas, who: Identity, radius: Float, angle: Float, y: Float, rng: Generator) -> tuple[Float, Float]:
    """Paint the hair over the canvas; the radius with it (H, W), and where it is hair (H, W) in [0, 1]."""
    if who.style == "scarf":
        return _scarf(canvas, who, radius, angle, y, rng)
    b = who.build
    strand = _flow(who, angle, y, rng)
    ragged = 0.035 * strand + 0.035 * noise(rng, y, 0.2)
    mask = step(-0.07, 0.06, _area(who, angle, y, rng) + ragged)
    if who.style == "bald":
        mask = mask * 0.12
    # The wall of the hair begins inside of its colour, so no skin is drawn out along it.
    deep = np.clip(2.4 * (_blur(mask, 0.09) - 0.52), 0, 1) * mask
    volume = {
        "bald": 0.0,
        "shaved": 0.012,
        "short": 0.10,
        "side part": 0.16,
        "quiff": 0.19,
        "curly": 0.34,
        "tied": 0.08,
        "long": 0.15,
        "wavy": 0.2,
        "bob": 0.17,
        "fringe": 0.16,
    }[who.style]
    volume *= 1 + 0.18 * b["volume"]
    cropped = who.style in ("short", "side part", "quiff", "shaved")
    # Cropped sides lie close; the top keeps its volume.
    lower = np.where(y < -0.75, 1.0, 0.35) if cropped else np.ones_like(y)
    height = cv2.GaussianBlur((volume * lower).astype(np.float32), (0, 0), 0.12 * FINE)
    shell = radius + deep * height * (1 + 0.03 * strand) + 0.012 * mask * (who.style != "shaved")
    if who.style in LONG or who.style == "curly":
        # Beside the neck hair hangs as a curtain of even depth, not around the axis.
        ahead = (0.62 + 0.5 * volume + 0.04 * np.sin(3 * y + b["wave"])) / np.maximum(np.cos(angle), 0.2)
        fall = np.minimum(1.15 + 0.4 * volume, ahead).astype(np.float32) * step(0.5, 0.9, y)
        shell = np.where(deep > 0, np.maximum(shell, deep * fall + (1 - deep) * radius), shell)
    colour = linear(who.hair)
    light = np.clip(0.95 + 0.38 * strand, 0.25, 2.0)
    roots = 0.55 + 0.45 * _blur(mask, 0.07) ** 2
    if who.style == "shaved":
        canvas.tint(np.clip(0.72 * mask * (0.85 + 0.2 * noise(rng, y, 0.02)), 0, 0.9), colour * 0.8)
        canvas.gloss *= 1 - 0.6 * mask
        return np.asarray(shell, np.float32), 0.3 * mask
    tone = colour * (light * roots)[..., None]
    # A few strands of another shade: nobody's hair is of one colour.
    tone = tone * (1 + 0.12 * noise(rng, y, 0.3)[..., None] * np.array([1.0, 0.8, 0.6], np.float32))
    # Where hair is thick no skin shows between the strands.
    canvas.tint(np.clip(mask * (1 + 0.9 * deep + 0.3 * strand), 0, 1), tone)
    canvas.relief += 0.0025 * mask * strand
    canvas.gloss += mask * (0.42 * np.clip(0.6 + 0.7 * strand, 0, 2) - canvas.gloss)
    return np.asarray(shell, np.float32), np.asarray(mask * (who.style != "bald"), np.float32)


def _area(who: Identity, angle: Float, y: Float, rng: Generator) -> Float:
    """Signed distance, about: positive where hair grows or falls."""
    b = who.build
    out = np.abs(angle)
    man = who.masculine > 0.5
    high = -0.96 - 0.07 * b["hairline"] - (0.05 * max(who.age - 40, 0) / 20 if man else 0)
    corner = high - (0.06 + 0.08 * max(b["recede"], -0.5) if man else 0.02)
    burn = {True: 0.25, False: 0.1}[man]
    at = [0, 0.35, 0.62, 0.9, 1.06, 1.16, 1.22, 1.31, 1.4, 1.95, 2.05, 2.5]
    if who.style == "bald":
        line = [-2, -2, -2, -1.9, -1.2, -0.6, -0.3, -0.2, -0.25, -0.25, 1.1, 1.3]
    else:
        line = [high, high, corner, -0.84, -0.64, -0.38, burn, burn, -0.24, -0.24, 1.25, 1.45]
    if who.style == "curly" or (who.style == "tied" and not man):
        line[6:8] = [0.0, 0.0]
    edge: Float = np.interp(out, at, line).astype(np.float32)
    edge = cv2.GaussianBlur(edge, (0, 0), 0.07 * FINE)
    area = edge - y
    if who.style in LONG or (who.style == "curly" and not man):
        end = {"long": 3.2, "wavy": 2.9, "bob": 1.5, "fringe": 1.75, "curly": 1.5}[who.style] + 0.22 * b["length"]
        part = 0.22 * b["parting"] * (who.style != "fringe")
        at_y = [-1.5, -1.15, -0.9, -0.5, -0.1, 0.5, 1.2, 1.8, 3.0]
        opening: Float = np.interp(y, at_y, [0.0, 0.1, 0.5, 0.84, 0.97, 1.03, 0.98, 0.74, 0.62]).astype(np.float32)
        opening = opening - 0.05 * b["volume"] + 0.03 * np.sin(3.1 * y + 2 * b["wave"])
        shifted = np.abs(angle - part * step(0.2, -1.2, y))
        curtain = np.minimum(1.1 * (shifted - opening), end - y + 0.1 * noise(rng, y, 0.1))
        area = np.maximum(area, curtain)
        if who.style == "fringe":
            fringe = (
                -0.44
                + 0.05 * b["hairline"]
                + 0.05 * angle**2
                + 0.03 * np.sin(9 * angle)
                + 0.03 * noise(rng, y, 0.06)
                - y
            )
            area = np.maximum(area, np.where(out < 1.2, fringe, -9))
    if who.style == "side part":
        # The fringe is swept across the forehead, away from the parting.
        way = 1.0 if b["parting"] > 0 else -1.0
        sweep = high + 0.16 + 0.2 * np.clip(way * angle, -0.6, 0.9) - y
        area = np.maximum(area, np.where(out < 1.0, sweep, -9))
    return np.asarray(area, np.float32)


def _flow(who: Identity, angle: Float, y: Float, rng: Generator) -> Float:
    """Strands as unit noise along the way the hair lies."""
    b = who.build
    if who.style == "curly":
        u, v = noise(rng, y, 0.12), noise(rng, y, 0.12)
        rings = np.sin(26 * angle + 3.2 * u) * np.sin(24 * y + 3.2 * v)
        return np.asarray(0.75 * rings + 0.4 * noise(rng, y, 0.05) + 0.35 * noise(rng, y, 0.02), np.float32)
    wave = {"wavy": 0.07, "long": 0.02, "bob": 0.02, "fringe": 0.015}.get(who.style, 0.02)
    across = 1.1 * angle + wave * np.sin((5 + b["wave"]) * y + 1.5 * noise(rng, y, 0.5)) + 0.03 * noise(rng, y, 0.35)
    along = y
    if who.style == "side part":
        tilt = 0.8 * np.sign(b["parting"]) * step(-0.5, -0.9, y)
        across, along = across * (1 - 0.45 * np.abs(tilt)) + tilt * 0.9 * y, y - tilt * angle
    elif who.style == "tied":
        across = across * step(-1.6, -0.6, y) + 0.7 * y
        along = 1.1 * np.abs(angle)
    elif who.style in LONG:
        top = step(-0.5, -1.3, y)
        across = across * (1 - 0.35 * top)
    clump = strokes(rng, across, along, 0.07, 1.1)
    fine = strokes(rng, across, along, 0.024, 0.6)
    hair = strokes(rng, across, along, 0.011, 0.35)
    return np.asarray(0.4 * clump + 0.5 * fine + 0.5 * hair, np.float32)


def _scarf(canvas: Canvas, who: Identity, radius: Float, angle: Float, y: Float, rng: Generator) -> tuple[Float, Float]:
    out = np.abs(angle)
    at_y = [-1.5, -1.12, -0.95, -0.5, 0.0, 0.6, 1.2, 1.6, 1.84, 1.9, 3.0]
    opening = np.interp(y, at_y, [-0.3, -0.05, 0.5, 0.92, 1.06, 1.08, 0.98, 0.72, 0.2, -0.2, -0.4]).astype(np.float32)
    mask = step(-0.025, 0.025, cv2.GaussianBlur(out - opening, (0, 0), 0.05 * FINE) * np.where(y > 1.86, 1, 1))
    # The chin keeps the cloth away from the mouth.
    folds = strokes(rng, y + 0.5 * out + 0.1 * noise(rng, y, 0.5), out, 0.22, 1.6)
    fall = np.where(y > 0.8, np.minimum(1.2, 0.95 + 0.1 * (y - 0.8)), 0) * step(0.5, 1.1, out)
    fall = np.maximum(fall, np.where(y > 1.7, 0.78 + 0.1 * (y - 1.7), 0))
    deep = np.clip(2.5 * (_blur(mask, 0.07) - 0.4), 0, 1)
    shell = np.maximum(radius + 0.09 * deep, deep * fall) + deep * 0.025 * folds
    cloth = linear(who.cloth) * np.float32(0.9)
    weave = 1 + 0.05 * noise(rng, y, 0.015)
    canvas.tint(mask, cloth * (weave * np.clip(1 + 0.12 * folds, 0.5, 1.5))[..., None])
    canvas.gloss *= 1 - 0.85 * mask
    canvas.relief *= 1 - mask
    return np.asarray(cv2.GaussianBlur(shell.astype(np.float32), (0, 0), 0.02 * FINE), np.float32), np.asarray(
        0 * mask, np.float32
    )
