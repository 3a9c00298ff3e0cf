"""``unfooled scan`` as somebody types it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unfooled import calibration, checkpoints
from unfooled.cli import scan as module
from unfooled.codecs import encode_png, encode_video
from unfooled.models import create
from unfooled.scanning.verdict import Scan

Run = Callable[..., int]
WHOLE = ("--face-detector", "whole", "--samples", "2")


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    folder = tmp_path / "run"
    checkpoints.save(create("resnet", width=4, blocks=1, stem_stride=2).eval(), folder / "best.safetensors")
    (folder / "recipe.toml").write_text('epochs = 1\n[data]\nmanifest = "m"\nsize = 24\n')
    return folder


@pytest.fixture
def face(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "face.png"
    path.write_bytes(encode_png(np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)))
    return path


def test_one_file_gives_a_verdict_and_a_page(
    run: Run, face: Path, detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("scan", face, "--detector", detector, *WHOLE) == 0
    shown = capsys.readouterr().out
    for text in ("LOOKS", "face.png", "P(fake)", "NOT calibrated", "margin", "tampering", "caution:", "evidence ->"):
        assert text in shown
    out = tmp_path / "face.png.scan"
    found = Scan.model_validate_json((out / "scan.json").read_text())
    assert found.margin is not None
    assert "<!doctype html>" in (out / "index.html").read_text()
    assert len(list(out.glob("*.png"))) == 2
    # Once more, elsewhere: the same bytes.
    assert run("scan", face, "--detector", detector, *WHOLE, "--out", tmp_path / "again") == 0
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_json_is_all_there_is_on_stdout(
    run: Run, face: Path, detector: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--margin", "off", "--no-tampering", "--no-evidence", "--json", "--rule", "largest")
    assert run("scan", face, "--detector", detector, *WHOLE, *options) == 0
    found = Scan.model_validate_json(capsys.readouterr().out)
    assert (found.margin, found.tampering, found.rule) == (None, None, "largest")
    assert not (tmp_path / "face.png.scan").exists()


@pytest.mark.parametrize(("limits", "code"), [((0.0, 0.0), 10), ((-1e9, 1e9), 11)])
def test_the_exit_code_tells_the_verdict(
    limits: tuple[float, float], code: int, run: Run, face: Path, detector: Path, tmp_path: Path
) -> None:
    z = np.linspace(-4, 4, 40)
    opened = checkpoints.load(detector)
    known = calibration.fit(z, np.arange(40) % 2, detector=opened.digest(), data="toys")
    low, high = (-1e9, -1e8) if code == 10 else limits
    known = known.model_copy(update={"real_below_logit": low, "fake_above_logit": high})
    calibration.write(known, detector)
    options = ("--margin", "off", "--no-evidence", "--json", "--exit-code")
    assert run("scan", face, "--detector", detector, *WHOLE, *options) == code
    assert run("scan", face, "--detector", detector, *WHOLE, *options[:-1]) == 0
    (tmp_path / "empty.mp4").touch()
    assert run("scan", tmp_path / "empty.mp4", "--detector", detector, *options) == 12


def test_a_bad_file_is_one_clear_line(
    run: Run, detector: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    assert run("scan", "empty.mp4", "--detector", detector) == 0
    shown = capsys.readouterr().out
    assert "CAN NOT BE READ" in shown
    assert "There is no verdict: empty.mp4 is empty (0 bytes)." in " ".join(shown.replace("│", "").split())


def test_several_files_become_a_folder(run: Run, face: Path, detector: Path, tmp_path: Path) -> None:
    (tmp_path / "inbox").mkdir()
    (tmp_path / "inbox" / "a.png").write_bytes(face.read_bytes())
    clip = np.random.default_rng(1).integers(0, 255, (6, 24, 24, 3), np.uint8)
    (tmp_path / "inbox" / "b.mkv").write_bytes(encode_video(clip, codec="ffv1"))
    options = ("--detector", detector, *WHOLE, "--margin", "off", "--no-tampering", "--workers", "0")
    assert run("scan", "inbox", *options, "--out", "results") == 0
    lines = (tmp_path / "results" / "results.jsonl").read_text().splitlines()
    assert sorted(Path(json.loads(line)["file"]).name for line in lines) == ["a.png", "b.mkv"]
    assert (tmp_path / "results" / "results.parquet").exists()
    # What holds many is no place for one.
    assert run("scan", face, *options[:-2], "--out", "results") == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("absent.mp4",), "absent.mp4 is not there; name a video"),
        (("face.png", "--rule", "mean"), "rule must be one of"),
        (("face.png", "--margin", "on"), "margin must be one of"),
        (("face.png", "--samples", "0"), "samples must be"),
        (("face.png", "--workers", "2"), "--workers are for several files"),
        (("face.png", "--out", "face.png"), "is a file; name a folder"),
        (("face.png", "--face-detector", "harr"), "did you mean 'haar'"),
        (("face.png", "face.png"), "several files need --out"),
    ],
)
def test_mistakes_are_one_line(
    arguments: tuple[str, ...], words: str, run: Run, face: Path, detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("scan", *arguments, "--detector", detector) == 2
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1


def test_without_a_detector_the_small_one_is_asked_for(
    run: Run, face: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from unfooled.scanning import scanner

    monkeypatch.setattr(scanner, "SMALL", tmp_path / "nowhere")
    assert run("scan", face) == 2
    assert "name a run with --detector RUN" in capsys.readouterr().err


def test_the_stages_add_up() -> None:
    assert sum(module.STAGES.values()) == 100
