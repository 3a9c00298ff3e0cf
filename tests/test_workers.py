"""Workers: every task is answered once, and one that ends its process or takes too long costs no other."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from unfooled.errors import ConfigError, UnfooledError
from unfooled.workers import Lost, each

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(HERE.parent)  # a new process finds the functions by this module


def answer(task: str) -> object:
    """What a task says is what happens."""
    word, _, rest = task.partition(" ")
    if word == "exit":
        os._exit(int(rest))
    if word == "kill":
        os.kill(os.getpid(), int(rest))
    if word == "sleep":
        time.sleep(float(rest))
    if word == "disk":
        raise OSError(28, "No space left on device", rest)
    if word == "config":
        raise ConfigError(rest)
    if word == "fault":
        raise KeyError(rest)
    if word == "threads":
        return os.environ["OMP_NUM_THREADS"]
    return {"said": task, "by": os.getpid()}


def begin() -> Callable[[str], object]:
    return answer


def refused() -> Callable[[str], object]:
    raise ConfigError("no such detector")


def dies() -> Callable[[str], object]:
    os._exit(3)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_every_task_has_its_answer(count: int) -> None:
    told = dict(each(begin, (str(n) for n in range(20)), count))
    assert {task: said["said"] for task, said in told.items()} == {str(n): str(n) for n in range(20)}
    processes = {said["by"] for said in told.values()}
    assert len(processes) <= max(count, 1)
    assert (os.getpid() in processes) == (count == 0)


def test_equal_tasks_are_all_done_and_none_is_none_at_all() -> None:
    assert len(list(each(begin, ["same"] * 5, 2))) == 5
    assert list(each(begin, [], 2)) == []


def test_a_task_that_ends_its_process_costs_no_other() -> None:
    tasks = ["1", f"kill {signal.SIGSEGV}", "2", "3", "exit 9", f"kill {signal.SIGKILL}", "4"]
    told = dict(each(begin, tasks, 2))
    assert set(told) == set(tasks)
    lost = {task: said.reason for task, said in told.items() if isinstance(said, Lost)}
    assert {task: reason.partition(":")[0] for task, reason in lost.items()} == {
        tasks[1]: "took its process down (SIGSEGV)",
        "exit 9": "took its process down (exit status 9)",
        tasks[5]: "took its process down (SIGKILL)",
    }


def test_patience_counts_the_task_and_not_the_start() -> None:
    told = dict(each(begin, ["1", "sleep 60", "2"], 1, patience=0.4))
    assert told["sleep 60"] == Lost("took longer than 0.4 s and was given up")
    assert {told[task]["said"] for task in "12"} == {"1", "2"}


def test_a_full_disk_and_a_mistake_stop_everything_as_they_are() -> None:
    with pytest.raises(OSError, match="No space left on device") as full:
        list(each(begin, ["disk /data/out", *("sleep 30",) * 5], 2))
    assert (full.value.errno, full.value.filename) == (28, "/data/out")
    with pytest.raises(ConfigError, match=r"^every must be"):
        list(each(begin, ["config every must be 1"], 1))
    with pytest.raises(RuntimeError, match=r"a task failed: KeyError: 'x'"):
        list(each(begin, ["fault x"], 1))


def test_what_goes_wrong_at_the_start_is_no_fault_of_a_task() -> None:
    with pytest.raises(ConfigError, match="no such detector"):
        list(each(refused, ["1"], 1))
    with pytest.raises(UnfooledError, match=r"ended while it started \(exit status 3\)"):
        list(each(dies, ["1"], 1))


def test_processes_compute_with_one_thread_and_this_one_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    assert list(each(begin, ["threads"], 1)) == [("threads", "1")]
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def test_tasks_are_asked_for_one_by_one() -> None:
    asked = []

    def tasks() -> Iterator[str]:
        for n in range(1000):
            asked.append(n)
            yield str(n)

    answers = each(begin, tasks(), 2)
    next(answers)
    assert len(asked) <= 4
    answers.close()  # type: ignore[attr-defined]


def test_processes_end_with_the_one_that_asked(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(HERE.parent)!r})
from unfooled.workers import each
from tests.test_workers import begin
if __name__ == "__main__":
    for task, said in each(begin, ["1", "2", "sleep 60", "sleep 60"], 2):
        print(said["by"], flush=True)
"""
    script = tmp_path / "main.py"
    script.write_text(code)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        others = {int(process.stdout.readline()) for _ in range(2)}
        process.kill()
    deadline = time.monotonic() + 10
    while alive := {p for p in others if Path(f"/proc/{p}").exists()}:
        assert time.monotonic() < deadline, f"{alive} go on"
        time.sleep(0.05)
