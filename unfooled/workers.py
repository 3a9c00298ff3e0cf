"""Processes that do one task after another, of which a task may take its own down and no other."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any, Generic, TypeVar

from unfooled import errors

T = TypeVar("T")

# Not forked: a child of a process with threads may find their locks closed for ever.
_SPAWN = get_context("spawn")
_ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True)
class Lost:
    """In the place of an answer: the task ended its process, or its time was up; ``reason`` continues a file's name."""

    reason: str


class Worker(Generic[T]):
    """A process with its answer function, one task at a time; a new process takes its place when it ends.

    Tasks travel as pickles, answers come back as JSON: a process that a hostile file has taken over can not make this
    one run anything.

    Args:
        begin: makes the function from a task to an answer that JSON can hold, once in each process; a function of a
            module, or a ``functools.partial`` of one.
        patience: seconds for one task, from when the process is ready; None: without end.
    """

    def __init__(self, begin: Callable[[], Callable[[T], Any]], patience: float | None = None) -> None:
        self.begin, self.patience = begin, patience
        self.task: Any = None
        self.process: SpawnProcess | None = None
        self.pipe: Connection
        self._ready, self._deadline = False, float("inf")

    def give(self, task: T) -> None:
        """Start a task; the one before must have been answered."""
        # An idle process that has ended costs no task.
        if self.process is None or not self.process.is_alive():
            self.close()
            self._start()
        self.task = task
        self._watch()
        with suppress(OSError):  # it has ended: ``take`` tells
            self.pipe.send(task)

    def take(self) -> list[Any]:
        """After ``self.pipe`` can be read or ``self.remaining`` is over: the answer or ``Lost``, or nothing yet.

        Raises:
            OSError, UnfooledError: as the task raised them; any other fault of a task is a RuntimeError.
        """
        if not self.pipe.poll():
            if self.remaining > 0:
                return []
            self.close()
            return [Lost(f"took longer than {self.patience:g} s and was given up")]
        try:
            told = json.loads(self.pipe.recv_bytes())
        except (EOFError, OSError, ValueError):
            how = self.close(grace=5)
            if not self._ready:
                fix = "use fewer workers, or see what it said above"
                raise errors.UnfooledError(f"a worker process ended while it started ({how}); {fix}") from None
            return [Lost(f"took its process down ({how}): it is damaged, or there is too little memory for it")]
        if "ready" in told:
            self._ready = True
            self._watch()
            return []
        if "fault" in told:
            raise revived(told["fault"])
        self._deadline = float("inf")
        return [told["answer"]]

    def ask(self, task: T) -> Any:
        """Do a task and wait for its answer, or ``Lost``.

        Raises:
            OSError, UnfooledError: as ``take``.
        """
        self.give(task)
        while True:
            wait([self.pipe], None if self.remaining == float("inf") else self.remaining)
            for answer in self.take():
                return answer

    @property
    def remaining(self) -> float:
        """Seconds that the task has left; infinite where nothing presses."""
        return max(0.0, self._deadline - time.monotonic())

    def close(self, grace: float = 0.0) -> str:
        """End the process, at once or after so many seconds; how it ended."""
        if self.process is None:
            return "never begun"
        self.process.join(grace)
        self.process.kill()
        self.process.join()
        self.pipe.close()
        code, self.process = self.process.exitcode or 0, None
        return signal.Signals(-code).name if code < 0 else f"exit status {code}"

    def _start(self) -> None:
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_serve, args=(theirs, self.begin), daemon=True)
        with _one_thread():
            self.process.start()
        theirs.close()  # else its end would not be seen
        self._ready, self._deadline = False, float("inf")

    def _watch(self) -> None:
        if self._ready and self.patience is not None:
            self._deadline = time.monotonic() + self.patience


def each(
    begin: Callable[[], Callable[[T], Any]], tasks: Iterable[T], count: int, patience: float | None = None
) -> Iterator[tuple[T, Any]]:
    """Each task with its answer, as they come; one that ends its process, or takes too long, has ``Lost`` instead.

    Args:
        begin: as for ``Worker``.
        tasks: asked for one when a process has nothing to do, so they may be endless.
        count: processes; 0: this one does everything, and ends with a task that would end a process.
        patience: seconds for one task; with ``count`` 0 nobody looks.

    Raises:
        OSError, UnfooledError: as a task raised them; the other processes end, their tasks are not answered.
        RuntimeError: another fault of a task.
    """
    if count < 1:
        answer = begin()
        yield from ((task, answer(task)) for task in tasks)
        return
    waiting, busy = iter(tasks), list[Worker[T]]()
    try:
        for task in islice(waiting, count):
            busy.append(Worker(begin, patience))
            busy[-1].give(task)
        while busy:
            soonest = min(worker.remaining for worker in busy)
            wait([worker.pipe for worker in busy], None if soonest == float("inf") else soonest)
            for worker in list(busy):
                task = worker.task
                for answer in worker.take():
                    # The next task first: whoever asks for the answer may take its time with it.
                    if following := list(islice(waiting, 1)):
                        worker.give(following[0])
                    else:
                        busy.remove(worker)
                        worker.close()
                    yield task, answer
    finally:
        for worker in busy:
            worker.close()


def _serve(pipe: Connection, begin: Callable[[], Callable[[Any], Any]]) -> None:
    """The life of a worker: ready, then an answer for each task, until nobody asks any more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the first process ends the others
    threading.Thread(target=follow, daemon=True).start()
    with suppress(OSError):
        # Where memory runs out, the system takes this process before the one that keeps the books.
        Path("/proc/self/oom_score_adj").write_text("900")
    try:
        answer = begin()
        pipe.send_bytes(b'{"ready": true}')
        while True:
            told = json.dumps({"answer": answer(pipe.recv())})
            pipe.send_bytes(told.encode())
    except EOFError:
        return
    except Exception as error:
        with suppress(OSError):
            pipe.send_bytes(json.dumps({"fault": facts_of(error)}).encode())


def follow() -> None:
    """End with the process that asked: it may have been killed, and its successor writes the same files."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def facts_of(error: Exception) -> dict[str, Any]:
    """An error as JSON can hold it."""
    facts: dict[str, Any] = {"kind": type(error).__name__, "text": str(error)}
    if isinstance(error, OSError):
        facts |= {"kind": "OSError", "errno": error.errno, "strerror": error.strerror}
        facts |= {"filename": os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None}
    return facts


def revived(facts: dict[str, Any]) -> Exception:
    """The error of ``facts_of``: OSError and those of ``unfooled.errors`` as they were, others as RuntimeError."""
    kind, text = facts["kind"], facts["text"]
    if kind == "OSError":
        if facts["errno"] is None:
            return OSError(text)
        return OSError(facts["errno"], facts["strerror"], facts["filename"])
    known = getattr(errors, kind, None)
    if isinstance(known, type) and issubclass(known, errors.UnfooledError):
        return known(text)
    return RuntimeError(f"a task failed: {kind}: {text}")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes started here compute with one thread each: there are as many of them as cores."""
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
