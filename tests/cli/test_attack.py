"""``unfooled attack``: what it shows, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from unfooled import checkpoints, models
from unfooled.codecs import encode_video
from unfooled.data.faces import Face
from unfooled.models.remote import BlackBox
from unfooled.models.remote import remote as build

Run = Callable[..., int]
JUDGE = """
def score(pixels):
    return {"p": 1 - pixels.mean() / 255}

def bright(pixels):
    return pixels.mean() / 255

def label(pixels):
    return "fake" if pixels.mean() > 100 else "real"

def high(pixels):
    return 50
"""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three images, a checkpoint and a module with targets, in the current folder."""
    rng = np.random.default_rng(0)
    (tmp_path / "faces").mkdir()
    for k in range(3):
        pixels = rng.integers(90 + 20 * k, 130 + 20 * k, (24, 24, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"faces/{k}.png")
    torch.manual_seed(0)
    checkpoints.save(models.create("resnet", width=4), tmp_path / "net.safetensors")
    (tmp_path / "judge_of_tests.py").write_text(JUDGE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rows(out: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in (Path(out) / "attack.jsonl").read_text().splitlines()]


def test_a_detector_of_ones_own(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("attack", "faces", "--detector", "net.safetensors", "--attack", "pgd:steps=2", "--out", "out") == 0
    shown = capsys.readouterr().out
    for text in ("pgd:eps=2/255,steps=2", "success rate", "saved (PNG)", "JPEG 90", "JPEG 75", "median Linf, /255",
                 "median queries", "3 ok -> out/attack.jsonl"):  # fmt: skip
        assert text in shown
    assert sorted(p.name for p in Path("out").iterdir()) == ["0.png", "1.png", "2.png", "attack.jsonl", "job.json"]
    Path("faces/3.png").write_bytes(b"no image")
    assert run("attack", "faces", "--detector", "net.safetensors", "--attack", "pgd:steps=2", "--out", "out") == 0
    assert "warning: 3.png does not decode" in (shown := capsys.readouterr().out)
    assert "3 ok, 1 unreadable" in shown


def test_a_target_with_all_its_options(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--target", "judge_of_tests:score", "--target-field", "p", "--output", "p_real", "--target-threshold", 0.4,
             "--rate", 1000, "--timeout", 5)  # fmt: skip
    attack = ("attack", "faces", *given, "--attack", "noise:eps=8/255,draws=4", "--out", "out")
    assert run(*attack, "--budget", 10) == 0
    shown = capsys.readouterr().out
    assert shown.count("the budget of 10 queries is spent; go on with a larger one") == 1
    assert "1 budget, 1 ok" in shown
    assert run(*attack) == 0
    assert "3 ok ->" in capsys.readouterr().out
    lines = Path("out/queries.jsonl").read_text().splitlines()
    assert len({json.loads(line)["sha256"] for line in lines}) == len(lines) == 21
    assert rows("out")[0]["detector"] == "judge_of_tests:score (p_real, threshold -0.405465)"


def test_labels_and_sizes_are_handed_on(home: Path, run: Run) -> None:
    target = ("--target", "judge_of_tests:label", "--output", "label")
    options = ("--label", "auto", "--size", 16, "--device", "cpu", "--fake-only")
    assert run("attack", "faces", *target, "--attack", "noise", "--out", "out", *options) == 0
    for row in rows("out"):
        assert (row["width"], row["height"], row["label"]) == (16, 16, "fake")
        assert row["logit"]["before"] == 1


CASES = {
    "neither": ("", "either --detector RUN or --target"),
    "both": ("--detector net.safetensors --target judge_of_tests:bright", "either --detector RUN or --target"),
    "options of a target": ("--detector net.safetensors --budget 5 --rate 3", "--budget, --rate belong to a --target"),
    "white box": ("--target judge_of_tests:bright --attack pgd", "only be called"),
    "score outside": ("--target judge_of_tests:high", "a probability must be in [0, 1]"),
    "unknown output": ("--target judge_of_tests:bright --output score", "p_fake, p_real, logit, label"),
    "no colon": ("--target http://127.0.0.1:1/ --target-header key", "--target-header must be NAME:VALUE, got 'key'"),
    "somebody else": ("--target https://example.org/score", "--i-am-authorized example.org"),
    "no target": ("--target mydetector", "module:function"),
    "down": ("--target http://127.0.0.1:1/ --timeout 0.2", "does not answer (Connection refused) (4 attempts)"),
    "unknown attack": ("--detector net.safetensors --attack deepfol", "no attack named 'deepfol'"),
    "eps of 8": ("--detector net.safetensors --attack pgd:eps=8", "write 8/255"),
    "missing run": ("--detector gone", "gone"),
    "unknown label": ("--detector net.safetensors --label fakes", "fake, real, auto"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_one_line_and_leaves_nothing(
    name: str, home: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    given, message = CASES[name]
    before = sorted(p.name for p in home.rglob("*") if "__pycache__" not in p.parts)
    attack = () if "--attack" in given else ("--attack", "noise")
    assert run("attack", "faces", "--out", "out", *attack, *given.split()) == 2
    said = capsys.readouterr().err
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in said
    assert sorted(p.name for p in home.rglob("*") if "__pycache__" not in p.parts) == before


def test_headers_and_hosts_reach_the_target(home: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    target = ("--target", "https://example.org/score", "--i-am-authorized", "example.org")
    more = ("--target-header", "X-Key: abc:def", "--target-header", "A:b", "--target-upload", "image")
    made: list[dict[str, object]] = []

    def remote(address: str, **options: object) -> BlackBox:
        made.append({"address": address, **options})
        return build(lambda pixels: 0.7)

    monkeypatch.setattr("unfooled.models.remote.remote", remote)
    assert run("attack", "faces", "--out", "out", "--attack", "noise", *target, *more) == 0
    assert made == [
        {"address": "https://example.org/score", "authorized": ["example.org"], "upload": "image",
         "headers": {"X-Key": "abc:def", "A": "b"}},
    ]  # fmt: skip


def test_nothing_but_bad_images_is_an_error(home: Path, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    Path("broken.jpg").write_bytes(b"")
    command = ("attack", "broken.jpg", "--detector", "net.safetensors", "--attack", "pgd", "--out", "out")
    assert run(*command) == 2
    assert "no file could be attacked: broken.jpg is empty (0 bytes)" in capsys.readouterr().err


def test_a_video_becomes_a_video(
    home: Path, run: Run, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Middle:
        name = "middle"

        def __call__(self, pixels: np.ndarray) -> list[Face]:
            return [Face((20.0, 12.0, 44.0, 36.0), 0.9)]

    monkeypatch.setattr("unfooled.data.cropping.face_detector", lambda name: Middle())
    clip = np.random.default_rng(0).integers(90, 160, (6, 48, 64, 3)).astype(np.uint8)
    Path("talk.mkv").write_bytes(encode_video(clip, codec="ffv1"))
    common = ("attack", "talk.mkv", "--detector", "net.safetensors", "--attack", "pgd:steps=2", "--size", 24)
    options = ("--crf", 20, "--tracks", "largest", "--shared", "--label", "auto", "--face-detector", "haar")
    assert run(*common, "--out", "adv.mp4", *options) == 0
    shown = capsys.readouterr().out
    for text in ("success rate", "before", "H.264 crf 23", "of videos", "median logit", "1 ok -> adv.mp4.attack/"):
        assert text in shown
    assert "JPEG" not in shown
    row = rows("adv.mp4.attack")[0]
    assert (row["codec"], row["shared"], row["crop"], row["crops"]) == ("h264", True, 24, 6)
    assert run(*common, "--out", "adv.mkv", "--codec", "vp9") == 2
    assert "codec must be one of h264, ffv1, got 'vp9'" in capsys.readouterr().err
    assert not Path("adv.mkv").exists()
