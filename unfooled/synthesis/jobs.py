"""The fakes of a set: who lends a face to whom, and how one of them is made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unfooled.randomness import seed_of
from unfooled.synthesis.autoencoders import OutOfFold
from unfooled.synthesis.casting import Person, takes
from unfooled.synthesis.expressions import parted
from unfooled.synthesis.flicker import Draws, Flicker
from unfooled.synthesis.forgeries import MANIPULATIONS
from unfooled.synthesis.photographs import Image, Portrait
from unfooled.synthesis.writing import Reals

Couples = Mapping[str, Sequence[tuple[Person, Person]]]
"""(target, donor) of every video to forge, by split."""


@dataclass(frozen=True)
class Job:
    """One fake to make: ``frame`` is its number in its folder, ``turn`` counts the videos made of one real."""

    manipulation: str
    target: Person
    donor: Person
    frame: int
    shot: int
    turn: int

    @property
    def path(self) -> Path:
        """Where it goes in the set."""
        root = Path("manipulated_sequences") / self.manipulation / "raw" / "images"
        return root / f"{self.target.id}_{self.donor.id}" / f"{self.frame:04}.png"


def swaps(a: Person, b: Person, frames: int | None) -> Iterator[tuple[Person, Person]]:
    """(target, donor) for every video of two people; the donor's is the NEXT one of theirs, as with photographs."""
    for one, other in ((a, b), (b, a)):
        donors = takes(other, frames)
        yield from ((target, donors[(n + 1) % len(donors)]) for n, target in enumerate(takes(one, frames)))


def jobs_of(names: Sequence[str], videos: Sequence[Person], couples: Couples, per_image: int) -> Iterator[Job]:
    """Every fake of a set.

    Args:
        names: of the manipulations.
        videos: every video, for manipulations of a video by itself.
        couples: for the others.
        per_image: how often a video is manipulated by itself; the turns follow each other in one folder.
    """
    for name in names:
        itself = MANIPULATIONS[name].of_itself
        for a, b in [(v, v) for v in videos] if itself else [pair for ab in couples.values() for pair in ab]:
            count = len(a.shots)
            for frame in range(count * (per_image if itself else 1)):
                yield Job(name, a, b, frame, frame % count, frame // count)


class Forger:
    """Makes the picture of a job.

    Args:
        videos: every video.
        reals: their faces, all of them written.
        couples: (target, donor) of every video to forge.
        names: of the manipulations.
        strength: in [0, 1].
        seed: of every draw.
        flicker: in [0, 1], how much the frames of a clip differ; None = photographs that have nothing to do with each
            other, each with its own draws.
    """

    def __init__(
        self,
        videos: Sequence[Person],
        reals: Reals,
        couples: Couples,
        names: Sequence[str],
        strength: float,
        seed: int,
        flicker: float | None,
    ) -> None:
        self.reals, self.strength, self.seed, self.flicker = reals, strength, seed, flicker
        self.plain = {name: MANIPULATIONS[name]() for name in names}
        if "Deepfakes" in names:
            self.learnt = OutOfFold(videos, self._aligned, [pair for ab in couples.values() for pair in ab])

    def __call__(self, job: Job) -> Image:
        """(S, S, 3) uint8; depends on nothing but the job, so any thread may make it."""
        manipulation = self.plain[job.manipulation]
        if job.manipulation == "Deepfakes":
            manipulation = self.learnt(job.target, job.donor)
        keys, draws = ((job.target.id, job.shot), (job.donor.id, self._donated(job))), self._draws(job)
        if isinstance(draws, Flicker) and manipulation.aligned:
            target, donor = (replace(p, shape=draws.misaligned(p.shape)) for p in (self._aligned(*k) for k in keys))
        else:
            target, donor = (self.reals[key] for key in keys)
        return manipulation(target, donor, draws, self.strength).image

    def _aligned(self, video: str, frame: int) -> Portrait:
        """A real face ready to be laid over another; in clips eyes and mouths close."""
        portrait = self.reals[video, frame]
        return portrait if self.flicker is None else replace(portrait, shape=parted(portrait.shape))

    def _donated(self, job: Job) -> int:
        """Which picture of the donor's: of a clip the one of the same time, so that an expression moves along.

        Of photographs the NEXT one: who has a neutral and a smiling one lends the other expression.
        """
        if self.flicker is not None or job.donor is job.target:
            return job.shot
        return (job.shot + 1) % len(job.donor.shots)

    def _draws(self, job: Job) -> Draws:
        parts = (self.seed, job.manipulation, job.target.id, job.donor.id)
        frame = np.random.default_rng(seed_of(*parts, job.frame))
        if self.flicker is None:
            return frame
        return Flicker(np.random.default_rng(seed_of(*parts, "clip", job.turn)), frame, self.flicker)
