"""What a study found: AUC by run, clean and under the weakest attack of each threat, over people and seeds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unfooled import metrics
from unfooled.errors import DataError
from unfooled.evaluation.conditions import CLEAN
from unfooled.evaluation.tables import people
from unfooled.reports.study import Row, render_study
from unfooled.results import Evaluation, Samples
from unfooled.studies.plan import Job, Study, jobs_of
from unfooled.studies.work import check_same, is_done, is_trained, results

Array = NDArray[np.float64]
REPLICATES = 1000
MEAN = "mean over variants"


@dataclass(frozen=True)
class Line:
    """A number of the table: mean over seeds, its 95 % interval over people and seeds, and each seed's own."""

    value: float
    low: float
    high: float
    seeds: tuple[float, ...]

    def within(self, least: float, most: float) -> Line:
        """With an interval that ends where the numbers do: stretched, it may pass them."""
        return replace(self, low=max(least, self.low), high=min(most, self.high))

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class StudyTable:
    """All numbers of a study.

    Args:
        aucs: by variant, run and column (``clean`` and the threats).
        attacks: by variant, run and attack as written: the AUC under it alone.
        differences: by variant, pair ``(a, b)`` and column: a minus b, on the same people and seeds.
        seconds: of training, by variant and run: median over seeds.
        jobs: finished, of all.
    """

    aucs: Mapping[tuple[str, str, str], Line]
    attacks: Mapping[tuple[str, str, str], Line]
    differences: Mapping[tuple[str, tuple[str, str], str], Line]
    seconds: Mapping[tuple[str, str], float]
    jobs: tuple[int, int]


def tabulate(study: Study, path: Path, out: Path, seed: int = 0) -> StudyTable:
    """The table of what stands in ``out`` so far.

    An interval is a bootstrap in which people and seeds are drawn with replacement; runs are compared on the same draw.
    S seeds, drawn again, vary by (S - 1) / S of what seeds vary by: their part is stretched by the root of S / (S - 1).
    An attack set's AUC is the lowest over its attacks, for each seed and draw. A run's row is told once all of its
    seeds are there.

    Args:
        study, path: see ``plan.load_study``.
        out: the study's folder.
        seed: of the bootstrap.

    Raises:
        ConfigError: a folder was trained by another recipe, or from other weights than its start has now.
    """
    jobs = jobs_of(study, path, out)
    for job in jobs:
        check_same(job, out)
    found = results(jobs, study, out)
    table = _Drawn(study, found, out, seed)
    whole = [(v, r) for v in table.variants for r in table.runs if table.has(v, r)]
    columns = [CLEAN, *study.attacks]
    drawn = {(v, r, c): table.column(v, r, c) for v, r in whole for c in columns}
    if len(table.variants) > 1:
        for run in table.runs:
            if all((v, run) in whole for v in table.variants):
                for c in columns:
                    parts = [drawn[v, run, c] for v in table.variants]
                    drawn[MEAN, run, c] = (np.mean([p[0] for p in parts], 0), np.mean([p[1] for p in parts], 0))
    differences = {
        (v, pair, c): table.line(left[0] - drawn[v, pair[1], c][0], left[1] - drawn[v, pair[1], c][1])
        for (v, r, c), left in drawn.items()
        for pair in study.compare
        if r == pair[0] and (v, pair[1], c) in drawn
    }
    texts = [text for attacks in study.attacks.values() for text in attacks]
    met = [(v, r, a) for v, r in whole for a in texts if table.knows(r, a)]
    alone = {key: table.line(*table.attack(*key)).within(0, 1) for key in met}
    return StudyTable(
        {key: table.line(*values).within(0, 1) for key, values in drawn.items()}, alone, differences,
        _seconds(jobs, out, found), (sum(is_done(job, study, out) for job in jobs), len(jobs)),
    )  # fmt: skip


