"""A scan: what is measured, what it depends on, and that no file can make it fail."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled import calibration, checkpoints
from unfooled.calibration import fit
from unfooled.errors import ConfigError, DataError
from unfooled.models import create
from unfooled.models.detector import Detector
from unfooled.scanning import evidence, verdict
from unfooled.scanning import scanner as module
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.verdict import Scan

Make = Callable[..., Scanner]
Film = Callable[..., Path]
pytestmark = pytest.mark.usefixtures("bright")


def z_of(red: float) -> float:
    return 40 * red / 255 - 10


def calibrated(scanner: Scanner, **changes: object) -> Scanner:
    """The scanner with thresholds at logits of about -2 and 2."""
    z = np.concatenate([np.linspace(-6, 2, 100), np.linspace(-2, 6, 100)])
    found = fit(z, np.repeat([0, 1], 100), detector=scanner.detector.digest(), data="toys", made_by=["Toy"])
    return replace(scanner, calibration=found.model_copy(update=changes))


def test_a_video_gets_the_mean_of_its_points(scanner: Make, film: Film) -> None:
    reds = [100 + 2 * t for t in range(20)]
    path = film([[r] for r in reds])
    found = scanner()(path)
    assert (found.status, found.reason, found.file) == ("ok", "", "a.mkv")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    (track,) = found.tracks
    assert (track.id, track.start, track.stop, track.frames, len(track.points)) == ("0", 0, 0.76, 20, 20)
    assert [p.frame for p in track.points] == list(range(20))
    assert [p.logit for p in track.points] == pytest.approx([z_of(r) for r in reds], abs=0.1)
    assert found.logit == track.logit == pytest.approx(np.mean([p.logit for p in track.points]), abs=1e-5)
    assert found.probability == pytest.approx(1 / (1 + math.exp(-found.logit)), abs=1e-5)
    assert found.verdict == "fake"
    x0, y0, x1, y1 = track.points[0].box
    assert (x0, y0, x1, y1) == (pytest.approx(9, abs=1.1), 30, pytest.approx(45, abs=1.1), 66)
    assert found.media is not None
    assert found.media.model_dump() == {"width": 128, "height": 96, "fps": 25, "frames": 20, "seconds": 0.76}
    assert found.thresholds.real_below == found.thresholds.fake_above == 0.5
    assert any("not calibrated" in text for text in found.cautions)


def test_points_are_at_most_as_many_as_asked_for_and_evenly_spread(scanner: Make, film: Film) -> None:
    found = scanner(samples=4)(film([[90]] * 20))
    assert [p.frame for p in found.tracks[0].points] == [2, 7, 12, 17]


@pytest.mark.parametrize(("rule", "speaks"), [("max", 150), ("largest", 20)])
def test_the_rule_says_which_face_speaks(rule: str, speaks: int, scanner: Make, film: Film) -> None:
    # The second face is there for half of the time only.
    found = scanner(rule=rule)(film([[20, 150]] * 8 + [[20]] * 8))
    assert found.rule == rule
    assert found.logit == pytest.approx(z_of(speaks), abs=0.1)
    assert sorted(t.verdict for t in found.tracks) == ["fake", "real"]


def test_a_face_that_is_too_dark_has_no_voice(scanner: Make, film: Film, monkeypatch: pytest.MonkeyPatch) -> None:
    # Mean brightness (20 + 200 + 90) / 3 = 103 and (150 + 200 + 90) / 3 = 147.
    monkeypatch.setattr("unfooled.scanning.scanner.DARK", 130)
    path = film([[20, 150]] * 8 + [[20]] * 8)
    found = scanner(rule="largest")(path)
    assert found.logit == pytest.approx(z_of(150), abs=0.1)
    assert [t.verdict for t in found.tracks] == ["real", "fake"]
    assert any("Next to nothing can be seen of face 0: too dark to speak" in text for text in found.cautions)
    nobody = scanner()(film([[20]] * 8, "dark.mkv"))
    assert (nobody.status, nobody.verdict) == ("no_score", None)
    assert nobody.reason == "dark.mkv shows no face that is light enough to be judged"


def test_the_peak_of_a_real_track_is_among_its_telling_points(scanner: Make, film: Film, tmp_path: Path) -> None:
    reds = [10, 5, 20, 55, 15, 25, 12]
    found = scanner(margin="off")(film([[r] for r in reds]), evidence=tmp_path / "e")
    assert found.verdict == "real"
    assert [t.frame for t in found.tracks[0].telling] == [1, 0, 3]


def test_a_picture_has_no_time(scanner: Make, film: Film, tmp_path: Path) -> None:
    clip = np.zeros((96, 128, 3), np.uint8)
    clip[30:66, 30:66] = (150, 200, 90)
    # Told by its first bytes, whatever it is called.
    for name in ("a.png", "a.jpg", "a.mp4", "a"):
        ok, data = cv2.imencode(".png", clip[..., ::-1])
        assert ok
        (tmp_path / name).write_bytes(data.tobytes())
        found = scanner()(tmp_path / name)
        assert (found.status, found.verdict) == ("ok", "fake")
        assert found.media is not None
        assert (found.media.frames, found.media.seconds, found.media.fps) == (1, None, None)


def test_whole_takes_a_picture_for_a_face_as_it_is(scanner: Make, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (24, 24, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "face.png"), pixels[..., ::-1])
    found = scanner(face_detector="whole")(tmp_path / "face.png")
    assert found.logit == pytest.approx(z_of(pixels[..., 0].mean()), abs=1e-4)
    assert found.tracks[0].points[0].box == (0, 0, 24, 24)


def test_clips_are_asked_about_as_clips(scanner: Make, film: Film) -> None:
    found = scanner(clip=5, fps=25.0)(film([[100 + t] for t in range(30)]))
    points = found.tracks[0].points
    assert [p.frame for p in points] == [0, 5, 10, 15, 20, 25]
    assert points[1].logit == pytest.approx(z_of(107), abs=0.1)
    # At half the rate every second frame is shown; a short track holds its last one, and says so.
    slow = scanner(clip=5, fps=12.5)(film([[100 + t] for t in range(30)]))
    assert [p.frame for p in slow.tracks[0].points] == [0, 10, 20]
    assert slow.tracks[0].points[0].logit == pytest.approx(z_of(104), abs=0.1)
    short = scanner(clip=16)(film([[100]] * 10))
    assert len(short.tracks[0].points) == 1
    assert any("less than a clip of 16 frames" in text for text in short.cautions)
    many = scanner(clip=2)(film([[100]] * 40))
    assert len(many.tracks[0].points) == 8


def test_a_scan_depends_on_bytes_run_and_options_alone(scanner: Make, film: Film, tmp_path: Path) -> None:
    path = film([[100, 160]] * 12)
    one = scanner()(path, name="talk.mkv", evidence=tmp_path / "e1")
    other = tmp_path / "elsewhere"
    other.mkdir()
    copy = other / "b.mkv"
    copy.write_bytes(path.read_bytes())
    two = scanner()(copy, name="talk.mkv", evidence=tmp_path / "e2")
    assert one.model_dump_json() == two.model_dump_json()
    assert str(tmp_path) not in one.model_dump_json()
    for file in (tmp_path / "e1").iterdir():
        assert file.read_bytes() == (tmp_path / "e2" / file.name).read_bytes()


def test_calibrated_words_lie_on_their_sides(scanner: Make, film: Film) -> None:
    words = {}
    for red in (30, 64, 120):
        found = calibrated(scanner(margin="off"))(film([[red]] * 6))
        words[red] = found.verdict
        assert found.detector.calibrated
        assert found.thresholds.target_fpr == 0.01
        assert found.thresholds.real_below < 0.5 < found.thresholds.fake_above
        assert (found.probability > found.thresholds.fake_above) == (found.verdict == "fake")
        assert any("not on your material" in text for text in found.cautions)
    assert words == {30: "real", 64: "undecided", 120: "fake"}


def test_cautions_name_what_the_calibration_does_not_cover(scanner: Make, film: Film) -> None:
    two = calibrated(scanner(margin="off"))(film([[30, 90]] * 6))
    assert any("2 faces" in text and "at most 1" in text for text in two.cautions)
    rule = calibrated(scanner(margin="off", rule="largest"), most_tracks=3)(film([[30]] * 6))
    assert any("for the rule max, this file was judged by largest" in text for text in rule.cautions)
    found = calibrated(scanner(margin="off"), faces="found")(film([[30]] * 6))
    assert not any("cut another way" in text for text in found.cautions)
    given = calibrated(scanner(margin="off"), faces="given")(film([[30]] * 6))
    assert any("cut another way" in text for text in given.cautions)


def test_the_margin_has_its_closed_form(scanner: Make, film: Film) -> None:
    # Only red counts, by 40 at the mean: z / 40 in units of [0, 1] brings it to 0.
    for red in (75, 64, 55):
        found = scanner()(film([[red]] * 6))
        assert found.margin is not None
        true = 255 * abs(found.logit) / 40
        assert true - 0.001 <= found.margin.linf_255 <= max(1.06 * true, true + 0.01)
        assert found.margin.fragile == (red == 64)
        assert found.margin.survives_rounding == (true > 0.5)
        assert found.margin.linf_255 <= found.margin.searched_255 <= 16
    assert scanner(margin="off")(film([[75]] * 6)).margin is None
    far = scanner()(film([[120]] * 6)).margin
    assert far is not None
    assert (far.linf_255, far.searched_255, far.fragile) == (None, 16, False)


def test_the_margin_is_that_of_the_threshold_which_ends_the_verdict(scanner: Make, film: Film) -> None:
    for red in (40, 52, 61, 66, 90):
        judge = calibrated(scanner())
        found = judge(film([[red]] * 6))
        z, scale = found.logit, judge.scale
        gap = min(abs(z - scale.lower), abs(z - scale.upper))
        assert found.margin is not None
        assert found.margin.linf_255 == pytest.approx(255 * gap / 40, rel=0.06, abs=0.02)


def test_the_tampering_sign_is_told_with_its_measured_rates(scanner: Make, film: Film) -> None:
    rate = calibration.rate
    usual, caught = {"jpeg_90": 0.5, "jpeg_75": 1.0, "resize": 2.0}, {"a": rate(8, 10), "b": rate(9, 10)}
    known = calibration.Tampering(usual=usual, limit=0.001, false_alarm=rate(1, 100), detection=caught)
    path = film([[90]] * 6)
    quiet = calibrated(scanner(), tampering=known.model_copy(update={"limit": 99.0}))(path).tampering
    loud = calibrated(scanner(), tampering=known)(path).tampering
    assert quiet is not None
    assert loud is not None
    assert (quiet.flagged, loud.flagged) == (False, quiet.jump > 0.001)
    assert (quiet.detection_rate, quiet.false_alarm_rate) == (0.8, 0.01)
    assert set(quiet.logits) == {"as_is", *usual}
    moved = [abs(quiet.logits[name] - quiet.logits["as_is"]) / usual[name] for name in usual]
    assert quiet.jump == pytest.approx(max(moved), abs=1e-5)
    plain = scanner()(path).tampering
    assert plain is not None
    assert (plain.limit, plain.flagged) == (None, False)
    assert scanner(tampering=False)(path).tampering is None


def test_evidence_is_three_frames_of_each_face(scanner: Make, film: Film, tmp_path: Path) -> None:
    found = scanner()(film([[60 + 5 * t, 20] for t in range(12)]), evidence=tmp_path / "e")
    by_verdict = {t.verdict: t for t in found.tracks}
    assert [t.frame for t in by_verdict["fake"].telling] == [11, 10, 9]
    named = {name for t in found.tracks for told in t.telling for name in (told.crop, told.saliency)}
    assert named == {p.name for p in (tmp_path / "e").iterdir()}
    for name in named:
        assert name is not None
        picture = cv2.imread(str(tmp_path / "e" / name))
        assert picture.shape == (24, 24, 3)
    without = scanner()(film([[60]] * 6))
    assert without.tracks[0].telling[0].crop is None


def test_many_faces_get_no_more_than_their_pictures(
    scanner: Make, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence, "MOST_TRACKS", 1)
    found = scanner()(film([[60, 150]] * 6), evidence=tmp_path / "e")
    pictured = [t.logit for t in found.tracks if t.telling[0].crop]
    assert pictured == [max(t.logit for t in found.tracks)]


def test_progress_goes_through_its_stages(scanner: Make, film: Film) -> None:
    seen: list[tuple[str, float]] = []
    scanner()(film([[90]] * 12), progress=lambda stage, share: seen.append((stage, share)))
    assert list(dict.fromkeys(stage for stage, _ in seen)) == [
        "faces", "crops", "scores", "evidence", "tampering", "margin",
    ]  # fmt: skip
    assert all(0 <= share <= 1 for _, share in seen)


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2) * torch.nan


def test_a_detector_that_answers_no_number_gives_no_score(scanner: Make, film: Film) -> None:
    found = scanner(Detector(Broken(), nn.Linear(3, 1)).eval())(film([[90]] * 6))
    assert (found.status, found.verdict, found.logit) == ("no_score", None, None)
    assert "NaN" in found.reason


@pytest.fixture
def bad(tmp_path: Path, film: Film) -> Path:
    """A folder of files that nobody should trust."""
    folder = tmp_path / "bad"
    folder.mkdir()
    whole = film([[90]] * 30, "whole.mkv").read_bytes()
    with av.open(str(folder / "sound.mp4"), "w") as out:
        tone = out.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        out.mux(tone.encode(silence))
        out.mux(tone.encode(None))
    (folder / "empty.mp4").touch()
    (folder / "folder.mp4").mkdir()
    (folder / "text.mp4").write_text("not a video\n" * 100)
    (folder / "zip.mp4").write_bytes(b"PK\x03\x04" + bytes(1000))
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile /etc/passwd\n")
    (folder / "list.m3u8").write_text("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n#EXT-X-ENDLIST\n")
    (folder / "head.mkv").write_bytes(whole[:200])
    (folder / "cut.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    (folder / "one.mkv").write_bytes(film([[90]], "one.mkv").read_bytes())
    (folder / "dark.mkv").write_bytes(film([[]] * 8, "dark.mkv").read_bytes())
    (folder / "renamed.avi").write_bytes(whole)
    (folder / "text.png").write_text("no picture")
    cv2.imwrite(str(folder / "tiny.png"), np.zeros((16, 16, 3), np.uint8))
    data = bytearray((folder / "tiny.png").read_bytes())
    data[16:24] = (9000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(bytes(data))
    middle = bytearray(whole)
    middle[len(whole) // 2 : len(whole) // 2 + 400] = bytes(400)
    (folder / "middle.mkv").write_bytes(bytes(middle))
    return folder


EXPECTED = {
    "absent.mp4": ("unreadable", "is not there"), "sound.mp4": ("unreadable", "only audio"),
    "empty.mp4": ("unreadable", "is empty (0 bytes)"), "folder.mp4": ("unreadable", "is no file"),
    "text.mp4": ("unreadable", ""), "zip.mp4": ("unreadable", "open"),
    "concat.mp4": ("unreadable", "is no video file"), "list.m3u8": ("unreadable", "open"),
    "head.mkv": ("unreadable", ""), "cut.mkv": ("ok", ""), "one.mkv": ("too_short", "has 1 frames, 5 are needed"),
    "dark.mkv": ("no_face", "has no face that bright finds"), "renamed.avi": ("ok", ""),
    "text.png": ("unreadable", "does not decode"), "tiny.png": ("no_face", "has no face"),
    "bomb.png": ("refused", "pixels"), "middle.mkv": ("ok", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", EXPECTED)
def test_every_bad_file_has_a_status_and_one_line(name: str, bad: Path, scanner: Make) -> None:
    status, reason = EXPECTED[name]
    found = scanner(margin="off")(bad / name)
    assert (found.status, reason in found.reason) == (status, True), found.reason
    assert "\n" not in found.reason
    assert str(bad) not in found.model_dump_json()
    if found.status == "ok":
        assert found.verdict == "fake"
        assert found.reason == ""
    else:
        assert found.reason.startswith(f"{name} ")
        assert (found.verdict, found.logit, found.probability, found.tracks) == (None, None, None, [])
        assert (found.sha256 is None) == (name in ("absent.mp4", "folder.mp4"))
    assert Scan.model_validate_json(found.model_dump_json()) == found


def test_what_was_not_seen_is_said(bad: Path, scanner: Make) -> None:
    assert any("ends before the length" in text for text in scanner(margin="off")(bad / "cut.mkv").cautions)


def test_limits_refuse_large_and_long_files(scanner: Make, film: Film) -> None:
    path = film([[90]] * 30)
    long = scanner(max_seconds=1.0)(path)
    assert (long.status, long.verdict) == ("refused", None)
    assert "a.mkv lasts 1 s, more than 1 (max_seconds)" in long.reason
    assert scanner(max_seconds=2.0, margin="off")(path).status == "ok"
    large = scanner(max_pixels=1000)(path)
    assert large.status == "refused"
    assert "128 x 96 pixels, more than 1,000" in large.reason


def test_a_full_disk_goes_through(scanner: Make, film: Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(evidence, "replacing", full)
    with pytest.raises(OSError, match="No space"):
        scanner()(film([[90]] * 6), evidence=tmp_path / "e")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    torch.manual_seed(0)
    checkpoints.save(create("resnet", width=4, blocks=1, stem_stride=2).eval(), folder / "best.safetensors")
    return folder


def test_a_run_opens_with_its_recipe_and_calibration(run: Path) -> None:
    assert Scanner.open(run).shape.size == 224
    (run / "recipe.toml").write_text('epochs = 1\n[data]\nmanifest = "m"\nsize = 48\nclip = 9\nfps = 12.5\n')
    opened = Scanner.open(run, ScanOptions(samples=3))
    assert (opened.shape.size, opened.shape.clip, opened.shape.fps, opened.options.samples) == (48, 9, 12.5, 3)
    assert (opened.name, opened.calibration) == ("run", None)
    assert not opened.about.calibrated
    found = fit([-1.0, 1, 2, -2], [0, 0, 1, 1], detector=opened.detector.digest(), data="toys")
    calibration.write(found, run)
    assert Scanner.open(run).calibration == found
    calibration.write(found.model_copy(update={"detector": "0" * 32}), run)
    with pytest.raises(DataError, match="belongs to other weights"):
        Scanner.open(run)


def test_without_a_run_the_small_detector_answers_and_says_what_it_is(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SMALL", tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no small detector of its own; name a run with --detector RUN"):
        Scanner.open()
    monkeypatch.setattr(module, "SMALL", run)
    opened = Scanner.open()
    assert "demonstration" in opened.about.note
    assert "no evidence" in opened.about.note


@pytest.mark.parametrize(
    "wrong",
    [{"rule": "mean"}, {"margin": "on"}, {"samples": 0}, {"every": 0}, {"crop_margin": 0.1}, {"max_seconds": 0.0},
     {"max_pixels": 10}],
)  # fmt: skip
def test_wrong_options_are_refused_by_name(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        ScanOptions(**wrong)  # type: ignore[arg-type]


def test_options_can_be_told() -> None:
    facts = ScanOptions(samples=5).facts()
    assert json.loads(json.dumps(facts)) == facts
    assert ScanOptions(**facts) == ScanOptions(samples=5)


def test_the_schema_in_the_docs_is_that_of_the_code() -> None:
    path = Path(__file__).parents[2] / "docs" / "scan.schema.json"
    fresh = json.dumps(verdict.Scan.model_json_schema(), indent=1) + "\n"
    assert path.read_text(encoding="utf-8") == fresh, "python -m unfooled.scanning.verdict > docs/scan.schema.json"


def test_every_field_of_a_scan_is_described_or_speaks_for_itself() -> None:
    schema = verdict.Scan.model_json_schema()
    assert schema["properties"]["schema_version"]["default"] == verdict.SCHEMA_VERSION == 1
    assert set(schema["required"]) >= {
        "file",
        "sha256",
        "status",
        "reason",
        "verdict",
        "tracks",
        "cautions",
        "detector",
    }
