"""One frame in linear light: rays meet the moved surface, lamps light it, eyes and mouth are drawn on it."""

from __future__ import annotations

import cv2
import numpy as np

from unfooled.randomness import seed_of
from unfooled.synthesis.deformation import LOW, Deformation, deform, look_up
from unfooled.synthesis.features import eye, glasses, mouth, rims
from unfooled.synthesis.head import COARSE, FINE, Float, axes
from unfooled.synthesis.landmarks import Points
from unfooled.synthesis.model import Model, landmarks, model
from unfooled.synthesis.motion import State, state
from unfooled.synthesis.photographs import MARGIN
from unfooled.synthesis.rays import View, march, read, rotation, shadows
from unfooled.synthesis.scenery import SIDE, Lamps, background, lamps
from unfooled.synthesis.skin import linear


def view(seed: int, person: int, who: Model, now: State) -> View:
    """The crop of a tracked face: it follows the slow part of the motion."""
    rng = np.random.default_rng(seed_of(seed, "view", person))
    distance, margin = float(rng.uniform(8, 16)), MARGIN * float(rng.uniform(1.02, 1.22))
    off = rng.normal(0, 0.02, 2) - (0, 0.045)
    yaw, pitch, roll, x, y = now.steady
    slow = View(rotation(yaw, pitch, roll), np.array([x, y, 0.0]), distance, np.zeros(2), 1.0)
    r = look_up(who.bare, who.rest)[:, 0]
    at_rest = np.stack([r * np.sin(who.rest[:, 0]), who.rest[:, 1], r * np.cos(who.rest[:, 0])], -1)
    flat = slow.project(at_rest, 1)
    low, high = flat.min(0), flat.max(0)
    side = margin * float((high - low).max())
    centre = (low + high) / 2 + off * side
    return View(rotation(now.yaw, now.pitch, now.roll), np.array([now.x, now.y, 0.0]), distance, centre, side)


def render(seed: int, person: int, frame: int, size: int) -> tuple[Float, Points]:
    """(size, size, 3) linear light and (68, 2) landmarks in pixels."""
    who, now = model(seed, person), state(seed, person, frame)
    change = deform(who.face, now)
    spots, _ = landmarks(who, now, change)
    seen = view(seed, person, who, now)
    big = 2 * round(size * (1.0 if size < 64 else 0.75 if size <= 96 else 0.625))
    light = _paint(seed, person, who, now, change, seen, spots, big)
    small = cv2.resize(light, (size, size), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32), seen.project(spots, size)


def _paint(
    seed: int, person: int, who: Model, now: State, change: Deformation, seen: View, spots: Points, size: int
) -> Float:
    half = size // 2
    ppu = size / seen.side
    about, down = cv2.split(change.shift)
    at, height = axes(COARSE)
    radius = read(who.radius, at - about, height - down, COARSE)
    angle, y, clear, body = march(radius, seen, half)
    lamp = lamps(seed, person)
    key = _direction(lamp, now)
    key_head = (seen.turn.T @ key).astype(np.float32)
    lost = 1 - (1 - read(shadows(radius, key_head), angle, y, LOW)) * np.float32(0.85 - 0.55 * lamp.softness)
    small = cv2.split(read(cv2.merge([about, down, change.gap, change.opening]), angle, y, COARSE))

    def enlarge(plane: Float) -> Float:
        return np.asarray(cv2.resize(plane, (size, size), interpolation=cv2.INTER_LINEAR), np.float32)

    about, down, gap, opening, angle, y, clear, body = map(enlarge, (*small, angle, y, clear, body))
    # Light bleeds through skin at the edge of a shadow, red the furthest.
    dark = [enlarge(lost ** np.float32(power)) for power in (0.75, 1.0, 1.1)]
    rest_angle, y_rest = angle - about, y - down
    albedo, normal, extra = (read(field, rest_angle, y_rest, FINE) for field in (who.albedo, who.normal, who.extra))
    cover = np.clip(1 - (clear - np.float32(0.012)) * np.float32(ppu), 0, 1)
    energy, gleam = _shade(lamp, key, normal, extra, dark, body, seen)
    behind = cv2.split(_behind(seed, person, seen, size))
    image = cv2.merge(
        [b + cover * (a * e + g - b) for a, e, g, b in zip(cv2.split(albedo), energy, gleam, behind, strict=True)]
    )
    light = cv2.merge(energy)
    x_rest = extra[..., 3]
    pixels = seen.project(spots, size)
    mean = float(light.mean())
    for side, points in ((-1, pixels[36:42]), (1, pixels[42:48])):
        window = _window(points, (0.12 * ppu, 0.2 * ppu), size)
        eye(image[window], light[window], x_rest[window], y_rest[window], who, now, key_head, ppu, side)
    window = _window(pixels[48:68], (0.1 * ppu, 0.1 * ppu), size)
    mouth(image[window], light[window], x_rest[window], gap[window], opening[window], who, now, ppu)
    strokes = [seen.project(s, size) for s in rims(who)]
    if strokes:
        window = _window(np.concatenate(strokes), (0.15 * ppu, 0.2 * ppu), size)
        origin = np.array([window[1].start, window[0].start])
        glasses(image[window], [s - origin for s in strokes], who, mean, ppu, now.yaw)
    return np.asarray(image * np.float32(lamp.exposure * _metering(who)), np.float32)


