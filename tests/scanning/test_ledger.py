"""The ledger: nothing lost by a kill, one writer, another job refused, any thread may use it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from unfooled.errors import ConfigError
from unfooled.scanning.ledger import Item, Ledger

JOB = {"work": "scan", "detector": "abc", "every": 3}


def scan(name: str = "a.mp4", verdict: str | None = "fake", status: str = "ok", digest: str | None = "d1") -> str:
    """The part of a scan's JSON that the ledger looks at."""
    reason = "" if status == "ok" else f"{name} has none"
    return json.dumps({"file": name, "sha256": digest, "status": status, "reason": reason, "verdict": verdict})


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "deep" / "ledger.sqlite", JOB)


def filled(ledger: Ledger, count: int) -> Ledger:
    for n in range(count):
        assert ledger.add(f"k{n}", Path(f"/data/{n}.mp4"), f"{n}.mp4", size=n)
    return ledger


def taken(ledger: Ledger) -> Item:
    item = ledger.next()
    assert item is not None
    return item


def test_a_file_walks_from_queued_to_done(ledger: Ledger) -> None:
    filled(ledger, 2)
    assert not ledger.add("k0", Path("/elsewhere"), "other")
    assert ledger.counts() == {"queued": 2, "running": 0, "done": 0, "failed": 0}
    item = taken(ledger)
    assert (item.key, item.path, item.name, item.facts, item.state) == (
        "k0", Path("/data/0.mp4"), "0.mp4", {"size": 0}, "running",
    )  # fmt: skip
    ledger.progress("k0", "faces", 0.5)
    running = ledger.get("k0")
    assert running is not None
    assert (running.stage, running.share) == ("faces", 0.5)
    ledger.finish("k0", scan())
    done = ledger.get("k0")
    assert done is not None
    assert (done.state, done.sha256, done.outcome, done.scan, done.stage) == ("done", "d1", "fake", scan(), "")
    assert done.ended is not None
    assert done.ended >= done.added
    ledger.next()
    ledger.fail("k1", "gone")
    failed = ledger.get("k1")
    assert failed is not None
    assert (failed.state, failed.reason, failed.scan) == ("failed", "gone", None)
    assert ledger.next() is None
    assert ledger.counts() == {"queued": 0, "running": 0, "done": 1, "failed": 1}
    assert ledger.get("nobody") is None


def test_the_queue_is_in_order_of_adding_whatever_the_keys(ledger: Ledger) -> None:
    for key in "zab":
        ledger.add(key, Path(key), key)
    assert [taken(ledger).key for _ in range(3)] == ["z", "a", "b"]


def test_results_come_in_order_of_adding_over_many_pages(ledger: Ledger) -> None:
    with ledger.together():
        filled(ledger, 300)
        while ledger.next():
            pass
        for n in reversed(range(300)):
            ledger.finish(f"k{n}", scan(f"{n}.mp4", digest=str(n)))
    assert [item.name for item in ledger.results()] == [f"{n}.mp4" for n in range(300)]


def test_outcomes_are_verdicts_or_the_status_without_one(ledger: Ledger) -> None:
    filled(ledger, 4)
    for n, (verdict, status) in enumerate([("fake", "ok"), ("real", "ok"), (None, "no_face"), (None, "no_face")]):
        ledger.finish(f"k{n}", scan(verdict=verdict, status=status))
    assert ledger.outcomes() == {"fake": 1, "real": 1, "no_face": 2}


def test_the_same_bytes_are_found_by_their_digest_once_they_are_done(ledger: Ledger) -> None:
    filled(ledger, 3)
    for key in ("k0", "k1"):
        ledger.next()
        ledger.identify(key, "same")
    assert ledger.by_sha256("same") is None
    assert ledger.running("same") == ["k0", "k1"]
    ledger.finish("k1", scan("1.mp4", digest="same"))
    ledger.finish("k0", scan("0.mp4", digest="same"))
    assert ledger.by_sha256("same") == scan("0.mp4", digest="same"), "the first in order of adding"
    assert ledger.running("same") == []
    ledger.finish("k2", scan(status="unreadable", verdict=None, digest=None))
    assert ledger.by_sha256("nothing") is None


def test_a_file_can_be_taken_off_and_queued_again(ledger: Ledger) -> None:
    filled(ledger, 2)
    ledger.next()
    ledger.finish("k0", scan())
    ledger.requeue("k0", size=7)
    again = taken(ledger)
    assert (again.key, again.facts, again.sha256, again.scan, again.outcome) == ("k0", {"size": 7}, None, None, None)
    assert ledger.remove("k0")
    assert not ledger.remove("k0")
    ledger.requeue("k0")
    assert ledger.get("k0") is None
    assert ledger.add("k0", Path("a"), "a")
    assert [taken(ledger).key, taken(ledger).key] == ["k1", "k0"]


def test_names_that_are_no_utf8_and_hostile_ones_come_back_as_they_were(ledger: Ledger) -> None:
    odd = Path(b"/data/\xff\xfe.mp4".decode("utf-8", "surrogateescape"))
    ledger.add("odd", odd, "?.mp4")
    ledger.add("'); DROP TABLE item; --", Path("a'b\n"), "<script>")
    assert taken(ledger).path == odd
    assert taken(ledger).name == "<script>"


