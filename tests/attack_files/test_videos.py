"""Attacks on video files: only faces change, sound and times stay, and what is written is what is judged."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfooled import checkpoints, models
from unfooled.attack_files import VideoOptions, attack_files
from unfooled.attack_files import videos as module
from unfooled.attack_files.clips import samples, to_input
from unfooled.attack_files.outcome import VIDEO_STAGES
from unfooled.attack_files.scene import Crop, Scene
from unfooled.attack_files.search import Pasting, Search, mean, scored
from unfooled.attack_files.shared import Together, perturbations
from unfooled.attack_files.spaces import InCrops, InFrames, place_of
from unfooled.attacks import PGD, Attack, Transfer, create
from unfooled.codecs import NOTE, encode_video
from unfooled.data import cropping
from unfooled.data.alignment import crop, cutting
from unfooled.data.cropping import find_tracks
from unfooled.data.faces import Face
from unfooled.data.images import Pixels
from unfooled.data.video import decode
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.models.remote import remote
from unfooled.threats import Linf

SIDE, FRAMES = 24, 9
LOSSLESS = VideoOptions(every=1)


class Bright:
    """Finds every square that is bright in green."""

    name = "bright"

    def __call__(self, pixels: Pixels) -> list[Face]:
        mask = (pixels[..., 1] > 150).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [tuple(map(float, (x, y, x + w, y + h))) for x, y, w, h, area in stats[1:count] if area > 100]
        return [Face(box, 0.9) for box in boxes]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cropping, "face_detector", lambda name: Bright())
    monkeypatch.setattr(module, "face_detector", lambda name: Bright())


def moving(frames: int = FRAMES, squares: int = 1) -> Pixels:
    """(T, 96, 128, 3): grainy squares that walk to the right; the second one is smaller."""
    rng = np.random.default_rng(0)
    clip = rng.integers(20, 60, (frames, 96, 128, 3)).astype(np.uint8)
    for t in range(frames):
        for n, side in enumerate((28, 20)[:squares]):
            square = rng.integers(170, 215, (side, side, 3))
            clip[t, 8 + 44 * n : 8 + 44 * n + side, 12 + 3 * t : 12 + 3 * t + side] = square
    return clip


def film(path: Path, clip: Pixels, stamps: list[int] | None = None, sound: bool = True) -> Path:
    """A lossless video with sound; ``stamps`` in milliseconds."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.height, stream.width, stream.pix_fmt = *clip.shape[1:3], "bgr0"
        stream.codec_context.time_base = Fraction(1, 1000)
        tone = out.add_stream("aac", rate=16000) if sound else None
        for k, pixels in enumerate(clip):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels))
            frame.pts, frame.time_base = stamps[k] if stamps else 40 * k, Fraction(1, 1000)
            out.mux(stream.encode(frame))
            if tone is not None:
                wave = np.sin(np.arange(640) / 8 + k).astype(np.float32)[None]
                heard = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
                heard.sample_rate, heard.pts, heard.time_base = 16000, 640 * k, Fraction(1, 16000)
                out.mux(tone.encode(heard))
        for part in (stream, *([tone] if tone is not None else [])):
            out.mux(part.encode(None))
    return path


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    stamps = [0, 40, 80, 120, 200, 240, 280, 330, 360]
    return film(tmp_path_factory.mktemp("films") / "talk.mkv", moving(squares=2), stamps)


