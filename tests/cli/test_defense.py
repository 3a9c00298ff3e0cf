"""``unfooled evaluate --defense``: a run defends itself with its own training faces."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from unfooled.results import Evaluation

Run = Callable[..., int]
FGSM = "fgsm:eps=2/255"
TUNED = "post-training:algorithm=2,freeze=true,lr=0.1"


@pytest.fixture(scope="module")
def home(untaught: Callable[[int], Path]) -> Path:
    return untaught(20)


def evaluated(home: Path, run: Run, *options: object, status: int = 0) -> None:
    data = ("--data", home / "set/manifest.parquet", "--size", 32, "--no-checks")
    assert run("evaluate", home / "net.safetensors", *data, "--out", home / "eval.json", *options) == status
    assert status or not (home / "eval.json.parts").exists()


def test_a_run_defends_itself(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    evaluated(home, run, "--attack", FGSM, "--defense", TUNED, "--defense", "jpeg:quality=40", "--adaptive")
    found = Evaluation.read(home / "eval.json")
    assert [c.name for c in found.conditions] == [
        "clean", TUNED, "jpeg:quality=40", FGSM, f"{FGSM} > {TUNED}", f"{FGSM} > jpeg:quality=40",
        f"{FGSM} through {TUNED}", f"{FGSM} through jpeg:quality=40",
    ]  # fmt: skip
    assert len(list((home / "support").glob("*.safetensors"))) == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "s an image" in shown
    assert "made through the defense" in shown
    assert run("report", home / "eval.json", "--out", home / "report.html") == 0
    assert "Defenses at the time of the question" in (home / "report.html").read_text()


def test_what_can_not_be_is_said_in_one_line(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for options, words in (
        (("--defense", TUNED, "--split", "train"), "leak:"),
        (("--defense", TUNED, "--split", "all"), "leak:"),
        (("--defense", "post-training:tau=-1"), "tau must be in (-1, 1], got -1"),
        (("--defense", "post-trainin"), "did you mean 'post-training'"),
        (("--defense", "jpeg", "--adaptive"), "--adaptive makes each --attack through each --defense"),
        (("--defense", "jpeg", "--adversarial", home), "leave out"),
    ):
        evaluated(home, run, *options, status=2)
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error
    assert not list(home.glob("*.part"))


def test_they_are_listed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    shown = capsys.readouterr().out
    assert "defenses" in shown
    assert "post-training" in shown
