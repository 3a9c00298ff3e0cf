"""Bulk scans: every file once, the same bytes with any workers and after any kill, and no file at another's cost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from unfooled import checkpoints, models
from unfooled.codecs import encode_png, encode_video
from unfooled.errors import ConfigError, DataError
from unfooled.scanning import bulk, outputs, work
from unfooled.scanning.bulk import LEDGER, Step, Summary, scan_many
from unfooled.scanning.ledger import Ledger
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.verdict import Scan
from unfooled.scanning.work import Task
from unfooled.workers import each

HERE = Path(__file__)
QUICK = ScanOptions(face_detector="whole", margin="off", tampering=False)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a detector that never learnt."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("run")
    checkpoints.save(models.create("resnet", width=4), folder / checkpoints.BEST)
    return folder


def picture(seed: int) -> bytes:
    return encode_png(np.random.default_rng(seed).integers(0, 255, (24, 24, 3), np.uint8))


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Pictures, a video, one that is twice there, one that is none, and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE.parents[2])  # a new process finds this module's functions
    folder = tmp_path / "inbox"
    folder.mkdir()
    for n in range(5):
        (folder / f"{n}.png").write_bytes(picture(n))
    (folder / "twin.png").write_bytes(picture(1))
    (folder / "clip.mkv").write_bytes(encode_video(np.full((8, 32, 32, 3), 90, np.uint8)))
    (folder / "broken.mp4").write_bytes(b"no video")
    (folder / "notes.txt").write_text("mine")
    return folder


def scanned(run: Path, *sources: str | Path, out: str = "out", **more: Any) -> Summary:
    return scan_many(sources or ("inbox",), Path(out), run, QUICK, **{"workers": 0, **more})


def lines(out: str | Path = "out") -> list[Scan]:
    return [Scan.model_validate_json(line) for line in (Path(out) / outputs.RESULTS).read_text().splitlines()]


def tree(out: str | Path) -> dict[str, bytes]:
    """All that a scan leaves for its reader."""
    found = {p.relative_to(out).as_posix(): p.read_bytes() for p in Path(out).rglob("*") if p.is_file()}
    return {name: data for name, data in found.items() if "ledger" not in name}


def test_every_file_has_a_line_a_row_and_a_page(inbox: Path, run: Path) -> None:
    steps: list[Step] = []
    done = scanned(run, progress=steps.append)
    assert done.counts.total() == 8
    assert done.counts["unreadable"] == 1
    assert (done.scanned, done.copies, done.passed_over) == (7, 1, {".txt": 1})
    found = lines()
    assert [scan.file for scan in found] == [
        "inbox/0.png", "inbox/1.png", "inbox/2.png", "inbox/3.png", "inbox/4.png", "inbox/broken.mp4",
        "inbox/clip.mkv", "inbox/twin.png",
    ]  # fmt: skip
    assert [scan.duplicate_of for scan in found] == [None] * 7 + ["inbox/1.png"]
    assert found[7] == found[1].model_copy(update={"file": "inbox/twin.png", "duplicate_of": "inbox/1.png"})
    table = pq.read_table("out/results.parquet")
    assert table.schema.names == outputs.COLUMNS.names
    for row, scan in zip(table.to_pylist(), found, strict=True):
        assert (row["file"], row["verdict"], row["logit"], row["sha256"]) == (
            scan.file, scan.verdict, scan.logit, scan.sha256,
        )  # fmt: skip
        assert row["n_tracks"] == len(scan.tracks)
        assert row["width"] == (scan.media.width if scan.media else None)
    pages = sorted(p.parent.name for p in Path("out/evidence").glob("*/index.html"))
    assert len(pages) == 6, "each scanned file with a verdict; the copy has that of the other"
    assert (Path("out") / "index.html").read_text().count(pages[0]) >= 1
    assert [(step.done, step.total) for step in steps] == [(n, 8) for n in range(1, 9)]
    assert {step.name: step.outcome for step in steps}["inbox/broken.mp4"] == "unreadable"
    assert steps[-1].left == 0
    assert not any("mtime" in line for line in (Path("out") / outputs.RESULTS).read_text().splitlines())


@pytest.mark.slow
def test_any_number_of_workers_gives_the_same_bytes(inbox: Path, run: Path) -> None:
    for count in (0, 2):
        scanned(run, out=f"out{count}", workers=count)
    assert tree("out0") == tree("out2")
    assert len(tree("out0")) > 10


def test_the_same_call_again_scans_nothing_and_leaves_the_same(inbox: Path, run: Path) -> None:
    scanned(run)
    before = tree("out")
    again = scanned(run)
    assert (again.scanned, again.counts.total(), again.copies) == (0, 8, 1)
    assert tree("out") == before


def test_new_files_join_and_changed_ones_are_scanned_again(inbox: Path, run: Path) -> None:
    scanned(run)
    (inbox / "9.png").write_bytes(picture(9))
    (inbox / "1.png").write_bytes(picture(77))
    again = scanned(run)
    assert again.scanned == 3, "the new one, the changed one, and the twin that had its result from it"
    found = {scan.file: scan for scan in lines()}
    assert list(found)[-1] == "inbox/9.png"
    assert found["inbox/twin.png"].duplicate_of is None
    assert found["inbox/twin.png"].sha256 != found["inbox/1.png"].sha256
    assert len(list(Path("out/evidence").iterdir())) == 8


def test_files_of_equal_names_keep_both(inbox: Path, run: Path) -> None:
    other = inbox.parent / "other" / "0.png"
    other.parent.mkdir()
    other.write_bytes(picture(50))
    scanned(run, inbox / "0.png", other, inbox / "0.png")
    assert [scan.file for scan in lines()] == ["0.png", "other/0.png"]


def test_evidence_can_be_left_out(inbox: Path, run: Path) -> None:
    scanned(run, evidence=False)
    assert not Path("out/evidence").exists()
    assert "evidence/${" in Path("out/index.html").read_text(), "the script is the same, the rows name no folder"
    assert all(t.crop is None for scan in lines() for track in scan.tracks for t in track.telling)


class Faulty:
    """A scanner with a fault."""

    def __init__(self, scanner: Scanner) -> None:
        self.without_verdict = scanner.without_verdict

    def __call__(self, path: Path, **_: Any) -> Scan:
        raise KeyError("nobody thought of it")


def harmful(run: Path, options: ScanOptions, evidence: Path | None) -> Callable[[Task], str]:
    """As ``work.begin``; some names do harm."""
    ask = work.begin(run, options, evidence)
    scanner = Scanner.open(run, options)
    scanner(Path("inbox/0.png"))  # the first one takes longer than the patience
    faulty: Any = Faulty(scanner)

    def answer(task: Task) -> str:
        if task.path.name == "1.png":
            os.kill(os.getpid(), signal.SIGSEGV)
        if task.path.name == "2.png":
            time.sleep(60)
        return work.scan_one(faulty, evidence, task) if task.path.name == "3.png" else ask(task)

    return answer


@pytest.mark.slow
def test_a_file_that_harms_its_process_costs_itself_alone(
    inbox: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scanned(run, out="good", evidence=False)
    good = {scan.file: scan for scan in lines("good")}
    monkeypatch.setattr(bulk, "begin", harmful)
    done = scanned(run, workers=2, timeout=6.0, evidence=False)
    found = {scan.file: scan for scan in lines()}
    bad = {f"inbox/{n}.png": found.pop(f"inbox/{n}.png") for n in (1, 2, 3)}
    assert {name: (scan.status, scan.verdict) for name, scan in bad.items()} == dict.fromkeys(bad, ("unreadable", None))
    assert bad["inbox/1.png"].reason.startswith("inbox/1.png took its process down (SIGSEGV)")
    assert bad["inbox/2.png"].reason == "inbox/2.png took longer than 6 s and was given up"
    assert bad["inbox/3.png"].reason == "inbox/3.png met a fault of unfooled: KeyError: 'nobody thought of it'"
    assert bad["inbox/1.png"].sha256 == good["inbox/1.png"].sha256
    twin = found.pop("inbox/twin.png")
    assert (twin.status, twin.duplicate_of) == ("unreadable", "inbox/1.png")
    assert "inbox/twin.png took its process down" in twin.reason
    assert found == {name: good[name] for name in found}
    assert done.counts["unreadable"] == 5

    monkeypatch.undo()
    os.chdir(inbox.parent)
    assert scanned(run, evidence=False).scanned == 0
    assert scanned(run, evidence=False, retry=True).scanned == 4, "the three and the broken one"
    assert tree("out")["results.jsonl"] == tree("good")["results.jsonl"]


def _killing(
    begin: Callable[[], Callable[[Task], str]], tasks: Iterable[Task], count: int, patience: float | None
) -> Iterator[tuple[Task, Any]]:
    for n, answer in enumerate(each(begin, tasks, 0)):
        if n == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        yield answer


@pytest.mark.slow
def test_killed_twice_it_leaves_what_it_leaves_unbroken(inbox: Path, run: Path) -> None:
    scanned(run, out="unbroken")
    code = f"""
