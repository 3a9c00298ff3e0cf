"""Procedural talking people: frames with exact landmarks, rendered from a seed alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unfooled.errors import ConfigError
from unfooled.randomness import seed_of
from unfooled.synthesis.camera import camera, take
from unfooled.synthesis.photographs import Image, Portrait
from unfooled.synthesis.render import render

COLLECTION = "portraits"
SMALLEST, LARGEST = 16, 1024


@dataclass(frozen=True)
class PortraitFrame:
    """One frame of one procedural person; offers what ``photographs.Photograph`` offers.

    Args:
        seed: of the whole set of people.
        person: number of the person, >= 0; the same number and seed are the same person in every set.
        frame: number of the frame, >= 0.
        frames: how many frames the clip has; a frame does not depend on it.
    """

    seed: int
    person: int
    frame: int
    frames: int

    @property
    def identity(self) -> str:
        """Name of the person."""
        return f"person_{self.person:04}"

    @property
    def collection(self) -> str:
        """All procedural people are of one collection."""
        return COLLECTION

    def portrait(self, size: int) -> Portrait:
        """The square around the face, ``size`` pixels high and wide; same bytes in any order, on any thread.

        Raises:
            ConfigError: ``size`` outside [16, 1024].
        """
        if not SMALLEST <= size <= LARGEST:
            raise ConfigError(f"size must be in [{SMALLEST}, {LARGEST}] pixels, got {size}; write 128")
        light, shape = render(self.seed, self.person, self.frame, size)
        grain = seed_of(self.seed, "grain", self.person, self.frame)
        return Portrait(take(camera(self.seed, self.person), light, grain), shape)


def portraits(people: int, frames: int, seed: int) -> list[PortraitFrame]:
    """Every frame of every person, by person and then by frame; nothing is rendered yet.

    Args:
        people: >= 1.
        frames: of each clip, >= 1, at 25 a second.
        seed: a person depends on it and on the own number alone, so a larger set begins with the smaller one.

    Raises:
        ConfigError: a number out of range.
    """
    for name, value in (("people", people), ("frames", frames)):
        if value < 1:
            raise ConfigError(f"{name} must be >= 1, got {value}; write {60 if name == 'people' else 32}")
    return [PortraitFrame(seed, p, f, frames) for p in range(people) for f in range(frames)]


def contact_sheet(shown: Sequence[PortraitFrame], columns: int, size: int = 128) -> Image:
    """(rows * size, columns * size, 3) RGB with the frames side by side; the last row is filled up with black."""
    rows = -(-len(shown) // columns)
    sheet = np.zeros((rows * size, columns * size, 3), np.uint8)
    for k, frame in enumerate(shown):
        top, left = k // columns * size, k % columns * size
        sheet[top : top + size, left : left + size] = frame.portrait(size).image
    return sheet
