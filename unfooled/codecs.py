"""Round trips through real encoders: what an image is after somebody has saved it.

PNG and JPEG are Pillow's; H.264 (x264) and FFV1 are FFmpeg's, through PyAV.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Literal

import av
import numpy as np
import numpy.typing as npt
import torch
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation
from av.video.stream import VideoStream
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unfooled.errors import ConfigError, DataError

Pixels = npt.NDArray[np.uint8]
VideoCodec = Literal["h264", "ffv1"]

NOTE = "synthetic test material made by unfooled"
"""Stands in the metadata of every file that forging or attacking writes."""

# FFmpeg's numbers for SMPTE 170M, the matrix of BT.601, and for levels 16 to 235.
_BT601, _LIMITED = 5, 1
EXACT = Interpolation.AREA | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
"""How colours are converted where the loss is to be the codec's alone: FFmpeg's fast way darkens by 1/255."""


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
    return np.ascontiguousarray(eight_bits(x).transpose(1, 2, 0))


def eight_bits(x: Tensor) -> Pixels:
    """Pixels of any shape in [0, 1] -> uint8 of that shape, rounded to the nearest of 256 values."""
    rounded = (x.detach().to("cpu", torch.float32).clamp(0, 1) * 255).round().to(torch.uint8)
    return rounded.contiguous().numpy()


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


def video_stream(
    container: OutputContainer, codec: VideoCodec, crf: int, width: int, height: int, rate: Fraction, tick: Fraction
) -> VideoStream:
    """A video stream to encode into, its settings the same wherever this package writes video.

    H.264 is x264's at preset medium in 4:2:0 colour of BT.601, said so in the stream, one thread: equal frames give
    equal bytes. FFV1 stores RGB without loss.

    Args:
        container: an open file.
        codec: ``h264`` or ``ffv1``.
        crf: constant rate factor of x264, 0 (best) to 51 (worst); FFV1 has none.
        width: of the frames; H.264 stores an even number of columns, ``add_frame`` repeats the last one.
        height: of the frames; likewise.
        rate: average frames per second.
        tick: unit of the frames' time stamps, in seconds.

    Raises:
        ConfigError: the codec has another name, or ``crf`` is out of range.
    """
    if codec not in ("h264", "ffv1"):
        raise ConfigError(f"codec must be h264 or ffv1, got {codec!r}")
    if not 0 <= crf <= 51:
        raise ConfigError(f"crf must be 0 (best) to 51 (worst), got {crf}; write 23")
    options = {"level": "3", "slicecrc": "1"}
    if codec == "h264":
        # x264's AVX-512 code reads memory that nobody has written: equal frames would not give equal bytes.
        options = {"crf": str(crf), "preset": "medium", "x264-params": "asm=AVX2"}
    stream: VideoStream = container.add_stream("libx264" if codec == "h264" else "ffv1", rate=rate, options=options)
    even = codec == "h264"
    stream.width, stream.height = width + width % 2 * even, height + height % 2 * even
    stream.pix_fmt = "yuv420p" if codec == "h264" else "bgr0"
    context = stream.codec_context
    context.time_base, context.thread_count = tick, 1
    stream.time_base = tick
    if codec == "h264":
        context.colorspace, context.color_range = _BT601, _LIMITED
    return stream


def add_frame(container: OutputContainer, stream: VideoStream, pixels: Pixels, stamp: int) -> None:
    """Encode (H, W, 3) RGB pixels, shown ``stamp`` ticks of the stream after time 0; each stamp is above the last."""
    bottom, right = stream.height - pixels.shape[0], stream.width - pixels.shape[1]
    if bottom or right:
        pixels = np.pad(pixels, ((0, bottom), (0, right), (0, 0)), "edge")
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
    if stream.pix_fmt == "yuv420p":
        frame = frame.reformat(
            format="yuv420p", dst_colorspace=_BT601, dst_color_range=_LIMITED, interpolation=EXACT, threads=1
        )
    frame.pts, frame.time_base = stamp, stream.codec_context.time_base
    container.mux(stream.encode(frame))


def encode_video(
    frames: Pixels, rate: float = 25, codec: VideoCodec = "h264", crf: int = 23, note: str | None = NOTE
) -> bytes:
    """The bytes of a Matroska file without sound; equal arguments give equal bytes.

    Args:
        frames: (T, H, W, 3) RGB, T >= 1. H.264 stores odd sizes with the last row or column repeated.
        rate: frames per second.
        codec: ``ffv1`` keeps every pixel, ``h264`` does not.
        crf: of H.264, 0 (best) to 51 (worst).
        note: text for the ``comment`` of its metadata.

    Raises:
        ConfigError: another codec, or ``crf`` is out of range.
        DataError: ``frames`` has another shape or is empty.
    """
    if frames.ndim != 4 or frames.shape[3] != 3 or not frames.size:
        raise DataError(f"frames must be (T, H, W, 3) with T >= 1, got {frames.shape}")
    buffer = io.BytesIO()
    speed = Fraction(rate).limit_denominator(1001)
    with av.open(buffer, "w", format="matroska", options={"fflags": "+bitexact"}) as container:
        if note is not None:
            container.metadata["comment"] = note
        # The size that H.264 can not say.
        container.metadata["size"] = f"{frames.shape[2]}x{frames.shape[1]}"
        stream = video_stream(container, codec, crf, frames.shape[2], frames.shape[1], speed, 1 / speed)
        for t, pixels in enumerate(frames):
            add_frame(container, stream, pixels, t)
        container.mux(stream.encode(None))
    return buffer.getvalue()


def decode_video(data: bytes) -> Pixels:
    """(T, H, W, 3) RGB frames of what ``encode_video`` gave, at the size that was given to it."""
    with av.open(io.BytesIO(data), "r", format="matroska") as container:
        container.streams.video[0].codec_context.thread_count = 1
        frames = np.stack(
            [f.to_ndarray(format="rgb24", interpolation=EXACT, threads=1) for f in container.decode(video=0)]
        )
        width, height = (int(side) for side in container.metadata["SIZE"].split("x"))
    return np.ascontiguousarray(frames[:, :height, :width], dtype=np.uint8)


def round_trip(x: Tensor, codec: Literal["png", "jpeg", "h264"], quality: int | None = None) -> Tensor:
    """``x`` after being saved and read again; no gradient passes.

    Args:
        x: (B, 3, H, W) frames or (B, 3, T, H, W) clips in [0, 1]. For an image codec each frame is a file of its own;
            for H.264 each clip is one, and a frame is a clip of one frame.
        codec: ``png`` only rounds to 8 bits, ``jpeg`` and ``h264`` lose more.
        quality: of JPEG 1 to 100 (best), by default 75; of H.264 the crf, 0 (best) to 51, by default 23.

    Raises:
        ConfigError: another codec, or ``quality`` is out of range.
        DataError: ``x`` has another shape.
    """
    if codec not in ("png", "jpeg", "h264"):
        raise ConfigError(f"codec must be png or jpeg or h264, got {codec!r}")
    if x.dim() not in (4, 5) or x.shape[1] != 3:
        raise DataError(f"x must be (B, 3, H, W) frames or (B, 3, T, H, W) clips, got {tuple(x.shape)}")
    if not x.numel():
        return x.detach().clone()
    clips = x if x.dim() == 5 else x.unsqueeze(2)
    saved = torch.stack([_saved(clip.transpose(0, 1), codec, quality) for clip in clips]).transpose(1, 2)
    return (saved if x.dim() == 5 else saved.squeeze(2)).to(x)


def _saved(frames: Tensor, codec: str, quality: int | None) -> Tensor:
    images = [to_pixels(frame) for frame in frames]
    if codec == "h264":
        images = list(decode_video(encode_video(np.stack(images), crf=23 if quality is None else quality)))
    elif codec == "jpeg":
        images = [decode(encode_jpeg(image, 75 if quality is None else quality)) for image in images]
    else:
        images = [decode(encode_png(image)) for image in images]
    return torch.stack([to_tensor(image) for image in images])