import sys
sys.path.insert(0, {str(HERE.parents[2])!r})
from pathlib import Path
from tests.scanning.test_bulk import QUICK, _killing
from unfooled.scanning import bulk
bulk.each = _killing
bulk.scan_many(["inbox"], "out", Path({str(run)!r}), QUICK, workers=0)
"""
    for n in (1, 2):
        status = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode
        assert status == -signal.SIGKILL
        assert not Path("out/results.parquet").exists()
        done = len(Path("out/results.jsonl").read_text().splitlines())
        assert 2 * n <= done <= 2 * n + 1, "two a call, and perhaps a copy"
    with Path("out/results.jsonl").open("a") as file:
        file.write('{"cut')
    (Path("out/evidence/0123") / "half.png").parent.mkdir()
    last = scanned(run, workers=1)
    assert last.scanned == 7 - 4
    shutil.rmtree("out/evidence/0123")
    assert tree("out") == tree("unbroken")


def test_a_full_disk_stops_and_what_is_done_stays(inbox: Path, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish, left = Ledger.finish, [3]

    def full(ledger: Ledger, key: str, scan_json: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device", str(ledger.path))
        finish(ledger, key, scan_json)

    monkeypatch.setattr(Ledger, "finish", full)
    with pytest.raises(OSError, match="No space left"):
        scanned(run)
    assert len(lines()) == 3
    monkeypatch.undo()
    os.chdir(inbox.parent)
    assert scanned(run).scanned == 7 - 3


def test_full_while_evidence_is_written_leaves_no_half_of_it(
    inbox: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(work, "render", full)
    with pytest.raises(OSError, match="No space left"):
        scanned(run)
    assert list(Path("out/evidence").iterdir()) == []


def test_another_job_other_files_and_a_second_process_are_refused(inbox: Path, run: Path) -> None:
    scanned(run, inbox / "0.png")
    with pytest.raises(ConfigError, match="holds another job"):
        scan_many(["inbox"], "out", run, ScanOptions(face_detector="whole", margin="off", samples=5), workers=0)
    with pytest.raises(ConfigError, match="is not empty and holds no job"):
        scanned(run, out="inbox")
    job = json.loads(Path("out/job.json").read_text())
    with Ledger(Path("out") / LEDGER, job), pytest.raises(ConfigError, match="in use by process"):
        scanned(run)


@pytest.mark.parametrize(
    ("options", "message"), [({"engine": "spark"}, "engine must be one of"), ({"timeout": 0}, "timeout must be > 0")]
)
def test_wrong_options_write_nothing(inbox: Path, run: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        scanned(run, **options)
    assert not Path("out").exists()


def test_nothing_to_scan_is_said(inbox: Path, run: Path) -> None:
    (inbox / "empty").mkdir()
    with pytest.raises(DataError, match=r"no image or video in inbox/empty; known are \.png"):
        scanned(run, "inbox/empty")


def test_what_is_named_but_not_there_or_no_file_has_a_line(inbox: Path, run: Path) -> None:
    os.mkfifo("pipe.mp4")
    Path("list.txt").write_text("inbox/0.png\ngone.mp4\npipe.mp4\n")
    scanned(run, "@list.txt")
    found = lines()
    assert [(scan.file, scan.status, scan.sha256 is None) for scan in found] == [
        ("inbox/0.png", "ok", False), ("gone.mp4", "unreadable", True), ("pipe.mp4", "unreadable", True),
    ]  # fmt: skip


def test_a_file_that_changes_while_it_is_scanned_gives_no_result_to_others(
    inbox: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changing(start: Any, tasks: Iterable[Task], count: int, patience: Any) -> Iterator[tuple[Task, str]]:
        asked = list(tasks)  # the twin waits for 1.png by now
        ask = start()
        for task in asked:
            if task.path.name == "1.png":
                task.path.write_bytes(picture(1000))
            yield task, ask(task)

    monkeypatch.setattr(bulk, "each", changing)
    scanned(run)
    found = {scan.file: scan for scan in lines()}
    assert found["inbox/twin.png"].duplicate_of is None
    assert found["inbox/twin.png"].sha256 != found["inbox/1.png"].sha256


@pytest.mark.parametrize(
    ("counts", "code"),
    [
        ({}, 0), ({"real": 3, "no_face": 1, "too_short": 1}, 0), ({"fake": 1, "undecided": 1, "unreadable": 1}, 10),
        ({"undecided": 1, "unreadable": 1}, 11), ({"unreadable": 1, "real": 4}, 12),
        ({"refused": 1}, 12), ({"no_score": 1}, 12),
    ],
)  # fmt: skip
def test_exit_codes(counts: dict[str, int], code: int) -> None:
    assert Summary(Path(), Counter(counts), 0, 0, Counter(), 0.0).exit_code == code
