"""The scanning process: limits, ends and beginnings."""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Iterator
from multiprocessing import Pipe
from pathlib import Path
from typing import Any

import pytest
from clients import wish
from fake_scanner import ABOUT, fake

from unfooled.errors import ConfigError
from unfooled.scanning.verdict import Scan
from unfooled.service.settings import Settings
from unfooled.service.worker import Outcome, Worker


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    settings = Settings(data=tmp_path_factory.mktemp("work"), opener=fake, timeout=1.0, memory=200 * 10**6)
    made = Worker(settings)
    yield made
    made.stop()


def scan(worker: Worker, folder: Path, stopped: Any = lambda: False, **do: Any) -> tuple[Outcome, list[Any]]:
    path, told = folder / "file", []
    path.write_bytes(wish(**do))
    found = worker.scan(path, "x", folder / "out", lambda *said: told.append(said), stopped)
    return found, told


def test_one_process_for_many_files(worker: Worker, tmp_path: Path) -> None:
    assert worker.start() == ABOUT
    first = worker.pid
    for k in range(3):
        found, told = scan(worker, tmp_path, k=k)
        assert Scan.model_validate_json(found.text).verdict == "fake"
        assert told == [("faces", 0.0), ("scores", 1.0)]
    assert worker.pid == first
    assert scan(worker, tmp_path, do="raise")[0].kind == "failed"
    assert worker.pid == first


@pytest.mark.parametrize(
    ("do", "text"),
    [
        ({"do": "die"}, "crash"),
        ({"do": "sleep", "seconds": 50}, "took longer than the 1 s"),
        ({"do": "eat", "megabytes": 2000}, "more memory than the 0.2 GB"),
    ],
)
def test_after_the_worst_a_new_process_goes_on(worker: Worker, tmp_path: Path, do: Any, text: str) -> None:
    found, _ = scan(worker, tmp_path, **do)
    assert found.kind == "failed"
    assert text in found.text
    assert worker.pid is None
    assert scan(worker, tmp_path)[0].kind == "done"


def test_a_process_killed_from_outside(worker: Worker, tmp_path: Path) -> None:
    worker.start()
    os.kill(worker.pid or 0, 9)
    time.sleep(0.3)
    assert scan(worker, tmp_path)[0].kind == "done"


def test_a_scan_is_broken_off_when_asked(worker: Worker, tmp_path: Path) -> None:
    end = time.monotonic() + 0.4
    found, _ = scan(worker, tmp_path, lambda: time.monotonic() > end, do="sleep", seconds=50)
    assert found.kind == "stopped"
    assert worker.pid is None


def test_a_detector_that_can_not_be_opened(tmp_path: Path) -> None:
    worker = Worker(Settings(detector=tmp_path / "gone", opener=fake))
    with pytest.raises(ConfigError, match="gone is no run folder"):
        worker.start()
    assert worker.pid is None


class Trap:
    """What a process that a file has taken over would send: unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_what_a_process_says_is_never_unpickled(tmp_path: Path) -> None:
    trap, worker = tmp_path / "trap", Worker(Settings(data=tmp_path / "work", opener=fake))
    pickle.loads(pickle.dumps(Trap(trap)))
    assert trap.exists(), "the trap works"
    trap.unlink()
    for said in (pickle.dumps(Trap(trap)), b"{", b"{}", b"[]", b""):
        worker._pipe, there = Pipe()
        there.send_bytes(said)
        assert worker._receive(time.monotonic() + 5, lambda: False) is None
    assert not trap.exists()
