"""A thread for each worker process: takes files from the queue, keeps the limits, and writes down what comes of it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from unfooled.errors import UnfooledError
from unfooled.scanning.ledger import Item
from unfooled.service.jobs import Jobs
from unfooled.service.worker import Worker

PAUSE = 2.0
"""Seconds until the next try after a full disk, or after a worker that did not start."""


class Supervisor(threading.Thread):
    """Scans one file after the other until it is told to stop; whatever happens it goes on.

    Args:
        jobs: where files come from and results go.
        worker: not shared with another supervisor.
    """

    def __init__(self, jobs: Jobs, worker: Worker) -> None:
        super().__init__(name="supervisor", daemon=True)
        self.jobs, self.worker = jobs, worker
        self.trouble = ""
        self._over = threading.Event()

    def run(self) -> None:
        """Work until ``end``."""
        while not self._over.is_set():
            try:
                item = self.jobs.next()
                if item is not None:
                    self._scan(item)
                    continue
                self.trouble = ""
            except OSError as error:
                self._wait(f"the disk refuses: {error.strerror or error}")
                continue
            with self.jobs.arrived:
                self.jobs.arrived.wait(1.0)
        self.worker.stop()

    def end(self) -> None:
        """Stop after killing what is in work; it is scanned at the next start."""
        self._over.set()
        with self.jobs.arrived:
            self.jobs.arrived.notify_all()
        self.join(30)

    def _scan(self, item: Item) -> None:
        part = self.jobs.evidence_part(item)
        try:
            outcome = self.worker.scan(
                item.path, item.name, part,
                lambda stage, share: self.jobs.ledger.progress(item.key, stage, share),
                lambda: self._over.is_set() or not self.jobs.is_known(item.key),
            )  # fmt: skip
        except UnfooledError as error:
            # The detector can not be loaded any more; that is no fault of the file.
            self._keep(lambda: self.jobs.again(item))
            self._wait("the scanning process does not start", str(error))
            return
        if outcome.kind == "done":
            self._keep(lambda: self.jobs.finish(item, outcome.text))
        elif outcome.kind == "failed":
            self._keep(lambda: self.jobs.fail(item, outcome.text))
        elif outcome.kind == "disk":
            self._keep(lambda: self.jobs.again(item))
            self._wait("the disk is full; scans go on when there is room")
        elif not self._over.is_set():
            self._keep(lambda: self.jobs.drop(item))

    def _keep(self, write: Callable[[], None]) -> None:
        """Write to the ledger, however long the disk refuses: a result in hand is not thrown away."""
        while True:
            try:
                write()
                return
            except OSError as error:
                self._wait(f"the disk refuses: {error.strerror or error}")
                if self._over.is_set():
                    return

    def _wait(self, trouble: str, detail: str = "") -> None:
        # Visitors are told the trouble, the keeper also its details, which may name folders.
        if trouble != self.trouble:
            print(f"unfooled: {trouble}{': ' * bool(detail)}{detail}", file=sys.stderr, flush=True)
        self.trouble = trouble
        self._over.wait(PAUSE)
