"""The report: evaluations in, one offline HTML page out."""

from __future__ import annotations

from collections.abc import Sequence

from unfooled.errors import DataError
from unfooled.reports import defenses, distortions, figures, insides, redteam, tables, words
from unfooled.reports.page import build
from unfooled.reports.parts import Details, Section
from unfooled.reports.reading import Run, headline, name_runs
from unfooled.results import Comparison, Evaluation

__all__ = ["render"]


def render(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison] = ()) -> str:
    """One HTML page that compares evaluations; the same evaluations give the same bytes.

    Args:
        evaluations: at least one, shown in this order; equal names are told apart by a number.
        comparisons: paired differences between runs, shown as a table.

    Raises:
        DataError: there is no evaluation.
    """
    if not evaluations:
        raise DataError("a report needs at least one evaluation, got none; give the eval.json files of your runs")
    runs = name_runs(evaluations)
    attack = headline(runs)
    notes = words.data_notes(runs)
    if any(attack and not run.condition(attack) for run in runs):
        notes.append("Not every run was attacked in the same way; empty cells say which attack is missing where.")
    sections = [
        words.summary(runs, attack),
        words.warnings_section(runs, notes),
        _comparison(runs, attack),
        _differences(comparisons, attack),
        figures.roc_section(runs),
        figures.eps_section(runs),
        figures.group_section(runs, attack, "manipulation"),
        figures.group_section(runs, attack, "collection"),
        distortions.distortion_section(runs),
        defenses.defense_section(runs),
        redteam.transfer_section(runs),
        redteam.queries_section(runs),
        words.checks_section(runs),
        words.faces_section(runs, attack),
        insides.plane_section(runs),
        insides.training_section(runs),
        words.provenance_section(runs),
        words.glossary(),
    ]
    return build([s for s in sections if s], words.lead(runs))


def _comparison(runs: Sequence[Run], attack: str | None) -> Section:
    every = tables.every_attack(runs)
    return Section(
        "comparison", "Comparison", "Side by side",
        "Read the robust columns before the clean one: a detector that anybody can fool is of no use as evidence. "
        "Small numbers below a value are its 95 % interval; where two intervals overlap widely, the order of the runs "
        "may be chance.",
        tables=(tables.comparison(runs, attack),),
        details=(Details("Every attack", table=every),) if every else (),
        notes=("Press a heading to sort. n/a: not measured; hold the pointer over a cell to read why.",),
    )  # fmt: skip


def _differences(comparisons: Sequence[Comparison], attack: str | None) -> Section | None:
    every = tables.differences(comparisons)
    if every is None:
        return None
    main = tables.differences(comparisons, attack) or every
    return Section(
        "differences", "Differences", "Is one run really better?",
        "Both runs of a pair saw the same faces, so their difference is known more exactly than each number alone. An "
        "interval that does not contain 0 is a difference that chance alone would rarely give.",
        tables=(main,),
        details=(Details("Every difference", table=every),) if len(every.rows) > len(main.rows) else (),
    )  # fmt: skip
