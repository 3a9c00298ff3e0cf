"""What is to be scanned, what is being scanned and what came of it, in one SQLite file that survives a kill."""

from __future__ import annotations

import errno
import json
import os
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from unfooled.errors import ConfigError
from unfooled.lock import hold

State = Literal["queued", "running", "done", "failed"]

VERSION = 1
"""Of the tables; grows when they change."""

_MARK = 0x554E464C
"""SQLite's application_id of a ledger: tells it from anybody's database."""

_TABLES = """
CREATE TABLE job (facts TEXT NOT NULL);
CREATE TABLE item (
  number INTEGER PRIMARY KEY AUTOINCREMENT,
  key TEXT NOT NULL UNIQUE,
  path TEXT NOT NULL,
  name TEXT NOT NULL,
  facts TEXT NOT NULL,
  state TEXT NOT NULL DEFAULT 'queued',
  sha256 TEXT,
  outcome TEXT,
  scan TEXT,
  reason TEXT NOT NULL DEFAULT '',
  added REAL NOT NULL,
  ended REAL
);
CREATE INDEX by_state ON item (state, number);
CREATE INDEX by_sha256 ON item (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX by_outcome ON item (outcome);
"""
_COLUMNS = "number, key, path, name, facts, state, sha256, outcome, scan, reason, added, ended"
_PAGE = 64
"""Rows read at once by ``results``: a scan of a long file holds a megabyte."""


@dataclass(frozen=True)
class Item:
    """A file of the ledger.

    Args:
        number: order of adding, from 1.
        key: what it is asked for by.
        path: where the file lies.
        name: what it is called in results.
        facts: what was told when it was added.
        state: ``queued``, ``running``, ``done`` (there is a scan) or ``failed`` (there is only a reason).
        sha256: of its bytes, as soon as that is known.
        outcome: of a scan: its verdict, or its status where that is not ``ok``.
        scan: the JSON of ``unfooled.scanning.verdict.Scan``.
        reason: why it failed.
        added, ended: seconds since 1970.
        stage, share: how far it is, while it is running: a word, and [0, 1] of it.
    """

    number: int
    key: str
    path: Path
    name: str
    facts: dict[str, Any]
    state: State
    sha256: str | None
    outcome: str | None
    scan: str | None = field(repr=False)
    reason: str
    added: float
    ended: float | None
    stage: str = ""
    share: float = 0.0


