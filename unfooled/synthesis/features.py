"""What is drawn anew in every frame, with edges finer than a pixel: eyes under their lids, the open mouth, glasses."""

from __future__ import annotations

import math

import cv2
import numpy as np

from unfooled.synthesis.head import Float
from unfooled.synthesis.landmarks import Points
from unfooled.synthesis.model import Model, lids, lower_lid, upper_lid
from unfooled.synthesis.motion import State
from unfooled.synthesis.skin import linear


def _mix(image: Float, mask: Float, colour: Float) -> None:
    image += mask[..., None] * (colour - image)


def eye(
    image: Float, light: Float, x: Float, y: Float, who: Model, now: State, lamp: Float, ppu: float, side: int
) -> None:
    """Draw one eye over the lit skin, in place.

    Args:
        image: (h, w, 3) lit picture around the eye.
        light: (h, w, 3) irradiance there.
        x, y: (h, w) position on the resting face.
        lamp: (3,) direction to the key light, relative to the head.
        ppu: pixels per eye distance.
        side: -1 image left, 1 image right.
    """
    ex, ey, half, _, _, tilt = who.shape.eye
    opening = lids(who.shape, now)
    dx, dy = side * x - ex, y - ey
    cos, sin = math.cos(tilt), math.sin(tilt)
    p = (dx * cos + dy * sin) / half
    q = dy * cos - dx * sin
    upper, lower = upper_lid(p, opening), lower_lid(p, opening)
    within = np.clip((1 - np.abs(p)) * half * ppu + 0.5, 0, 1)
    ball = np.clip((q - upper) * ppu + 0.5, 0, 1) * np.clip((lower - q) * ppu + 0.5, 0, 1) * within
    tissue = linear(who.who.skin)
    white = np.array([0.62, 0.57, 0.53], np.float32) * (0.75 + 0.25 * tissue.mean())
    pink = np.array([0.42, 0.2, 0.18], np.float32) * (0.5 + tissue)
    rim = (
        np.exp(-np.clip(lower - q, 0, 1) / 0.03) * 0.35
        + np.exp(-np.clip(1 + p, 0, 2) / 0.12) * 0.8
        + np.exp(-np.clip(1 - p, 0, 2) / 0.1) * 0.35
    )
    albedo = white + np.clip(rim, 0, 0.9)[..., None] * (pink - white)
    # Iris and pupil on the ball; the gaze is that of both eyes.
    gx, gy = side * now.look[0] + 0.004, now.look[1] - 0.012
    ix, iy = p * half - gx, q - gy
    radius = np.hypot(ix, iy) / 0.103
    turn = np.arctan2(iy, ix)
    fibres = 1 + 0.16 * np.sin(17 * turn + 3 * np.sin(5 * turn)) + 0.10 * np.sin(41 * turn)
    iris = linear(who.who.iris) * 0.9
    ring = np.clip(1.25 - radius**4, 0.12, 1.2) * (0.75 + 0.45 * np.clip(iy / 0.103, -1, 1))
    coloured = (
        iris * (fibres * ring)[..., None]
        + np.array([0.05, 0.025, 0.0], np.float32) * np.exp(-(((radius - 0.48) / 0.16) ** 2))[..., None]
    )
    soft = 0.103 * ppu
    _mix(albedo, np.clip((1 - radius) * soft + 0.5, 0, 1), coloured)
    _mix(albedo, np.clip((0.42 - radius) * soft + 0.5, 0, 1), np.full(3, 0.006, np.float32))
    shade = 1 - 0.62 * np.exp(-np.clip(q - upper, 0, 1) / 0.035)
    round_ = 1 - 0.28 * p**2
    eyeball = albedo * light * (shade * round_ * 1.12)[..., None]
    cx, cy = 0.042 * lamp[0] + gx * 0.6, 0.045 * lamp[1] + gy * 0.6
    gleam = np.exp(-0.5 * (np.hypot(p * half * side - cx, q - cy) / 0.017) ** 2) + 0.12 * np.exp(
        -0.5 * (np.hypot(p * half * side + cx, q - 0.04) / 0.02) ** 2
    )
    eyeball = eyeball + (gleam * 0.85 * light.mean())[..., None]
    eyeball += 0.10 * light * (np.exp(-0.5 * ((lower - q - 0.012) / 0.008) ** 2))[..., None] * tissue
    # Fold over the upper lid, then the ball, then the lashes.
    hood = 0.062 + 0.012 * who.who.build["lid"]
    fold = np.clip(1 - np.abs(p * 0.92) ** 2.2, 0, 1) * (opening[0] * (1 - 0.35 * opening[2]) + hood) - 0.004
    crease = np.exp(-0.5 * ((q + fold) / 0.011) ** 2) * np.clip(1.15 - p**2, 0, 1) * (1 - 0.5 * opening[2])
    image *= 1 - (0.42 * crease)[..., None] * np.array([0.8, 1.0, 1.0], np.float32)
    _mix(image, ball.astype(np.float32), eyeball)
    made_up = who.who.makeup
    lash = 0.013 + 0.008 * made_up + 0.006 * np.clip(p, 0, 1)
    flick = np.clip(1.06 - np.abs(p), 0, 0.12) / 0.12
    dark = np.exp(-0.5 * ((q - upper + 0.006) / lash) ** 2) * flick * (0.72 + 0.2 * made_up)
    strokes = (
        np.exp(-0.5 * ((q - upper + 0.03) / 0.02) ** 2)
        * flick
        * np.clip(0.2 + 0.4 * p, 0, 1)
        * (0.5 + 0.5 * np.sin(50 * p + 8 * q))
    )
    under = (
        np.exp(-0.5 * ((q - lower - 0.006) / 0.010) ** 2)
        * flick
        * np.clip(0.5 + 0.5 * p, 0.15, 1)
        * (0.28 + 0.4 * made_up)
    )
    tone = linear(who.who.brows) * 0.35 * light
    _mix(image, np.clip(dark + 0.5 * strokes * (0.5 + made_up) + under, 0, 0.93).astype(np.float32), tone)