@pytest.fixture
def judge() -> Detector:
    """z = 40 (mean - 0.45) of frames or clips: bright is fake; not the same weight for every pixel."""

    class Weighted(torch.nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            slope = torch.linspace(0.5, 1.5, x.shape[-1]).to(x)
            return (x * slope).flatten(2).mean(2)

    head = torch.nn.Linear(3, 1)
    with torch.no_grad():
        head.weight.fill_(40 / 3)
        head.bias.fill_(-40 * 0.45)
    return Detector(Weighted(), head, size=SIDE).eval()


def frames(path: Path) -> Pixels:
    with decode(path) as found:
        return np.stack([frame.pixels for frame in found])


def packets(path: Path, kind: str) -> list[tuple[float, bytes]]:
    with av.open(str(path)) as container:
        found = [p for p in container.demux(**{kind: 0}) if p.size]
        return [(round(float(p.pts * p.time_base), 3), bytes(p) if kind == "audio" else b"") for p in found]


def test_only_faces_change_and_sound_and_times_stay(talk: Path, judge: Detector, tmp_path: Path) -> None:
    out = tmp_path / "talk-adv.mkv"
    result = attack_files(talk, judge, "pgd:eps=8/255,steps=3", out, videos=LOSSLESS)
    row = result.rows[0]
    assert (row["status"], row["out"], row["frames"], row["crops"], row["crop"]) == ("ok", out.name, 9, 18, SIDE)
    before, after = frames(talk), frames(out)
    change = np.abs(after.astype(int) - before)
    scene = Scene(talk, find_tracks(talk, LOSSLESS.settings(SIDE)).tracks, SIDE, 1.3)
    touched = np.zeros(before.shape[:3], bool)
    for t, pixels in enumerate(before):
        for face in Bright()(pixels):
            x0, y0, x1, y1 = face.box
            reach = 0.5 * 1.3 * (x1 - x0) + 6
            x, y = (x0 + x1) / 2, (y0 + y1) / 2
            touched[t, max(0, int(y - reach)) : int(y + reach), max(0, int(x - reach)) : int(x + reach)] = True
    assert not change[~touched].any()
    assert 4 <= change.max() <= 9
    for t in range(len(before)):
        assert all(change[t][int(y0) : int(y1), int(x0) : int(x1)].any() for x0, y0, x1, y1 in
                   (face.box for face in Bright()(before[t])))  # fmt: skip
    assert packets(out, "audio") == packets(talk, "audio")
    assert [time for time, _ in packets(out, "video")] == [time for time, _ in packets(talk, "video")]
    with av.open(str(out)) as container:
        assert container.metadata["COMMENT"] == NOTE
    assert sorted(p.name for p in tmp_path.iterdir()) == [out.name, f"{out.name}.attack"]
    assert set(scene.counts) == {"0", "1"}


@pytest.mark.parametrize(
    ("name", "options"),
    [("a.mkv", {}), ("a.mp4", {}), ("a.mkv", {"codec": "h264", "crf": 30}), ("a.mkv", {"clip": 4}),
     ("a.mkv", {"shared": True}), ("a.mp4", {"shared": True, "clip": 4}), ("a.mkv", {"pixels": "crop"}),
     ("a.mkv", {"pixels": "crop", "clip": 4})],
)  # fmt: skip
def test_what_stands_in_the_row_is_what_the_file_does(
    name: str, options: dict[str, Any], talk: Path, judge: Detector, tmp_path: Path
) -> None:
    chosen = VideoOptions(every=1, **options)
    out = tmp_path / name
    row = attack_files(talk, judge, "pgd:eps=8/255,steps=3", out, videos=chosen).rows[0]
    tracks = find_tracks(talk, chosen.settings(SIDE)).tracks
    for stage, path in (("before", talk), ("saved", out)):
        pictures = frames(path)
        for told, track in zip(row["tracks"], tracks, strict=True):
            crops = np.stack([crop(pictures[s.index], s.face, SIDE, 1.3) for s in track.sightings])
            x = torch.from_numpy(crops).permute(0, 3, 1, 2).float() / 255
            if chosen.clip is None:
                logits = judge(x)
            else:
                starts = (0, 4, 5)
                logits = judge(torch.stack([x[s : s + 4].transpose(0, 1) for s in starts]))
            assert told["logit"][stage] == pytest.approx(logits.mean().item(), abs=1e-4)
    assert row["logit"] == row["tracks"][0]["logit"]
    assert row["rule"].endswith("of the largest track, 0")
    assert row["codec"] == ("h264" if name.endswith("mp4") or "codec" in options else "ffv1")
    assert row["clip"] == chosen.clip
    assert row["logit"]["saved"] < row["logit"]["before"]
    assert row["logit"]["after"] <= row["logit"]["saved"] + 1e-3 or row["codec"] == "h264"
    assert row["pixels"] == ("crop" if "shared" in options else options.get("pixels", "frame"))
    assert row["success"] == {stage: row["logit"][stage] <= 0 for stage in VIDEO_STAGES}
    assert row["score"]["saved"] == pytest.approx(torch.sigmoid(torch.tensor(row["logit"]["saved"])).item())
    assert row["linf_255"]["after"] == pytest.approx(8, abs=1e-2 if row["pixels"] == "frame" else 1.01)
    if row["codec"] == "ffv1":  # the file holds what the search found
        assert row["linf_255"]["saved"] == row["linf_255"]["after"]
        assert row["l2"]["saved"] == pytest.approx(row["l2"]["after"])
        if row["pixels"] == "frame":
            assert row["logit"]["saved"] == pytest.approx(row["logit"]["after"], abs=2e-2)
    assert row["queries"] > 0
    assert not {str(talk.parent), str(tmp_path)} & set(json.dumps(row).split('"'))


def test_an_attack_that_may_change_nothing_gives_the_frames_back(talk: Path, judge: Detector, tmp_path: Path) -> None:
    for k, chosen in enumerate((LOSSLESS, VideoOptions(shared=True, clip=4))):
        out = tmp_path / f"{k}.mkv"
        row = attack_files(talk, judge, "pgd:eps=0,steps=2", out, videos=chosen).rows[0]
        np.testing.assert_array_equal(frames(out), frames(talk))
        assert row["linf_255"] == {"after": 0, "saved": 0}
        assert row["logit"]["before"] == row["logit"]["saved"] == pytest.approx(row["logit"]["after"], abs=2e-3)
        assert row["logit"]["h264_23"] != row["logit"]["before"]


@pytest.mark.parametrize("length", [None, 4])
def test_a_shared_perturbation_is_the_same_in_every_frame(length: int | None, talk: Path, judge: Detector) -> None:
    scene = Scene(talk, find_tracks(talk, LOSSLESS.settings(SIDE)).tracks, SIDE, 1.3)
    attack = PGD(Linf(8 / 255), steps=3)
    deltas, queries = perturbations(scene, judge, attack, 1, length, "cpu")
    assert {tuple(delta.shape) for delta in deltas.values()} == {(3, SIDE, SIDE)}
    assert queries % (18 if length is None else 6) == 0 < queries
    space = InCrops(judge, attack, 1, length, "cpu", deltas)
    windows = list(samples(scene.crops(), scene.counts, length))
    changes: dict[str, list[Tensor]] = {"0": [], "1": []}
    for found in space.attacked(windows) if length is None else (f for w in windows for f in space.attacked([w])):
        clean = torch.from_numpy(found.sample.pixels).permute(0, 3, 1, 2) / 255
        changes[found.sample.track] += [a - b for a, b in zip(found.frames, clean, strict=True)]
    for change in changes.values():
        assert len(change) >= FRAMES
        assert all(torch.allclose(change[0], other, atol=1e-6) for other in change)
        assert 0 < change[0].abs().max() <= 8 / 255 + 1e-6


def test_without_sharing_every_frame_has_its_own(talk: Path, tiny_detector: Detector) -> None:
    scene = Scene(talk, find_tracks(talk, LOSSLESS.settings(SIDE)).tracks, SIDE, 1.3)
    how: Any = (tiny_detector, PGD(Linf(8 / 255), steps=3), 1, None, "cpu")
    search = Search(scene, InFrames(*how), None)
    free = {(crop.track, crop.place): part.astype(int) - crop.part for crop, part in search.changed()}
    assert free.keys() == {(track, place) for track in "01" for place in range(FRAMES)}
    assert not np.array_equal(free["0", 0][:30, :30], free["0", 1][:30, :30])
    deltas, _ = perturbations(scene, *how)
    worn = Search(scene, InCrops(*how, deltas), None)
    assert len(list(worn.changed())) == 18
    clean = scored(tiny_detector, scene.crops(), scene.counts, None, "cpu")
    for track in "01":
        assert max(mean(search.after[track]), mean(worn.after[track])) < mean(clean[track])


def test_the_mean_of_a_track_is_the_mean_of_its_frames_and_its_slope_the_mean_slope(judge: Detector) -> None:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(40, 200, (1, SIDE, SIDE, 3)).astype(np.uint8) for _ in range(70)]
    x = to_input(pixels, None, "cpu")
    together = Together(judge, pixels, None)
    grey = torch.full((1, 3, SIDE, SIDE), 0.5, requires_grad=True)
    torch.testing.assert_close(together(grey), judge(x).mean()[None])
    (slope,) = torch.autograd.grad(together(grey).sum(), grey)
    alone = torch.zeros(3, SIDE, SIDE, requires_grad=True)
    (expected,) = torch.autograd.grad(judge(x + alone).mean(), alone)
    torch.testing.assert_close(slope[0], expected)