class Ledger:
    """A list of files to scan with their states and results; one process writes to it, from any of its threads.

    Each step is in the file when its call returns, so a kill costs the files in work alone: they are queued again when
    the ledger is opened. Values are text, JSON and numbers.

    Args:
        path: of the file; made with its folder where there is none. ``.<name>.lock`` beside it says who writes.
        job: what makes the job what it is, as JSON holds it; another job's ledger is refused.

    Raises:
        ConfigError: it belongs to another job, another process has it open, or it is no ledger of this version.
        OSError: it can not be written; every method may raise this (a full disk), and nothing is lost by it.
    """

    def __init__(self, path: Path | str, job: Mapping[str, Any]) -> None:
        self.path = Path(path)
        self._lock = threading.RLock()
        self._depth = 0
        self._stages: dict[str, tuple[str, float]] = {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held = hold(self.path)
        try:
            self._base = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
            try:
                self._open(job)
            except BaseException:
                self._base.close()
                raise
        except BaseException:
            os.close(self._held)
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        with self._lock:
            if self._held >= 0:
                self._base.close()
                os.close(self._held)
                self._held = -1

    def add(self, key: str, path: Path, name: str, **facts: Any) -> bool:
        """Queue a file; False, and nothing done, where the key is known."""
        # A file's name need not be text that SQLite takes; JSON of ASCII is, and gives it back as it was.
        row = key, json.dumps(str(path)), name, json.dumps(facts), time.time()
        sql = "INSERT INTO item (key, path, name, facts, added) VALUES (?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
        return self._change(sql, *row) > 0

    def next(self) -> Item | None:
        """The first file in the queue, now running; None where nobody waits."""
        with self.together():
            item = self._one("state = 'queued' ORDER BY number LIMIT 1")
            if item is None:
                return None
            self._change("UPDATE item SET state = 'running' WHERE key = ?", item.key)
            return self.get(item.key)

    def progress(self, key: str, stage: str, share: float) -> None:
        """Note how far a running file is; kept in memory, for a restart begins the file anew."""
        with self._lock:
            self._stages[key] = (stage, share)

    def identify(self, key: str, digest: str) -> None:
        """Note the SHA-256 of a file before it is scanned."""
        self._change("UPDATE item SET sha256 = ? WHERE key = ?", digest, key)

    def finish(self, key: str, scan_json: str) -> None:
        """Keep the result of a file: the JSON of a ``Scan``, whatever its status."""
        scan = json.loads(scan_json)
        outcome = scan["verdict"] if scan["status"] == "ok" else scan["status"]
        self._change(
            "UPDATE item SET state = 'done', scan = ?, sha256 = coalesce(?, sha256), outcome = ?, reason = ?, ended = ?"
            " WHERE key = ?", scan_json, scan["sha256"], outcome, scan["reason"], time.time(), key,
        )  # fmt: skip
        self._forget(key)

    def fail(self, key: str, reason: str) -> None:
        """End a file that has no scan."""
        self._change(
            "UPDATE item SET state = 'failed', scan = NULL, outcome = NULL, reason = ?, ended = ? WHERE key = ?",
            reason, time.time(), key,
        )  # fmt: skip
        self._forget(key)

    def requeue(self, key: str, **facts: Any) -> None:
        """Queue a file again at its old place in the order; what came of it is forgotten, ``facts`` are renewed."""
        with self.together():
            item = self.get(key)
            if item is not None:
                self._change(
                    "UPDATE item SET state = 'queued', sha256 = NULL, scan = NULL, outcome = NULL, reason = '',"
                    " ended = NULL, facts = ? WHERE key = ?", json.dumps({**item.facts, **facts}), key,
                )  # fmt: skip
                self._forget(key)

    def remove(self, key: str) -> bool:
        """Take a file off the ledger; whether it was there."""
        self._forget(key)
        return self._change("DELETE FROM item WHERE key = ?", key) > 0

    def get(self, key: str) -> Item | None:
        """A file as it stands; None where the key is unknown."""
        return self._one("key = ?", key)

    def by_sha256(self, digest: str) -> str | None:
        """The JSON of the first finished scan of the same bytes."""
        item = self._one("sha256 = ? AND state = 'done' ORDER BY number LIMIT 1", digest)
        return item.scan if item else None

    def alike(self, digest: str) -> list[str]:
        """Keys of the files of these bytes, whatever their state, in order of adding."""
        return [key for (key,) in self._rows("SELECT key FROM item WHERE sha256 = ? ORDER BY number", digest)]

    def running(self, digest: str) -> list[str]:
        """Keys of the files of these bytes that are running, in order of adding."""
        sql = "SELECT key FROM item WHERE sha256 = ? AND state = 'running' ORDER BY number"
        return [key for (key,) in self._rows(sql, digest)]

    def counts(self) -> dict[State, int]:
        """How many files are in each state."""
        found = dict(self._rows("SELECT state, count(*) FROM item GROUP BY state"))
        states: tuple[State, ...] = ("queued", "running", "done", "failed")
        return {state: found.get(state, 0) for state in states}

    def ahead(self, key: str) -> int:
        """How many queued files come before this one."""
        sql = "SELECT count(*) FROM item WHERE state = 'queued' AND number < (SELECT number FROM item WHERE key = ?)"
        return int(self._rows(sql, key)[0][0])

    def outcomes(self) -> Counter[str]:
        """How many scans ended in each verdict, or in each status that is not ``ok``."""
        return Counter(dict(self._rows("SELECT outcome, count(*) FROM item WHERE state = 'done' GROUP BY outcome")))

    def results(self) -> Iterator[Item]:
        """Every file that is done or failed, in order of adding; a few at a time are in memory."""
        last = 0
        while True:
            where = "number > ? AND state IN ('done', 'failed') ORDER BY number LIMIT ?"
            # The order of adding is the table's own: an index would make each page sort the rest.
            rows = self._rows(f"SELECT {_COLUMNS} FROM item NOT INDEXED WHERE {where}", last, _PAGE)
            if not rows:
                return
            for row in rows:
                yield self._item(row)
            last = rows[-1][0]

    @contextmanager
    def together(self) -> Iterator[None]:
        """All changes inside stand in the file at the end, or none; other threads wait. Many cost as much as one."""
        with self._lock:
            if self._depth == 0:
                self._run("BEGIN IMMEDIATE")
            self._depth += 1
            try:
                yield
            except BaseException:
                self._depth -= 1
                # SQLite has rolled back by itself where the disk was full.
                if self._depth == 0 and self._base.in_transaction:
                    self._base.rollback()
                raise
            self._depth -= 1
            if self._depth == 0:
                self._run("COMMIT")

    def _open(self, job: Mapping[str, Any]) -> None:
        try:
            (version,), (mark,) = (self._rows(f"PRAGMA {name}")[0] for name in ("user_version", "application_id"))
            tables = self._rows("SELECT count(*) FROM sqlite_master")[0][0]
        except sqlite3.DatabaseError:
            raise ConfigError(f"{self.path} is no ledger of a scan; choose another place") from None
        if tables and mark != _MARK:
            raise ConfigError(f"{self.path} is a database of something else; choose another place")
        if tables and version != VERSION:
            fix = "update unfooled" if version > VERSION else "choose another place to start anew"
            raise ConfigError(f"{self.path} has version {version}, this unfooled writes {VERSION}; {fix}")
        self._run("PRAGMA journal_mode = WAL")
        self._run("PRAGMA synchronous = NORMAL")
        with self.together():
            if not tables:
                for statement in _TABLES.split(";\n"):
                    self._run(statement)
                self._run("INSERT INTO job VALUES (?)", json.dumps(dict(job)))
                self._run(f"PRAGMA application_id = {_MARK}")
                self._run(f"PRAGMA user_version = {VERSION}")
            there = json.loads(self._rows("SELECT facts FROM job")[0][0])
            now = json.loads(json.dumps(dict(job)))
            if there != now:
                key = next((k for k in now if there.get(k) != now[k]), next(iter(there.keys() - now.keys()), "job"))
                was, new = (str(j.get(key, "unknown")) for j in (there, now))
                raise ConfigError(f"{self.path} holds another job ({key} {was}, now {new}); choose another place")
            self._change("UPDATE item SET state = 'queued' WHERE state = 'running'")

    def _change(self, sql: str, *values: Any) -> int:
        with self._lock:
            return self._run(sql, *values).rowcount

    def _rows(self, sql: str, *values: Any) -> list[Any]:
        with self._lock:
            return self._run(sql, *values).fetchall()

    def _one(self, where: str, *values: Any) -> Item | None:
        rows = self._rows(f"SELECT {_COLUMNS} FROM item WHERE {where}", *values)
        return self._item(rows[0]) if rows else None

    def _item(self, row: tuple[Any, ...]) -> Item:
        number, key, path, name, facts, state, sha256, outcome, scan, reason, added, ended = row
        stage, share = self._stages.get(key, ("", 0.0))
        return Item(
            number, key, Path(json.loads(path)), name, json.loads(facts), state, sha256, outcome, scan, reason, added,
            ended, stage, share,
        )  # fmt: skip

    def _forget(self, key: str) -> None:
        with self._lock:
            self._stages.pop(key, None)

    def _run(self, sql: str, *values: Any) -> sqlite3.Cursor:
        try:
            return self._base.execute(sql, values)
        except sqlite3.OperationalError as error:
            # What the disk refuses is told as the system would tell it.
            codes = {sqlite3.SQLITE_FULL: errno.ENOSPC, sqlite3.SQLITE_IOERR: errno.EIO}
            codes |= {sqlite3.SQLITE_CANTOPEN: errno.EACCES, sqlite3.SQLITE_READONLY: errno.EROFS}
            code = codes.get(getattr(error, "sqlite_errorcode", 0) & 0xFF)
            if code is None:
                raise
            raise OSError(code, os.strerror(code), str(self.path)) from None
