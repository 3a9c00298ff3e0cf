"""Working through a study: whoever calls takes the next job that nobody works on and whose needs are done."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from unfooled import config
from unfooled.checkpoints import BEST
from unfooled.config.recipe import dump
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError
from unfooled.lock import hold, let_go
from unfooled.results import Evaluation, write_text
from unfooled.studies.plan import Job, Study, jobs_of
from unfooled.training import Progress

RESULT, ASKED, START = "study-eval.json", "study.json", "start.txt"


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
        check_same(job, out)
    check_rows(jobs, study)
    while left := [job for job in jobs if not is_done(job, study, out)]:
        done = len(jobs) - len(left)
        if not any(_taken(job, known, study, out, device, tell or _silent, progress, done, len(jobs)) for job in left):
            time.sleep(pause)


def is_trained(job: Job, out: Path) -> bool:
    """Whether all of its epochs are over."""
    history = out / job.name / "metrics.jsonl"
    return history.exists() and len(history.read_bytes().splitlines()) == job.recipe.epochs


def is_done(job: Job, study: Study, out: Path) -> bool:
    """Whether the job's result stands there, and answers what the study asks now; of one that is not judged, its
    weights."""
    if not job.judged:
        return is_trained(job, out)
    try:
        asked = (out / job.name / ASKED).read_text(encoding="utf-8")
    except FileNotFoundError:
        return False
    return is_trained(job, out) and asked == question(job, study, out)


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

    def is_ready() -> bool:
        before = job.surrogates if is_trained(job, out) else (job.start,) if job.start else ()
        return all(is_trained(others[name], out) for name in before)

    folder = out / job.name
    if not is_ready():
        return False
    try:
        held = hold(folder)
    except ConfigError:
        return False
    try:
        # Another process may have taken it a stage further before the lock was ours.
        if not is_ready():
            return False
        check_same(job, out)
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
        let_go(folder, held)
    return True


def _train(job: Job, out: Path, device: str, progress: Callable[[Job], Progress | None] | None) -> None:
    folder = out / job.name
    watch = progress(job) if progress else None
    try:
        config.train(job.recipe, folder, resume=folder.is_dir(), device=device, progress=watch)
    finally:
        if close := getattr(watch, "close", None):
            close()
    if job.start:
        write_text(folder / START, _weights(out / job.start) + "\n")


def _evaluate(job: Job, study: Study, out: Path, device: str) -> None:
    folder = out / job.name
    (folder / ASKED).unlink(missing_ok=True)
    config.evaluate_run(
        folder, job.attacks, split=study.split, limit=study.limit, manipulations=job.manipulations,
        collections=job.collections, checks=False, name=job.name, device=device, out=folder / RESULT, keep=True,
    )  # fmt: skip
    write_text(folder / ASKED, question(job, study, out))


def question(job: Job, study: Study, out: Path) -> str:
    """All that decides a job's result, as text: what is asked, and the weights of all who take part."""
    facts = {
        "split": study.split, "limit": study.limit, "manipulations": job.manipulations, "collections": job.collections,
        "attacks": job.asked, "weights": {n: _weights(out / n) for n in (job.name, *job.surrogates)},
    }  # fmt: skip
    return json.dumps(facts, indent=1) + "\n"


def _weights(folder: Path) -> str:
    """A digest of a run's best weights; "" where there are none."""
    try:
        facts = (folder / BEST).stat()
        return _digest(folder / BEST, facts.st_size, facts.st_mtime_ns)
    except FileNotFoundError:
        return ""


@lru_cache(maxsize=4096)
def _digest(path: Path, size: int, changed: int) -> str:
    """Of a file that has not been written to since ``changed``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _silent(step: Step) -> None:
    """Nobody listens."""


def check_same(job: Job, out: Path) -> None:
    """Refuse a folder that holds a run of another recipe, or one that began from other weights.

    Raises:
        ConfigError: it does.
    """
    folder = out / job.name
    if not (folder / "recipe.toml").exists():
        return
    # Read first: a run from before a key existed has that key's default. The start's folder may have moved with all.
    then, now = (r.model_copy(update={"init": Path(r.init).name if r.init and job.start else r.init})
                 for r in (config.load_recipe(folder), job.recipe))  # fmt: skip
    if dump(then) != dump(now):
        raise ConfigError(f"{folder} was trained by another recipe; choose another --out, or remove it")
    began, weights = folder / START, _weights(out / job.start) if job.start else ""
    if weights and began.exists() and began.read_text(encoding="utf-8").strip() != weights:
        raise ConfigError(f"{folder} began from other weights than {job.start} has now; remove it to train it again")


def check_rows(jobs: Sequence[Job], study: Study) -> None:
    """Refuse manipulations and collections that nobody has, before the first training.

    Raises:
        ConfigError: a variant names one.
        DataError: a manifest can not be read.
    """
    for job in {(j.recipe.data.manifest, j.manipulations, j.collections): j for j in jobs}.values():
        if job.manipulations or job.collections:
            rows = config.of_split(Manifest.read(job.recipe.data.manifest), study.split)
            rows = config.of_manipulations(rows, job.manipulations, keep=True, option="manipulations")
            config.of_collections(rows, job.collections, option="collections")


def results(jobs: Sequence[Job], study: Study, out: Path) -> dict[str, Evaluation]:
    """The results that stand there and answer what the study asks, by job."""
    judged = (job for job in jobs if job.judged and is_done(job, study, out))
    return {job.name: Evaluation.read(out / job.name / RESULT) for job in judged}
