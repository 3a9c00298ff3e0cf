"""Attacks on files: what is written is what is judged, nothing is lost, nothing is overwritten."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfooled import checkpoints, models
from unfooled.attack_files import Outcome, attack_files
from unfooled.attack_files.outcome import STAGES
from unfooled.attacks import ATTACKS, PGD, Attack, create
from unfooled.codecs import round_trip, to_tensor
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.models.remote import remote
from unfooled.models.targets import TargetError
from unfooled.threats import L2, Linf

Draw = Callable[..., np.ndarray]


def read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "attack.jsonl").read_text().splitlines()]


def test_what_stands_in_the_row_is_what_the_file_does(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = attack_files(folder, brightness, "pgd:eps=4/255,steps=3", out)
    assert result.statuses == {"ok": 4}
    assert result.stopped is None
    rows = read(out)
    assert [r["path"] for r in rows] == ["1.png", "2.png", "3.png", "b/1.png"]
    for row in rows:
        x = to_tensor(np.asarray(Image.open(folder / row["path"])))[None]
        with Image.open(out / row["out"]) as file:
            assert file.format == "PNG"
            assert file.text == {"Comment": "synthetic test material made by unfooled"}
            saved = to_tensor(np.asarray(file))[None]
        with torch.no_grad():
            logits = {
                "before": brightness(x),
                "saved": brightness(saved),
                "jpeg90": brightness(round_trip(saved, "jpeg", 90)),
                "jpeg75": brightness(round_trip(saved, "jpeg", 75)),
            }
        for stage, logit in logits.items():
            assert row["logit"][stage] == pytest.approx(logit.item(), abs=1e-4)
            assert row["score"][stage] == pytest.approx(torch.sigmoid(logit).item(), abs=1e-4)
        assert row["right_before"] == (row["logit"]["before"] > 0)
        assert row["success"] == {s: row["logit"][s] <= 0 for s in STAGES}
        assert row["logit"]["after"] < row["logit"]["before"]
        assert row["linf_255"]["saved"] == pytest.approx(255 * (saved - x).abs().max().item(), abs=1e-2) == 4
        assert row["l2"]["saved"] == pytest.approx((saved - x).norm().item(), abs=1e-4)
        assert row["queries"] > 3
        assert row["seconds"] > 0
        assert (row["width"], row["height"], row["label"]) == (48, 40, "fake")
        assert "pgd:eps=4/255,steps=3" in row["attack"]
        assert "detector@" in row["detector"]


def test_a_perturbation_below_half_a_grey_level_dies_in_the_file(
    folder: Path, brightness: Detector, tmp_path: Path
) -> None:
    row = attack_files(folder / "2.png", brightness, "fgsm:eps=0.4/255", tmp_path / "out").rows[0]
    assert row["logit"]["after"] < row["logit"]["before"] == pytest.approx(row["logit"]["saved"])
    assert row["linf_255"] == {"after": 0.4, "saved": 0}


def test_the_label_decides_the_direction(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    runs = {
        label: attack_files(folder, brightness, "fgsm:eps=8/255", tmp_path / label, label=label).rows
        for label in ("fake", "real", "auto")
    }
    moved = {name: [r["logit"]["after"] - r["logit"]["before"] for r in rows] for name, rows in runs.items()}
    assert max(moved["fake"]) < 0 < min(moved["real"])
    for row, change in zip(runs["auto"], moved["auto"], strict=True):
        assert row["right_before"]
        assert row["label"] == ("fake" if row["logit"]["before"] > 0 else "real")
        assert (change < 0) == (row["label"] == "fake")


def test_fake_only_passes_over_what_is_called_real(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = attack_files(folder, brightness, "fgsm:eps=8/255", out, fake_only=True)
    called_fake = {r["path"] for r in result.rows if r["logit"]["before"] > 0}
    assert 0 < len(called_fake) < 4
    assert {r["path"] for r in result.rows if r["status"] == "ok"} == called_fake
    assert {p.relative_to(out).as_posix() for p in out.rglob("*.png")} == called_fake
    assert result.statuses == {"ok": len(called_fake), "passed over": 4 - len(called_fake)}
    with pytest.raises(ConfigError, match="leave out label=real"):
        attack_files(folder, brightness, "fgsm", tmp_path / "no", fake_only=True, label="real")


def test_size_takes_the_central_square(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = attack_files(folder, brightness, "fgsm", out, size=16)
    assert {(r["width"], r["height"]) for r in result.rows} == {(16, 16)}
    assert Image.open(out / "1.png").size == (16, 16)
    whole = attack_files(folder, brightness, "fgsm", tmp_path / "whole")
    assert Image.open(whole.folder / "1.png").size == (48, 40)
    with pytest.raises(ConfigError, match="size must be at least 8"):
        attack_files(folder, brightness, "fgsm", tmp_path / "no", size=4)
    brightness.smallest = 32
    with pytest.raises(ConfigError, match="size must be at least 32 pixels for this detector"):
        attack_files(folder, brightness, "fgsm", tmp_path / "no", size=16)


def test_a_detector_with_a_size_is_attacked_at_the_images_resolution(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    detector = models.create("resnet", width=4, size=16).eval()
    row = attack_files(folder / "1.png", detector, "pgd:eps=8/255,steps=3", tmp_path / "out").rows[0]
    assert (row["width"], row["height"]) == (48, 40)
    assert row["logit"]["after"] < row["logit"]["before"]


def test_a_run_brings_its_eps_and_says_at_which_size_it_was_trained(folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = tmp_path / "run"
    checkpoints.save(models.create("resnet", width=4), run / "best.safetensors")
    (run / "recipe.toml").write_text(
        'epochs = 1\n[data]\nmanifest = "m.parquet"\nsize = 24\n[evaluation]\nattack = "pgd:eps=6/255"\n'
    )
    whole = attack_files(folder, run, "fgsm", tmp_path / "whole")
    assert whole.rows[0]["linf_255"]["saved"] == 6
    assert "--size 24 crops them as evaluate does" in whole.notes[0]
    assert not attack_files(folder, run, "fgsm", tmp_path / "cropped", size=24).notes


def test_the_detector_is_left_as_it_was(folder: Path, tiny_detector: Detector, tmp_path: Path) -> None:
    tiny_detector.train()
    before = {k: v.clone() for k, v in tiny_detector.state_dict().items()}
    attack_files(folder, tiny_detector, "fgsm", tmp_path / "out")
    assert tiny_detector.training
    assert all(torch.equal(v, before[k]) for k, v in tiny_detector.state_dict().items())


def test_a_detector_that_can_not_take_a_size_says_so(
    folder: Path, linear_detector: Detector, draw: Draw, tmp_path: Path
) -> None:
    Image.fromarray(draw(1, 8, 8)).save(folder / "fits.png")
    rows = {r["path"]: r for r in attack_files(folder, linear_detector, "fgsm", tmp_path / "out").rows}
    assert rows["fits.png"]["status"] == "ok"
    assert rows["1.png"]["status"] == "refused"
    assert "has 48 x 40 pixels, which the detector can not take" in rows["1.png"]["reason"]


@dataclass(frozen=True)
class Stumbling(Attack):
    """Fails on bright images."""

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        if x.mean() > 0.5:
            raise RuntimeError("not enough memory\nsecond line")
        return x


def test_an_attack_that_fails_keeps_the_row_and_counts_as_no_success(
    folder: Path, brightness: Detector, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = attack_files(folder, brightness, Stumbling(Linf(0.1)), out)
    assert result.statuses["failed"] > 0
    failed = [r for r in result.rows if r["status"] == "failed"]
    for row in failed:
        assert row["success"] == dict.fromkeys(STAGES, False)
        assert row["reason"].endswith("the attack failed (not enough memory)")
        assert row["score"].keys() == {"before"}
        assert not (out / row["path"]).exists()
    right = sum(r["right_before"] for r in result.rows)
    assert result.success_rate("after") == (0, right)


def test_a_nan_is_no_score(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    with torch.no_grad():
        brightness.head.bias.fill_(math.nan)
    result = attack_files(folder, brightness, "fgsm", tmp_path / "out")
    assert result.statuses == {"no score": 4}
    assert "NaN" in result.reasons[0]


def test_a_second_call_only_does_what_is_left(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    seen: list[tuple[int, int]] = []
    first = attack_files(folder, brightness, "pgd:steps=2", out, progress=lambda *now: seen.append(now))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    times = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}
    assert attack_files(folder, brightness, "pgd:steps=2", out).rows == first.rows
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()} == times
    lines = (out / "attack.jsonl").read_text().splitlines(keepends=True)
    (out / "attack.jsonl").write_text("".join(lines[:2]) + lines[2][:20])
    again = attack_files(folder, brightness, "pgd:steps=2", out)
    assert [{**r, "seconds": 0} for r in again.rows] == [{**r, "seconds": 0} for r in first.rows]
    assert len(read(out)) == 4


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no kill -9 here")
def test_kill_9_loses_at_most_one_file(folder: Path, draw: Draw, tmp_path: Path) -> None:
    torch.manual_seed(0)
    checkpoints.save(models.create("resnet", width=4), tmp_path / "net.safetensors")
    for k in range(12):
        Image.fromarray(draw(k % 4)).save(folder / f"more{k}.png")
    out = tmp_path / "out"
    code = (
        "import sys; from unfooled.attack_files import attack_files\n"
        f"attack_files({str(folder)!r}, {str(tmp_path / 'net.safetensors')!r}, 'pgd:steps=20', {str(out)!r})"
    )
    child = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"})
    until = time.monotonic() + 60
    while not (out / "attack.jsonl").exists() and time.monotonic() < until:
        time.sleep(0.005)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = len((out / "attack.jsonl").read_bytes().splitlines())
    assert 1 <= done < 16
    before = {p: p.stat().st_mtime_ns for p in sorted(out.glob("*.png"))}
    result = attack_files(folder, tmp_path / "net.safetensors", "pgd:steps=20", out)
    assert result.statuses == {"ok": 16}
    assert sum(p.stat().st_mtime_ns != t for p, t in before.items()) <= 1
    assert len({r["path"] for r in read(out)}) == 16


def test_another_job_in_the_folder_is_refused(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    attack_files(folder, brightness, "fgsm", out)
    before = (out / "attack.jsonl").read_bytes()
    with pytest.raises(ConfigError, match=r"another job \(attack fgsm:eps=2/255, now pgd"):
        attack_files(folder, brightness, "pgd", out)
    with pytest.raises(ConfigError, match=r"another job \(label fake, now auto"):
        attack_files(folder, brightness, "fgsm", out, label="auto")
    brightness.threshold.fill_(1)
    with pytest.raises(ConfigError, match=r"another job \(detector .*threshold 0\), now .*threshold 1\)"):
        attack_files(folder, brightness, "fgsm", out)
    assert (out / "attack.jsonl").read_bytes() == before
    with pytest.raises(ConfigError, match="is not empty"):
        attack_files(folder / "1.png", brightness, "fgsm", folder)
    with pytest.raises(ConfigError, match="whose images it would join"):
        attack_files(folder, brightness, "fgsm", folder / "out")


def test_wrong_input_is_one_line_and_leaves_no_trace(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "nothing").mkdir()
    cases: list[tuple[dict[str, Any], str]] = [
        ({"attack": "pgdd"}, "did you mean 'pgd'"),
        ({"attack": "pgd:epss=1"}, "did you mean 'eps'"),
        ({"attack": "pgd:eps=8"}, "write 8/255"),
        ({"source": tmp_path / "gone"}, "is not there"),
        ({"source": tmp_path / "nothing"}, "holds no images"),
        ({"label": "fakes"}, "label must be one of fake, real, auto"),
        ({"device": "cuda:99"}, "is not here"),
    ]
    for given, message in cases:
        chosen = {"source": folder, "attack": "fgsm", "detector": brightness, "out": out} | given
        with pytest.raises((ConfigError, DataError), match=message):
            attack_files(**chosen)
        assert not out.exists()


class TestBlackBox:
    @staticmethod
    def bright(pixels: np.ndarray) -> float:
        return 1 / (1 + math.exp(-40 * (pixels.mean() / 255 - 0.45)))

    def test_it_finds_what_it_finds_on_the_detector_itself(
        self, folder: Path, brightness: Detector, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        target = remote(self.bright)
        far = attack_files(folder, target, "noise:eps=8/255,draws=5", out)
        near = attack_files(folder, brightness, "noise:eps=8/255,draws=5", tmp_path / "near")
        for a, b in zip(far.rows, near.rows, strict=True):
            assert a["logit"]["before"] == pytest.approx(b["logit"]["before"], abs=1e-3)
            assert a["logit"]["after"] == a["logit"]["saved"]
        lines = (out / "queries.jsonl").read_text().splitlines()
        assert target.asked == len(lines) == sum(r["asked"] for r in far.rows)
        assert target.backbone.log is None

    def test_a_resume_asks_nothing_twice(self, folder: Path, tmp_path: Path) -> None:
        out, calls = tmp_path / "out", []

        def judge(pixels: np.ndarray) -> float:
            calls.append(pixels.tobytes())
            return self.bright(pixels)

        def run() -> Outcome:
            return attack_files(folder, remote(judge), "noise:eps=8/255,draws=5", out)

        first = run()
        assert len(calls) == len(set(calls))
        (out / "attack.jsonl").write_text("")
        again = run()
        assert len(calls) == len(set(calls))
        assert [r["logit"] for r in again.rows] == [r["logit"] for r in first.rows]
        assert sum(r["asked"] for r in again.rows) == 0

    @pytest.mark.parametrize("budget", [1, 3, 7, 9, 10, 17, 30])
    def test_a_spent_budget_keeps_what_was_found_and_more_goes_on(
        self, budget: int, folder: Path, tmp_path: Path
    ) -> None:
        out, attack = tmp_path / "out", "noise:eps=8/255,draws=5"

        def run(budget: int | None) -> Outcome:
            return attack_files(folder, remote(self.bright, budget=budget), attack, out)

        first = run(budget)
        assert f"budget of {budget} queries is spent" in str(first.stopped)
        assert sum(r["asked"] for r in first.rows) == budget
        for row in first.rows[:-1]:
            assert row["status"] == "ok"
        cut = first.rows[-1]
        assert cut["status"] == "budget"
        if cut["queries"] is None or cut["queries"] < 5:
            assert cut["logit"]["after"] <= cut["logit"]["before"]
        saved = np.asarray(Image.open(out / cut["out"]))
        assert cut["logit"]["after"] == pytest.approx(40 * (saved.mean() / 255 - 0.45), abs=1e-3)
        assert cut["linf_255"]["saved"] <= 8
        whole = run(None)
        assert whole.stopped is None
        assert whole.statuses == {"ok": 4}
        direct = attack_files(folder, remote(self.bright), attack, tmp_path / "direct")
        assert [r["logit"] for r in whole.rows] == [r["logit"] for r in direct.rows]

    def test_a_budget_that_ends_between_two_files_stops_there(self, folder: Path, tmp_path: Path) -> None:
        result = attack_files(folder, remote(self.bright, budget=8), "noise:draws=5", tmp_path / "out")
        assert [r["status"] for r in result.rows] == ["ok"]
        assert result.stopped

    def test_a_white_box_attack_is_refused_before_anything_is_asked_or_written(
        self, folder: Path, tmp_path: Path
    ) -> None:
        target = remote(self.bright)
        for attack in ("pgd", "fgsm"):
            with pytest.raises(ConfigError, match=r"only be called.*black-box"):
                attack_files(folder, target, attack, tmp_path / "out")
        assert target.asked == 0
        assert not (tmp_path / "out").exists()

    def test_a_transferred_attack_asks_for_the_judgement_alone(
        self, folder: Path, brightness: Detector, tmp_path: Path
    ) -> None:
        attack = create("transfer", surrogate=brightness, attack="pgd", eps=8 / 255)
        result = attack_files(folder, remote(self.bright), attack, tmp_path / "out")
        assert {r["asked"] for r in result.rows} == {4}
        assert all(r["logit"]["saved"] < r["logit"]["before"] for r in result.rows)

    def test_a_target_that_goes_down_loses_nothing(self, folder: Path, tmp_path: Path) -> None:
        up = [True]

        def judge(pixels: np.ndarray) -> float:
            if not up[0]:
                raise OSError("gone")
            return self.bright(pixels)

        out = tmp_path / "out"
        attack_files(folder / "1.png", remote(judge), "noise", tmp_path / "one")

        def stop(done: int, total: int) -> None:
            up[0] = done < 2

        with pytest.raises(TargetError, match="raised gone"):
            attack_files(folder, remote(judge), "noise", out, progress=stop)
        assert len(read(out)) == 2
        up[0] = True
        assert attack_files(folder, remote(judge), "noise", out).statuses == {"ok": 4}


SMALL = {
    "apgd": "steps=4,restarts=1", "cw": "steps=4", "deepfool": "steps=4", "ensemble": "steps=2,restarts=1,queries=8",
    "fgsm": "", "noise": "", "pgd": "steps=2", "rbb": "steps=2,pairs=2", "rwa": "steps=2", "sparse": "eps=4,steps=2",
    "square": "queries=20", "stat": "", "transfer": "steps=2", "universal": "",
}  # fmt: skip
BLIND = {"noise", "rbb", "square", "transfer"}


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_works_on_files_or_says_in_one_line_why_not(
    name: str, folder: Path, tiny_detector: Detector, tmp_path: Path
) -> None:
    """White-box attacks ask a black box nothing; attacks that learn first need more than the images."""
    options = dict(part.split("=") for part in SMALL[name].split(",") if part)
    attack = create(name, **options, **({"surrogate": tiny_detector} if name == "transfer" else {}))
    target = remote(TestBlackBox.bright)
    for detector, works in ((tiny_detector, True), (target, name in BLIND)):
        out = tmp_path / type(detector).__name__
        if works and not attack.learns:
            row = attack_files(folder / "3.png", detector, attack, out).rows[0]
            assert row["status"] == "ok"
            assert row["logit"]["after"] <= row["logit"]["before"] + 1e-6 or name in ("noise", "transfer", "rwa", "rbb")
            assert row["linf_255"]["saved"] <= 255 * min(attack.threat.eps, 1) + 0.5
        else:
            with pytest.raises(ConfigError, match="has to" if attack.learns else "only be called"):
                attack_files(folder / "3.png", detector, attack, out)
            assert not out.exists()
    assert (target.asked > 0) == (name in BLIND)


def test_an_attack_on_fakes_alone_is_not_turned_round(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="rwa turns fakes into reals by definition; use label=fake"):
        attack_files(folder, brightness, "rwa", tmp_path / "out", label="real")


def test_an_attack_may_be_a_value(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    result = attack_files(folder, brightness, PGD(L2(2.0), steps=3), tmp_path / "out")
    assert all(r["l2"]["after"] <= 2.0001 for r in result.rows)