class _Drawn:
    """AUCs by seed, and by seed and draw of people; all evaluations of a variant share their draws."""

    def __init__(self, study: Study, found: Mapping[str, Evaluation], out: Path, seed: int) -> None:
        self.study, self.found, self.out = study, found, out
        self.variants = [v.name for v in study.variant] or [""]
        self.runs = [r.name for r in study.run]
        self.stretch = (len(study.seeds) / max(1, len(study.seeds) - 1)) ** 0.5
        self.picks = np.random.default_rng(seed).integers(len(study.seeds), size=(REPLICATES, len(study.seeds)))
        self.people_seed = seed
        self._resamples: dict[str, tuple[Samples, metrics.Resamples]] = {}

    def _of(self, variant: str, run: str) -> list[Evaluation]:
        names = ["-".join(p for p in (run, variant, str(s)) if p) for s in self.study.seeds]
        return [self.found[n] for n in names if n in self.found]

    def has(self, variant: str, run: str) -> bool:
        return len(self._of(variant, run)) == len(self.study.seeds)

    def knows(self, run: str, attack: str) -> bool:
        return f"{{{run}}}" not in attack

    def column(self, variant: str, run: str, column: str) -> tuple[Array, Array]:
        """(S,) AUCs and (S, R) AUCs over draws of people: clean, or the lowest over the attacks of a threat."""
        if column == CLEAN:
            return self._aucs(variant, run, None)
        parts = [self.attack(variant, run, a) for a in self.study.attacks[column] if self.knows(run, a)]
        return np.min([p[0] for p in parts], 0), np.min([p[1] for p in parts], 0)

    def attack(self, variant: str, run: str, attack: str) -> tuple[Array, Array]:
        order = [a for attacks in self.study.attacks.values() for a in attacks if self.knows(run, a)]
        return self._aucs(variant, run, order.index(attack))

    def _aucs(self, variant: str, run: str, place: int | None) -> tuple[Array, Array]:
        values, draws = [], []
        for evaluation in self._of(variant, run):
            resamples = self._draws(variant, evaluation)
            condition = evaluation.conditions[0 if place is None else 1 + place]
            y, z = np.asarray(evaluation.samples.label), np.asarray(condition.logits)
            values.append(metrics.auc(z, y))
            draws.append(resamples.apply(metrics.auc, z, y))
        return np.array(values), np.array(draws)

    def _draws(self, variant: str, evaluation: Evaluation) -> metrics.Resamples:
        samples = evaluation.samples
        if variant not in self._resamples:
            made = metrics.Resamples(samples.label, people(samples), REPLICATES, self.people_seed)
            self._resamples[variant] = samples, made
        first, resamples = self._resamples[variant]
        if first.id != samples.id or first.label != samples.label:
            raise DataError(
                f"{evaluation.name} was judged on other samples than the rest of the study; remove its folder"
            )
        return resamples

    def line(self, values: Array, draws: Array) -> Line:
        over_people = draws.mean(0)
        over_both = over_people + (np.take_along_axis(draws, self.picks.T, 0).mean(0) - over_people) * self.stretch
        low, high = metrics.interval(over_both)
        return Line(float(values.mean()), low, high, tuple(float(v) for v in values))


def _seconds(jobs: Sequence[Job], out: Path, found: Mapping[str, Evaluation]) -> dict[tuple[str, str], float]:
    """Seconds of training: of all epochs of a run, with those of the run it starts from."""
    taken: dict[str, float] = {}
    total: dict[tuple[str, str], list[float]] = {}
    for job in jobs:
        if is_trained(job, out):
            lines = (out / job.name / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
            taken[job.name] = sum(json.loads(line)["seconds"] for line in lines) + taken.get(job.start, 0.0)
        if job.name in found:
            total.setdefault((job.variant, job.run), []).append(taken[job.name])
    for run in {name for _, name in total}:
        total[MEAN, run] = [s for (_, name), seconds in total.items() if name == run for s in seconds]
    return {key: float(np.median(seconds)) for key, seconds in total.items()}


def markdown(study: Study, table: StudyTable) -> str:
    """The table as Markdown: AUCs by variant and run, then the paired differences."""
    columns = [CLEAN, *study.attacks]
    text = []
    for variant in dict.fromkeys(v for v, _, _ in table.aucs):
        head = variant or "AUC"
        text += ["| " + " | ".join([head, *columns, "training, s"]) + " |", "|" + "---|" * (len(columns) + 2)]
        for run in dict.fromkeys(r for v, r, _ in table.aucs if v == variant):
            cells = [str(table.aucs[variant, run, c]) for c in columns]
            text.append("| " + " | ".join([run, *cells, f"{table.seconds[variant, run]:.0f}"]) + " |")
        pairs = dict.fromkeys(p for v, p, _ in table.differences if v == variant)
        if pairs:
            text += ["", "| paired difference | " + " | ".join(columns) + " |", "|" + "---|" * (len(columns) + 1)]
        for pair in pairs:
            lines = [table.differences[variant, pair, c] for c in columns]
            cells = [f"{d.value:+.3f} [{d.low:+.3f}, {d.high:+.3f}]" for d in lines]
            text.append(f"| {pair[0]} - {pair[1]} | " + " | ".join(cells) + " |")
        text.append("")
    if table.attacks:
        text += ["| each attack alone | " + " | ".join(["run", "AUC"]) + " |", "|---|---|---|"]
        for (variant, run, attack), line in table.attacks.items():
            text.append(f"| {attack}{f', {variant}' if variant else ''} | {run} | {line} |")
        text.append("")
    return "\n".join(text)


def page(study: Study, table: StudyTable, title: str) -> str:
    """The table as an offline HTML page with pictures of what robustness costs.

    Raises:
        DataError: no run is whole yet.
    """
    if not table.aucs:
        raise DataError("no run of the study has all of its seeds yet; there is nothing to draw")
    columns = [CLEAN, *study.attacks]
    runs = dict.fromkeys((v, r) for v, r, _ in table.aucs)
    pairs = dict.fromkeys((v, p) for v, p, _ in table.differences)
    done = f"{table.jobs[0]} of {table.jobs[1]} trainings are done. " if table.jobs[0] < table.jobs[1] else ""
    seeds = f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed"
    return render_study(
        title,
        [Row(v, r, {c: table.aucs[v, r, c] for c in columns}, table.seconds[v, r]) for v, r in runs],
        [Row(v, f"{a} - {b}", {c: table.differences[v, (a, b), c] for c in columns}) for v, (a, b) in pairs],
        [Row(v, r, {"AUC": line}, under=attack) for (v, r, attack), line in table.attacks.items()],
        f"{done}Every run was trained with {seeds} and judged on the same faces of {study.split} people; of the attacks"
        " of one threat the weakest AUC counts.",
    )
