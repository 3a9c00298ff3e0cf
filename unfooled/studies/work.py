"""Working through a study: whoever calls takes the next job that nobody works on and whose needs are done."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unfooled import config
from unfooled.config.recipe import dump
from unfooled.errors import ConfigError
from unfooled.results import Evaluation, write_text
from unfooled.scanning.lock import hold
from unfooled.studies.plan import Job, Study, jobs_of
from unfooled.training import Progress

RESULT, ASKED = "study-eval.json", "study.json"


@dataclass(frozen=True)
class Step:
    """A job and what became of it: ``train``, ``evaluate`` or ``done``."""

    job: Job
    stage: str
    done: int
    total: int


def work_on(
    study: Study,
    path: Path,
    out: Path,
    *,
    device: str = "auto",
    tell: Callable[[Step], None] | None = None,
    progress: Callable[[Job], Progress | None] | None = None,
    pause: float = 2.0,
) -> None:
    """Train and evaluate whatever is not done yet; what stands in ``out`` is not made again.

    Several processes may work on one study, each started with the same call: a job is taken by a lock that ends with
    its holder. A job that was cut off goes on from its last epoch and last evaluated batch.

    Args:
        study, path: see ``plan.load_study``.
        out: the study's folder, one run folder a job.
        device: of training and evaluation.
        tell: called when a job goes on to its next stage.
        progress: what watches the training of a job.
        pause: seconds before it looks again where all that is left waits for somebody else.

    Raises:
        ConfigError: a folder holds a run of other settings.
        TrainingError, DataError: as training and evaluation raise them.
    """
    jobs = jobs_of(study, path, out)
    known = {job.name: job for job in jobs}
    out.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        _check_same(job, out)
    while left := [job for job in jobs if not is_done(job, study, out)]:
        done = len(jobs) - len(left)
        if not any(_taken(job, known, study, out, device, tell or _silent, progress, done, len(jobs)) for job in left):
            time.sleep(pause)
    for lock in out.glob(".*.lock"):
        lock.unlink(missing_ok=True)


def is_trained(job: Job, out: Path) -> bool:
    """Whether all of its epochs are over."""
    history = out / job.name / "metrics.jsonl"
    return history.exists() and len(history.read_bytes().splitlines()) == job.recipe.epochs


def is_done(job: Job, study: Study, out: Path) -> bool:
    """Whether the job's result stands there, and answers what the study asks now; of one that is not judged, its
    weights."""
    if not job.judged:
        return is_trained(job, out)
    asked = out / job.name / ASKED
    return asked.exists() and asked.read_text(encoding="utf-8") == _asked(job, study)


def _taken(
    job: Job,
    others: Mapping[str, Job],
    study: Study,
    out: Path,
    device: str,
    tell: Callable[[Step], None],
    progress: Callable[[Job], Progress | None] | None,
    done: int,
    total: int,
) -> bool:
    """Take a job one stage further; False where it must wait, or somebody else is at it."""
    before = job.surrogates if is_trained(job, out) else (job.start,) if job.start else ()
    if not all(is_trained(others[name], out) for name in before):
        return False
    try:
        held = hold(out / job.name)
    except ConfigError:
        return False
    try:
        if not is_trained(job, out):
            tell(Step(job, "train", done, total))
            _train(job, out, device, progress)
            if not job.judged:
                tell(Step(job, "done", done + 1, total))
        elif not is_done(job, study, out):
            tell(Step(job, "evaluate", done, total))
            _evaluate(job, study, out, device)
            tell(Step(job, "done", done + 1, total))
    finally:
        os.close(held)
    return True


def _train(job: Job, out: Path, device: str, progress: Callable[[Job], Progress | None] | None) -> None:
    folder = out / job.name
    watch = progress(job) if progress else None
    try:
        config.train(job.recipe, folder, resume=folder.is_dir(), device=device, progress=watch)
    finally:
        if close := getattr(watch, "close", None):
            close()


def _evaluate(job: Job, study: Study, out: Path, device: str) -> None:
    folder = out / job.name
    (folder / ASKED).unlink(missing_ok=True)
    config.evaluate_run(
        folder, job.attacks, split=study.split, limit=study.limit, manipulations=job.manipulations,
        collections=job.collections, checks=False, name=job.name, device=device, out=folder / RESULT, keep=True,
    )  # fmt: skip
    write_text(folder / ASKED, _asked(job, study))


def _asked(job: Job, study: Study) -> str:
    """All that decides a job's result beside its weights."""
    facts = {
        "split": study.split, "limit": study.limit, "manipulations": job.manipulations, "collections": job.collections,
        "attacks": job.attacks,
    }  # fmt: skip
    return json.dumps(facts, indent=1) + "\n"


def _silent(step: Step) -> None:
    """Nobody listens."""


def _check_same(job: Job, out: Path) -> None:
    folder = out / job.name
    # Read first: a run from before a key existed has that key's default.
    if (folder / "recipe.toml").exists() and dump(config.load_recipe(folder)) != dump(job.recipe):
        raise ConfigError(f"{folder} was trained by another recipe; remove it, or choose another --out")


def results(jobs: Sequence[Job], study: Study, out: Path) -> dict[str, Evaluation]:
    """The results that stand there and answer what the study asks, by job."""
    judged = (job for job in jobs if job.judged and is_done(job, study, out))
    return {job.name: Evaluation.read(out / job.name / RESULT) for job in judged}
