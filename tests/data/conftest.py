"""Made video files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame


@pytest.fixture
def video(tmp_path: Path) -> Callable[..., Path]:
    """``video("a.mp4", frames=10, ...)``: a file whose k-th frame is a grey of 20 + 4 k."""

    def make(
        name: str, *, frames: int = 10, size: tuple[int, int] = (64, 48), rate: Fraction | int = 25, gop: int = 12,
        codec: str = "libx264", layout: str = "yuv420p", stamps: Sequence[int] | None = None, sound: bool = False,
        rotation: tuple[int, bool] | None = None, corner: bool = False, interlaced: bool = False, noise: float = 0,
        options: dict[str, str] | None = None, audio_codec: str = "aac",
    ) -> Path:  # fmt: skip
        path = tmp_path / name
        rng = np.random.default_rng(0)
        with av.open(str(path), "w", options=options or {}) as out:
            extra = {"preset": "ultrafast", "bf": "2"} if codec == "libx264" else {}
            stream = out.add_stream(codec, rate=rate, options=extra)
            stream.width, stream.height = size
            stream.pix_fmt = layout
            context = stream.codec_context
            context.gop_size, context.thread_count = gop, 1
            context.time_base = Fraction(1, 1000) if stamps else 1 / Fraction(rate)
            if codec in ("mpeg4", "mpeg2video", "mjpeg", "libvpx-vp9"):
                context.bit_rate = 4_000_000
            if interlaced:
                context.flags |= av.codec.context.Flags.interlaced_dct | av.codec.context.Flags.interlaced_me
            if rotation:
                stream.set_display_rotation(rotation[0], hflip=rotation[1])
            tone = out.add_stream(audio_codec, rate=16000) if sound else None
            places = list(stamps or range(frames))
            for k, stamp in enumerate(places):
                picture = np.full((size[1], size[0], 3), 20 + 4 * k if len(places) < 60 else 20 + k % 200, np.uint8)
                if noise:
                    picture = np.clip(picture + rng.normal(0, noise, picture.shape), 0, 255).astype(np.uint8)
                if corner:
                    picture[:12, :12] = 255
                if interlaced:
                    picture[1::2] += 80
                frame = VideoFrame.from_ndarray(picture).reformat(format=layout)
                frame.pts, frame.time_base = stamp, context.time_base
                out.mux(stream.encode(frame))
                if tone is not None:
                    seconds = float(stamp * context.time_base)
                    wave = np.sin(np.arange(640) / 8 + seconds).astype(np.float32)[None]
                    samples = av.AudioFrame.from_ndarray(wave, "fltp", "mono")
                    samples.sample_rate, samples.pts = 16000, k * 640
                    samples.time_base = Fraction(1, 16000)
                    out.mux(tone.encode(samples))
            out.mux(stream.encode(None))
            if tone is not None:
                out.mux(tone.encode(None))
        return path

    return make
