"""Where the real faces come from: photographs as they are, photographs that move, or drawn people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from unfooled.errors import ConfigError
from unfooled.synthesis.animate import animate
from unfooled.synthesis.casting import FEWEST
from unfooled.synthesis.photographs import TABLES, Shot, read_photographs
from unfooled.synthesis.portraits import portraits

PORTRAITS = "portraits"
"""The word that stands for drawn people in place of a folder."""
PEOPLE, FRAMES = 60, 32
"""How many drawn people there are, and how long their clips, where nobody says."""


@dataclass(frozen=True)
class Source:
    """The pictures that a set is made from.

    Args:
        name: of the set: ``portraits``, or the folder's name.
        shots: every picture, those of a clip side by side.
        frames: of one clip; None = photographs as they are, all of a person's together.
    """

    name: str
    shots: Sequence[Shot]
    frames: int | None


def find(source: Path | str, people: int | None, frames: int | None, seed: int, margin: float | None = None) -> Source:
    """The source that a user names: the word ``portraits``, or a folder of photographs.

    Args:
        source: a text equal to ``portraits`` is the word; a Path is always a folder, also one of that name.
        people: number of drawn people, None = ``PEOPLE``; photographs bring their own.
        frames: of a clip; None = ``FRAMES`` for drawn people, and photographs as they are.
        seed: of the drawn people, or of how a photograph moves.
        margin: of photographs, see ``Photograph``; drawn people have their own framing.

    Raises:
        ConfigError: a number out of range, people asked of photographs, a margin of drawn people, or the word
            where a folder may be meant.
        DataError: what is wrong with the photographs.
    """
    if frames is not None and frames < 1:
        raise ConfigError(f"frames must be >= 1, got {frames}; write {FRAMES}")
    if margin is not None and not 0.5 <= margin <= 5:
        raise ConfigError(f"margin must be in [0.5, 5] heights of the face, got {margin:g}; write 1.3")
    if source == PORTRAITS:
        if margin is not None:
            raise ConfigError(f"margin is an option of photographs, {PORTRAITS} have their own framing; leave it out")
        if any((Path(PORTRAITS) / table).is_file() for table in TABLES):
            raise ConfigError(
                f"{PORTRAITS} means drawn people, but here is also a folder of photographs of that name; "
                f"write ./{PORTRAITS} for the folder, or rename it"
            )
        people, frames = PEOPLE if people is None else people, FRAMES if frames is None else frames
        if people < FEWEST:
            raise ConfigError(
                f"people must be >= {FEWEST} to keep training, validation and test apart, got {people}; write {PEOPLE}"
            )
        return Source(PORTRAITS, portraits(people, frames, seed), frames)
    if people is not None:
        raise ConfigError(
            f"people is an option of {PORTRAITS}, but {source} is a folder and its photographs say who is on them; "
            "leave it out"
        )
    folder = Path(source)
    photographs = [replace(p, margin=margin) for p in read_photographs(folder, FEWEST)]
    name = folder.resolve().name
    if frames is None:
        return Source(name, photographs, None)
    return Source(name, [shot for p in photographs for shot in animate(p, frames, seed)], frames)
