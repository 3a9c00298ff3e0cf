"""Scanners of toy detectors, and files of toy faces."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from scan_toys import Bright, linear, squares

from unfooled.codecs import encode_video
from unfooled.data import cropping
from unfooled.models.detector import Detector
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.points import Shape
from unfooled.scanning.scanner import Scanner


@pytest.fixture
def bright(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every bright square is a face."""
    monkeypatch.setattr(cropping, "face_detector", lambda name: Bright())


@pytest.fixture
def red() -> Detector:
    """z = 40 red - 10."""
    return linear()


@pytest.fixture
def scanner() -> Callable[..., Scanner]:
    """``scanner(detector=red, clip=None, fps=25.0, **options)``: crops of 24 pixels that show the square alone."""

    def make(
        detector: Detector | None = None, clip: int | None = None, fps: float = 25.0, **options: object
    ) -> Scanner:
        chosen = {"crop_margin": 0.8, "every": 1, **options}
        return Scanner(detector or linear(), Shape(24, clip, fps), ScanOptions(**chosen), "toy", "a toy")  # type: ignore[arg-type]

    return make


@pytest.fixture
def film(tmp_path: Path) -> Callable[..., Path]:
    """``film([[red, ...], ...], name="a.mkv", rate=25)``: a lossless video of squares, one list a frame."""

    def make(reds: list[list[int]], name: str = "a.mkv", rate: float = 25) -> Path:
        path = tmp_path / name
        path.write_bytes(encode_video(squares(reds), rate=rate, codec="ffv1"))
        return path

    return make
