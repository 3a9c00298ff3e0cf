"""Conditions name themselves, and the clean one leads."""

from __future__ import annotations

import pytest

from unfooled.attacks import PGD
from unfooled.errors import ConfigError
from unfooled.evaluation.conditions import Condition, over_eps, with_clean
from unfooled.threats import Linf

ATTACK = PGD(Linf(2 / 255), steps=5)


def test_names() -> None:
    assert Condition().name == "clean"
    assert Condition(ATTACK).name == "pgd:eps=2/255,steps=5"
    assert Condition(ATTACK, name="mine").name == "mine"
    for attack, name in ((ATTACK, "clean"), (None, "other")):
        with pytest.raises(ConfigError, match="rename"):
            Condition(attack, name=name)


def test_clean_is_always_first_and_once() -> None:
    names = [c.name for c in with_clean([Condition(ATTACK), Condition()])]
    assert names == ["clean", "pgd:eps=2/255,steps=5"]
    assert [c.name for c in with_clean([])] == ["clean"]


def test_over_eps_keeps_all_but_the_radius() -> None:
    attacks = [c.attack for c in over_eps(ATTACK, [1 / 255, 4 / 255])]
    assert attacks == [PGD(Linf(1 / 255), steps=5), PGD(Linf(4 / 255), steps=5)]
