"""The service on the real scanner: real files in, verdicts out, and every bad file of the list."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from clients import BASE, Start, give, wait
from fastapi.testclient import TestClient
from PIL import Image

from unfooled import checkpoints, models
from unfooled.codecs import encode_video
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.verdict import Scan
from unfooled.service.settings import open_scanner


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    torch.manual_seed(0)
    checkpoints.save(models.create("resnet", width=4), path)
    return path


@pytest.fixture(scope="module")
def real(start: Start, net: Path) -> TestClient:
    options = ScanOptions(face_detector="whole", samples=2, margin="off", max_pixels=1_000_000, max_seconds=20)
    return start(detector=net, opener=open_scanner, options=options, memory=10**9, timeout=120)


def clip(frames: int = 8, size: int = 48, codec: str = "h264") -> bytes:
    pixels = np.random.default_rng(0).integers(80, 170, (frames, size, size, 3)).astype(np.uint8)
    return encode_video(pixels, codec=codec)  # type: ignore[arg-type]


def test_a_video_and_a_picture(real: TestClient) -> None:
    job = wait(real, give(real, clip(), "talk.mkv").json()["id"], 120)
    scan = Scan.model_validate(job["scan"])
    assert (scan.file, scan.status, scan.media.frames if scan.media else 0) == ("talk.mkv", "ok", 8)
    names = [name for track in scan.tracks for t in track.telling for name in (t.crop, t.saliency)]
    assert len(names) >= 2
    for name in names:
        picture = real.get(job["evidence"] + str(name))
        assert Image.open(io.BytesIO(picture.content)).size[0] > 8
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 40).save(buffer, "PNG")
    job = wait(real, give(real, buffer.getvalue(), "face.png").json()["id"], 120)
    assert job["scan"]["status"] == "ok"
    assert job["scan"]["media"]["seconds"] is None


def huge_png(side: int) -> bytes:
    """A picture of some kilobytes that would be ``side`` x ``side`` pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(2_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("bomb.mp4", bytes(10_000_000))
    return buffer.getvalue()


PASSWD = "/etc/passwd"
BAD = {
    "empty.mp4": (b"", "unreadable"),
    "zip.mp4": (zipped(), "unreadable"),
    "text.mp4": (b"hello " * 1000, "unreadable"),
    "cut.mp4": (clip()[:400], "unreadable"),
    "list.m3u8": (f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile://{PASSWD}\n".encode(), "unreadable"),
    "list.mp4": (f"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:0\n#EXTINF:1,\n{PASSWD}\n".encode(), "unreadable"),
    "concat.txt": (f"ffconcat version 1.0\nfile {PASSWD}\n".encode(), "unreadable"),
    "page.html": (f"<svg><image href='file://{PASSWD}'/></svg>".encode(), "unreadable"),
    "huge.png": (huge_png(100_000), "refused"),
    "damaged.png": (huge_png(900)[:-400], "unreadable"),
    "large.mkv": (clip(2, 1200), "refused"),
    "short.mkv": (clip(2), "too_short"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_gets_a_status_and_one_line(real: TestClient, name: str) -> None:
    data, status = BAD[name]
    answer = give(real, data, name)
    assert answer.status_code == 202
    job = wait(real, answer.json()["id"], 60)
    assert job["state"] == "done"
    assert job["scan"]["status"] == status
    assert job["scan"]["verdict"] is None
    assert job["reason"]
    assert "\n" not in job["reason"]
    assert "root:" not in str(job)
    assert str(real.data) not in str(job)  # type: ignore[attr-defined]
    assert BASE not in str(job)


def test_a_tiny_file_of_many_frames(real: TestClient) -> None:
    frames = np.full((1500, 16, 16, 3), 128, np.uint8)
    data = encode_video(frames)
    assert len(data) < 100_000
    job = wait(real, give(real, data, "long.mkv").json()["id"], 60)
    assert job["scan"]["status"] == "refused"
    assert "max_seconds" in job["reason"]


def test_the_detector_is_named(real: TestClient) -> None:
    about = real.get("/v1/health").json()["detector"]
    assert about["calibrated"] is False
    assert about["digest"]
