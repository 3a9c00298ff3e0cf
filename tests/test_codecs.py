"""Saving an image: what stays, what is lost, and what is written into the file."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from unfooled.codecs import (
    NOTE,
    decode,
    encode_jpeg,
    encode_png,
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
