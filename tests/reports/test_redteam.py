"""The transfer matrix and success over queries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from unfooled.reports import redteam, render
from unfooled.reports.reading import name_runs
from unfooled.results import ConditionResult, Evaluation, Metric

Make = Callable[..., Evaluation]
DIRECT = "pgd:eps=2/255,steps=10"


def borrowed(surrogate: str, value: float) -> ConditionResult:
    found = {"robust/both/frame_auc": Metric(value=value, n_real=60, n_fake=60)}
    name = f"transfer:attack=pgd,surrogate={surrogate}@01234567,eps=2/255,steps=10"
    return ConditionResult(name=name, eps=2 / 255, norm="linf", logits=[0.0] * 120, metrics=found)


@pytest.fixture
def pair(make: Make) -> list[Evaluation]:
    a, b = make("standard"), make("afsl")
    a.conditions.append(borrowed("afsl", 0.91))
    b.conditions.append(borrowed("standard", 0.83))
    b.conditions.append(borrowed("elsewhere", 0.87))
    return [a, b]


def test_the_matrix_has_a_row_for_each_surrogate_and_the_direct_attack_on_its_diagonal(pair: list[Evaluation]) -> None:
    section = redteam.transfer_section(name_runs(pair))
    assert section is not None
    (figure,) = section.groups[0].figures
    direct = [e.condition(DIRECT).metrics["robust/both/frame_auc"].value for e in pair]
    rows = {row[0].text: [c.value for c in row[1:]] for row in figure.table.rows}
    assert len(rows.pop("meso4")) == 2
    assert rows == {"standard": [direct[0], 0.83], "afsl": [0.91, direct[1]], "elsewhere": [None, 0.87]}
    assert "made on standard, tried on afsl: 0.830" in figure.alt


def test_without_a_borrowed_attack_there_is_no_matrix(make: Make) -> None:
    evaluation = make("standard")
    evaluation.conditions = [c for c in evaluation.conditions if not c.name.startswith("transfer")]
    assert redteam.transfer_section(name_runs([evaluation])) is None


def asked(evaluation: Evaluation, name: str, flipped: dict[int, float], budget: float) -> ConditionResult:
    """A condition that flips the given samples after so many queries and spends the budget on all others."""
    clean = evaluation.condition("clean").logits
    return ConditionResult(
        name=name, logits=[-z if i in flipped else z for i, z in enumerate(clean)],
        queries=[flipped.get(i, budget) for i in range(len(clean))], metrics={},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["square:eps=8/255,queries=1000,stop_at_flip=true", "rbb:eps=16/255,steps=100"])
def test_only_rightly_judged_samples_count_and_the_curve_rises_with_the_queries(make: Make, name: str) -> None:
    evaluation = make("standard")
    right = [
        i
        for i, (y, z) in enumerate(zip(evaluation.samples.label, evaluation.condition("clean").logits, strict=True))
        if (z > 0) == bool(y)
    ]
    wrong = next(i for i in range(120) if i not in right)
    hit = asked(evaluation, name, {right[0]: 40.0, right[1]: 7.0, right[2]: 800.0, wrong: 5.0}, 1000.0)
    evaluation.conditions.append(hit)
    (run,) = name_runs([evaluation])
    assert redteam.flips(run, hit) == ([7.0, 40.0, 800.0], len(right))
    section = redteam.queries_section([run])
    assert section is not None
    (figure,) = section.groups[0].figures
    n = len(right)
    assert [c.value for c in figure.table.rows[0][1:]] == [n, 1 / n, 2 / n, 3 / n, None]
    drawn = figure.spec["datasets"]["rows"]
    assert [row["x"] for row in drawn] == sorted(row["x"] for row in drawn)
    assert [row["y"] for row in drawn] == sorted(row["y"] for row in drawn)


def test_a_square_that_goes_on_after_the_flip_says_nothing_about_queries(make: Make) -> None:
    evaluation = make("standard")
    evaluation.conditions.append(asked(evaluation, "square:eps=8/255,queries=1000", {0: 3.0}, 1000.0))
    assert redteam.queries_section(name_runs([evaluation])) is None


def test_samples_that_were_left_alone_are_not_counted(make: Make) -> None:
    evaluation = make("standard")
    hit = asked(evaluation, "rbb", {}, 0.0)
    assert redteam.flips(name_runs([evaluation])[0], hit) == ([], 0)


def test_both_sections_are_in_the_page(pair: list[Evaluation]) -> None:
    pair[0].conditions.append(asked(pair[0], "rbb:eps=16/255,steps=100", {i: float(i + 1) for i in range(50)}, 900.0))
    page = render(pair)
    assert "Attacks borrowed from another detector" in page
    assert "How often an attacker has to ask" in page
