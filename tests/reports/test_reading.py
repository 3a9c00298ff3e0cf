from __future__ import annotations

from collections.abc import Callable

import pytest

from unfooled.reports.parts import Look, number
from unfooled.reports.reading import (
    conditions,
    eps_in_words,
    family,
    headline,
    in_words,
    metric_in_words,
    name_runs,
    one_of_each,
    same_samples,
)
from unfooled.results import Evaluation

PGD2 = "pgd:eps=2/255,steps=10"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (PGD2, "PGD, eps 2/255, 10 steps"),
        ("clean", "clean"),
        ("fgsm:eps=1/255", "FGSM, eps 1/255"),
        ("transfer:attack=pgd,surrogate=meso4,eps=2/255", "transfer of PGD from meso4, eps 2/255"),
        ("pgd:eps=2/255,loss=features,steps=5", "PGD, eps 2/255, loss features, 5 steps"),
        ("my images: half, broken", "my images: half, broken"),
    ],
)
def test_an_attack_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("frame/auc", "AUC"),
        ("robust/both/frame_auc", "robust AUC, both attacked"),
        ("robust/fakes_only/video_auc", "robust video AUC, only fakes attacked"),
        ("manipulation/FaceSwap/auc", "AUC on FaceSwap"),
        ("frame/average_precision", "average precision"),
    ],
)
def test_a_metric_in_words(name: str, words: str) -> None:
    assert metric_in_words(name) == words


def test_eps_in_words() -> None:
    assert eps_in_words(2 / 255, "linf") == "2/255"
    assert eps_in_words(0.5, "l2") == "0.5"
    assert eps_in_words(None, "l2") == "no limit"


def test_numbers_have_a_true_minus_and_no_minus_zero() -> None:
    assert number(-0.02) == "\N{MINUS SIGN}0.020"
    assert number(-0.0001) == "0.000"


def test_equal_names_are_told_apart(make: Callable[..., Evaluation]) -> None:
    one = make()
    names = [run.name for run in name_runs([one, one, one.model_copy(update={"name": "  "}), one])]
    assert names == ["standard", "standard (2)", "unnamed", "standard (3)"]


def test_looks_differ_for_many_runs() -> None:
    assert len({(look.colour, look.dash, look.shape) for look in map(Look, range(64))}) == 64


def test_the_headline_is_the_first_attack_that_most_runs_share(make: Callable[..., Evaluation]) -> None:
    runs = name_runs([make("at", eps=(4, 2)), make("afsl", eps=(2, 1))])
    assert headline(runs) == PGD2
    assert conditions(runs)[-1] == "pgd:eps=1/255,steps=10"
    assert headline(name_runs([make("at", eps=(4, 2))])) == "pgd:eps=4/255,steps=10"


def test_a_family_differs_in_eps_alone(make: Callable[..., Evaluation]) -> None:
    runs = name_runs([make("at")])
    assert {family(c) for c in runs[0].attacks if c.name.startswith("pgd")} == {"PGD, 10 steps"}
    assert one_of_each(runs)[:2] == [PGD2, "fgsm:eps=2/255"]


def test_the_same_samples_in_another_order_are_the_same(make: Callable[..., Evaluation]) -> None:
    a = make()
    order = list(reversed(range(len(a.samples.id))))
    b = a.model_copy(update={"samples": type(a.samples)(**{k: [v[i] for i in order] for k, v in a.samples})})
    assert same_samples(a, b)
    flipped = type(a.samples)(**dict(a.samples) | {"label": [1 - y for y in a.samples.label]})
    assert not same_samples(a, a.model_copy(update={"samples": flipped}))
