"""The demo as a user starts it, small: everything is there, it goes on where it was broken off, it refuses."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from unfooled import config
from unfooled.data.manifest import Manifest
from unfooled.demo import FULL, MARK, QUICK, RUNS
from unfooled.results import Evaluation

Run = Callable[..., int]
BARE = [sys.executable, "-c", "from unfooled.cli import main; main()"]

# The fixtures below are slow: one worker makes them once for all tests of this file.
pytestmark = pytest.mark.xdist_group("demo")


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Path:
    out = tmp_path_factory.mktemp("demo") / "demo"
    assert run("demo", "--out", out, "--quick", "--no-open") == 0
    return out


def read(out: Path) -> list[Evaluation]:
    return [Evaluation.read(out / "runs" / name / "eval.json") for name in RUNS]


def test_the_demo_leaves_what_the_single_commands_leave(done: Path) -> None:
    assert {p.name for p in done.iterdir()} == {"set", "recipes", "runs", "report.html", MARK}
    manifest = Manifest.read(done / "set/manifest.parquet")
    assert len(set(manifest.column("identity"))) == QUICK.people
    assert len(manifest.select(manipulation="Real")) == QUICK.people * QUICK.frames
    assert not manifest.check()
    for name in RUNS:
        assert {"best.safetensors", "metrics.jsonl", "eval.json", "recipe.toml"} <= {
            p.name for p in (done / "runs" / name).iterdir()
        }


def test_its_recipes_train_with_the_train_command(done: Path, tmp_path: Path, run: Run) -> None:
    assert run("train", done / "recipes/undefended.toml", "--out", tmp_path / "run", "--set", "epochs=1") == 0
    for name in RUNS:
        recipe = config.load_recipe(done / f"recipes/{name.lower()}.toml")
        assert recipe.init == (None if name == "undefended" else str(done / "runs/undefended"))


def test_every_detector_answers_to_the_same_attacks_on_the_same_faces(done: Path) -> None:
    results = read(done)
    assert [r.name for r in results] == list(RUNS)
    assert len({tuple(c.name for c in r.conditions) for r in results}) == 1
    assert len({tuple(r.samples.id) for r in results}) == 1
    assert len(results[0].conditions) == 1 + len(QUICK.attacks) + len(QUICK.over_eps)


def test_the_report_is_one_offline_page_with_faces(done: Path) -> None:
    page = (done / "report.html").read_text(encoding="utf-8")
    assert len(page) < 5e6
    assert all(name in page for name in RUNS)
    assert "data:image/png;base64" in page
    assert "<script src=" not in page
    assert '<link rel="stylesheet" href=' not in page


def test_the_same_command_again_does_nothing_but_the_report(
    done: Path, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = (done / "runs/AFSL/best.safetensors").stat().st_mtime_ns
    (done / "report.html").unlink()
    assert run("demo", "--out", done, "--quick", "--no-open") == 0
    said = capsys.readouterr()
    assert (said.out + said.err).count("done before") == 9
    assert (done / "runs/AFSL/best.safetensors").stat().st_mtime_ns == weights
    assert (done / "report.html").exists()


@pytest.mark.parametrize("stage", ["forging", "training", "attacking"])
def test_ctrl_c_keeps_what_is_done_and_the_same_command_ends_with_the_same_numbers(
    done: Path, tmp_path: Path, run: Run, stage: str
) -> None:
    out = tmp_path / "demo"
    awaited = {
        "forging": out / MARK,
        "training": out / "set/manifest.parquet",
        "attacking": out / "runs/AFSL/last.safetensors",
    }
    command = [*BARE, "demo", "--out", str(out), "--quick", "--no-open"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    for _ in range(1200):
        if awaited[stage].exists() or process.poll() is not None:
            break
        time.sleep(0.1)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert b"same command" in errors
    assert run("demo", "--out", out, "--quick", "--no-open") == 0
    for ours, whole in zip(read(out), read(done), strict=True):
        assert [c.logits for c in ours.conditions] == [c.logits for c in whole.conditions]


def refused(run: Run, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run("demo", "--quick", "--no-open", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    assert "not empty" in (error := refused(run, capsys, "--out", tmp_path))
    assert "--force" in error
    (tmp_path / "runs").mkdir()
    assert "did not write it" in refused(run, capsys, "--out", tmp_path, "--force")
    assert "is a file" in refused(run, capsys, "--out", tmp_path / "mine.txt")
    assert (tmp_path / "mine.txt").read_text() == "keep me"


def test_another_seed_in_the_same_folder_needs_force(done: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert "--force" in refused(run, capsys, "--out", done, "--seed", 1)
    assert (done / "report.html").exists()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission_is_one_line(tmp_path: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o500)
    assert "can not be written" in refused(run, capsys, "--out", tmp_path / "demo")


def test_the_demo_keeps_the_size_that_was_promised() -> None:
    assert FULL.people <= 40
    assert FULL.frames <= 16
    assert len(FULL.manipulations) <= 3
    assert 64 <= FULL.size <= 96
