"""The files that visitors gave, from arrival to verdict: in the ledger and in three folders beside it."""

from __future__ import annotations

import json
import secrets
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from unfooled.files import check_target
from unfooled.scanning.ledger import Item, Ledger
from unfooled.scanning.verdict import Scan
from unfooled.service.problems import Refused
from unfooled.service.uploads import Upload, suffix_of

LEDGER = "ledger.sqlite"
UPLOADS = "uploads"
EVIDENCE = "evidence"
PART = ".part"
RETRY = 5
"""Seconds after which a client may ask again when the queue is full."""


class Jobs:
    """What is known of every file, and where it lies; safe from any thread.

    ``data`` holds ``ledger.sqlite``, ``uploads/<id><suffix>`` and ``evidence/<SHA-256 of the file>/``. Equal bytes have
    one evidence folder, for a scan depends on nothing else; each visitor has an id and a name of their own for it.

    Args:
        data: the folder; made where there is none.
        job: what makes results comparable: detector, options, version.
        queue: files that may wait or arrive at once.
        keep_uploads: leave uploads after the result.

    Raises:
        ConfigError: the folder belongs to another job or to a running service, or can not be written.
    """

    def __init__(self, data: Path, job: Mapping[str, Any], queue: int, keep_uploads: bool) -> None:
        check_target(data / LEDGER)
        self.uploads, self.evidence = data / UPLOADS, data / EVIDENCE
        self.queue, self.keep_uploads = queue, keep_uploads
        self.ledger = Ledger(data / LEDGER, job)
        self.arrived = threading.Condition()
        self._arriving = 0
        self._gate = threading.Lock()
        self._files = threading.RLock()
        for folder in (self.uploads, self.evidence):
            folder.mkdir(exist_ok=True)
        self._sweep()

    @contextmanager
    def place(self) -> Iterator[tuple[str, Path]]:
        """A new id with a file to write to, and a place in the queue meanwhile.

        Raises:
            Refused: 429, the queue is full.
        """
        with self._gate:
            if self.ledger.counts()["queued"] + self._arriving >= self.queue:
                raise Refused(
                    429, f"{self.queue} files wait already; try again in some seconds", {"Retry-After": str(RETRY)}
                )
            self._arriving += 1
        key = secrets.token_urlsafe(18)
        try:
            yield key, self.uploads / f"{key}{PART}"
        finally:
            with self._gate:
                self._arriving -= 1

    def submit(self, key: str, upload: Upload, ours: bool) -> bool:
        """Queue a file; or, where the same bytes were scanned before, give its result at once and return True.

        Args:
            key: from ``place``.
            upload: the file.
            ours: it is an upload, to be moved to its place and removed after the result.
        """
        path = upload.path
        if ours:
            path = path.rename(self.uploads / f"{key}{suffix_of(upload.name)}")
        try:
            with self.ledger.together():
                self.ledger.add(key, path, upload.name, sha256=upload.sha256, ours=ours)
                self.ledger.identify(key, upload.sha256)
                known = self._reuse(key, upload.name, upload.sha256)
        except BaseException:
            if ours:
                path.unlink(missing_ok=True)
            raise
        if known:
            self._clear(path, ours)
        else:
            with self.arrived:
                self.arrived.notify()
        return known

    def next(self) -> Item | None:
        """The next file that needs a scan, now running; files whose bytes are known by now get their result."""
        while item := self.ledger.next():
            if not self._reuse(item.key, item.name, item.facts["sha256"]):
                return item
            self._clear(item.path, item.facts["ours"])
        return None

    def evidence_part(self, item: Item) -> Path:
        """The folder that a running scan writes to."""
        return self.evidence / f"{item.key}{PART}"

    def finish(self, item: Item, scan: str) -> None:
        """Keep a result and its evidence; the upload goes."""
        # The bytes that were scanned: a file below the root may have changed since it was named.
        digest = json.loads(scan)["sha256"] or item.facts["sha256"]
        part, folder = self.evidence_part(item), self.evidence / digest
        with self._files:
            if self.is_known(item.key):
                if part.exists() and not folder.exists():
                    part.rename(folder)
                self.ledger.finish(item.key, scan)
            self._end(item)

    def fail(self, item: Item, reason: str) -> None:
        """Keep the reason why there is no result; the upload goes."""
        self.ledger.fail(item.key, reason)
        self._end(item)

    def drop(self, item: Item) -> None:
        """Remove what is left of a file that its visitor removed while it was scanned."""
        self._end(item, removed=True)

    def again(self, item: Item) -> None:
        """Queue a file again whose scan was broken off without its fault."""
        shutil.rmtree(self.evidence_part(item), ignore_errors=True)
        with self.ledger.together():
            self.ledger.requeue(item.key)
            self.ledger.identify(item.key, item.facts["sha256"])

    def remove(self, key: str) -> bool:
        """Forget a file with its upload and, unless another id shares it, its evidence; whether the id was known."""
        item = self.ledger.get(key)
        if item is None or not self.ledger.remove(key):
            return False
        if item.state != "running":
            self._end(item, removed=True)
        return True

    def is_known(self, key: str) -> bool:
        """Whether an id still stands in the ledger; a visitor may remove a file while it is scanned."""
        return self.ledger.get(key) is not None

    def folder(self, item: Item) -> Path:
        """The folder of the evidence of a finished scan."""
        return self.evidence / str(item.sha256 or item.facts["sha256"])

    def close(self) -> None:
        """Let go of the ledger."""
        self.ledger.close()

    def _reuse(self, key: str, name: str, digest: str) -> bool:
        with self.ledger.together():
            text = self.ledger.by_sha256(digest)
            if text is not None:
                # The first visitor's name for the file is nobody else's business.
                scan = Scan.model_validate_json(text).model_copy(update={"file": name})
                self.ledger.finish(key, scan.model_dump_json())
        return text is not None

    def _end(self, item: Item, removed: bool = False) -> None:
        shutil.rmtree(self.evidence_part(item), ignore_errors=True)
        self._clear(item.path, item.facts["ours"], removed)
        folder = self.folder(item)
        with self._files:
            if self.ledger.by_sha256(folder.name) is None and not self.ledger.running(folder.name):
                shutil.rmtree(folder, ignore_errors=True)

    def _clear(self, path: Path, ours: bool, removed: bool = False) -> None:
        if ours and (removed or not self.keep_uploads):
            with suppress(OSError):
                path.unlink()

    def _sweep(self) -> None:
        """Remove what a kill left behind: half uploads, uploads with a result, half evidence."""
        for path in self.uploads.iterdir():
            item = self.ledger.get(path.name.partition(".")[0])
            over = item is not None and item.state in ("done", "failed")
            if item is None or path.suffix == PART or (over and not self.keep_uploads):
                path.unlink(missing_ok=True)
        for folder in self.evidence.iterdir():
            if folder.suffix == PART or self.ledger.by_sha256(folder.name) is None:
                shutil.rmtree(folder, ignore_errors=True)
