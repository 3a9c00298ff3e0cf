"""Splits by person; donors from one split and one collection."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfooled.errors import ConfigError, DataError
from unfooled.synthesis.casting import FEWEST, FOLDS, Person, cast, check_rounds, circle, pairs, takes
from unfooled.synthesis.landmarks import MEAN_SHAPE
from unfooled.synthesis.photographs import Photograph


def photographs(**collections: int) -> list[Photograph]:
    return [Photograph(Path(f"{c}{i}"), f"{c}-{i}", c, MEAN_SHAPE) for c, n in collections.items() for i in range(n)]


def crowd(seed: int = 0, **collections: int) -> list[Person]:
    return cast(photographs(**collections), np.random.default_rng(seed))


def test_sixty_twenty_twenty_in_every_collection() -> None:
    people = crowd(a=50, b=31)
    for collection, n in (("a", 50), ("b", 31)):
        count = Counter(p.split for p in people if p.collection == collection)
        assert count == {"test": round(0.2 * n), "val": round(0.2 * n), "train": n - 2 * round(0.2 * n)}
    assert [p.id for p in people] == [f"{k:03}" for k in range(81)]
    folds = Counter(p.fold for p in people if p.split == "train" and p.collection == "a")
    assert len(folds) == FOLDS
    assert max(folds.values()) - min(folds.values()) <= 1


def test_more_than_a_thousand_people_have_four_digits() -> None:
    assert crowd(a=1001)[-1].id == "1000"


def test_all_photographs_of_a_person_stay_together() -> None:
    people = cast(photographs(a=12) + photographs(a=12), np.random.default_rng(0))
    assert len(people) == 12
    assert all(len(p.shots) == 2 for p in people)


def test_seed_decides() -> None:
    assert crowd(1, a=30) == crowd(1, a=30)
    assert [p.split for p in crowd(1, a=30)] != [p.split for p in crowd(2, a=30)]


def test_too_few_people_and_one_person_in_two_collections_are_refused() -> None:
    with pytest.raises(DataError, match=f"'a' has 8 people, but forging needs {FEWEST}"):
        crowd(a=FEWEST - 1)
    both = [*photographs(a=20), Photograph(Path("x"), "a-0", "b", MEAN_SHAPE)]
    with pytest.raises(DataError, match="'a-0' is in the collections 'a' and 'b'"):
        cast(both, np.random.default_rng(0))


@given(st.integers(2, 40), st.integers(1, 12))
def test_everybody_meets_enough_different_partners(n: int, rounds: int) -> None:
    rounds = min(rounds, n - 1)
    found = circle(n, rounds)
    assert len(set(found)) == len(found)
    assert all(i < j for i, j in found)
    met = Counter(k for pair in found for k in pair)
    assert set(met) == set(range(n))
    assert min(met.values()) >= rounds
    if n % 2 == 0:
        assert set(met.values()) == {rounds}
    else:
        assert len(found) <= (n * rounds + 2 * rounds) / 2 + 1


@pytest.mark.parametrize("rounds", [1, 2, 3, 5])
def test_pairs_stay_in_split_and_collection_and_look_alike(rounds: int) -> None:
    people = crowd(a=120, b=45)
    tone = {p.id: float(k) for p, k in zip(people, np.random.default_rng(0).permutation(len(people)), strict=True)}
    found = pairs(people, rounds, tone, np.random.default_rng(0))
    seen = Counter()
    for split, couples in found.items():
        for a, b in couples:
            assert (a.split, a.collection) == (b.split, b.collection) == (split, a.collection)
            seen.update((a.id, b.id))
    assert set(seen) == set(tone)
    assert min(seen.values()) >= rounds
    distance = np.mean([abs(tone[a.id] - tone[b.id]) for a, b in found["train"] if a.collection == "a"])
    assert distance < 30


def test_more_rounds_than_partners_are_refused() -> None:
    people = crowd(a=12)
    check_rounds(people, 1)
    with pytest.raises(ConfigError, match="per_image must be < 2"):
        check_rounds(people, 2)


def test_every_clip_of_a_person_gets_a_number_of_its_own() -> None:
    shots = [p for p in photographs(a=12) for _ in range(3)] + [p for p in photographs(a=3) for _ in range(3)]
    people = cast(shots, np.random.default_rng(0), 3)
    videos = [v for p in people for v in takes(p, 3)]
    assert [v.id for v in videos] == [f"{k:03}" for k in range(15)]
    assert all(len(v.shots) == 3 for v in videos)
    of = Counter(v.identity for v in videos)
    assert sorted(of.values()) == [1] * 9 + [2] * 3
    for v in videos:
        (person,) = (p for p in people if p.identity == v.identity)
        assert (v.split, v.fold, v.collection) == (person.split, person.fold, person.collection)
        assert {s.identity for s in v.shots} == {v.identity}
    # Splits are drawn by person, so a second clip moves nobody.
    plain = cast(photographs(a=12), np.random.default_rng(0))
    assert [(p.identity, p.split, p.fold) for p in people] == [(p.identity, p.split, p.fold) for p in plain]


def test_without_clips_all_pictures_of_a_person_are_one_video() -> None:
    for person in cast(photographs(a=12) + photographs(a=12), np.random.default_rng(0)):
        assert takes(person, None) == [person]
