"""Prepare on what people really have: damaged files among good ones, a disk that fills, a kill -9."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.data.prepare_bright import Bright
from unfooled.codecs import encode_video
from unfooled.data import cropping
from unfooled.data import prepare as module
from unfooled.data.cropping import Settings
from unfooled.data.images import IMAGE_SUFFIXES, Pixels, read_image
from unfooled.data.manifest import Manifest
from unfooled.data.prepare import CROPS, ROWS, prepare
from unfooled.journal import Journal

QUICK = Settings(size=32, every=1)
SCRIPT = Path(__file__).with_name("prepare_bright.py")
MadeVideo = Callable[..., Path]
FILES = 1000


@pytest.fixture(autouse=True)
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cropping, "face_detector", lambda name: Bright())
    monkeypatch.setattr(module, "face_detector", lambda name: Bright())


def square(size: int = 64, side: int = 24, at: int = 12) -> Pixels:
    """A dark picture with one bright square."""
    pixels = np.zeros((size, size, 3), np.uint8)
    pixels[at : at + side, at : at + side] = (40, 210, 90)
    return pixels


def picture(path: Path, pixels: Pixels) -> None:
    assert cv2.imwrite(str(path), pixels[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])


def film(frames: int = 6) -> bytes:
    return encode_video(np.stack([square(at=8 + t) for t in range(frames)]), codec="ffv1")


def manifest_of(folder: Path) -> Manifest:
    rows = [
        {"id": p.name, "path": p.name, "label": 0, "video": p.name, "manipulation": "Real", "split": "test"}
        for p in sorted(folder.iterdir())
    ]
    return Manifest.from_rows(rows, folder)


@pytest.fixture
def bad(video: MadeVideo, tmp_path: Path) -> dict[str, tuple[bytes, str]]:
    """Files of the kinds that damage a folder, each with the status that it must get."""
    index_first = {"movflags": "faststart"}
    whole = video("whole.mp4", frames=60, corner=True, noise=12, options=index_first).read_bytes()
    index_last = video("last.mp4", frames=20, corner=True).read_bytes()
    middle = bytearray(video("middle.mp4", frames=60, corner=True, noise=12, gop=6).read_bytes())
    half = len(middle) // 2
    middle[half : half + 3000] = bytes(3000)
    sound = tmp_path / "sound.m4a"
    with av.open(str(sound), "w", format="mp4") as out:
        tone = out.add_stream("aac", rate=16000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        samples.sample_rate, samples.pts, samples.time_base = 16000, 0, Fraction(1, 16000)
        out.mux(tone.encode(samples))
        out.mux(tone.encode(None))
    picture(tmp_path / "8k.png", np.zeros((4320, 7680, 3), np.uint8))
    picture(tmp_path / "small.png", square())
    small = (tmp_path / "small.png").read_bytes()
    return {
        "truncated.mp4": (whole[: len(whole) * 2 // 3], "ok"),
        "zero.mp4": (b"", "unreadable"),
        "renamed.mp4": (small, "unreadable"),
        "sound.mp4": (sound.read_bytes(), "unreadable"),
        "one.mkv": (film(1), "too_short"),
        "16x16.mp4": (video("tiny.mp4", frames=8, size=(16, 16)).read_bytes(), "no_face"),
        "8k.png": ((tmp_path / "8k.png").read_bytes(), "no_face"),
        "moovless.mp4": (index_last[: index_last.index(b"moov") - 4], "unreadable"),
        "middle.mp4": (bytes(middle), "ok"),
        "cut.png": (small[: len(small) // 2], "unreadable"),
    }


def test_a_thousand_files_with_ten_bad_ones(bad: dict[str, tuple[bytes, str]], tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    clip = film()
    for n in range(FILES - len(bad)):
        if n % 10:
            picture(folder / f"{n:04}.png", square(at=4 + n % 30))
        else:
            (folder / f"{n:04}.mkv").write_bytes(clip)
    for name, (data, _) in bad.items():
        (folder / name).write_bytes(data)
    seen: list[tuple[int, int]] = []
    found = prepare(manifest_of(folder), tmp_path / "out", QUICK, workers=0, progress=lambda *n: seen.append(n))
    assert seen == [(n + 1, FILES) for n in range(FILES)]
    expected = Counter(status for _, status in bad.values()) + Counter(ok=FILES - len(bad))
    assert found.statuses == expected
    assert len(found.reasons) == sum(count for status, count in expected.items() if status != "ok")
    assert all(reason.startswith(str(folder)) and "\n" not in reason for reason in found.reasons)
    made = Manifest.read(tmp_path / "out")
    status = dict(zip(made.column("video"), made.column("status"), strict=True))
    assert {name: status[name] for name in bad} == {name: wanted for name, (_, wanted) in bad.items()}
    # Nothing is there that was not seen, and what is there can be read.
    ok = made.select(status="ok")
    assert {
        p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out" / CROPS).rglob("*.png") if p.is_file()
    } == set(ok.column("path"))
    assert all(read_image(path).shape == (32, 32, 3) for path in ok.paths()[::50])
    rows = Counter(ok.column("video"))
    assert all(rows[p.name] == (1 if p.suffix in IMAGE_SUFFIXES else 6) for p in folder.iterdir() if p.name not in bad)
    assert 20 <= rows["truncated.mp4"] < 60
    assert 20 <= rows["middle.mp4"] <= 60


@pytest.mark.parametrize("left", [0, 1, 7, 11, 12, 17])
def test_after_a_full_disk_the_same_call_goes_on(left: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "set", tmp_path / "out"
    folder.mkdir()
    for name in ("a.mkv", "b.mkv", "c.mkv"):
        (folder / name).write_bytes(film())
    expected = prepare(manifest_of(folder), tmp_path / "whole", QUICK, workers=0).manifest
    write, room = Path.write_bytes, [left]

    def full(path: Path, data: bytes) -> int:
        room[0] -= 1
        if room[0] < 0:
            write(path, data[: len(data) // 2])  # as a real disk does: a part of the file is there
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        prepare(manifest_of(folder), out, QUICK, workers=0)
    monkeypatch.setattr(Path, "write_bytes", write)
    told = {row["id"] for row in Journal(out / ROWS).rows}
    assert {p.name for p in (out / CROPS).glob("*")} == told
    assert len(told) == left // 6
    again = prepare(manifest_of(folder), out, QUICK, workers=0)
    assert again.manifest.table.equals(expected.table)
    same = {row: (tmp_path / "whole" / row).read_bytes() for row in expected.column("path")}
    assert {row: (out / row).read_bytes() for row in again.manifest.column("path")} == same


def test_kill_9_in_the_middle_costs_one_file(tmp_path: Path) -> None:
    folder, out = tmp_path / "set", tmp_path / "out"
    folder.mkdir()
    for n in range(30):
        (folder / f"{n:02}.mkv").write_bytes(film())
    source = manifest_of(folder)
    source.write(tmp_path / "source.parquet")
    expected = prepare(source, tmp_path / "whole", QUICK, workers=0).manifest
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, str(SCRIPT), str(tmp_path / "source.parquet"), str(out), "0.02"]
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if (out / ROWS).exists() and (out / ROWS).read_bytes().count(b"\n") >= 4:
                break
            time.sleep(0.01)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert not (out / "manifest.parquet").exists()
    done = len(Journal(out / ROWS).rows)
    assert 4 <= done < 30
    assert len(list((out / CROPS).iterdir())) - done in (0, 1)
    again = prepare(source, out, QUICK, workers=0)
    assert again.decoded == (30 - done) * 6
    assert again.manifest.table.equals(expected.table)
    assert all((out / row).read_bytes() == (tmp_path / "whole" / row).read_bytes() for row in expected.column("path"))
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "whole").iterdir()}


@pytest.mark.parametrize("size", [(16, 16), (18, 9), (7680, 4320)])
def test_sizes_from_the_smallest_to_8k(size: tuple[int, int], video: MadeVideo, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    frames = 5 if size[0] < 100 else 1
    layout = "yuv420p" if size[1] % 2 == 0 else "yuv444p"
    video("film.mp4", frames=frames, size=size, corner=True, layout=layout).rename(folder / "film.mp4")
    found = prepare(manifest_of(folder), tmp_path / "out", Settings(32, every=1, shortest=frames), workers=0)
    assert found.statuses == {"ok": 1}
    assert found.crops == frames
    assert read_image(found.manifest.paths()[0]).shape == (32, 32, 3)
