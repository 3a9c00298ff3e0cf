"""What a person does in a frame: pose, talking, expression, blinks, gaze and the drift of the light, smooth in time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from unfooled.randomness import seed_of

RATE = 25.0
"""Frames a second."""
BLINK = 0.14
"""Seconds from the start of a blink until the eye is shut."""
_SLOT = 3.0


@dataclass(frozen=True)
class State:
    """One moment.

    Args:
        yaw, pitch, roll: radians; positive turns towards image right, down, and image right ear down.
        x, y: shift of the head in eye distances.
        opening: of the jaw, in eye distances, >= 0.
        smile, pucker, brows, frown, squint: strengths, about [-1, 1]; 0 at rest.
        blink: in [0, 1]; 1 is shut.
        look: gaze (right, down) in eye distances on the eyeball, relative to the head.
        light: (azimuth, elevation) drift in radians.
        steady: yaw, pitch, roll, x, y without the fast part of the motion; the tracked crop follows these.
    """

    yaw: float
    pitch: float
    roll: float
    x: float
    y: float
    opening: float
    smile: float
    pucker: float
    brows: float
    frown: float
    squint: float
    blink: float
    look: tuple[float, float]
    light: tuple[float, float]
    steady: tuple[float, float, float, float, float]


class _Noise:
    """Band-limited noise in closed form, so that any frame can be asked for alone."""

    def __init__(self, seed: int, time: float) -> None:
        self.rng = np.random.default_rng(seed)
        self.time = time

    def __call__(self, low: float, high: float) -> float:
        """About [-1, 1]; frequencies between ``low`` and ``high`` Hz."""
        hertz, phase = self.rng.uniform(low, high, 4), self.rng.uniform(0, 2 * np.pi, 4)
        return float(np.sin(2 * np.pi * hertz * self.time + phase).sum() / 2)


def state(seed: int, person: int, frame: int) -> State:
    """The state of a person at a frame; neighbouring frames differ by little."""
    time = frame / RATE
    noise = _Noise(seed_of(seed, "motion", person), time)
    rng = np.random.default_rng(seed_of(seed, "manner", person))
    liveliness = rng.uniform(0.5, 1.3)
    base_yaw, base_pitch, base_roll = rng.normal(0, (0.16, 0.05, 0.04))
    mood, talks, brow_mood = rng.normal(0.25, 0.45), rng.uniform(0.35, 1.2), rng.normal(0, 0.3)
    slow_yaw, slow_pitch, slow_roll = 0.11 * noise(0.04, 0.2), 0.05 * noise(0.05, 0.22), 0.04 * noise(0.04, 0.2)
    yaw = float(np.clip(base_yaw + liveliness * (slow_yaw + 0.035 * noise(0.4, 1.1)), -0.48, 0.48))
    pitch = float(np.clip(base_pitch + liveliness * (slow_pitch + 0.025 * noise(0.4, 1.3)), -0.28, 0.28))
    roll = float(np.clip(base_roll + liveliness * (slow_roll + 0.012 * noise(0.3, 0.9)), -0.22, 0.22))
    speech = (0.2 + 0.8 * max(0.0, 0.25 + 0.75 * noise(0.15, 0.5))) * talks
    opening = 0.24 * speech * _soft(0.35 + 0.65 * noise(1.6, 3.6))
    pucker = 0.7 * min(speech, 1.0) * noise(1.0, 2.4)
    smile = float(np.clip(mood + 0.3 * noise(0.08, 0.3), -0.5, 1.1))
    gaze = -0.45 * (yaw - base_yaw) * 0.2 + 0.018 * noise(0.15, 0.6), 0.010 * noise(0.15, 0.6)
    slow_x, slow_y = 0.10 * noise(0.05, 0.2), 0.06 * noise(0.05, 0.2)
    return State(
        yaw=yaw,
        pitch=pitch,
        roll=roll,
        x=slow_x + 0.02 * noise(0.4, 1.0),
        y=slow_y + 0.02 * noise(0.4, 1.0),
        opening=float(np.clip(opening, 0, 0.4)),
        smile=smile,
        pucker=float(np.clip(pucker - 0.5 * max(smile, 0), -0.8, 0.9)),
        brows=float(np.clip(brow_mood + 0.5 * noise(0.2, 0.8), -1, 1)),
        frown=float(np.clip(rng.normal(-0.1, 0.4) + 0.3 * noise(0.1, 0.4), -0.3, 1)),
        squint=float(np.clip(0.45 * smile + 0.25 * noise(0.1, 0.4), -0.3, 1)),
        blink=_blink(seed, person, time),
        look=(float(gaze[0] + rng.normal(0, 0.008)), float(gaze[1])),
        light=(0.12 * noise(0.03, 0.15), 0.06 * noise(0.03, 0.15)),
        steady=(base_yaw + liveliness * slow_yaw, base_pitch, base_roll + liveliness * slow_roll, slow_x, slow_y),
    )


def _soft(value: float) -> float:
    """max(0, value) with a rounded corner: lips do not snap shut."""
    return 0.5 * (value + float(np.hypot(value, 0.15))) - 0.02 if value > -1 else 0.0


def _blink(seed: int, person: int, time: float) -> float:
    slot = int(time // _SLOT)
    closed = 0.0
    for k in (slot - 1, slot, slot + 1):
        at = (k + np.random.default_rng(seed_of(seed, "blink", person, k)).uniform(0.1, 0.9)) * _SLOT
        closed = max(closed, 1 - abs(time - at) / BLINK)
    # Raised cosine: the lid starts and ends at rest.
    return float(0.5 - 0.5 * np.cos(np.pi * min(1.25 * max(closed, 0), 1)))
