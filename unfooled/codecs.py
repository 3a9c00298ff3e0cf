"""Round trips through real encoders: what an image is after somebody has saved it.

PNG and JPEG are Pillow's. H.264 belongs here too, once PyAV is a dependency.
"""

from __future__ import annotations

import io
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unfooled.errors import ConfigError, DataError

Pixels = npt.NDArray[np.uint8]

NOTE = "synthetic test material made by unfooled"
"""Stands in the metadata of every file that forging or attacking writes."""


def quantise(x: Tensor) -> Tensor:
    """``x`` in [0, 1] rounded to the 256 values that a file of 8 bits can hold, halves to even; same shape and type."""
    return (x * 255).round() / 255


def to_pixels(x: Tensor) -> Pixels:
    """(3, H, W) in [0, 1] -> (H, W, 3) uint8, rounded to the nearest of 256 values.

    Raises:
        DataError: another shape.
    """
    if x.dim() != 3 or x.shape[0] != 3:
        raise DataError(f"an image must be (3, H, W), got {tuple(x.shape)}")
    rounded = (x.detach().to("cpu", torch.float32).clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).numpy())


def to_tensor(pixels: Pixels) -> Tensor:
    """(H, W, 3) uint8 -> (3, H, W) float32 in [0, 1], each value k/255."""
    return torch.tensor(pixels).permute(2, 0, 1).contiguous().float() / 255


def encode_png(pixels: Pixels, note: str | None = None, effort: int = 4) -> bytes:
    """The bytes of a PNG file; equal pixels, note and effort give equal bytes.

    Args:
        pixels: (H, W, 3) RGB.
        note: text for the ``Comment`` of its metadata.
        effort: of the compression, 0 (none) to 9; the pixels do not depend on it.
    """
    information = PngInfo()
    if note is not None:
        information.add_text("Comment", note)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", pnginfo=information, compress_level=effort)
    return buffer.getvalue()


def encode_jpeg(pixels: Pixels, quality: int, note: str | None = None) -> bytes:
    """The bytes of a JPEG file, baseline, colour at half resolution (4:2:0), as most programs save it.

    Args:
        pixels: (H, W, 3) RGB.
        quality: 1 (worst) to 100, on the scale of libjpeg.
        note: text for its comment.

    Raises:
        ConfigError: ``quality`` is out of range.
    """
    if not 1 <= quality <= 100:
        raise ConfigError(f"quality must be 1 to 100, got {quality}; write 75 or 90")
    buffer = io.BytesIO()
    options = {} if note is None else {"comment": note}
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality, subsampling="4:2:0", **options)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """(H, W, 3) RGB pixels of what ``encode_png`` or ``encode_jpeg`` gave."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def round_trip(x: Tensor, codec: Literal["png", "jpeg"], quality: int = 75) -> Tensor:
    """``x`` after being saved and read again; no gradient passes.

    Args:
        x: (B, 3, H, W) frames or (B, 3, T, H, W) clips in [0, 1]; each frame is a file of its own.
        codec: ``png`` only rounds to 8 bits, ``jpeg`` loses more.
        quality: of JPEG, 1 to 100.

    Raises:
        ConfigError: another codec, or ``quality`` is out of range.
        DataError: ``x`` has another shape.
    """
    if codec not in ("png", "jpeg"):
        raise ConfigError(f"codec must be png or jpeg, got {codec!r}")
    if x.dim() not in (4, 5) or x.shape[1] != 3:
        raise DataError(f"x must be (B, 3, H, W) frames or (B, 3, T, H, W) clips, got {tuple(x.shape)}")
    frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
    images = [to_pixels(frame) for frame in frames]
    files = [encode_png(image) if codec == "png" else encode_jpeg(image, quality) for image in images]
    saved = torch.stack([to_tensor(decode(file)) for file in files]) if files else frames.detach().clone()
    if x.dim() == 5:
        saved = saved.reshape(x.shape[0], x.shape[2], *saved.shape[1:]).transpose(1, 2)
    return saved.to(x)