def _metering(who: Model) -> float:
    """Cameras brighten dark and darken pale faces, a good half of the way."""
    return float((0.26 / float(linear(who.who.skin).mean())) ** 0.55)


def _window(points: Points, margin: tuple[float, float], size: int) -> tuple[slice, slice]:
    low = np.clip(np.floor(points.min(0) - margin), 0, size - 1).astype(int)
    high = np.clip(np.ceil(points.max(0) + margin), 1, size).astype(int)
    return slice(low[1], high[1]), slice(low[0], high[0])


def _direction(lamp: Lamps, now: State) -> Points:
    a, e = lamp.azimuth + now.light[0], lamp.elevation + now.light[1]
    return np.array([np.sin(a) * np.cos(e), -np.sin(e), np.cos(a) * np.cos(e)])


def _shade(
    lamp: Lamps, key: Points, normal: Float, extra: Float, dark: list[Float], body: Float, seen: View
) -> tuple[list[Float], list[Float]]:
    """Irradiance and what the surface mirrors, three planes (S, S) each."""
    ambient, gloss, hairy, _ = cv2.split(extra)
    halfway = key + np.array([0, 0, 1])
    halfway /= np.linalg.norm(halfway)
    ways = np.stack([key, halfway, (0, 0, 1), (0, -1, 0), (0.8 * lamp.side, -0.42, -0.42)])
    # Normals between two pixels of the map are a little short; that passes for roughness.
    dots = cv2.transform(normal, (ways @ seen.turn).astype(np.float32))
    first = int(np.argmax(body.max(1) > 0)) if body.max() > 0 else len(body)
    if first < len(body):
        on_body = cv2.transform(normal[first:], ways.astype(np.float32))
        dots[first:] += body[first:, :, None] * (on_body - dots[first:])
    lit, h, front, up, behind = cv2.split(dots)
    wrap = np.float32(0.12 + 0.5 * lamp.softness)
    edge = np.clip(1 - front, 0, 1)
    edge = edge * edge * edge
    h = np.minimum(h, 1) - 1
    spec = gloss * (0.35 + 1.2 * edge) * dark[1] * (0.16 * np.exp(14 * h) + 0.22 * np.exp(55 * h))
    sheen = 0.045 * edge * (0.3 + gloss)
    up = (0.5 + 0.5 * up) * ambient
    rim = 0.8 * np.maximum(behind - 0.1, 0) * ambient
    energy, gleam = [], []
    for channel, further in enumerate((0.16, 0.03, 0.0)):
        w = wrap + np.float32(further) * (1 - hairy) if further else wrap
        d = np.clip((lit + w) / (1 + w), 0, 1)
        around = lamp.ground[channel] * ambient + (lamp.sky - lamp.ground)[channel] * up
        energy.append(d * d * (1.6 - 0.6 * d) * dark[channel] * lamp.key[channel] + around + lamp.rim[channel] * rim)
        gleam.append(spec * lamp.key[channel] + sheen * around)
    return energy, gleam


def _behind(seed: int, person: int, seen: View, size: int) -> Float:
    """The background, which moves less than the head does."""
    picture = background(seed, person)
    scale = SIDE * 0.72 / size
    off = (SIDE - size * scale) / 2
    at = np.array(
        [
            [scale, 0, off + 0.10 * SIDE * seen.centre[0] / 1.45],
            [0, scale, off + 0.10 * SIDE * (seen.centre[1] - 0.7) / 1.45],
        ]
    )
    return np.asarray(
        cv2.warpAffine(
            picture, at, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REFLECT
        ),
        np.float32,
    )
