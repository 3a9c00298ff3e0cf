"""The frames of a video, or the one of a picture, as faces are looked for in them: as they are, or distorted first."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch

from unfooled.codecs import to_pixels, to_tensor
from unfooled.data.images import IMAGE_SUFFIXES, Pixels, read_image
from unfooled.data.rewriting import rewrite
from unfooled.data.video import Frame, decode
from unfooled.distortions import H264, Blocks, Distortion, Noise
from unfooled.errors import DataError
from unfooled.randomness import seed_of


class Footage:
    """The frames of a file, from the first one each time it is gone through; equal ones each time.

    A distortion works on whole frames. Noise and grey blocks are drawn anew for every frame, by its number and its
    content, so that a file gives the same ones wherever it lies. Video compression is that of the whole file by x264:
    the first pass writes a copy beside the crops, which ``close`` removes; memory does not grow with the length.

    Args:
        path: a video or a picture.
        distortion: done to every frame; None: nothing.
        scratch: a folder for the copy, made when it is needed; None: a temporary one.

    Attributes:
        count: frames given out so far, over all passes.

    Raises:
        DataError: while going through it, as ``video.decode`` and ``images.read_image``.
        OSError: the copy can not be written (a full disk).
    """

    def __init__(self, path: Path, distortion: Distortion | None = None, scratch: Path | None = None) -> None:
        self.path, self.distortion, self.count = path, distortion, 0
        self.is_picture = path.suffix.lower() in IMAGE_SUFFIXES
        self._scratch, self._copied = scratch, None if self.is_picture else _crf(distortion)
        self._copy: Path | None = None
        self._size = (0, 0)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Remove the copy, if there is one."""
        self._stack.close()
        self._copy = None

    def __iter__(self) -> Iterator[Frame]:
        with ExitStack() as stack:
            frames: Iterable[Frame]
            if self.is_picture:
                frames = [Frame(0, 0.0, read_image(self.path))]
            elif self._copied is not None:
                # The source was converted to RGB once; converted as fast again, every frame would be darker.
                frames = stack.enter_context(decode(self._compressed(self._copied), exact=True))
            else:
                frames = stack.enter_context(decode(self.path))
            for frame in frames:
                self.count += 1
                yield replace(frame, pixels=self._pixels(frame))

    def _pixels(self, frame: Frame) -> Pixels:
        if self._copied is not None:
            # H.264 stores even sizes.
            return np.ascontiguousarray(frame.pixels[: self._size[0], : self._size[1]])
        return frame.pixels if self.distortion is None else distorted(frame, self.distortion)

    def _compressed(self, crf: int) -> Path:
        if self._copy is None:
            if self._scratch is None:
                folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="unfooled-")))
            else:
                folder = self._scratch
                folder.mkdir(parents=True, exist_ok=True)
            copy = folder / "compressed.mkv"
            self._stack.callback(copy.unlink, missing_ok=True)

            def measured(frame: Frame) -> Pixels:
                self._size = frame.pixels.shape[0], frame.pixels.shape[1]
                return frame.pixels

            try:
                rewrite(self.path, copy, measured, codec="h264", crf=crf, sound=False)
            except DataError as error:
                if str(error).startswith(str(self.path)):
                    raise
                raise DataError(f"{self.path}: its copy {str(error).removeprefix(f'{copy} ')}") from None
            self._copy = copy
        return self._copy


def distorted(frame: Frame, distortion: Distortion) -> Pixels:
    """(H, W, 3) pixels of a frame, distorted and rounded to 8 bits."""
    if isinstance(distortion, Noise | Blocks):
        distortion = replace(distortion, seed=seed_of(distortion.seed, "frame", frame.index))
    with _one_thread(), torch.inference_mode():
        return to_pixels(distortion(to_tensor(frame.pixels)[None])[0])


def _crf(distortion: Distortion | None) -> int | None:
    return int(distortion.strength) if isinstance(distortion, H264) else None


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread in PyTorch: workers share the cores, and sums are of one order however many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