@pytest.mark.parametrize(
    ("count", "length", "expected"),
    [(6, None, [(k, (0, 1)) for k in range(6)]), (8, 4, [(0, (0, 4)), (4, (0, 4))]),
     (9, 4, [(0, (0, 4)), (4, (0, 4)), (5, (3, 4))]), (3, 4, [(0, (0, 3))]), (1, 1, [(0, (0, 1))])],
)  # fmt: skip
def test_windows_hold_every_frame_once_as_fresh(count: int, length: int | None, expected: list[Any]) -> None:
    cut = cutting(np.eye(2, 3), 8, (8, 8, 3))
    crops = [Crop("0", k, np.full((8, 8, 3), k, np.uint8), np.zeros((8, 8, 3), np.uint8), cut) for k in range(count)]
    found = list(samples(crops, {"0": count}, length))
    assert [(sample.start, sample.fresh) for sample in found] == expected
    for sample in found:
        places = np.minimum(sample.start + np.arange(length or 1), count - 1)
        np.testing.assert_array_equal(sample.pixels[:, 0, 0, 0], places)
    fresh = [sample.start + k for sample in found for k in range(*sample.fresh)]
    assert fresh == list(range(count))


def test_clips_that_overlap_keep_the_first_perturbation(talk: Path, judge: Detector) -> None:
    scene = Scene(talk, find_tracks(talk, LOSSLESS.settings(SIDE)).tracks, SIDE, 1.3)
    search = Search(scene, InFrames(judge, PGD(Linf(8 / 255), steps=2), 1, 4, "cpu"), 4)
    found = {(crop.track, crop.place): crop.cut(part) for crop, part in search.changed()}
    assert len(found) == 18
    for track in "01":
        x = torch.from_numpy(np.stack([found[track, k] for k in range(FRAMES)])).permute(3, 0, 1, 2).float() / 255
        logits = judge(torch.stack([x[:, s : s + 4] for s in (0, 4, 5)]))
        # What is judged in memory is what the file will hold.
        np.testing.assert_allclose(search.after[track], logits.detach(), atol=0.02)


