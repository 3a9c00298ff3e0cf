"""Thousands of files: scanned by several processes, each once, killed at any moment and gone on with."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

from unfooled import __version__
from unfooled.errors import ConfigError, DataError
from unfooled.journal import claimed
from unfooled.scanning import outputs
from unfooled.scanning.intake import take_in
from unfooled.scanning.ledger import Item, Ledger
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.sources import MEDIA, Sources
from unfooled.scanning.verdict import Scan
from unfooled.scanning.work import Task, begin
from unfooled.workers import Lost, each

Engine = Literal["processes", "ray"]
LEDGER = "ledger.sqlite"
RECENT = 200
"""Files over which the rate is taken."""


@dataclass(frozen=True)
class Step:
    """A file has just been finished.

    Args:
        done, total: files; those of an earlier call are among them.
        name: of the file.
        outcome: its verdict, or its status where it has none.
        rate: files a second, of late.
        left: seconds to go at that rate.
    """

    done: int
    total: int
    name: str
    outcome: str
    rate: float
    left: float


@dataclass(frozen=True)
class Summary:
    """What a bulk scan left behind.

    Args:
        folder: with ``results.jsonl``, ``results.parquet``, ``index.html``, ``evidence`` and the ledger.
        counts: files by verdict, or by status where there is none.
        scanned: files that this call scanned.
        copies: files, of any call, whose bytes another had.
        passed_over: files of folders and patterns that are no images or videos, by ending.
        seconds: that this call took.
    """

    folder: Path
    counts: Counter[str]
    scanned: int
    copies: int
    passed_over: Counter[str]
    seconds: float

    @property
    def exit_code(self) -> int:
        """10: a fake is among them; else 11: one is undecided; else 12: one could not be read or judged; else 0."""
        order = {"fake": 10, "undecided": 11, "unreadable": 12, "refused": 12, "no_score": 12}
        return next((code for outcome, code in order.items() if self.counts[outcome]), 0)


def scan_many(
    sources: Sequence[str | Path],
    out: Path | str,
    run: Path | None = None,
    options: ScanOptions | None = None,
    *,
    workers: int | None = None,
    engine: Engine = "processes",
    timeout: float | None = None,
    evidence: bool = True,
    retry: bool = False,
    progress: Callable[[Step], None] | None = None,
) -> Summary:
    """Scan files and write a line, a row and a page for each; the same files give the same bytes with any workers.

    ``out`` gets ``results.jsonl`` (one ``Scan`` a line: in order of finishing while it runs, in the end in the order of
    the sources), ``results.parquet``, ``index.html`` and ``evidence/<key>/``. Killed at any moment, the same call goes
    on and leaves what it would have left unbroken; a file that has changed since is scanned again, new files join.
    Files of equal bytes are scanned once: the first in order, and the others name it as ``duplicate_of``. A file at
    which a process ends, or that takes too long, is ``unreadable``.

    Args:
        sources: see ``Sources``; what lies in ``out`` is none.
        out: a new or empty folder, or that of the same job.
        run: a run folder; None: the small detector of the package.
        options: None: the defaults.
        workers: processes; None: one a core; 0: none beside this one, and a file that ends it ends the scan.
        engine: ``processes`` of this machine, or a ``ray`` cluster, which must see the same folders.
        timeout: seconds for one file; None: without end.
        evidence: write pictures and a page for every file with a verdict.
        retry: scan again what was unreadable in an earlier call.
        progress: called after each file.

    Raises:
        ConfigError: an option is wrong, ``out`` holds something else, or another process works in it.
        DataError: a source is not there, or there is no image or video among them.
        OSError: ``out`` can not be written (a full disk); what is finished stays.
    """
    out, started = Path(out).absolute(), time.monotonic()
    if engine not in get_args(Engine):
        raise ConfigError(f"engine must be one of {', '.join(get_args(Engine))}, got {engine!r}")
    if timeout is not None and not timeout > 0:
        raise ConfigError(f"timeout must be > 0 seconds (or none), got {timeout:g}")
    given, options = Sources(sources, out), options or ScanOptions()
    scanner = Scanner.open(run, options)  # refuses here what every worker would
    job = _job(scanner) | {"evidence": evidence}
    with claimed(out, job), Ledger(out / LEDGER, job) as ledger:
        take_in(ledger, given, retry)
        counts = ledger.counts()
        if not sum(counts.values()):
            raise DataError(f"there is no image or video in {', '.join(given.given)}; known are {', '.join(MEDIA)}")
        with outputs.Stream(out / outputs.RESULTS, ledger) as stream:
            bulk = _Bulk(ledger, stream, scanner, counts["done"], sum(counts.values()), progress)
            while ledger.counts()["queued"]:
                count = (os.cpu_count() or 1) if workers is None else workers
                start = partial(begin, run, options, out / outputs.EVIDENCE if evidence else None)
                for task, answer in _engine(engine)(start, bulk.tasks(2 * max(count, 1)), count, timeout):
                    bulk.answered(task, answer)
        copies = outputs.write(out, ledger, scanner.about, evidence)
        return Summary(out, ledger.outcomes(), bulk.scanned, copies, given.passed_over, time.monotonic() - started)


class _Bulk:
    """Between the ledger and those who scan: hands out each file once, and writes down what comes back."""

    def __init__(
        self,
        ledger: Ledger,
        stream: outputs.Stream,
        scanner: Scanner,
        done: int,
        total: int,
        progress: Callable[[Step], None] | None,
    ) -> None:
        self.ledger, self.stream, self.scanner, self.progress = ledger, stream, scanner, progress
        self.done, self.total, self.scanned = done, total, 0
        self._out: set[str] = set()
        self._times = deque([time.monotonic()], RECENT)

    def tasks(self, ahead: int) -> Iterator[Task]:
        """Files to scan in order of adding; of equal bytes one, and the others wait for it.

        Their bytes are read ahead of the scan, so that nobody waits for it.
        """
        line: deque[tuple[Item, Future[str | None]]] = deque()
        with ThreadPoolExecutor(1) as reader:
            while True:
                while len(line) < ahead and (item := self.ledger.next()):
                    line.append((item, reader.submit(_digest, item.path)))
                if not line:
                    return
                item, reading = line.popleft()
                digest = reading.result()
                if digest is not None:
                    self.ledger.identify(item.key, digest)
                    if digest in self._out:
                        continue
                    if (known := self.ledger.by_sha256(digest)) is not None:
                        self._copy(item, known)
                        continue
                    self._out.add(digest)
                yield Task(item.key, item.path, item.name, digest)

    def answered(self, task: Task, answer: str | Lost) -> None:
        """Keep a result, and give it to the files of the same bytes that wait for it."""
        if isinstance(answer, Lost):
            reason = f"{task.name} {answer.reason}"
            answer = self.scanner.without_verdict(task.name, task.sha256, "unreadable", reason).model_dump_json()
        self.scanned += 1
        self._finish(task.key, task.name, answer)
        if task.sha256 is None:
            return
        self._out.discard(task.sha256)
        changed = json.loads(answer)["sha256"] != task.sha256
        for key in self.ledger.running(task.sha256):
            item = self.ledger.get(key)
            if item is None:
                continue
            if changed:  # while it was read: what came of it is not theirs
                self.ledger.requeue(key)
            else:
                self._copy(item, answer)

    def _copy(self, item: Item, answer: str) -> None:
        scan = Scan.model_validate_json(answer)
        original = scan.duplicate_of or scan.file
        reason = scan.reason.replace(scan.file, item.name)
        copied = scan.model_copy(update={"file": item.name, "duplicate_of": original, "reason": reason})
        self._finish(item.key, item.name, copied.model_dump_json())

    def _finish(self, key: str, name: str, answer: str) -> None:
        self.ledger.finish(key, answer)
        self.stream.add(answer)
        self.done += 1
        now = time.monotonic()
        rate = len(self._times) / max(now - self._times[0], 1e-3)
        self._times.append(now)
        if self.progress is not None:
            told = json.loads(answer)
            outcome = told["verdict"] or told["status"]
            self.progress(Step(self.done, self.total, name, outcome, rate, (self.total - self.done) / rate))


def _job(scanner: Scanner) -> dict[str, Any]:
    """All that a result depends on beside the file."""
    about = scanner.about
    return {
        "work": "scan", "detector": about.digest, "name": about.name, **scanner.options.facts(),
        "calibration": about.calibration, "scale": asdict(scanner.scale), "unfooled": __version__,
    }  # fmt: skip


def _digest(path: Path) -> str | None:
    """SHA-256 of the bytes; None where they can not be read."""
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return None


def _engine(name: Engine) -> Callable[..., Iterator[tuple[Task, Any]]]:
    if name == "ray":
        from unfooled.scanning import ray_engine

        return ray_engine.each
    return each