def test_reopened_it_goes_on_and_running_files_are_queued_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    with Ledger(path, JOB) as ledger:
        filled(ledger, 3)
        ledger.next(), ledger.next()
        ledger.finish("k1", scan())
    assert {p.name for p in tmp_path.iterdir()} == {"ledger.sqlite", ".ledger.sqlite.lock"}, "the WAL is folded in"
    with Ledger(path, JOB) as again:
        assert again.counts() == {"queued": 2, "running": 0, "done": 1, "failed": 0}
        assert taken(again).key == "k0"
        again.close()


def test_another_job_another_version_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, JOB).close()
    with pytest.raises(ConfigError, match=r"holds another job \(every 3, now 5\); choose another place"):
        Ledger(path, {**JOB, "every": 5})
    with pytest.raises(ConfigError, match=r"holds another job \(every 3, now unknown\)"):
        Ledger(path, {"work": "scan", "detector": "abc"})
    base = sqlite3.connect(path)
    base.execute("PRAGMA user_version = 99")
    base.close()
    with pytest.raises(ConfigError, match="version 99, this unfooled writes 1; update unfooled"):
        Ledger(path, JOB)
    (tmp_path / "text.sqlite").write_text("this is no database at all" * 100)
    with pytest.raises(ConfigError, match="is no ledger of a scan"):
        Ledger(tmp_path / "text.sqlite", JOB)
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE mine (a)")
    other.close()
    with pytest.raises(ConfigError, match="a database of something else"):
        Ledger(tmp_path / "other.sqlite", JOB)


def test_a_job_is_compared_as_json(tmp_path: Path) -> None:
    Ledger(tmp_path / "l", {"sizes": (1, 2)}).close()
    Ledger(tmp_path / "l", {"sizes": [1, 2]}).close()


def test_a_second_writer_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    first = Ledger(path, JOB)
    code = f"""
from unfooled.scanning.ledger import Ledger
from unfooled.errors import ConfigError
try:
    Ledger({str(path)!r}, {JOB!r})
except ConfigError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.startswith(f"{path} is in use by process ")
    assert said.count("\n") == 1
    with pytest.raises(ConfigError, match="in use by process"):
        Ledger(path, JOB)
    first.close()
    Ledger(path, JOB).close()


def test_a_refused_ledger_is_not_held(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    Ledger(path, JOB).close()
    with pytest.raises(ConfigError):
        Ledger(path, {})
    Ledger(path, JOB).close()


def test_a_kill_loses_nothing_that_was_told(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    code = f"""
import json
from pathlib import Path
from unfooled.scanning.ledger import Ledger
ledger = Ledger({str(path)!r}, {JOB!r})
with ledger.together():
    for n in range(10_000):
        ledger.add(f"k{{n}}", Path(str(n)), str(n))
while item := ledger.next():
    ledger.finish(item.key, json.dumps(dict(file=item.name, sha256=item.name, status="ok", reason="", verdict="real")))
    print(item.number, flush=True)
"""
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            told = [int(process.stdout.readline()) for _ in range(50)]
            process.send_signal(signal.SIGKILL)
            told += [int(line) for line in process.stdout.read().splitlines() if line]
    with Ledger(path, JOB) as ledger:
        done = [item.number for item in ledger.results()]
        assert done == list(range(1, len(done) + 1))
        assert len(done) >= told[-1]
        assert ledger.counts()["queued"] == 10_000 - len(done)


def test_threads_share_it(ledger: Ledger) -> None:
    filled(ledger, 200)
    seen: list[str] = []

    def work() -> None:
        while item := ledger.next():
            ledger.progress(item.key, "faces", 0.1)
            ledger.finish(item.key, scan(item.name, digest=item.key))
            seen.append(item.key)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == sorted(f"k{n}" for n in range(200))
    assert ledger.counts()["done"] == 200


def _then_fail(ledger: Ledger) -> None:
    with ledger.together():
        filled(ledger, 3)
        with ledger.together():
            raise KeyError


def test_what_goes_wrong_together_is_undone_together(ledger: Ledger) -> None:
    with pytest.raises(KeyError):
        _then_fail(ledger)
    assert ledger.counts()["queued"] == 0
    filled(ledger, 1)


def _many(ledger: Ledger) -> None:
    with ledger.together():
        for n in range(100):
            ledger.add(f"n{n}", Path("x" * 1000), "n")


def test_a_full_disk_is_told_as_one_and_what_is_done_stays(ledger: Ledger) -> None:
    filled(ledger, 2)
    ledger.next()
    ledger.finish("k0", scan())
    pages = ledger._base.execute("PRAGMA page_count").fetchone()[0]
    ledger._base.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(OSError, match="No space left on device") as full:
        ledger.finish("k1", json.dumps({**json.loads(scan()), "more": "x" * 100_000}))
    assert full.value.filename == str(ledger.path)
    with pytest.raises(OSError, match="No space left"):
        _many(ledger)
    assert ledger.counts() == {"queued": 1, "running": 0, "done": 1, "failed": 0}
    ledger._base.execute("PRAGMA max_page_count = 100000")
    ledger.finish("k1", scan())
    assert ledger.counts()["done"] == 2


def test_a_place_that_can_not_be_written_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        Ledger(tmp_path / "file" / "ledger.sqlite", JOB)
