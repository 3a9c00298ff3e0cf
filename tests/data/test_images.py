"""Every kind of image comes out as RGB uint8; what is damaged is refused with a reason."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from unfooled.data.images import decode_image, file_status, fit_square, read_image, statuses, walk
from unfooled.errors import DataError


def picture(height: int = 40, width: int = 60) -> npt.NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 5, (x + y) * 2], axis=2).astype(np.uint8)


def encode(pixels: npt.NDArray[np.uint8], kind: str, mode: str = "RGB", **options: object) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(data, kind, **options)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP", "PPM"])
def test_lossless_files_give_their_rgb_pixels(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(decode_image(encode(picture(), kind, **options)), picture())


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA"])
def test_other_modes_become_rgb(mode: str) -> None:
    data = encode(picture(), "PNG", mode)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode_image(data), expected)


def test_sixteen_bits_become_eight() -> None:
    deep = np.linspace(0, 65535, 40 * 60).reshape(40, 60).astype(np.uint16)
    ok, data = cv2.imencode(".png", deep)
    assert ok
    got = decode_image(data.tobytes()).astype(int)
    assert np.abs(got - (deep // 256)[..., None]).max() <= 1


def test_cmyk_jpeg_keeps_its_colours() -> None:
    plain = np.full((32, 32, 3), (200, 80, 40), np.uint8)
    got = decode_image(encode(plain, "JPEG", "CMYK", quality=95))
    assert np.abs(got.astype(int) - plain).max() <= 12


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(kind: str) -> None:
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees clockwise to look at
    got = decode_image(encode(picture(), kind, exif=exif)).astype(int)
    assert got.shape == (60, 40, 3)
    assert np.abs(got - np.rot90(picture(), -1).astype(int)).mean() < 8


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize("part", [0, 0.3, 0.9])
def test_a_file_cut_short_is_refused_not_filled_with_grey(kind: str, part: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = encode(noise, kind)
    with pytest.raises(DataError, match=r"cut short|does not decode|empty"):
        decode_image(data[: int(len(data) * part)])


def test_statuses_name_the_file_and_the_reason(tmp_path: Path) -> None:
    good, bad, none = (tmp_path / n for n in ("good.png", "bad.png", "none.png"))
    good.write_bytes(encode(picture(), "PNG"))
    bad.write_bytes(b"no image at all")
    found = statuses([good, bad, none])
    assert [s for s, _ in found] == ["ok", "unreadable", "missing"]
    assert "bad.png" in found[1][1]
    with pytest.raises(DataError, match=r"none\.png can not be opened: No such file"):
        read_image(none)
    (tmp_path / "link.png").symlink_to(none)
    (tmp_path / "empty.png").touch()
    names = ("good.png", "empty.png", "link.png")
    assert [file_status(tmp_path / n) for n in names] == ["ok", "unreadable", "missing"]


def test_fit_square_takes_the_centre_and_averages() -> None:
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 100
    assert (fit_square(pixels, 10) == 100).all()
    assert (fit_square(pixels, 4) == 100).all()
    assert fit_square(pixels, 24).shape == (24, 24, 3)
    checks = np.kron(np.indices((4, 4)).sum(0) % 2, np.ones((2, 2)))[..., None].repeat(3, 2)
    averaged = fit_square((checks * 200).astype(np.uint8), 2)
    assert (averaged == 100).all()


def test_walk_refuses_circles_and_passes_over_hidden_files(tmp_path: Path) -> None:
    for name in ("b/2.PNG", "a/1.jpg", "a/.hidden.png", ".trash/3.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [Path(e.path).relative_to(tmp_path).as_posix() for e in walk(tmp_path)] == ["a/1.jpg", "b/2.PNG"]
    (tmp_path / "b/again").symlink_to(tmp_path)
    with pytest.raises(DataError, match="again is a symbolic link that leads back"):
        list(walk(tmp_path))
    with pytest.raises(DataError, match="is not a folder"):
        list(walk(tmp_path / "nowhere"))
