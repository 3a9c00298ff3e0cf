"""Who people are: drawn from seed and number, and of every kind."""

from __future__ import annotations

from collections import Counter

import numpy as np

from unfooled.synthesis.identity import BEARDS, BUILD, CLOTHES, STYLES, identity


def test_a_thousand_people_are_a_thousand_people() -> None:
    people = [identity(0, person) for person in range(1000)]
    assert len({tuple(p.build.values()) for p in people}) == 1000
    assert {p.style for p in people} == set(STYLES)
    assert {p.beard for p in people} == set(BEARDS)
    assert {p.clothes for p in people} == set(CLOTHES)
    assert 0.1 < np.mean([p.glasses > 0 for p in people]) < 0.35
    assert max(Counter(p.style for p in people).values()) < 300


def test_traits_stay_in_their_ranges() -> None:
    for person in range(200):
        who = identity(1, person)
        assert set(who.build) == set(BUILD)
        assert all(abs(value) <= 2.2 for value in who.build.values())
        assert 18 <= who.age <= 80
        for tone in (who.skin, who.hair, who.brows, who.iris, who.lips, who.cloth, who.rim):
            assert all(0 <= value <= 1 for value in tone)
        assert who.beard == "none" or who.masculine > 0.5


def test_melanin_darkens_the_skin() -> None:
    people = [identity(2, person) for person in range(300)]
    melanin, light = np.array([p.melanin for p in people]), np.array([np.mean(p.skin) for p in people])
    assert np.corrcoef(melanin, light)[0, 1] < -0.9


def test_order_and_seed_matter_as_they_should() -> None:
    assert identity(0, 5) == identity(0, 5)
    assert identity(0, 5) != identity(1, 5)
    assert identity(0, 5) != identity(0, 6)