def test_where_faces_overlap_no_value_moves_further_than_the_attack_moved_it(judge: Detector, tmp_path: Path) -> None:
    clip = moving(squares=2)
    clip[:, 46:52] = clip[:, 36:42]  # the second face begins right below the first: their crops overlap
    path = film(tmp_path / "near.mkv", clip, sound=False)
    tracks = find_tracks(path, LOSSLESS.settings(SIDE)).tracks
    assert len(tracks) == 2
    scene = Scene(path, tracks, SIDE, 1.6)
    space = InFrames(judge, PGD(Linf(8 / 255), steps=3, seed=None), 1, None, "cpu")
    held = list(Search(scene, space, None).changed())
    pasting = Pasting(scene, iter(held))
    shared = 0
    with decode(path) as film_frames:
        for frame in film_frames:
            change = pasting(frame).astype(int) - frame.pixels
            assert np.abs(change).max() <= 8
            touched = [np.zeros(frame.pixels.shape[:2], bool) for _ in tracks]
            for mask, (crop, _) in zip(touched, [h for h in held if h[0].place == frame.index], strict=True):
                crop.cut.part(mask)[:] = True
            shared += int((touched[0] & touched[1]).sum())
    assert shared > 0


def test_what_has_the_size_of_a_crop_moves_its_pixels(judge: Detector) -> None:
    pgd, far = PGD(Linf(0.1)), remote(lambda _: 0.5)
    assert place_of(pgd, judge, False, "frame") == "frame"
    assert place_of(Transfer(pgd.threat, pgd, judge), judge, False, "frame") == "frame"
    assert {place_of(create("universal"), judge, False, "frame"), place_of(pgd, judge, True, "frame"),
            place_of(pgd, far, False, "frame"), place_of(pgd, judge, False, "crop")} == {"crop"}  # fmt: skip


