"""Prepare: every source gets its status, crops are where the manifest says, a kill loses one file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from unfooled.codecs import encode_video
from unfooled.data import cropping
from unfooled.data import prepare as module
from unfooled.data.clips import clips
from unfooled.data.cropping import Settings, crop_file
from unfooled.data.faces import Face
from unfooled.data.images import Pixels, read_image
from unfooled.data.manifest import Manifest
from unfooled.data.prepare import CROPS, ROWS, place_of, prepare
from unfooled.errors import ConfigError

QUICK = Settings(size=32, every=1)


class Bright:
    """Finds every bright square on a dark ground."""

    name = "bright"

    def __call__(self, pixels: Pixels) -> list[Face]:
        mask = (pixels[..., 1] > 128).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [tuple(map(float, (x, y, x + w, y + h))) for x, y, w, h, _ in stats[1:count]]
        return [Face(box, 0.9) for box in boxes]  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cropping, "face_detector", lambda name: Bright())
    monkeypatch.setattr(module, "face_detector", lambda name: Bright())


def moving(frames: int, squares: int = 1, side: int = 24) -> Pixels:
    """(T, 96, 128, 3): squares of different greens that walk to the right."""
    clip = np.zeros((frames, 96, 128, 3), np.uint8)
    for t in range(frames):
        for n in range(squares):
            clip[t, 10 + 44 * n : 10 + 44 * n + side, 8 + 2 * t : 8 + 2 * t + side] = (40 * n, 200 + 30 * n, 90)
    return clip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("videos")
    for name, clip in {
        "one.mkv": moving(12), "two.mkv": moving(10, 2), "dark.mkv": np.zeros((8, 96, 128, 3), np.uint8),
        "short.mkv": moving(3), "brief.mkv": np.concatenate([moving(3), np.zeros((9, 96, 128, 3), np.uint8)]),
    }.items():  # fmt: skip
        (root / name).write_bytes(encode_video(clip, codec="ffv1"))
    (root / "text.mkv").write_text("no video")
    cv2.imwrite(str(root / "still.png"), moving(1)[0][..., ::-1])
    return root


def manifest_of(folder: Path, names: Iterator[str] | list[str] | None = None) -> Manifest:
    names = sorted(p.name for p in folder.iterdir()) if names is None else list(names)
    rows = [
        {"id": f"set/Real/{n}", "path": n, "label": 0, "video": f"set/Real/{n}", "manipulation": "Real",
         "split": "test", "identity": n.partition(".")[0]}
        for n in names
    ]  # fmt: skip
    return Manifest.from_rows(rows, folder)


def test_every_source_has_a_status_and_every_crop_a_row(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    found = prepare(manifest_of(folder), tmp_path / "out", QUICK, workers=0, progress=lambda *n: seen.append(n))
    assert found.statuses == {"ok": 3, "no_face": 1, "too_short": 2, "unreadable": 1}
    assert (found.tracks, found.crops) == (4, 12 + 20 + 1)
    assert seen[-1] == (7, 7)
    assert len(found.reasons) == 4
    made = Manifest.read(tmp_path / "out")
    assert sum("get no score" in warning for warning in made.check()) == 3
    status = dict(zip(made.column("id"), made.column("status"), strict=True))
    assert status["set/Real/dark.mkv"] == "no_face"
    assert status["set/Real/short.mkv"] == status["set/Real/brief.mkv"] == "too_short"
    assert status["set/Real/text.mkv"] == "unreadable"
    ok = made.select(status="ok")
    assert all(read_image(path).shape == (32, 32, 3) for path in ok.paths())
    files = {
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out" / CROPS).rglob("*.png") if p.is_file()
    }
    assert files == set(ok.column("path"))
    two = [(t, f) for t, f, v in zip(*(ok.table[n].to_pylist() for n in ("track", "frame", "video")), strict=True)
           if v == "set/Real/two.mkv"]  # fmt: skip
    assert two == [(track, frame) for track in "01" for frame in range(10)]
    assert ok.table["time"].to_pylist()[:3] == pytest.approx([0, 0.04, 0.08])
    assert set(ok.column("identity")) == {"one", "two", "still"}


def test_the_square_stands_in_the_middle_of_its_crop(folder: Path, tmp_path: Path) -> None:
    prepare(manifest_of(folder, ["one.mkv"]), tmp_path / "out", Settings(32, 2.0, every=1), workers=0)
    for path in sorted((tmp_path / "out").rglob("*.png")):
        bright = read_image(path)[..., 1] > 128
        y, x = np.nonzero(bright)
        assert abs(y.mean() - 15.5) < 1
        assert abs(x.mean() - 15.5) < 1
        assert abs(bright.mean() - 0.25) < 0.05


@pytest.mark.parametrize(
    ("settings", "crops"),
    [({"frames": 3}, {"one.mkv": 3, "two.mkv": 6}), ({"largest": True}, {"one.mkv": 12, "two.mkv": 10}),
     ({"shortest": 11}, {"one.mkv": 12, "two.mkv": 0}), ({"every": 4}, {"one.mkv": 12, "two.mkv": 20})],
)  # fmt: skip
def test_each_setting_does_what_it_says(
    settings: dict[str, int], crops: dict[str, int], folder: Path, tmp_path: Path
) -> None:
    for name, expected in crops.items():
        told = crop_file(folder / name, tmp_path / name, Settings(32, **settings))  # type: ignore[arg-type]
        assert sum(len(track["frames"]) for track in told["tracks"]) == expected
        assert len(list((tmp_path / name).rglob("*.png"))) == expected


def test_crops_are_spread_over_the_track(folder: Path, tmp_path: Path) -> None:
    told = crop_file(folder / "one.mkv", tmp_path, Settings(32, frames=3, every=1))
    assert told["tracks"][0]["frames"] == [2, 6, 10]


def test_a_second_call_does_nothing_and_a_kill_loses_one_file(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, whole, out = manifest_of(folder), tmp_path / "whole", tmp_path / "out"
    expected = prepare(source, whole, QUICK, workers=0).manifest
    calls: list[str] = []

    def dying(path: Path, target: Path, settings: Settings) -> dict[str, object]:
        calls.append(path.name)
        told = crop_file(path, target, settings)
        if path.name == "still.png":
            raise KeyboardInterrupt  # its crops are there, its line is not
        return told

    monkeypatch.setattr(module, "crop_file", dying)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out, QUICK, workers=0)
    assert not (out / "manifest.parquet").exists()
    before = len(calls)
    monkeypatch.setattr(module, "crop_file", lambda *a: (calls.append(a[0].name), crop_file(*a))[1])
    again = prepare(source, out, QUICK, workers=0)
    assert calls[before:] == ["still.png", "text.mkv", "two.mkv"]
    assert again.manifest.digest() == expected.digest()
    for row in expected.select(status="ok").table["path"].to_pylist():
        assert (out / row).read_bytes() == (whole / row).read_bytes()
    assert prepare(source, out, QUICK, workers=0).decoded == 0
    assert calls[before:] == ["still.png", "text.mkv", "two.mkv"]


def test_another_job_does_not_join(folder: Path, tmp_path: Path) -> None:
    source = manifest_of(folder, ["one.mkv"])
    prepare(source, tmp_path / "out", QUICK, workers=0)
    with pytest.raises(ConfigError, match="holds another job \\(size 32, now 64\\)"):
        prepare(source, tmp_path / "out", Settings(64, every=1), workers=0)
    with pytest.raises(ConfigError, match="holds face crops already"):
        prepare(Manifest.read(tmp_path / "out"), tmp_path / "again", QUICK, workers=0)


def test_a_full_disk_leaves_no_half_of_a_file(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, left = Path.write_bytes, [20]

    def full(path: Path, data: bytes) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device", str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(manifest_of(folder, ["one.mkv", "two.mkv"]), tmp_path / "out", QUICK, workers=0)
    monkeypatch.undo()
    told = [json.loads(line)["id"] for line in (tmp_path / "out" / ROWS).read_text().splitlines()]
    assert told == ["set/Real/one.mkv"]
    assert not (tmp_path / "out" / CROPS / "two.mkv").exists()


def test_known_bad_rows_are_passed_on(folder: Path, tmp_path: Path) -> None:
    source = manifest_of(folder, ["one.mkv", "two.mkv"])
    source = source.with_column("status", ["missing", "ok"])
    found = prepare(source, tmp_path / "out", QUICK, workers=0)
    assert found.statuses == {"ok": 1, "missing": 1}
    assert found.manifest.column("status")[0] == "missing"


@pytest.mark.parametrize(
    ("path", "place"), [("a/b.mp4", "a/b.mp4"), ("../x/b.mp4", "_/x/b.mp4"), ("/data/b.mp4", "_/data/b.mp4")]
)
def test_crops_stay_in_the_folder_wherever_the_source_lies(path: str, place: str) -> None:
    assert place_of(path) == Path(place)


def test_the_manifest_is_one_of_tracks_that_clips_are_made_of(folder: Path, tmp_path: Path) -> None:
    made = prepare(manifest_of(folder, ["one.mkv", "two.mkv"]), tmp_path / "out", QUICK, workers=0).manifest
    assert len(clips(made, 5)) == 2 + 2 * 2


def test_parents_are_rows_of_the_same_track_and_frame(folder: Path, tmp_path: Path) -> None:
    source = manifest_of(folder, ["one.mkv", "two.mkv"])
    source = source.with_column("label", [0, 1]).with_column("parent", [None, "set/Real/one.mkv"])
    made = prepare(source, tmp_path / "out", QUICK, workers=0).manifest
    parents = dict(zip(made.column("id"), made.column("parent"), strict=True))
    assert parents["set/Real/two.mkv/0/000004"] == "set/Real/one.mkv/0/000004"
    assert parents["set/Real/two.mkv/1/000004"] is None


def test_workers_give_the_same_crops_and_one_that_dies_costs_its_file_alone(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()  # workers import the real detector
    source = manifest_of(folder, ["dark.mkv", "still.png", "text.mkv"])
    alone, together = (prepare(source, tmp_path / str(n), QUICK, workers=n) for n in (0, 2))
    assert alone.statuses == together.statuses
    assert alone.manifest.digest() == together.manifest.digest()

    monkeypatch.syspath_prepend(Path(__file__).parents[2])  # a new process finds the function by its module
    monkeypatch.setattr(module, "work", _dies_at_text)
    found = prepare(source, tmp_path / "died", QUICK, workers=1)
    assert found.statuses["unreadable"] == 1
    assert "took its process down" in " ".join(found.reasons)
    assert sum(found.statuses.values()) == 3


_work = module.work


def _dies_at_text(task: module.Task, settings: Settings) -> dict[str, object]:
    if task.path.name == "text.mkv":
        os._exit(9)
    return _work(task, settings)
