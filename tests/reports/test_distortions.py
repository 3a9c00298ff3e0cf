"""The section about distortions: every detector, every type, the means, and no distorted row among the attacks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from unfooled.reports import render
from unfooled.reports.distortions import distortion_section
from unfooled.reports.reading import conditions, headline, name_runs
from unfooled.results import ConditionResult, Evaluation, Metric

KINDS = ("blocks", "blur", "contrast", "h264", "noise", "pixelation", "saturation")
PGD = "pgd:eps=2/255,steps=10"


def metric(value: float, evaluation: Evaluation) -> Metric:
    count = len(evaluation.samples.id) // 2
    return Metric(value=value, low=value - 0.05, high=min(1.0, value + 0.05), n_real=count, n_fake=count)


def distort(evaluation: Evaluation, kinds: Sequence[str] = KINDS, attack: str = "") -> Evaluation:
    """The evaluation with five levels of each kind, worse from level to level."""
    before, name = (f"{attack} > ", "robust/both/frame_auc") if attack else ("", "frame/auc")
    for i, kind in enumerate(kinds):
        values = [0.9 - 0.01 * i - 0.08 * level for level in range(1, 6)]
        for level, value in enumerate(values, 1):
            evaluation.conditions.append(
                ConditionResult(
                    name=f"{before}{kind}:level={level}", attack="PGD()" if attack else None,
                    distortion=f"{kind}:level={level}", applied_to="crops", logits=evaluation.conditions[0].logits,
                    metrics={name: metric(value, evaluation)},
                )
            )  # fmt: skip
        evaluation.level_means[before + kind] = {name: metric(sum(values) / 5, evaluation)}
    evaluation.level_means[before + "all"] = {name: metric(0.5, evaluation)}
    return evaluation


@pytest.fixture
def runs(make: Callable[..., Evaluation]) -> list[Evaluation]:
    return [distort(distort(make(name, eps=(2,))), ("blur", "h264"), PGD) for name in ("standard", "afsl")]


def test_nothing_where_nothing_was_distorted(make: Callable[..., Evaluation]) -> None:
    assert distortion_section(name_runs([make("standard")])) is None


def test_a_panel_for_each_type_and_a_row_for_each_run(runs: list[Evaluation]) -> None:
    section = distortion_section(name_runs(runs))
    assert section is not None
    plain, attacked = section.groups
    assert [len(g.figures) for g in section.groups] == [7, 2]
    assert plain.figures[0].title == "Paler colours"
    assert "PGD, eps 2/255" in attacked.title
    blur = next(f for f in plain.figures if f.title == "Blur")
    drawn = next(iter(d for name, d in blur.spec["datasets"].items() if name == "rows"))
    assert {(row["run"], row["x"]) for row in drawn} == {(r, x) for r in ("standard", "afsl") for x in range(6)}
    assert len(blur.table.rows) == 12
    means, after = section.tables
    assert [c.label for c in means.columns][:3] == ["Run", "Undistorted", "Paler colours"]
    assert means.columns[-1].label == "Mean of all"
    assert len(means.rows) == len(after.rows) == 2
    assert means.rows[0][-1].text == "0.500"
    assert "crops" in section.notes[0]


def test_distorted_conditions_are_no_attacks(runs: list[Evaluation]) -> None:
    named = name_runs(runs)
    assert headline(named) == PGD
    assert not any("level=" in name for name in conditions(named))


def test_a_run_without_distortions_stands_beside(make: Callable[..., Evaluation], runs: list[Evaluation]) -> None:
    page = render([*runs, make("at", eps=(2,))])
    assert 'id="distortions"' in page
    section = distortion_section(name_runs([make("at"), runs[0]]))
    assert section is not None
    assert [row[0].text for row in section.tables[0].rows] == ["standard"]


def test_single_levels_have_a_panel_but_no_mean(make: Callable[..., Evaluation]) -> None:
    evaluation = distort(make("standard"), ("blur",))
    evaluation.level_means = {}
    section = distortion_section(name_runs([evaluation]))
    assert section is not None
    assert (len(section.groups[0].figures), section.tables) == (1, ())


def test_the_page_is_the_same_again(runs: list[Evaluation]) -> None:
    assert render(runs) == render(runs)


def test_faces_of_distorted_frames_are_called_so(make: Callable[..., Evaluation]) -> None:
    runs = [make(name).model_copy(update={"distortion": "blur:level=3"}) for name in ("standard", "at")]
    assert "The full frames were distorted (blur:level=3) before the faces were cut out" in render(runs)
    page = render([runs[0], make("at")])
    assert "were distorted (" not in page
    assert "before the faces were cut out of them differs (standard: blur:level=3, at: nothing)" in page
