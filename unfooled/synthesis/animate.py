"""A still photograph becomes a clip: the camera moves, the head turns a little, eyes blink, the mouth speaks."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from unfooled.randomness import seed_of
from unfooled.synthesis.gestures import blink, speak
from unfooled.synthesis.landmarks import Points, eye_distance
from unfooled.synthesis.photographs import Image, Photograph, Portrait
from unfooled.synthesis.warps import Float, grid, sample

FPS = 25
"""Frames of a second; the movements are those of a clip of this rate."""
FINER = 2
"""A frame is made at so many times its size and then shrunk, so that moving it by parts of a pixel blurs nothing."""
CLOSER = 1.1
"""Zoom that leaves room around the frame for the camera to move in."""


@dataclass(frozen=True)
class AnimatedFrame:
    """One frame of a photograph that moves; each can be made alone, and its place does not depend on the others.

    Args:
        photograph: the still picture.
        frame: >= 0; its time is ``frame / FPS`` seconds.
        seed: of the movement; a photograph has its own for every seed.
    """

    photograph: Photograph
    frame: int
    seed: int

    @property
    def identity(self) -> str:
        """Name of the person."""
        return self.photograph.identity

    @property
    def collection(self) -> str:
        """Where the photograph comes from."""
        return self.photograph.collection

    def portrait(self, size: int) -> Portrait:
        """The square around the face at the time of the frame, ``size`` pixels high and wide; its points moved along.

        Raises:
            DataError: the photograph does not decode, or its landmarks lie outside of it.
        """
        still = self.photograph.portrait(FINER * size)
        of = (self.seed, "animate", self.collection, self.identity, self.photograph.path.name)
        motion = Motion.at(self.frame / FPS, np.random.default_rng(seed_of(*of)))
        image, shape = blink(still.image.astype(np.float32), still.shape, motion.closed)
        image, shape = speak(image, shape, motion.opened)
        image, shape = view(image, shape, motion)
        small = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        noisy = grain(np.asarray(small, np.float32), motion.noise, np.random.default_rng(seed_of(*of, self.frame)))
        return Portrait(noisy, (shape + 0.5) / FINER - 0.5)


def animate(photograph: Photograph, frames: int, seed: int) -> list[AnimatedFrame]:
    """A clip of a photograph.

    Args:
        photograph: of one face.
        frames: >= 1, length of the clip.
        seed: of the movement.
    """
    return [AnimatedFrame(photograph, k, seed) for k in range(frames)]


@dataclass(frozen=True)
class Motion:
    """What moves at one moment.

    Args:
        shift: (2,) of the camera, in sides of the picture.
        zoom: of the camera; > 1 comes closer.
        roll: of the camera, in radians.
        turn: (2,) shift of the face's foremost part against the background, right and down, in eye distances.
        closed: in [0, 1]; 1 = eyes shut.
        opened: of the mouth, in eye distances, >= 0.
        noise: standard deviation of the sensor's noise on middle grey, in steps of 255.
    """

    shift: Points
    zoom: float
    roll: float
    turn: Points
    closed: float
    opened: float
    noise: float

    @classmethod
    def at(cls, time: float, rng: np.random.Generator) -> Motion:
        """The movement at a time in seconds; ``rng`` draws the whole of it, so it has to start alike for each frame."""
        # Two waves each, of a slow and a faster sway, for x, y, zoom, roll, turn and nod.
        rate = np.stack([rng.uniform(0.2, 0.45, 6), rng.uniform(0.6, 1.1, 6)])
        waves = np.sin(2 * np.pi * (rate * time + rng.random((2, 6))))
        x, y, zoom, roll, turn, nod = (0.7 * waves[0] + 0.3 * waves[1]) * rng.uniform(0.5, 1, 6)
        talks, syllable, pause = rng.uniform(0.03, 0.085), rng.uniform(1.6, 2.8), rng.uniform(0.3, 0.6)
        phase = rng.random(3)
        sound = 0.6 * np.sin(2 * np.pi * (syllable * time + phase[0]))
        sound += 0.4 * np.sin(2 * np.pi * (1.7 * syllable * time + phase[1]))
        breath = np.clip(0.6 + np.sin(2 * np.pi * (pause * time + phase[2])), 0, 1)
        noise = rng.uniform(1.0, 2.5)
        return cls(
            shift=np.array([0.02 * x, 0.015 * y]),
            zoom=CLOSER + 0.02 * zoom,
            roll=float(0.02 * roll),
            turn=np.array([0.05 * turn, 0.03 * nod]),
            closed=_lids(time, rng),
            opened=float(talks * breath * max(0.25 + 0.75 * sound, 0) ** 1.5),
            noise=noise,
        )


def _lids(time: float, rng: np.random.Generator) -> float:
    """How far the eyes are shut: a blink takes a third of a second, falls fast and rises slowly."""
    closed, start = 0.0, rng.uniform(-0.1, 1.0)
    while start <= time:
        since = time - start
        closed = max(closed, _ease(since / 0.12) * _ease((0.36 - since) / 0.2))
        start += rng.uniform(1.6, 4)
    return closed


def _ease(x: float) -> float:
    x = min(max(x, 0.0), 1.0)
    return x * x * (3 - 2 * x)


def view(image: Float, shape: Points, motion: Motion) -> tuple[Float, Points]:
    """The picture as a camera sees it that has moved and sees the head a little turned.

    Args:
        image: (S, S, 3).
        shape: (68, 2) points in its pixels.
        motion: ``shift``, ``zoom``, ``roll`` and ``turn`` count.
    """
    size, unit = len(image), eye_distance(shape)
    middle = np.full(2, (size - 1) / 2)
    c, s = np.cos(motion.roll) / motion.zoom, np.sin(motion.roll) / motion.zoom
    back = np.array([[c, s], [-s, c]])

    # Around the nose a dome; nearer things move more, the background not at all.
    nose, up = shape[30], (shape[27] - shape[33]) / np.linalg.norm(shape[27] - shape[33])
    axes = np.stack([np.array([-up[1], up[0]]), up / 1.25]) / unit
    shift = motion.turn * unit

    def nearer(p: Points) -> Points:
        """How much further the head's turn moves what is seen at ``p``."""
        squared = (((p - nose) @ axes.T) ** 2).sum(-1)[..., None]
        return np.asarray((0.85 * np.exp(-squared) + 0.15 * np.exp(-16 * squared)) * shift)

    # The dome is smooth, so every eighth pixel is enough.
    at = (grid(size).astype(np.float64) - middle) @ back.T + middle - motion.shift * size
    coarse = cv2.resize(at, (size // 8, size // 8), interpolation=cv2.INTER_AREA)
    field = cv2.resize(nearer(coarse), (size, size), interpolation=cv2.INTER_CUBIC)
    picture = sample(image, (at - field).astype(np.float32))
    # What lies at p in the still picture is seen where at - nearer(at) = p.
    point = shape
    for _ in range(8):
        point = shape + nearer(point)
    return picture, (point - middle + motion.shift * size) @ np.linalg.inv(back).T + middle


def grain(image: Float, noise: float, rng: np.random.Generator) -> Image:
    """(S, S, 3) uint8: the picture with the noise of a sensor, the same in all channels, so grey stays grey."""
    light = image.mean(-1, keepdims=True)
    spread = noise * np.sqrt(0.3 + 0.7 * light / 128)
    noisy = image + spread * rng.standard_normal(light.shape)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), np.uint8)
