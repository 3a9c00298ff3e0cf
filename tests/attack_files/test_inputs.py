"""What is attacked, what is refused, and what the results are called."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unfooled.attack_files import attack_files
from unfooled.models.detector import Detector

Draw = Callable[..., np.ndarray]


KINDS: dict[str, Callable[[Path, np.ndarray], None]] = {
    "grey.png": lambda p, i: Image.fromarray(i).convert("L").save(p),
    "alpha.png": lambda p, i: Image.fromarray(i).convert("RGBA").save(p),
    "palette.png": lambda p, i: Image.fromarray(i).convert("P").save(p),
    "deep.png": lambda p, i: Image.fromarray(i[..., 0].astype(np.uint16) * 257).save(p),
    "cmyk.jpg": lambda p, i: Image.fromarray(i).convert("CMYK").save(p),
    "turned.jpg": lambda p, i: Image.fromarray(i).save(p, exif=_turned()),
    "photo.webp": lambda p, i: Image.fromarray(i).save(p),
}


def _turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_image_becomes_an_upright_rgb_png(
    name: str, brightness: Detector, draw: Draw, tmp_path: Path
) -> None:
    KINDS[name](tmp_path / name, draw(1))
    result = attack_files(tmp_path / name, brightness, "fgsm:eps=4/255", tmp_path / "out")
    assert result.statuses == {"ok": 1}
    with Image.open(tmp_path / "out" / result.rows[0]["out"]) as file:
        assert (file.format, file.mode) == ("PNG", "RGB")
        assert file.size == ((40, 48) if name == "turned.jpg" else (48, 40))
    assert result.rows[0]["linf_255"]["saved"] == 4


def bomb(path: Path, side: int) -> None:
    """A PNG whose header promises more than anybody should decode."""
    Image.new("1", (side, side)).save(path)


BAD = {
    "empty.png": (lambda p, i: p.touch(), "unreadable", "is empty (0 bytes)"),
    "text.jpg": (lambda p, i: p.write_text("hello"), "unreadable", "unknown format"),
    "half.png": (lambda p, i: p.write_bytes(_png(i)[:900]), "unreadable", "cut short"),
    "link.png": (lambda p, i: p.symlink_to("nowhere"), "unreadable", "No such file"),
    "bomb.png": (lambda p, i: bomb(p, 20_000), "too large", "more than 40,000,000"),
    "large.png": (lambda p, i: bomb(p, 7_000), "too large", "7000 x 7000 pixels"),
    "small.png": (
        lambda p, i: Image.fromarray(i[:7, :30]).save(p),
        "too small",
        "30 x 7 pixels, the detector needs 8",
    ),
    "film.mp4": (lambda p, i: p.write_bytes(b"film"), "unreadable", "does not open as a video"),
}


def _png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def test_what_can_not_be_attacked_gets_a_status_and_never_a_score(
    folder: Path, brightness: Detector, draw: Draw, tmp_path: Path
) -> None:
    for name, (make, _, _) in BAD.items():
        make(folder / name, draw(1))
    started = time.process_time()
    result = attack_files(folder, brightness, "fgsm", tmp_path / "out")
    assert time.process_time() - started < 20
    rows = {r["path"]: r for r in result.rows}
    for name, (_, status, reason) in BAD.items():
        assert rows[name]["status"] == status
        assert reason in rows[name]["reason"]
        assert rows[name]["reason"].startswith(name)
        assert not {"score", "logit", "out", "success"} & rows[name].keys()
    assert result.statuses["ok"] == 4
    assert len(result.reasons) == len(BAD)
    assert len(result.attacked) == 4


def test_names_that_would_become_one_file_are_kept_apart(brightness: Detector, draw: Draw, tmp_path: Path) -> None:
    place = tmp_path / "faces"
    place.mkdir()
    for k, name in enumerate(("a.png", "a.jpg", "A.bmp", "b.jpg", "a.jpg.png")):
        Image.fromarray(draw(k % 4)).save(place / name)
    out = tmp_path / "out"
    rows = attack_files(place, brightness, "fgsm", out).rows
    assert {r["path"]: r["out"] for r in rows} == {
        "A.bmp": "A.bmp.png", "a.jpg": "a.jpg.png.png", "a.jpg.png": "a.jpg.png", "a.png": "a.png.png",
        "b.jpg": "b.png",
    }  # fmt: skip
    assert len(list(out.glob("*.png"))) == 5