def mouth(image: Float, light: Float, x: Float, gap: Float, opening: Float, who: Model, now: State, ppu: float) -> None:
    """Draw teeth, tongue and dark between the lips, in place; ``gap`` is 0 at the upper lip, 1 at the lower."""
    deep, up = gap * opening, (1 - gap) * opening
    inside = np.clip(np.minimum(deep, up) * ppu * 1.2, 0, 1) * np.clip(opening * ppu - 0.6, 0, 1)
    if not inside.any():
        return
    wide = who.shape.mouth[0]
    t = x / wide
    dark = np.array([0.035, 0.010, 0.010], np.float32)
    colour = np.tile(dark, (*gap.shape, 1))
    tongue = np.clip((deep - 0.13) / 0.08, 0, 1) * np.clip(1 - (t / 0.7) ** 2, 0, 1)
    _mix(colour, (0.75 * tongue).astype(np.float32), np.array([0.28, 0.085, 0.08], np.float32))
    edge = 0.085 + 0.035 * max(now.smile, 0) - 0.03 * t**2
    teeth = np.clip((edge - deep) * ppu + 0.5, 0, 1) * np.clip((0.95 - np.abs(t)) * 8, 0, 1)
    tooth = 0.105 - 0.03 * np.abs(t)
    between = np.exp(-0.5 * (((np.abs(x) / tooth + 0.5) % 1 - 0.5) * tooth / 0.006) ** 2)
    ivory = np.array([0.60, 0.53, 0.43], np.float32) * (1 - 0.004 * (who.who.age - 18))
    lit = (1 - 0.75 * t**2) * (1 - 0.45 * np.exp(-deep / 0.025)) * (1 - 0.3 * between)
    _mix(colour, teeth.astype(np.float32), ivory * np.clip(lit, 0.05, 1)[..., None])
    lower = 0.7 * np.clip((0.028 - up) * ppu + 0.5, 0, 1) * np.clip((0.6 - np.abs(t)) * 6, 0, 1) * (opening > 0.1)
    _mix(colour, lower.astype(np.float32), ivory * 0.4)
    _mix(image, inside.astype(np.float32), colour * light * 0.9)


