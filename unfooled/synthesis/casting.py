"""Who is in which split, and who lends a face to whom."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from unfooled.errors import ConfigError, DataError
from unfooled.synthesis.photographs import Shot

FOLDS = 5
FEWEST = 9
"""People that a collection needs: two to pair in validation and test, and one for each fold in training."""
ALIKE = 8
"""People of like tone among whom donors are drawn."""
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Person:
    """Somebody with one or more pictures.

    Args:
        id: number in the set, zero-padded; the name of the "video", and of the first one where there are several.
        identity: name in the table.
        collection: where the pictures come from.
        split: ``train``, ``val`` or ``test``.
        fold: in [0, FOLDS); autoencoders are fitted on training people of other folds than target and donor.
        shots: their frames, in the order of the table; one clip after the other.
    """

    id: str
    identity: str
    collection: str
    split: str
    fold: int
    shots: tuple[Shot, ...]


def cast(shots: Sequence[Shot], rng: np.random.Generator, frames: int | None = None) -> list[Person]:
    """Everybody with a number, a split (60/20/20 by person within each collection) and a fold.

    Args:
        shots: pictures of everybody, those of one clip side by side.
        rng: draws splits and folds.
        frames: of one clip, so that every clip gets its own number (``takes``); None = all pictures of a person are
            one video.

    Raises:
        DataError: a person in two collections, or a collection with fewer people than ``FEWEST``.
    """
    of: dict[tuple[str, str], list[Shot]] = defaultdict(list)
    for shot in shots:
        of[shot.collection, shot.identity].append(shot)
    homes: dict[str, str] = {}
    for collection, identity in sorted(of):
        if homes.setdefault(identity, collection) != collection:
            raise DataError(
                f"{identity!r} is in the collections {homes[identity]!r} and {collection!r}; rename one person"
            )
    videos = {key: 1 if frames is None else len(own) // frames for key, own in of.items()}
    digits = 4 if sum(videos.values()) > 1000 else 3
    number = 0
    people: list[Person] = []
    for collection in sorted({c for c, _ in of}):
        names = sorted(i for c, i in of if c == collection)
        if len(names) < FEWEST:
            raise DataError(
                f"collection {collection!r} has {len(names)} people, but forging needs {FEWEST} or more to keep "
                "training, validation and test apart; add photographs, or give small collections one name in a column "
                "'collection'"
            )
        part = max(2, round(0.2 * len(names)))
        order = rng.permutation(len(names))
        split_of = {int(k): "test" if r < part else "val" if r < 2 * part else "train" for r, k in enumerate(order)}
        fold_of = {int(k): r % FOLDS for r, k in enumerate(order)}
        for k, name in enumerate(names):
            own = tuple(of[collection, name])
            people.append(Person(f"{number:0{digits}}", name, collection, split_of[k], fold_of[k], own))
            number += videos[collection, name]
    return people


def takes(person: Person, frames: int | None) -> list[Person]:
    """The person once for every clip of ``frames`` frames, each with a number of its own; None = one video of all."""
    step = frames or len(person.shots)
    return [
        replace(person, id=f"{int(person.id) + n:0{len(person.id)}}", shots=person.shots[n * step : (n + 1) * step])
        for n in range(len(person.shots) // step)
    ]


def pairs(
    people: Sequence[Person], rounds: int, tone: Mapping[str, float], rng: np.random.Generator
) -> dict[str, list[tuple[Person, Person]]]:
    """For each split, the pairs [a, b]; each gives the fakes a_b and b_a.

    Within one split and collection, people of like tone form small groups, as FF++ paired people who look alike. In a
    group every round is a matching and no two rounds share a pair (the circle method of round-robin tournaments);
    whoever is left over where the number is odd gets a partner who already has one.

    Args:
        people: everybody.
        rounds: partners that everybody gets, >= 1.
        tone: lightness of a face by the person's id; the scale does not matter.
        rng: shuffles the groups.
    """
    found: dict[str, list[tuple[Person, Person]]] = {split: [] for split in SPLITS}
    for split, collection in product(SPLITS, sorted({p.collection for p in people})):
        members = [p for p in people if (p.split, p.collection) == (split, collection)]
        members.sort(key=lambda p: (tone[p.id], p.id))
        # Of even size, so that only the last group can have somebody left over.
        wide = max(ALIKE, rounds + 1 + (rounds + 1) % 2)
        starts = list(range(0, max(len(members) - wide + 1, 1), wide))
        for start, end in zip(starts, [*starts[1:], len(members)], strict=True):
            group = [members[start + int(k)] for k in rng.permutation(end - start)]
            found[split] += [(group[i], group[j]) for i, j in circle(len(group), rounds)]
    return found


def check_rounds(people: Sequence[Person], rounds: int) -> None:
    """Everybody finds ``rounds`` partners in the own split and collection, or a ConfigError."""
    (split, collection), count = min(Counter((p.split, p.collection) for p in people).items(), key=lambda item: item[1])
    if rounds >= count:
        raise ConfigError(
            f"per_image must be < {count}, the number of people of collection {collection!r} in split {split!r}, "
            f"got {rounds}; write {count - 1} or less"
        )


def circle(n: int, rounds: int) -> list[tuple[int, int]]:
    """Different pairs (i, j), i < j < n, in which everybody occurs ``rounds`` times; where n is odd some once more."""
    even = n + n % 2
    chosen: dict[tuple[int, int], None] = {}
    for turn in range(rounds):
        ring = [even - 1, *((turn + k) % (even - 1) for k in range(even - 1))]
        chosen.update(
            ((min(i, j), max(i, j)), None)
            for i, j in zip(ring[: even // 2], reversed(ring[even // 2 :]), strict=True)
            if max(i, j) < n
        )
    met = Counter(i for pair in chosen for i in pair)
    for i in sorted(range(n), key=lambda i: met[i]):
        if met[i] < rounds:
            free = [j for j in range(n) if j != i and (min(i, j), max(i, j)) not in chosen]
            j = min(free, key=lambda j: (met[j], j))
            chosen[min(i, j), max(i, j)] = None
            met.update((i, j))
    return list(chosen)
