"""The ensemble: at least as harmful as each of its members, at one threat."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import APGD, PGD, Ensemble, Square, Transfer, create, describe, parse
from unfooled.attacks.base import wrong_way
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

EPS = Linf(8 / 255)
SMALL: dict[str, Any] = {"steps": 4, "restarts": 1, "weights": (1.0,), "queries": 20}


def test_members_as_defined(tiny_detector: Detector) -> None:
    attack = Ensemble(EPS)
    apgd, *features, square = attack.members()
    assert apgd == APGD(EPS)
    assert features == [PGD(EPS, 100, loss="margin+features", weight=w) for w in (0.1, 1.0, 10.0)]
    assert square == Square(EPS)
    transfer = replace(attack, surrogate=tiny_detector).members()[-2]
    assert transfer == Transfer(EPS, APGD(EPS, restarts=1), tiny_detector)
    assert not any(isinstance(m, Square) for m in Ensemble(L2(0.5)).members())
    assert len(Ensemble(EPS, weights=(), queries=0).members()) == 1
    coarse = Ensemble(EPS, precision="bfloat16", seed=3).members()
    assert {(m.precision, m.seed) for m in coarse} == {("bfloat16", 3)}


@pytest.mark.parametrize("threat", [EPS, L2(0.3)], ids=str)
def test_each_sample_gets_the_most_harmful_of_all(
    threat: Linf | L2, tiny_detector: Detector, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    way = wrong_way(y, x)
    attack = Ensemble(threat, **SMALL, surrogate=tiny_detector)
    found = way * attack(tiny_detector, x, y).logits
    each = torch.stack([way * member(tiny_detector, x, y).logits for member in attack.members()])
    torch.testing.assert_close(found, each.amax(0), rtol=0, atol=1e-6)


def test_it_counts_all_queries(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    attack = Ensemble(EPS, **SMALL)
    found = attack(tiny_detector, *batch)
    alone = sum(member(tiny_detector, *batch).queries for member in attack.members())
    assert torch.equal(found.queries, alone + len(attack.members()))


@pytest.mark.parametrize("change", [{"steps": 8}, {"restarts": 3}, {"seed": 1}, {"seed": None}], ids=str)
def test_every_option_changes_something(
    change: dict[str, Any], tiny_detector: Detector, batch: tuple[Tensor, Tensor]
) -> None:
    attack = Ensemble(Linf(0.2), **{**SMALL, "steps": 1})
    assert not torch.equal(attack(tiny_detector, *batch).x, replace(attack, **change)(tiny_detector, *batch).x)


def test_a_member_that_sees_more_decides(linear_detector: Detector) -> None:
    """Where gradients lie, the surrogate's and Square's samples are kept."""

    class Masked(nn.Module):
        """The right score with the wrong slope."""

        def forward(self, x: Tensor) -> Tensor:
            return x.flatten(1).detach() * 2 - x.flatten(1)

    x, y = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(4) % 2
    blind = Detector(Masked(), linear_detector.head)
    options: dict[str, Any] = {**SMALL, "queries": 0}
    way = wrong_way(y, x)
    none, square, transfer = (
        way * Ensemble(EPS, **{**options, **more})(blind, x, y).logits
        for more in ({}, {"queries": 200}, {"surrogate": linear_detector})
    )
    assert (square > none).all()
    assert (transfer > square).all()


def test_as_text(tiny_detector: Detector) -> None:
    text = "ensemble:eps=4/255,steps=20,restarts=2,weights=0.5:2,queries=0"
    assert parse(text) == Ensemble(Linf(4 / 255), 20, 2, (0.5, 2.0), 0)
    assert describe(parse(text)) == text
    assert parse("ensemble:weights=none").weights == ()
    assert describe(parse("ensemble:weights=none")) == "ensemble:eps=2/255,steps=100,weights=none"
    assert create("ensemble", weights=3).weights == (3.0,)
    tiny_detector.spec = {"name": "tiny"}
    with_surrogate = describe(create("ensemble", surrogate=tiny_detector))
    assert with_surrogate.startswith("ensemble:eps=2/255,steps=100,surrogate=tiny@")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": "a:b"}, "weights must be numbers such as 0.1:1:10, got 'a:b'"),
        ({"weights": None}, "weights must be numbers"),
        ({"weights": "inf"}, "weights must be finite"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"restarts": 0}, "restarts must be >= 1"),
        ({"queries": 1}, "queries must be >= 2"),
        ({"eps": math.inf}, "eps must be finite"),
        ({"surrogate": "runs/a"}, "surrogate must be a Detector"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("ensemble", **options)
