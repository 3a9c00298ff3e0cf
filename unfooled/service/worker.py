"""The process that decodes and scans: it may hang, run out of memory or crash; the service goes on with the next."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Literal

from unfooled.errors import ConfigError, UnfooledError
from unfooled.scanning.verdict import About
from unfooled.service.problems import is_disk_full
from unfooled.service.settings import Settings

START = 300.0
"""Seconds that loading the detector may take."""


@dataclass(frozen=True)
class Outcome:
    """How a file ended.

    Attributes:
        kind: ``done`` with the JSON of its Scan, ``failed`` with a reason, ``disk`` when there was no room for the
            evidence, ``stopped`` when the service asked for the end.
        text: JSON or reason.
    """

    kind: Literal["done", "failed", "disk", "stopped"]
    text: str = ""


class Worker:
    """One process with one scanner; started when it is needed, killed when a file takes too much.

    Attributes:
        about: who answers; known after ``start``.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.about: About | None = None
        self._process: Any = None
        self._pipe: Connection | None = None

    def start(self, stopped: Callable[[], bool] = lambda: False) -> About:
        """Start the process and wait until its detector is loaded.

        Raises:
            ConfigError: the detector can not be opened, or the process died on the way.
        """
        self.stop()
        context = multiprocessing.get_context("spawn")
        here, there = context.Pipe()
        self._process = context.Process(target=_main, args=(there, self.settings), name="scan", daemon=True)
        self._process.start()
        there.close()
        self._pipe = here
        message = self._receive(time.monotonic() + START, stopped)
        if message is None or message[0] != "ready":
            self.stop()
            raise ConfigError(message[1] if message else "the scanning process did not start; run again with --debug")
        self.about = About.model_validate_json(message[1])
        return self.about

    @property
    def pid(self) -> int | None:
        """Of the process, while it lives."""
        return self._process.pid if self._process is not None and self._process.is_alive() else None

    def scan(
        self, path: Path, name: str, evidence: Path, progress: Callable[[str, float], None], stopped: Callable[[], bool]
    ) -> Outcome:
        """Scan one file within the limits; a dead process is started again first.

        Args:
            path: of the file.
            name: to be shown.
            evidence: folder for its pictures.
            progress: called with (stage, share).
            stopped: asked several times a second; True kills the process and gives ``stopped``.

        Raises:
            ConfigError: the process can not be started again.
        """
        if self.pid is None:
            self.start(stopped)
        assert self._pipe is not None
        limit = time.monotonic() + self.settings.timeout
        try:
            self._pipe.send((str(path), name, str(evidence)))
        except OSError:
            return self._lost()
        while message := self._receive(limit, stopped):
            kind, *rest = message
            if kind == "progress" and len(rest) == 2:
                progress(str(rest[0]), float(rest[1]))
            elif kind == "memory":
                self.stop()
                return Outcome("failed", f"needs more memory than the {self.settings.memory / 1e9:g} GB allowed")
            elif kind in ("done", "failed", "disk") and rest:
                return Outcome(kind, str(rest[0]))
            else:
                break
        if stopped():
            self.stop()
            return Outcome("stopped")
        if time.monotonic() >= limit:
            self.stop()
            return Outcome("failed", f"took longer than the {self.settings.timeout:g} s allowed for a file")
        return self._lost()

    def stop(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process.close()
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None

    def _lost(self) -> Outcome:
        self._process.join(5)
        code = self._process.exitcode
        self.stop()
        if code == -signal.SIGKILL:
            return Outcome("failed", "the scanning process was killed, most likely for want of memory")
        return Outcome("failed", "this file made the scanning process crash")

    def _receive(self, limit: float, stopped: Callable[[], bool]) -> tuple[Any, ...] | None:
        """The next message; None when the time is over, the end was asked for, or the process is gone."""
        assert self._pipe is not None
        while not stopped() and (left := limit - time.monotonic()) > 0:
            try:
                if self._pipe.poll(min(left, 0.2)):
                    # Never a pickle: a hostile file may speak through the process that it has taken over.
                    message = json.loads(self._pipe.recv_bytes())
                    return tuple(message) if isinstance(message, list) and message else None
            except (EOFError, OSError, ValueError):
                return None
        return None


def _main(pipe: Connection, settings: Settings) -> None:
    # Ctrl-C reaches the whole group; the service decides when a worker ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        scanner = settings.opener(settings.detector, settings.options)
        about = scanner.about.model_dump_json()
    except (UnfooledError, OSError) as error:
        _tell(pipe, "refused", " ".join(str(error).split()))
        return
    limit_memory(settings.memory)
    _tell(pipe, "ready", about)
    while True:
        try:
            path, name, evidence = pipe.recv()
        except (EOFError, OSError):
            return
        answer = _scan(scanner, Path(path), name, Path(evidence), pipe)
        _tell(pipe, *answer)
        if answer[0] == "memory":
            return


def _tell(pipe: Connection, *message: str | float) -> None:
    pipe.send_bytes(json.dumps(message).encode())


def _scan(scanner: Any, path: Path, name: str, evidence: Path, pipe: Connection) -> tuple[str, str]:
    said = ("", 0.0)

    def progress(stage: str, share: float) -> None:
        nonlocal said
        # Some messages a second are enough for any eye.
        now = time.monotonic()
        if stage != said[0] or now - said[1] > 0.2:
            said = (stage, now)
            _tell(pipe, "progress", stage, share)

    try:
        scan = scanner(path, name=name, evidence=evidence, progress=progress)
        return "done", scan.model_dump_json()
    except MemoryError:
        return "memory", ""
    except OSError as error:
        return ("disk", "") if is_disk_full(error) else ("failed", f"could not be read: {error.strerror or error}")
    except UnfooledError as error:
        return "failed", " ".join(str(error).split())
    except Exception as error:
        if "memory" in str(error).lower():
            return "memory", ""
        print(f"unfooled: a scan failed: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return "failed", f"a fault of unfooled ({type(error).__name__}); report it with the file"


def limit_memory(allowance: int) -> None:
    """Let this process take ``allowance`` more bytes than it has now; 0: no limit. Linux only, elsewhere nothing.

    RLIMIT_DATA counts what a process can write to itself. RLIMIT_AS would count address space too, of which
    libraries such as PyTorch reserve many times what they use.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    status = Path("/proc/self/status")
    if not allowance or not status.exists():
        return
    now = next(int(line.split()[1]) * 1024 for line in status.read_text().splitlines() if line.startswith("VmData"))
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    limit = now + allowance if hard == resource.RLIM_INFINITY else min(now + allowance, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, hard))


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
