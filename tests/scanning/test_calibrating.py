"""Calibrating a run: files of a manifest scored as a scan does, never on test, tampering measured."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from scan_toys import linear, squares

from unfooled import calibration
from unfooled.codecs import encode_video
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError, DataError
from unfooled.scanning import calibrating, scanner
from unfooled.scanning.calibrating import Sign, calibrate
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.tampering import MILD


@pytest.fixture(autouse=True)
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A run whose detector is z = 40 red - 10."""
    monkeypatch.setattr(scanner.checkpoints, "load", lambda place, device: linear())
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "recipe.toml").write_text('epochs = 1\n[data]\nmanifest = "m"\nsize = 24\n')
    return folder


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """60 files of two face crops each, reals darker than fakes but for some; 10 of split test."""
    root, rows, rng = tmp_path / "crops", [], np.random.default_rng(0)
    root.mkdir()
    for k in range(60):
        y = k % 2
        for frame in range(2):
            pixels = np.full((24, 24, 3), 100, np.uint8)
            pixels[..., 0] = np.clip(55 + 20 * y + rng.normal(0, 8), 0, 255)
            name = f"{k:02}-{frame}.png"
            cv2.imwrite(str(root / name), pixels[..., ::-1])
            rows.append(
                {"id": name, "path": name, "label": y, "video": f"v{k}", "identity": f"p{k // 2}", "frame": frame,
                 "manipulation": "Toy" if y else "Real", "collection": "ab"[k // 2 % 2],
                 "split": "test" if k >= 50 else "validation"}
            )  # fmt: skip
    table = Manifest.from_rows([{k: v for k, v in row.items() if k != "frame"} for row in rows], root)
    table.write(root / "manifest.parquet")
    return root


def test_files_are_scored_and_fitted(run: Path, crops: Path) -> None:
    steps: list[tuple[int, int]] = []
    found = calibrate(run, crops, target_fpr=0.1, attacked=8, progress=lambda *n: steps.append(n))
    assert (found.n_real, found.n_fake, found.made_by, found.faces) == (25, 25, ["Toy"], "given")
    assert found.false_positives.count <= 2
    assert set(found.subgroups) == {"collection"}
    assert sum(r.of for r in found.subgroups["collection"].values()) == 25
    assert found.tampering is not None
    assert set(found.tampering.detection) == {"pgd:eps=2/255,steps=10", "pgd:eps=8/255,steps=10"}
    assert {r.of for r in found.tampering.detection.values()} == {8}
    assert found.tampering.false_alarm.of == 50
    assert set(found.tampering.usual) == set(MILD)
    assert steps[-1] == (50 + 16, 50 + 16)
    assert found == calibrate(run, crops, target_fpr=0.1, attacked=8)
    assert found.detector == linear().digest()


def test_a_scan_of_a_calibrated_file_gives_its_logit(run: Path, crops: Path) -> None:
    found = calibrate(run, crops, attacked=0)
    calibration.write(found, run)
    judge = Scanner.open(run, ScanOptions(face_detector="whole", margin="off"))
    assert judge.calibration == found
    scan = judge(crops / "00-0.png")
    measured = calibrating.Measured()
    files = list(calibrating._files(Manifest.read(crops), "given", judge.shape, 1, []))
    calibrating._measure(judge, files[0], measured)
    assert scan.logit == pytest.approx(measured.logits[0], abs=20)
    assert scan.detector.calibrated


def test_every_option_changes_something(run: Path, crops: Path) -> None:
    usual = calibrate(run, crops, attacked=0)
    assert usual.tampering is not None
    assert usual.tampering.detection == {}
    assert calibrate(run, crops, attacked=0, options=ScanOptions(tampering=False)).tampering is None
    assert calibrate(run, crops, attacked=0, target_fpr=0.2).fake_above < usual.fake_above
    assert "identity" in calibrate(run, crops, attacked=0, subgroups=["identity"]).subgroups
    one = calibrate(run, crops, attacked=0, options=ScanOptions(samples=1))
    assert one.samples == 1
    assert one.fake_above_logit != usual.fake_above_logit


def test_what_can_not_be_calibrated_on_is_refused(run: Path, crops: Path) -> None:
    with pytest.raises(ConfigError, match="never fitted on test"):
        calibrate(run, crops, split="test")
    with pytest.raises(ConfigError, match="--subgroup height is no column"):
        calibrate(run, crops, subgroups=["height"])
    with pytest.raises(ConfigError, match="target_fpr"):
        calibrate(run, crops, target_fpr=0.9, attacked=0)
    for path in crops.glob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(DataError, match=r"no file of split validation could be scored: v0 \(.*empty"):
        calibrate(run, crops)


def test_files_that_can_not_be_read_are_counted_and_named(run: Path, crops: Path) -> None:
    (crops / "04-0.png").write_bytes(b"")
    found = calibrate(run, crops, attacked=0)
    assert found.n_real + found.n_fake == 49
    assert any("1 files have no score and are not counted, such as v4" in note for note in found.notes)


@pytest.mark.usefixtures("bright")
def test_faces_of_videos_are_found_as_a_scan_does(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for k in range(12):
        name = f"{k}.mkv"
        reds = [[40 + 40 * (k % 2)] + [30] * (k == 3)] * 6 if k != 5 else [[]] * 6
        (tmp_path / name).write_bytes(encode_video(squares(reds), codec="ffv1"))
        rows.append(
            {"id": name, "path": name, "label": k % 2, "video": name, "manipulation": "Toy", "split": "validation"}
        )
    Manifest.from_rows(rows, tmp_path).write(tmp_path / "manifest.parquet")
    options = ScanOptions(crop_margin=0.8, every=1, margin="off")
    found = calibrate(run, tmp_path / "manifest.parquet", options=options, attacked=2)
    assert (found.faces, found.most_tracks, found.n_real, found.n_fake) == ("found", 2, 6, 5)
    assert any("no face" in note for note in found.notes)
    judge = Scanner.open(run, options)
    assert judge(tmp_path / "0.mkv").logit < found.fake_above_logit < judge(tmp_path / "1.mkv").logit


def test_a_sign_flags_no_more_than_its_share_and_scales_each_change() -> None:
    rng = np.random.default_rng(0)
    honest = [{"a": float(v), "b": float(w)} for v, w in zip(rng.random(200), 100 * rng.random(200), strict=True)]
    sign = Sign.fit(honest, 0.05)
    assert sum(sign.flags(m) for m in honest) <= 10
    assert sign.usual["b"] == pytest.approx(100 * sign.usual["a"], rel=0.1)
    assert sign.flags({"a": 1.5, "b": 0.0})
    assert not sign.flags({"a": 0.5, "b": 50.0})


def test_files_of_one_video_stay_together(crops: Path, scanner: Callable[..., Scanner]) -> None:
    files = list(calibrating._files(Manifest.read(crops), "given", scanner().shape, 32, []))
    assert len(files) == 60
    assert [p.name for sample in files[7].tracks["0"] for p in sample] == ["07-0.png", "07-1.png"]
    assert files[7].facts["who"] == "p3"
