"""``unfooled study``."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unfooled.cli.progress import Watch, say
from unfooled.cli.train import epoch_line
from unfooled.errors import ConfigError, UnfooledError

if TYPE_CHECKING:
    from unfooled.studies import Step

TABLE, PAGE = "study.md", "study.html"


def study(
    file: Annotated[Path, typer.Argument(help="A TOML study: runs, variants, seeds, attacks; see recipes/studies.")],
    out: Annotated[Path, typer.Option(help="The folder of the study; each training gets a run folder in it.")],
    workers: Annotated[int, typer.Option(min=1, help="Trainings side by side; each computes with its share.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    table: Annotated[bool, typer.Option("--table", help="Train nothing; only tell what is there.")] = False,
) -> None:
    """Train a grid of recipes with several seeds, attack all of them, and compare them person by person.

    Killed at any moment, the same command goes on. The table has the mean over seeds and an interval over people and
    seeds; of several attacks of one threat the weakest AUC counts. It is written to study.md in the folder, and drawn
    in study.html.

    ```
    unfooled study recipes/studies/robust.toml --out studies/robust --workers 2
    unfooled study recipes/studies/robust.toml --out studies/robust --table       # what is known so far
    unfooled report studies/robust/*/study-eval.json --out robust.html
    ```
    """
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled.files import check_target
    from unfooled.results import write_text
    from unfooled.studies import load_study, tabulate, work_on
    from unfooled.studies.tables import markdown, page

    planned = load_study(file)
    check_target(out / TABLE)
    if not table:
        with _helpers(file, out, workers - 1, device):
            work_on(planned, file, out, device=device, tell=_tell, progress=lambda job: Watch(epoch_line))
    found = tabulate(planned, file, out)
    text = markdown(planned, found)
    write_text(out / TABLE, text)
    sys.stdout.write(text)
    written = str(out / TABLE)
    if found.aucs:
        write_text(out / PAGE, page(planned, found, f"Study: {file.stem}"))
        written += f", {PAGE}"
    say(f"{found.jobs[0]} of {found.jobs[1]} trainings -> {written}")


def _tell(step: Step) -> None:
    from unfooled.cli.progress import notes

    notes.print(f"{step.done} of {step.total} done; {step.stage}: {step.job.name}", markup=False, soft_wrap=True)


@contextmanager
def _helpers(file: Path, out: Path, count: int, device: str) -> Iterator[None]:
    """More processes at the same study; their end is waited for, and a failed one is told."""
    if not count:
        yield
        return
    import torch

    share = str(max(1, (os.cpu_count() or 1) // (count + 1)))
    torch.set_num_threads(int(share))
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = share
    crew = [get_context("spawn").Process(target=_help, args=(file, out, device)) for _ in range(count)]
    try:
        for process in crew:
            process.start()
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    try:
        yield
    except BaseException:
        for process in crew:
            process.terminate()
        raise
    for process in crew:
        process.join()
        if process.exitcode:
            raise ConfigError(f"a helper ended with exit status {process.exitcode}; what it said stands above")


def _help(file: Path, out: Path, device: str) -> None:
    from unfooled.memory import keep_memory
    from unfooled.studies import load_study, work_on
    from unfooled.workers import follow

    keep_memory()
    threading.Thread(target=follow, daemon=True).start()
    # Ctrl-C reaches the whole group; the first process ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        work_on(load_study(file), file, out, device=device)
    except UnfooledError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(2) from None
