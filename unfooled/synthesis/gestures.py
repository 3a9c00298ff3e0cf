"""What a face does on a still photograph: lids that come down over the eyes, lips that part."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from unfooled.synthesis.landmarks import Points, eye_distance, five_of
from unfooled.synthesis.warps import Float

Map = NDArray[np.float64]

LASHES = 0.02
"""Half the width of the line of lashes on a closing lid, in eye distances."""
SEAM = 48
"""Columns in which the line between the lips is looked for."""


@dataclass(frozen=True)
class Frame:
    """Upright coordinates on a face: origin, direction of the eye line, unit = eye distance."""

    origin: Points
    right: Points
    unit: float

    @classmethod
    def of(cls, shape: Points, origin: Points) -> Frame:
        """The frame of a face around a point of it."""
        five = five_of(shape)
        return cls(origin, (five[1] - five[0]) / np.linalg.norm(five[1] - five[0]), eye_distance(shape))

    @property
    def _turn(self) -> Points:
        return np.stack([self.right, np.array([-self.right[1], self.right[0]])]) / self.unit

    def own(self, pixels: Points) -> tuple[Map, Map]:
        """(u, v) of points in pixels."""
        uv = (pixels - self.origin) @ self._turn.T
        return uv[..., 0], uv[..., 1]

    def pixels(self, u: Map, v: Map) -> Points:
        """Pixels of (u, v)."""
        return np.asarray(self.origin + np.stack([u, v], -1) @ self._turn * self.unit**2)

    def window(self, size: int, width: float, high: float, low: float) -> tuple[slice, slice]:
        """Rows and columns of a picture that hold all of |u| <= width, high <= v <= low."""
        corners = self.pixels(np.array([-width, width, -width, width]), np.array([high, high, low, low]))
        (left, top), (right, bottom) = np.floor(corners.min(0)), np.ceil(corners.max(0))
        rows, columns = (slice(max(int(a), 0), min(int(b) + 1, size)) for a, b in ((top, bottom), (left, right)))
        return rows, columns


def _grid(rows: slice, columns: slice) -> Points:
    x, y = np.meshgrid(np.arange(columns.start, columns.stop), np.arange(rows.start, rows.stop))
    return np.stack([x, y], -1).astype(np.float64)


def _read(image: Float, where: Points) -> Float:
    x, y = (where[..., k].astype(np.float32) for k in (0, 1))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _step(x: Map, width: float) -> Map:
    """0 below -width, 1 above width, smooth between."""
    t = np.clip(x / (2 * width) + 0.5, 0, 1)
    return np.asarray(t * t * (3 - 2 * t))


def blink(image: Float, shape: Points, closed: float) -> tuple[Float, Points]:
    """The picture with its lids down by ``closed``: skin from under the brow unfolds over the eye, nothing is squeezed.

    Args:
        image: (S, S, 3), values in [0, 255].
        shape: (68, 2) points in its pixels.
        closed: in [0, 1]; 0 gives ``image`` and ``shape`` themselves, 1 shuts the eyes.
    """
    if closed <= 0:
        return image, shape
    image, moved = image.copy(), shape.copy()
    for eye, brow in ((slice(36, 42), slice(17, 22)), (slice(42, 48), slice(22, 27))):
        frame = Frame.of(shape, shape[eye].mean(0))
        u, v = frame.own(shape[eye])
        middle, half = (u[0] + u[3]) / 2, 0.6 * (u[3] - u[0])

        def arch(x: Map, middle: float = middle, half: float = half) -> Map:
            return np.clip(1 - ((x - middle) / half) ** 2, 0, None)

        def base(x: Map, u: Map = u, v: Map = v) -> Map:
            return np.asarray(v[0] + (v[3] - v[0]) * (x - u[0]) / (u[3] - u[0]))

        # Points of a mean face may sit inside of an eye that is larger; a lid has to come from above all of it.
        up = max(float((base(u[1:3]) - v[1:3]).mean()) / 0.8, 0.09)
        down = max(float((v[4:6] - base(u[4:6])).mean()) / 0.8, 0.07) + 0.02
        crease = min(0.72 * float(frame.own(shape[brow])[1].mean()), -up - 0.08)
        rows, columns = frame.window(len(image), half + 0.1, crease - 0.05, down + 0.2)
        x, y = frame.own(_grid(rows, columns))
        bow, line = arch(x), base(x)
        edge = line + bow * (closed * (down + up) - up)
        # The lid ends above the lashes of the open eye.
        source_edge = line - bow * (up + 0.05 * min(closed / 0.25, 1))
        top = line + crease * np.clip(bow, 0, 0.5) * 2
        long, short = np.maximum(edge - top, 1e-6), np.maximum(source_edge - top, 1e-6)
        below_top = np.clip((y - top) / long, 0, 1)
        # Starts at the crease as it lies there and unfolds more and more towards the edge.
        unfolded = top + short * (1 - (1 - below_top) ** (long / short))
        lid = _read(image, frame.pixels(x, np.where(y < top, y, unfolded)))
        # What was folded away has no lashes and no shadow of the brow: it is plain skin.
        here, over = image[rows, columns], (y > top) & (y < source_edge) & (bow > 0.3)
        under = (y > line + down + 0.06) & (y < line + down + 0.16) & (bow > 0.3)
        skin = 0.4 * _skin(here[over]) + 0.6 * _skin(here[under])
        plain = _step(below_top - 0.45, 0.35)[..., None] * 0.85 * min(closed / 0.25, 1)
        lid += plain.astype(np.float32) * (skin * (1 - 0.1 * below_top[..., None]).astype(np.float32) - lid)
        shut = min(closed / 0.3, 1)
        dark = 0.5 * shut * np.exp(-(((y - edge) / LASHES) ** 2)) * np.sqrt(bow)
        # One pixel of soft edge; where the eye ends, nothing changes.
        cover = (1 - _step(y - edge, 1 / frame.unit)) * _step(bow - 0.12, 0.12)
        part = image[rows, columns]
        part += cover[..., None].astype(np.float32) * (lid - part)
        part *= (1 - dark)[..., None].astype(np.float32)
        lids = np.arange(eye.start + 1, eye.start + 3)
        u_lid, v_lid = frame.own(shape[lids])
        moved[lids] = frame.pixels(u_lid, v_lid + closed * (down + up) * arch(u_lid))
    return image, moved


def _skin(pixels: Float) -> Float:
    """The colour of the lighter half of some skin."""
    light = pixels.mean(-1)
    return np.asarray(pixels[light >= np.median(light)].mean(0), np.float32)


def speak(image: Float, shape: Points, opened: float) -> tuple[Float, Points]:
    """The picture with its lips parted along the line between them; the chin goes down with the lower lip.

    Args:
        image: (S, S, 3), values in [0, 255].
        shape: (68, 2) points in its pixels.
        opened: largest distance of the lips, in eye distances, 0 to about .1; 0 gives ``image`` and ``shape``
            themselves.
    """
    if opened <= 0:
        return image, shape
    frame = Frame.of(shape, (shape[48] + shape[54]) / 2)
    half = 0.94 * float(np.linalg.norm(shape[54] - shape[48])) / 2 / frame.unit
    knots, heights = _seam(image, frame, half)

    def gap(u: Map) -> Map:
        return opened * np.clip(1 - (u / half) ** 2, 0, 1) ** 0.8

    def line(u: Map) -> Map:
        return np.asarray(np.interp(u, knots, heights))

    def fall(u: Map, v: Map) -> Map:
        """How far down lies what is seen at (u, v) below the lips: the lip in the middle, then all of the chin."""
        depth = np.clip(v - line(u) - 0.75 * gap(u), 0, None)
        chin = _step(depth - 0.22, 0.22)
        jaw = 0.55 * opened * np.exp(-((u / 0.6) ** 2)) * (1 - _step(depth - 0.85, 0.35))
        return np.asarray(0.75 * gap(u) * (1 - chin) + jaw * chin)

    def rise(u: Map, v: Map) -> Map:
        """How far up lies what is seen at (u, v) above the lips."""
        return np.asarray(0.25 * gap(u) * (1 - _step(line(u) - 0.25 * gap(u) - v - 0.14, 0.14)))

    rows, columns = frame.window(len(image), 1.3, -0.35, 1.3)
    u, v = frame.own(_grid(rows, columns))
    seam = line(u)
    moved_v = np.where(v > seam + 0.25 * gap(u), v - fall(u, v), v + rise(u, v))
    part = _read(image, frame.pixels(u, moved_v))
    open_ = gap(u)
    soft = 1 / frame.unit
    hole = (
        _step(v - seam + 0.25 * open_, soft) * _step(seam + 0.75 * open_ - v, soft) * np.clip(open_ / soft - 0.5, 0, 1)
    )
    within = np.clip((v - seam + 0.25 * open_) / np.maximum(open_, 1e-6), 0, 1)
    inside = _mouth(image, frame, knots, heights, within, np.abs(u) / half, opened)
    image = image.copy()
    image[rows, columns] = part + hole[..., None].astype(np.float32) * (inside - part)

    u, v = frame.own(shape)
    lower = np.zeros(68, bool)
    lower[[*range(17), *range(55, 60), *range(65, 68)]] = True
    now = v
    for _ in range(8):
        now = np.where(lower, v + fall(u, now), v - rise(u, now))
    near = (np.abs(u) < 1.3) & (v > -0.35) & (v < 1.3)
    return image, np.where(near[:, None], frame.pixels(u, now), shape)


def _seam(image: Float, frame: Frame, half: float) -> tuple[Map, Map]:
    """(SEAM,) u and v of the line between the lips: the darkest path from corner to corner."""
    u, v = np.linspace(-half, half, SEAM), np.linspace(-0.12, 0.14, 27)
    window = _read(image, frame.pixels(*np.meshgrid(u, v))).mean(-1).T
    window = cv2.blur(window, (1, 3))
    # The corners are known; in between the path may bend.
    free = 0.03 + 0.11 * np.clip(1 - (u / half) ** 2, 0, 1)
    cost = window + 400 * np.clip(np.abs(v[None] - 0.01) - free[:, None], 0, None) / 0.02
    best, came = cost[0].copy(), np.zeros(cost.shape, int)
    for k in range(1, SEAM):
        steps = np.stack([np.r_[np.inf, best[:-1]] + 2, best, np.r_[best[1:], np.inf] + 2])
        came[k] = steps.argmin(0) - 1
        best = steps.min(0) + cost[k]
    at = int(best.argmin())
    path = np.zeros(SEAM)
    for k in range(SEAM - 1, -1, -1):
        path[k] = v[at]
        at += int(came[k, at])
    padded = np.pad(path, 3, mode="edge")
    return u, np.convolve(padded, np.ones(7) / 7, "valid")


def _mouth(image: Float, frame: Frame, knots: Map, heights: Map, within: Map, across: Map, opened: float) -> Float:
    """What is seen between the lips: the dark of the line between them, and of the upper teeth a little."""
    line = _read(image, frame.pixels(knots, heights)[None])[0]
    dark = 0.5 * np.quantile(line, 0.3, axis=0)
    skin = float(np.median(_read(image, frame.pixels(knots, np.full_like(knots, 0.45))[None]).mean(-1)))
    shown = (
        0.55 * np.clip(opened / 0.05 - 0.5, 0, 1) * (1 - _step(within - 0.38, 0.12)) * (1 - _step(across - 0.6, 0.2))
    )
    return np.asarray(dark + shown[..., None] * (0.85 * skin - dark), np.float32)
