"""What people do: bounded, smooth, known for any frame alone."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from unfooled.synthesis.motion import RATE, State, state

NUMBERS = [f.name for f in fields(State) if f.name not in ("look", "light", "steady")]


def track(person: int, frames: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    states = [state(0, person, frame) for frame in range(frames)]
    return {name: np.array([getattr(s, name) for s in states]) for name in NUMBERS}


def test_a_state_depends_on_nothing_but_its_names() -> None:
    assert state(1, 2, 3) == state(1, 2, 3)
    assert state(1, 2, 3) != state(1, 2, 4)
    assert state(1, 2, 3) != state(1, 3, 3)
    assert state(1, 2, 3) != state(2, 2, 3)


@pytest.mark.parametrize("person", range(5))
def test_everything_moves_smoothly_and_stays_in_its_range(person: int) -> None:
    made = track(person, 150)
    for name, values in made.items():
        assert np.isfinite(values).all(), name
        assert np.abs(np.diff(values)).max() < (0.6 if name == "blink" else 0.35), name
    for name, limit in (("yaw", 0.48), ("pitch", 0.28), ("roll", 0.22), ("opening", 0.4)):
        assert np.abs(made[name]).max() <= limit
    assert made["opening"].min() >= 0
    assert (made["blink"] >= 0).all()
    assert (made["blink"] <= 1).all()


def test_eyes_are_open_most_of_the_time_and_shut_now_and_then() -> None:
    blink = track(0, round(20 * RATE))["blink"]
    assert blink.max() > 0.95
    assert 0.02 < (blink > 0.3).mean() < 0.25


def test_half_of_the_people_talk() -> None:
    widest = [track(person, 75)["opening"].max() for person in range(20)]
    assert sum(w > 0.08 for w in widest) >= 8
