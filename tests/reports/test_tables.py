from __future__ import annotations

from collections.abc import Callable, Sequence

from unfooled.reports import tables
from unfooled.reports.parts import Cell, Table
from unfooled.reports.reading import name_runs
from unfooled.results import Comparison, Evaluation

PGD2 = "pgd:eps=2/255,steps=10"


def column(table: Table, label: str) -> list[Cell]:
    place = [c.label for c in table.columns].index(label)
    return [row[place] for row in table.rows]


def test_the_comparison_shows_the_metrics_of_the_file(evaluations: Sequence[Evaluation]) -> None:
    table = tables.comparison(name_runs(evaluations), PGD2)
    for evaluation, clean, fakes, rate in zip(
        evaluations,
        column(table, "Clean AUC"),
        column(table, "Robust AUC, only fakes attacked"),
        column(table, "Attack success rate"),
        strict=True,
    ):
        hit = evaluation.condition(PGD2).metrics
        assert clean.value == evaluation.condition("clean").metrics["frame/auc"].value
        assert (fakes.value, fakes.low) == (
            hit["robust/fakes_only/frame_auc"].value,
            hit["robust/fakes_only/frame_auc"].low,
        )
        assert rate.value == hit["attack_success_rate"].value


def test_best_is_highest_and_lowest_for_the_success_rate(evaluations: Sequence[Evaluation]) -> None:
    table = tables.comparison(name_runs(evaluations), PGD2)
    for label, best in {"Clean AUC": max, "Attack success rate": min}.items():
        cells = column(table, label)
        values = [c.value for c in cells if isinstance(c.value, float)]
        assert [c.value for c in cells if c.best] == [best(values)]


def test_the_weakest_is_taken_at_one_eps_and_named(evaluations: Sequence[Evaluation]) -> None:
    table = tables.comparison(name_runs(evaluations), PGD2)
    for evaluation, found in zip(evaluations, column(table, "Weakest robust AUC"), strict=True):
        equal = [c for c in evaluation.conditions if c.eps == 2 / 255]
        assert len(equal) == 3
        assert found.value == min(c.metrics["robust/both/frame_auc"].value or 0.0 for c in equal)
        assert "eps 2/255" in found.note


def test_a_missing_number_says_why(make: Callable[..., Evaluation]) -> None:
    runs = name_runs([make("at"), make("afsl", eps=(1,))])
    table = tables.comparison(runs, PGD2)
    absent = column(table, "Robust accuracy")[1]
    assert absent.text == ""
    assert absent.note == tables.MISSING


def test_every_attack_needs_two(make: Callable[..., Evaluation]) -> None:
    runs = name_runs([make("at")])
    table = tables.every_attack(runs)
    assert table is not None
    assert len(table.rows) == 6
    one = make("at")
    assert tables.every_attack(name_runs([one.model_copy(update={"conditions": one.conditions[:2]})])) is None


def test_differences_read_their_interval(comparisons: Sequence[Comparison]) -> None:
    every = tables.differences(comparisons)
    assert every is not None
    assert [c.text for c in column(every, "Reading")] == [
        "afsl has more",
        "could be chance",
        "trades has more",
        "could be chance",
    ]
    assert column(every, "Difference")[0].text == "+0.420"
    main = tables.differences(comparisons, PGD2)
    assert main is not None
    assert len(main.rows) == 2
    assert tables.differences([]) is None