def rims(who: Model) -> list[Points]:
    """Strokes (N, 3) of the glasses on the unturned head: lenses, bridge, temples; empty without glasses."""
    half = who.who.glasses
    if not half:
        return []
    ex, ey, *_ = who.shape.eye
    square = 2.0 + 2.2 * abs(who.who.build["asymmetry"])
    tall = half * (0.72 + 0.09 * who.who.build["eye apart"])
    turn = np.linspace(0, 2 * np.pi, 33)
    c, s = np.cos(turn), np.sin(turn)
    px, py = half * np.sign(c) * np.abs(c) ** (2 / square), tall * np.sign(s) * np.abs(s) ** (2 / square)
    px = px * (1 - 0.08 * py / tall)
    found = []
    for side in (-1, 1):
        x, y = side * (ex + 0.01) + side * px, ey + 0.07 + py
        found.append(np.stack([x, y, 1.30 - 0.16 * (np.abs(x) / 0.9) ** 2], -1))
        hinge = side * (ex + half + 0.01)
        found.append(np.array([[hinge, ey - 0.06, 1.15], [side * 1.12, ey - 0.05, 0.8], [side * 1.2, ey - 0.03, 0.25]]))
    inner = ex - half
    bridge = np.linspace(-inner, inner, 7)
    found.append(np.stack([bridge, ey - 0.02 - 0.05 * (1 - (bridge / max(inner, 0.02)) ** 2), np.full(7, 1.33)], -1))
    return found


def glasses(image: Float, strokes: list[Points], who: Model, light: float, ppu: float, yaw: float) -> None:
    """Draw projected strokes (N, 2) of ``rims`` with their shadow and the sheen of the lenses, in place."""
    high, wide = image.shape[:2]
    frame, lens = np.zeros((high, wide), np.uint8), np.zeros((high, wide), np.uint8)
    heavy = max(1, round((0.028 + 0.02 * max(who.who.build["eye open"], -0.6)) * ppu))

    def fixed(points: Points) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
        return np.round(points * 16).astype(np.int32)[None]

    for k, stroke in enumerate(strokes):
        if k in (1, 3) and (yaw > 0.02) == (k == 3):
            continue
        cv2.polylines(frame, list(fixed(stroke)), False, 255, heavy, cv2.LINE_AA, 4)
        if k in (0, 2):
            cv2.fillPoly(lens, list(fixed(stroke)), 255, cv2.LINE_AA, 4)
    cover = frame.astype(np.float32) / 255
    shift = np.array([[1, 0, 0], [0, 1, 0.06 * ppu]], np.float32)
    shadow = cv2.GaussianBlur(cv2.warpAffine(cover, shift, (wide, high)), (0, 0), 0.03 * ppu)
    image *= 1 - (0.4 * shadow)[..., None]
    glass = lens.astype(np.float32) / 255
    y, x = np.mgrid[0:high, 0:wide].astype(np.float32) / ppu
    sheen = np.exp(-0.5 * (((x + 0.8 * y + 3 * yaw) % 1.7 - 0.85) / 0.12) ** 2)
    image *= 1 - 0.06 * glass[..., None]
    image += (glass * (0.008 + 0.035 * sheen) * light)[..., None]
    tone = linear(who.who.rim) * light * 0.8 + 0.01
    _mix(image, cover, np.asarray(tone, np.float32))
    glint = cv2.warpAffine(cover, np.array([[1, 0, 0], [0, 1, -0.35 * heavy]], np.float32), (wide, high)) * cover
    image += (0.05 * light * glint**3)[..., None]
