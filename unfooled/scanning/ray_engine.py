"""The same work on a Ray cluster (extra ``ray``): each actor owns one worker process, so a file costs no more there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unfooled.errors import ConfigError
from unfooled.scanning.work import Task
from unfooled.workers import Lost, Worker, facts_of, revived

MOST_BLOCKS = 2000
"""Ray keeps books of each block of files; larger ones tell later what is done."""


class Actor:
    """One on each core that is asked for: passes a file to a process of its own, and starts that again if it ends.

    Args:
        begin: as for ``Worker``.
        timeout: seconds for one file.
    """

    def __init__(self, begin: Callable[[], Callable[[Task], str]], timeout: float | None) -> None:
        self.worker = Worker[Task](begin, timeout)

    def __call__(self, row: dict[str, str]) -> dict[str, str]:
        """The file's row with its ``answer``; what stops the whole scan travels as text, for Ray would try again."""
        told = json.loads(row["task"])
        try:
            answer = self.worker.ask(Task(**{**told, "path": Path(told["path"])}))
            said = {"lost": answer.reason} if isinstance(answer, Lost) else {"answer": answer}
        except Exception as error:
            said = {"fault": facts_of(error)}
        return {"task": row["task"], "said": json.dumps(said)}


def each(
    begin: Callable[[], Callable[[Task], str]], tasks: Iterable[Task], count: int, timeout: float | None = None
) -> Iterator[tuple[Task, str | Lost]]:
    """As ``unfooled.workers.each``, on ``count`` cores of the cluster that ``RAY_ADDRESS`` names, else of this machine.

    The list of files (200 bytes each) is handed to Ray as a whole.

    Raises:
        ConfigError: Ray is not installed, or ``count`` is 0.
        OSError, UnfooledError: as a task raised them.
    """
    if count < 1:
        raise ConfigError("workers must be at least 1 with engine ray, got 0")
    ray = _ray()
    rows = [{"task": json.dumps({**asdict(task), "path": str(task.path)})} for task in tasks]
    if not rows:
        return
    mine = not ray.is_initialized()
    if mine:
        local = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": count}
        ray.init(include_dashboard=False, log_to_driver=False, logging_level="error", **local)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        files = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS))
        pool = ray.data.ActorPoolStrategy(size=min(count, len(rows)))
        done = files.map(Actor, fn_constructor_args=(begin, timeout), compute=pool, num_cpus=1)
        for row in done.iter_rows():
            told, said = json.loads(row["task"]), json.loads(row["said"])
            if "fault" in said:
                raise revived(said["fault"])
            answer = Lost(said["lost"]) if "lost" in said else said["answer"]
            yield Task(**{**told, "path": Path(told["path"])}), answer
    finally:
        if mine:
            ray.shutdown()


def _ray() -> Any:
    # Read when it is imported or started: it tells nobody, and its workers are as quick as any other process.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
        import ray.data
    except ImportError:
        raise ConfigError("engine ray needs Ray: pip install 'unfooled[ray]'; or use engine processes") from None
    return ray
