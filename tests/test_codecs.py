"""Saving an image: what stays, what is lost, and what is written into the file."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import av
import numpy as np
import pytest
import torch
from PIL import Image

from unfooled.codecs import (
    NOTE,
    decode,
    decode_video,
    encode_jpeg,
    encode_png,
    encode_video,
    quantise,
    round_trip,
    to_pixels,
    to_tensor,
)  # fmt: skip
from unfooled.errors import ConfigError, DataError


@pytest.fixture
def pixels() -> np.ndarray:
    y, x = np.mgrid[:40, :56]
    smooth = np.stack([x * 4, y * 5, (x + y) * 2], axis=2)
    return np.clip(smooth + np.random.default_rng(0).normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)


def test_png_keeps_every_pixel_and_carries_the_note(pixels: np.ndarray) -> None:
    for effort in (0, 1, 9):
        data = encode_png(pixels, NOTE, effort)
        np.testing.assert_array_equal(decode(data), pixels)
        assert Image.open(io.BytesIO(data)).text == {"Comment": "synthetic test material made by unfooled"}
    assert len(encode_png(pixels, effort=9)) < len(encode_png(pixels, effort=0))
    assert encode_png(pixels) == encode_png(pixels)
    assert not Image.open(io.BytesIO(encode_png(pixels))).text


def test_jpeg_is_pillows_own_and_better_quality_is_nearer(pixels: np.ndarray) -> None:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=75)
    assert encode_jpeg(pixels, 75) == buffer.getvalue()
    errors = [np.abs(decode(encode_jpeg(pixels, q)).astype(int) - pixels).mean() for q in (10, 75, 100)]
    assert errors[0] > errors[1] > errors[2] > 0
    noted = Image.open(io.BytesIO(encode_jpeg(pixels, 75, NOTE)))
    assert noted.info["comment"] == NOTE.encode()
    for quality in (0, 101):
        with pytest.raises(ConfigError, match="quality must be 1 to 100"):
            encode_jpeg(pixels, quality)


def test_pixels_and_tensors_are_each_others_inverse(pixels: np.ndarray) -> None:
    x = to_tensor(pixels)
    assert x.shape == (3, 40, 56)
    assert x.dtype == torch.float32
    assert x.is_contiguous()
    np.testing.assert_array_equal(to_pixels(x), pixels)
    assert torch.equal(quantise(x), x)
    with pytest.raises(DataError, match=r"must be \(3, H, W\), got \(1, 3, 4, 4\)"):
        to_pixels(torch.zeros(1, 3, 4, 4))


def test_png_round_trip_is_rounding(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    x = batch[0]
    assert torch.equal(round_trip(x, "png"), quantise(x))
    assert torch.equal(round_trip(x.double(), "png"), quantise(x).double())
    assert (round_trip(x, "png") - x).abs().max() <= 0.5 / 255 + 1e-7


def test_each_frame_of_a_clip_is_a_file_of_its_own(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    clip = batch[0].reshape(2, 4, 3, 32, 32).transpose(1, 2)
    for codec in ("png", "jpeg"):
        frames = round_trip(batch[0], codec, 90)
        assert torch.equal(round_trip(clip, codec, 90), frames.reshape(2, 4, 3, 32, 32).transpose(1, 2))
    assert not torch.equal(round_trip(clip, "jpeg", 90), round_trip(clip, "jpeg", 75))


def test_an_empty_batch_stays_empty_and_nonsense_is_refused() -> None:
    assert round_trip(torch.zeros(0, 3, 8, 8), "jpeg").shape == (0, 3, 8, 8)
    with pytest.raises(ConfigError, match="codec must be png or jpeg"):
        round_trip(torch.zeros(1, 3, 8, 8), "gif")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"got \(3, 8, 8\)"):
        round_trip(torch.zeros(3, 8, 8), "png")


def drawn(count: int = 6, height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    frames = [np.stack([x * 3 + 4 * t, y * 4, x + y + 40], axis=2) for t in range(count)]
    return np.clip(frames, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("shape", [(1, 16, 16, 3), (3, 41, 57, 3), (2, 1, 1, 3), (5, 48, 64, 3)])
def test_ffv1_keeps_every_pixel_and_h264_every_size(shape: tuple[int, ...]) -> None:
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    data = encode_video(frames, codec="ffv1")
    np.testing.assert_array_equal(decode_video(data), frames)
    assert encode_video(frames, codec="ffv1") == data
    lossy = encode_video(frames)
    assert decode_video(lossy).shape == shape
    assert encode_video(frames) == lossy


def test_a_lower_crf_is_nearer_and_larger_and_no_colour_is_shifted() -> None:
    frames = drawn()
    files = [encode_video(frames, crf=crf) for crf in (0, 23, 40, 51)]
    errors = [np.abs(decode_video(f).astype(int) - frames) for f in files]
    means = [float(e.mean()) for e in errors]
    assert means == sorted(means)
    assert means[0] < 0.8 < 2 < means[3]
    assert [len(f) for f in files] == sorted((len(f) for f in files), reverse=True)
    grey = np.full((3, 32, 32, 3), 120, np.uint8)
    np.testing.assert_allclose(decode_video(encode_video(grey, crf=10)), grey, atol=1)


def test_a_video_says_what_it_is() -> None:
    for codec in ("h264", "ffv1"):
        with av.open(io.BytesIO(encode_video(drawn(), rate=29.97, codec=codec))) as container:
            stream = container.streams.video[0]
            assert container.metadata["COMMENT"] == NOTE
            assert stream.codec_context.name == codec
            assert float(stream.average_rate) == pytest.approx(29.97, abs=0.02)
            if codec == "h264":
                assert (stream.codec_context.colorspace, stream.color_range) == (5, 1)
    with av.open(io.BytesIO(encode_video(drawn(), note=None))) as container:
        assert "COMMENT" not in container.metadata


def test_nonsense_is_no_video() -> None:
    for crf in (-1, 52):
        with pytest.raises(ConfigError, match=rf"crf must be 0 \(best\) to 51 \(worst\), got {crf}"):
            encode_video(drawn(1), crf=crf)
    with pytest.raises(ConfigError, match="codec must be h264 or ffv1, got 'gif'"):
        encode_video(drawn(1), codec="gif")  # type: ignore[arg-type]
    for shape in ((0, 8, 8, 3), (8, 8, 3), (2, 8, 8, 4)):
        with pytest.raises(DataError, match=r"frames must be \(T, H, W, 3\)"):
            encode_video(np.zeros(shape, np.uint8))


def test_h264_round_trip_is_the_file_of_each_clip() -> None:
    frames = drawn(8, 33, 47)
    clips = torch.stack([torch.stack([to_tensor(f) for f in half], dim=1) for half in (frames[:4], frames[4:])])
    saved = round_trip(clips, "h264")
    assert saved.shape == clips.shape
    for clip, half in zip(saved, (frames[:4], frames[4:]), strict=True):
        expected = decode_video(encode_video(half))
        np.testing.assert_array_equal(np.stack([to_pixels(clip[:, t]) for t in range(4)]), expected)
    assert torch.equal(round_trip(clips[1:], "h264"), saved[1:])
    assert (round_trip(clips, "h264", 45) - clips).abs().mean() > (saved - clips).abs().mean() > 0
    still = round_trip(clips[:, :, 0], "h264")
    assert torch.equal(still, round_trip(clips[:, :, :1], "h264")[:, :, 0])
    assert round_trip(clips.double(), "h264").dtype == torch.float64
    assert round_trip(clips[:0], "h264").shape == (0, *clips.shape[1:])
    with pytest.raises(ConfigError, match="crf must be 0"):
        round_trip(clips, "h264", 75)


@pytest.mark.slow
def test_a_video_does_not_depend_on_what_was_in_memory() -> None:
    code = """
import hashlib, numpy
from unfooled.codecs import encode_video
for side in (64, 112):
    frames = numpy.random.default_rng(0).integers(0, 256, (5, side, side, 3), dtype=numpy.uint8)
    print(hashlib.sha256(encode_video(frames)).hexdigest())
"""
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "MALLOC_PERTURB_": fill}, capture_output=True, check=True
        ).stdout
        for fill in ("0", "17", "85")
    }
    assert len(found) == 1
