"""``unfooled evaluate --distortion`` and what its table and report say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from unfooled.data.manifest import Manifest
from unfooled.results import Evaluation

Run = Callable[..., int]
PGD = "pgd:eps=2/255,steps=1"


@pytest.fixture(scope="module")
def home(untaught: Callable[[int], Path]) -> Path:
    return untaught(12)


def evaluated(home: Path, run: Run, *options: object) -> Evaluation:
    data = ("--data", home / "set/manifest.parquet", "--split", "all", "--size", 32, "--limit", 8, "--no-checks")
    assert run("evaluate", home / "net.safetensors", *data, "--out", home / "eval.json", *options) == 0
    assert not (home / "eval.json.parts").exists()
    return Evaluation.read(home / "eval.json")


def test_all_distortions_give_their_means(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluated(home, run, "--distortion", "all")
    assert len(found.conditions) == 36
    assert {c.applied_to for c in found.conditions[1:]} == {"crops"}
    assert set(found.level_means) == {
        "all", "blocks", "blur", "contrast", "h264", "noise", "pixelation", "saturation",
    }  # fmt: skip
    shown = " ".join(capsys.readouterr().out.split())
    assert "level=" not in shown
    assert shown.count(" (mean) ") == 8
    assert "all (mean)" in shown
    assert run("report", home / "eval.json", "--out", home / "report.html") == 0
    page = (home / "report.html").read_text()
    assert "What the world does to a picture" in page
    assert "Video compression" in page


def test_with_an_attack_every_pair_is_scored_too(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--distortion", "blur", "--distortion", "blur:level=2", "--distortion", "contrast:factor=0.5")
    found = evaluated(home, run, "--attack", PGD, "--over-eps", "4/255", *options)
    levels = [f"blur:level={level}" for level in range(1, 6)]
    names = [c.name for c in found.conditions]
    assert names == [
        "clean", *levels, "contrast:factor=0.5", PGD, "pgd:eps=4/255,steps=1",
        *(f"{PGD} > {name}" for name in [*levels, "contrast:factor=0.5"]),
    ]  # fmt: skip
    assert set(found.level_means) == {"blur", f"{PGD} > blur"}
    assert capsys.readouterr().out.count("(mean)") == 2


def test_they_are_listed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list") == 0
    shown = capsys.readouterr().out
    assert "distortions" in shown
    assert "pixelation" in shown


def test_prepare_distorts_full_frames_and_evaluate_says_so(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    source = home / "set/manifest.parquet"
    asked = ("data", "prepare", source, "--out", tmp_path / "faces", "--workers", 0, "--limit", 2)
    assert run(*asked, "--distortion", "blur") == 2
    assert "blur needs a level from 1 to 5 or kernel" in " ".join(capsys.readouterr().err.split())
    assert run(*asked, "--distortion", "blur:level=3") == 0
    made = Manifest.read(tmp_path / "faces")
    assert set(made.table["distortion"].to_pylist()) == {"blur:level=3"}
    table = Manifest.read(source).table
    told = pa.array(["blur:level=3"] * len(table), pa.string())
    Manifest(table.append_column("distortion", told), home / "set").write(home / "set/blurred.parquet")
    capsys.readouterr()
    found = evaluated(home, run, "--data", home / "set/blurred.parquet", "--distortion", "contrast:level=1")
    assert found.distortion == "blur:level=3"
    assert [c.applied_to for c in found.conditions] == [None, "crops"]
    shown = " ".join(capsys.readouterr().out.split())
    assert "distorted: crops" in shown
    assert "all faces: blur:level=3, full frames before cropping" in shown
    plain = evaluated(home, run)
    assert plain.distortion is None
    assert found.provenance["data_digest"] != plain.provenance["data_digest"]