def test_a_transfer_goes_through_the_frame_of_its_surrogate(
    talk: Path, judge: Detector, tiny_detector: Detector, tmp_path: Path
) -> None:
    attack = Transfer(Linf(8 / 255), PGD(Linf(8 / 255), steps=3), judge)
    row = attack_files(talk, tiny_detector, attack, tmp_path / "a.mkv", size=SIDE, videos=LOSSLESS).rows[0]
    assert (row["pixels"], row["linf_255"]["saved"]) == ("frame", 8)
    seen = attack_files(tmp_path / "a.mkv", judge, "pgd:eps=0,steps=1", tmp_path / "b.mkv", size=SIDE, videos=LOSSLESS)
    own = attack_files(talk, judge, "pgd:eps=8/255,steps=3", tmp_path / "c.mkv", size=SIDE, videos=LOSSLESS)
    assert seen.rows[0]["logit"]["before"] == pytest.approx(own.rows[0]["logit"]["saved"], abs=0.5)


def test_a_clip_detector_is_found_in_its_recipe(talk: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    run = tmp_path / "run"
    checkpoints.save(models.create("csn-small"), run / "best.safetensors")
    data = '[data]\nmanifest = "m.parquet"\nsize = 32\nclip = 4\nfps = 10\n'
    (run / "recipe.toml").write_text(f'epochs = 1\n{data}[evaluation]\nattack = "fgsm:eps=6/255"\n')
    result = attack_files(talk, run, "fgsm", tmp_path / "a.mkv", videos=VideoOptions(tracks="largest"))
    row = result.rows[0]
    assert (row["clip"], row["crop"], len(row["tracks"])) == (4, 32, 1)
    assert row["linf_255"]["after"] == pytest.approx(6, abs=1e-2)
    assert "10 frames a second" in result.notes[0]


def test_every_file_of_a_mixed_folder_gets_its_status(talk: Path, judge: Detector, tmp_path: Path) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    film(place / "a.mkv", moving())
    film(place / "a.avi", moving(), sound=False)
    (place / "dark.mkv").write_bytes(encode_video(np.zeros((8, 96, 128, 3), np.uint8), codec="ffv1"))
    (place / "short.mkv").write_bytes(encode_video(moving(3), codec="ffv1"))
    (place / "cut.mkv").write_bytes(talk.read_bytes()[:300])
    (place / "text.mp4").write_text("no video")
    (place / "empty.mp4").touch()
    Image.fromarray(moving(1)[0]).save(place / "face.png")
    result = attack_files(place, judge, "fgsm:eps=4/255", out, videos=LOSSLESS)
    assert {row["path"]: row["status"] for row in result.rows} == {
        "a.mkv": "ok", "a.avi": "ok", "cut.mkv": "unreadable", "dark.mkv": "no_face", "empty.mp4": "unreadable",
        "face.png": "ok", "short.mkv": "too_short", "text.mp4": "unreadable",
    }  # fmt: skip
    assert {row["out"] for row in result.rows if row["status"] == "ok"} == {"a.mkv.mkv", "a.avi.mkv", "face.png"}
    for row in result.rows:
        assert str(tmp_path) not in json.dumps(row)
        if row["status"] != "ok":
            assert row["reason"].startswith(row["path"])
            assert not {"score", "logit", "out", "success"} & row.keys()
    names = {p.name for p in out.iterdir()}
    assert names == {"a.mkv.mkv", "a.avi.mkv", "face.png", "attack.jsonl", "job.json"}
    again = {p: p.stat().st_mtime_ns for p in out.iterdir()}
    assert attack_files(place, judge, "fgsm:eps=4/255", out, videos=LOSSLESS).rows == result.rows
    assert {p: p.stat().st_mtime_ns for p in out.iterdir()} == again


@dataclass(frozen=True)
class Stumbling(Attack):
    """Fails in the middle of a video."""

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        raise MemoryError


def test_a_video_that_fails_leaves_no_file_and_keeps_its_row(talk: Path, judge: Detector, tmp_path: Path) -> None:
    out = tmp_path / "a.mkv"
    result = attack_files(talk, judge, Stumbling(Linf(0.1)), out)
    assert result.statuses == {"failed": 1}
    assert "the attack failed (MemoryError)" in result.rows[0]["reason"]
    assert result.rows[0]["success"] == dict.fromkeys(VIDEO_STAGES, False)
    assert result.rows[0]["logit"].keys() == {"before"}
    assert [p.name for p in tmp_path.iterdir()] == ["a.mkv.attack"]


def test_a_kill_in_the_middle_leaves_nothing_and_the_same_call_goes_on(
    talk: Path, judge: Detector, tmp_path: Path
) -> None:
    place, out = tmp_path / "in", tmp_path / "out"
    place.mkdir()
    for name in ("a.mkv", "b.mkv"):
        film(place / name, moving(), sound=False)

    def stop(done: int, total: int) -> None:
        if done == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attack_files(place, judge, "fgsm", out, progress=stop)
    assert {p.name for p in out.iterdir()} == {"a.mkv", "attack.jsonl", "job.json"}
    made = (out / "a.mkv").stat().st_mtime_ns
    assert attack_files(place, judge, "fgsm", out).statuses == {"ok": 2}
    assert (out / "a.mkv").stat().st_mtime_ns == made
    seen: list[tuple[int, int]] = []

    def tell(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 5:
            raise KeyboardInterrupt

    one = tmp_path / "one.mkv"
    with pytest.raises(KeyboardInterrupt):
        attack_files(talk, judge, "fgsm", one, progress=tell)
    assert [done for done, _ in seen] == [1, 2, 3, 4, 5]
    assert not one.exists()
    assert not list(tmp_path.rglob("*.part"))
    assert attack_files(talk, judge, "fgsm", one).statuses == {"ok": 1}


def test_labels_and_fake_only_are_about_the_largest_track(talk: Path, judge: Detector, tmp_path: Path) -> None:
    real = attack_files(talk, judge, "fgsm:eps=4/255", tmp_path / "real.mkv", label="real").rows[0]
    auto = attack_files(talk, judge, "fgsm:eps=4/255", tmp_path / "auto.mkv", label="auto").rows[0]
    assert real["logit"]["after"] > real["logit"]["before"] > auto["logit"]["after"]
    assert (auto["label"], auto["right_before"], real["right_before"]) == ("fake", True, False)
    judge.threshold.fill_(100)
    row = attack_files(talk, judge, "fgsm", tmp_path / "none.mkv", fake_only=True).rows[0]
    assert row["status"] == "passed over"
    assert not (tmp_path / "none.mkv").exists()


def test_a_detector_one_can_only_call_is_shown_crops(talk: Path, tmp_path: Path) -> None:
    shapes = set()

    def far(pixels: np.ndarray) -> float:
        shapes.add(pixels.shape)
        return float(pixels.mean() / 255)

    options = VideoOptions(tracks="largest")
    target = remote(far, budget=30)
    first = attack_files(talk, target, "noise:eps=8/255,draws=2", tmp_path / "a.mkv", size=SIDE, videos=options)
    assert "budget of 30" in str(first.stopped)
    assert not (tmp_path / "a.mkv").exists()
    whole = attack_files(talk, remote(far), "noise:eps=8/255,draws=2", tmp_path / "a.mkv", size=SIDE, videos=options)
    assert whole.statuses == {"ok": 1}
    assert shapes == {(SIDE, SIDE, 3)}
    with pytest.raises(ConfigError, match="leave out clip"):
        attack_files(talk, remote(far), "noise", tmp_path / "b.mkv", videos=VideoOptions(clip=4))
    with pytest.raises(ConfigError, match="only be called"):
        attack_files(talk, remote(far), "pgd", tmp_path / "b.mkv")


def test_wrong_input_is_one_line_and_leaves_no_trace(talk: Path, judge: Detector, tmp_path: Path) -> None:
    image = tmp_path / "face.png"
    Image.fromarray(moving(1)[0]).save(image)
    (tmp_path / "there.mkv").write_text("precious")
    before = sorted(tmp_path.iterdir())
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: attack_files(talk, judge, "fgsm", talk), "would be lost"),
        (lambda: attack_files(image, judge, "fgsm", tmp_path / "a.mkv"), "name a folder with --out"),
        (lambda: attack_files(talk.parent, judge, "fgsm", tmp_path / "a.mkv"), "name a folder with --out"),
        (lambda: attack_files(tmp_path / "gone.mp4", judge, "fgsm", tmp_path / "a.mkv"), "is not there"),
        (lambda: attack_files(talk, judge, "fgsm", tmp_path / "a.avi"), "h264 goes into"),
        (lambda: attack_files(talk, judge, "fgsm", tmp_path / "a.mp4", videos=VideoOptions("ffv1")), "goes into .mkv"),
        (lambda: attack_files(talk, judge, "fgsm", tmp_path / "a.mkv", videos=VideoOptions(crf=9)), "belongs to h264"),
        (lambda: attack_files(talk, judge, "fgsm", tmp_path / "a.mp4", videos=VideoOptions(crf=99)), "0 .best. to 51"),
        (lambda: attack_files(talk, judge, "rwa", tmp_path / "a.mkv", videos=VideoOptions(shared=True)),
         "shared is for fgsm, pgd, apgd, got rwa"),
        (lambda: attack_files(talk, judge, "fgsm", tmp_path / "there.mkv"), "is there already"),
        (lambda: attack_files(image, judge, "fgsm", tmp_path / "out", videos=VideoOptions(clip=4)), "say how video"),
        (lambda: VideoOptions(codec="vp9"), "codec must be one of"),  # type: ignore[arg-type]
        (lambda: VideoOptions(tracks="some"), "tracks must be one of"),  # type: ignore[arg-type]
        (lambda: VideoOptions(clip=0), "clip must be >= 1"),
        (lambda: VideoOptions(pixels="face"), "pixels must be one of frame, crop"),  # type: ignore[arg-type]
    ]  # fmt: skip
    for call, message in cases:
        with pytest.raises((ConfigError, DataError), match=message):
            call()
        assert sorted(tmp_path.iterdir()) == before
    assert (tmp_path / "there.mkv").read_text() == "precious"


