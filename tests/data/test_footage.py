"""Footage: whole frames distorted before anything is cut out of them, the same ones in every pass."""

from __future__ import annotations

import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from unfooled.codecs import decode_video, encode_video, to_pixels, to_tensor
from unfooled.data import cropping
from unfooled.data import prepare as module
from unfooled.data.alignment import crop
from unfooled.data.clips import clips
from unfooled.data.cropping import Settings, crop_file
from unfooled.data.faces import Face
from unfooled.data.footage import Footage
from unfooled.data.images import Pixels, read_image
from unfooled.data.manifest import Manifest
from unfooled.data.prepare import prepare
from unfooled.data.video import decode
from unfooled.distortions import DISTORTIONS, create, parse
from unfooled.errors import ConfigError, DataError
from unfooled.evaluation.samples import distorted_before

EVERY = sorted(DISTORTIONS)
BOX = Face((20.0, 16.0, 44.0, 40.0), 0.9)


class Still:
    """Finds one face at one place in frames that are not black."""

    name = "still"

    def __call__(self, pixels: Pixels) -> list[Face]:
        return [BOX] if pixels.max() > 60 else []


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cropping, "face_detector", lambda name: Still())
    monkeypatch.setattr(module, "face_detector", lambda name: Still())


@pytest.fixture
def clip() -> Pixels:
    """(6, 63, 81, 3): smooth colours that drift; odd sides."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(60, 220, (8, 10, 3)).astype(np.float32)
    still = cv2.resize(coarse, (81, 63), interpolation=cv2.INTER_CUBIC)
    return np.clip(np.stack([still + 2 * t for t in range(6)]), 0, 255).astype(np.uint8)


@pytest.fixture
def film(clip: Pixels, tmp_path: Path) -> Path:
    path = tmp_path / "film.mkv"
    path.write_bytes(encode_video(clip, codec="ffv1"))
    return path


def source_of(path: Path) -> Manifest:
    rows = [{"id": f"set/{path.name}", "path": path.name, "label": 0, "video": path.name, "manipulation": "Real",
             "split": "test"}]  # fmt: skip
    return Manifest.from_rows(rows, path.parent)


def test_without_a_distortion_the_frames_are_those_of_the_file(film: Path, clip: Pixels) -> None:
    with Footage(film) as frames:
        for _ in range(2):
            assert all(np.array_equal(frame.pixels, own) for frame, own in zip(frames, clip, strict=True))
    assert frames.count == 12


@pytest.mark.parametrize("name", EVERY)
def test_every_pass_gives_the_same_frames_with_their_times_and_size(name: str, film: Path, tmp_path: Path) -> None:
    with Footage(film, create(name, level=4)) as frames:
        first, second = list(frames), list(frames)
    with Footage(film, create(name, level=4), tmp_path / "there") as frames:
        third = list(frames)
    plain = list(decode(film))
    for own, *copies in zip(plain, first, second, third, strict=True):
        assert all(c.pixels.shape == own.pixels.shape and c.pixels.dtype == np.uint8 for c in copies)
        assert all((c.index, c.time) == (own.index, own.time) for c in copies)
        assert all(np.array_equal(copies[0].pixels, c.pixels) for c in copies[1:])
        assert not np.array_equal(copies[0].pixels, own.pixels)
    assert not list((tmp_path / "there").glob("*")) if (tmp_path / "there").exists() else True


@pytest.mark.parametrize("name", sorted({*EVERY} - {"h264", "noise", "blocks"}))
def test_frames_are_what_the_distortion_makes_of_each(name: str, film: Path, clip: Pixels) -> None:
    distortion = create(name, level=2)
    expected = [to_pixels(distortion(to_tensor(own)[None])[0]) for own in clip]
    assert all(np.array_equal(f.pixels, e) for f, e in zip(Footage(film, distortion), expected, strict=True))


def test_noise_belongs_to_file_and_frame(tmp_path: Path) -> None:
    flat = np.full((3, 32, 32, 3), 128, np.uint8)
    for name, level in (("a.mkv", 128), ("b.mkv", 128), ("c.mkv", 129)):
        flat[:] = level
        (tmp_path / name).write_bytes(encode_video(flat, codec="ffv1"))
    noise = create("noise", level=3)
    a, b, c = ([f.pixels.astype(int) for f in Footage(tmp_path / n, noise)] for n in ("a.mkv", "b.mkv", "c.mkv"))
    assert np.array_equal(a, b)
    assert not np.array_equal(a[0], a[1])  # equal frames of one file have noise of their own
    assert not np.array_equal(np.subtract(a[0], 128), np.subtract(c[0], 129))
    other = [f.pixels for f in Footage(tmp_path / "a.mkv", parse("noise:level=3,seed=1"))]
    assert not np.array_equal(a[0], other[0])
    # Published: a standard deviation of sqrt(.005) of the range, in brightness and in colours.
    assert 12 < np.std(a) < 60


def test_threads_do_not_decide_and_are_put_back(film: Path) -> None:
    before = torch.get_num_threads()
    list(Footage(film, create("blur", level=5)))
    assert torch.get_num_threads() == before


def test_compression_is_that_of_the_whole_video(film: Path, clip: Pixels) -> None:
    whole = decode_video(encode_video(clip, codec="h264", crf=35))
    found = np.stack([f.pixels for f in Footage(film, create("h264", level=3))])
    assert np.abs(found.astype(int) - whole).mean() < 0.2
    alone = np.stack([decode_video(encode_video(one[None], codec="h264", crf=35))[0] for one in clip])
    assert not np.array_equal(found, alone)
    # Nothing but the codec: colours are converted exactly on the way back.
    best = np.stack([f.pixels for f in Footage(film, parse("h264:crf=0"))])
    assert abs((best.astype(float) - clip).mean()) < 0.1


def test_sound_that_fits_nowhere_does_not_hinder(video: Callable[..., Path]) -> None:
    path = video("talk.mkv", frames=8, sound=True, audio_codec="pcm_s16le")
    assert len(list(Footage(path, create("h264", level=1)))) == 8


def test_times_of_a_variable_rate_stay(video: Callable[..., Path]) -> None:
    path = video("slow.mp4", stamps=[0, 40, 90, 400, 433, 1000])
    plain = [f.time for f in Footage(path)]
    assert [f.time for f in Footage(path, create("h264", level=1))] == pytest.approx(plain, abs=0.001)


def test_memory_does_not_grow_with_the_length(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (20, 180, 320, 3), np.uint8)
    short, long = tmp_path / "short.mkv", tmp_path / "long.mkv"
    short.write_bytes(encode_video(np.tile(frames, (2, 1, 1, 1)), codec="h264", crf=40))
    long.write_bytes(encode_video(np.tile(frames, (6, 1, 1, 1)), codec="h264", crf=40))
    with Footage(short, create("h264", level=5)) as footage:
        assert sum(1 for _ in footage) == 40
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with Footage(long, create("h264", level=5)) as footage:
        assert sum(1 for _ in footage) == 120
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown < 8  # 80 more frames are 14 MB


@pytest.mark.parametrize("content", [b"", b"no video", None])
def test_a_file_that_can_not_be_read_names_itself(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    if content is not None:
        path.write_bytes(content)
    for distortion in (None, create("blur", level=1), create("h264", level=1)):
        with pytest.raises(DataError, match=str(path)), Footage(path, distortion, tmp_path / "x") as frames:
            list(frames)
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p != path]


@pytest.mark.usefixtures("still")
@pytest.mark.parametrize("name", EVERY)
def test_crops_are_cut_out_of_distorted_frames(name: str, film: Path, tmp_path: Path) -> None:
    distortion = create(name, level=3)
    told = crop_file(film, tmp_path / "crops", Settings(32, every=1, distortion=distortion))
    assert (told["status"], told["tracks"][0]["frames"]) == ("ok", list(range(6)))
    for frame in Footage(film, distortion):
        expected = crop(frame.pixels, BOX, 32)
        assert np.array_equal(read_image(tmp_path / "crops" / "0" / f"{frame.index:06}.png"), expected)
    if name in ("blur", "pixelation", "h264"):  # not the same as distorting the crop
        plain = crop(next(iter(Footage(film))).pixels, BOX, 32)
        later = to_pixels(distortion(to_tensor(plain)[None])[0])
        assert not np.array_equal(read_image(tmp_path / "crops" / "0" / "000000.png"), later)
    assert {p.suffix for p in (tmp_path / "crops").rglob("*") if p.is_file()} == {".png"}


@pytest.mark.usefixtures("still")
def test_boxes_are_looked_for_in_the_distorted_frames(film: Path, clip: Pixels, tmp_path: Path) -> None:
    dark = Settings(32, every=1, distortion=parse("contrast:factor=0.1"))
    assert crop_file(film, tmp_path / "crops", dark)["status"] == "no_face"
    cv2.imwrite(str(tmp_path / "still.png"), clip[0])
    for name in EVERY:
        told = crop_file(tmp_path / "still.png", tmp_path / name, Settings(32, distortion=create(name, level=1)))
        assert (told["status"], told["decoded"]) == ("ok", 1)


@pytest.mark.usefixtures("still")
def test_the_manifest_tells_and_the_digest_differs(film: Path, tmp_path: Path) -> None:
    source, plain = source_of(film), Settings(32, every=1)
    made = {
        name: prepare(
            source, tmp_path / name, Settings(32, every=1, distortion=parse(text) if text else None), workers=0
        ).manifest
        for name, text in {"plain": "", "blur": "blur:level=3", "noise": "noise:level=3,seed=0"}.items()
    }  # fmt: skip
    assert "distortion" not in made["plain"].table.column_names
    assert distorted_before(made["plain"]) is None
    assert [distorted_before(made[n]) for n in ("blur", "noise")] == ["blur:level=3", "noise:level=3"]
    assert len({m.digest() for m in made.values()}) == 3
    assert made["plain"].column("id").tolist() == made["blur"].column("id").tolist()
    read = Manifest.read(tmp_path / "blur")
    assert distorted_before(read) == distorted_before(clips(read, 3)) == "blur:level=3"
    with pytest.raises(ConfigError, match="another job \\(distortion blur:level=3, now blur:level=4\\)"):
        prepare(source, tmp_path / "blur", Settings(32, every=1, distortion=parse("blur:level=4")), workers=0)
    with pytest.raises(ConfigError, match="another job \\(distortion blur:level=3, now unknown\\)"):
        prepare(source, tmp_path / "blur", plain, workers=0)


@pytest.mark.usefixtures("still")
def test_boxes_of_the_original_give_every_crop_of_the_undistorted_set(film: Path, tmp_path: Path) -> None:
    dark = Settings(32, every=1, distortion=parse("contrast:factor=0.1"), boxes="original")
    made = prepare(source_of(film), tmp_path / "out", dark, workers=0).manifest
    assert len(made.select(status="ok")) == 6
    assert distorted_before(made) == dark.facts()["distortion"] == "contrast:factor=0.1, boxes of the original"
    assert read_image(made.paths()[0]).max() < 30
    with pytest.raises(ConfigError, match="boxes must be distorted or original and belongs to a distortion"):
        Settings(boxes="original")


def test_a_distortion_without_a_seed_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs a seed"):
        Settings(distortion=parse("noise:level=1,seed=none"))
    assert "distortion" not in Settings().facts()
    assert Settings(distortion=parse("blur:kernel=9")).facts()["distortion"] == "blur:kernel=9"


def test_a_video_of_whole_seconds_keeps_its_rate(video: Callable[..., Path]) -> None:
    path = video("film.mp4", frames=5, rate=Fraction(30000, 1001))
    times = [f.time for f in Footage(path, create("h264", level=1))]
    assert times == pytest.approx([k * 1001 / 30000 for k in range(5)], abs=0.001)