def test_a_detector_that_can_not_take_the_crops_says_so(talk: Path, linear_detector: Detector, tmp_path: Path) -> None:
    row = attack_files(talk, linear_detector, "fgsm", tmp_path / "a.mkv").rows[0]
    assert row["status"] == "refused"
    assert "gives crops of 224 x 224 pixels, which the detector can not take" in row["reason"]
    fits = attack_files(talk, linear_detector, "fgsm", tmp_path / "b.mkv", size=8).rows[0]
    assert (fits["status"], fits["crop"]) == ("ok", 8)


def test_another_job_of_the_same_name_is_refused(talk: Path, judge: Detector, tmp_path: Path) -> None:
    out = tmp_path / "a.mkv"
    attack_files(talk, judge, "fgsm", out)
    made = out.stat().st_mtime_ns
    for change in ({"attack": "pgd"}, {"videos": VideoOptions(shared=True)}):
        with pytest.raises(ConfigError, match="another job"):
            attack_files(talk, judge, **{"attack": "fgsm", "out": out} | change)
    attack_files(talk, judge, "fgsm", out)
    assert out.stat().st_mtime_ns == made


@pytest.mark.parametrize("name", ["apgd", "cw", "deepfool", "fgsm", "rwa", "square", "stat", "universal"])
def test_every_kind_of_attack_works_on_faces_and_on_clips(
    name: str, talk: Path, judge: Detector, tmp_path: Path
) -> None:
    small = {"apgd": {"steps": 2, "restarts": 1}, "rwa": {"steps": 1}, "square": {"queries": 4}}
    attack = create(name, **small.get(name, {} if name in ("fgsm", "stat", "universal") else {"steps": 2}))
    if attack.learns:
        with pytest.raises(ConfigError, match="has to"):
            attack_files(talk, judge, attack, tmp_path / "a.mkv")
        return
    for clip in (None, 5):
        chosen = VideoOptions(clip=clip, tracks="largest")
        row = attack_files(talk, judge, attack, tmp_path / f"{clip}.mkv", videos=chosen).rows[0]
        assert row["status"] == "ok"
        assert row["logit"]["after"] <= row["logit"]["before"] + 1e-4
