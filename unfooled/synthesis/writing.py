"""Writing a set: a folder that appears whole, threads, PNG files, and real faces that are read back from them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TypeVar

import cv2

from unfooled.codecs import decode, encode_png
from unfooled.synthesis.casting import Person
from unfooled.synthesis.landmarks import Points
from unfooled.synthesis.photographs import Image, Portrait

T = TypeVar("T")
R = TypeVar("R")

KEPT = 512 * 2**20
"""Most bytes of real faces that are held in memory; what is beyond is read from its file."""
RECENT = 128
"""Faces that were read from files and are held too, because the fakes of one clip need them again."""


@contextmanager
def folder_beside(out: Path) -> Iterator[Path]:
    """A temporary folder that becomes ``out`` when all went well, and vanishes when not."""
    out = out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent, ignore_cleanup_errors=True) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        new.mkdir()
        yield new
        if out.is_dir():
            out.replace(old)
        new.replace(out)


@contextmanager
def one_thread_each() -> Iterator[None]:
    """OpenCV's own threads would only fight with ours."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


def each(do: Callable[[T], R], items: Sequence[T], workers: int | None) -> Iterator[R]:
    """``do`` for every item on some threads; NumPy, OpenCV and the PNG encoder let go of the interpreter lock."""
    count = (os.cpu_count() or 1) if workers is None else workers
    if count <= 1:
        for item in items:
            yield do(item)
        return
    pool = ThreadPoolExecutor(count)
    try:
        todo = iter(items)
        running = {pool.submit(do, item) for item in islice(todo, 4 * count)}
        while running:
            ready, running = wait(running, return_when=FIRST_COMPLETED)
            for future in ready:
                yield future.result()
            running |= {pool.submit(do, item) for item in islice(todo, len(ready))}
    finally:
        pool.shutdown(cancel_futures=True)


def save(image: Image, path: Path, note: str | None = None) -> None:
    """Write a PNG, with a comment where there is something to say."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_png(image, note))


class Reals:
    """The real faces of a set by (number of the video, frame).

    A large set of clips is more than memory should hold, and making a frame anew costs more than decoding its file.

    Args:
        folder: of the set that is being written.
        size: height and width of a face in pixels.
    """

    def __init__(self, folder: Path, size: int) -> None:
        self._root = folder / "original_sequences"
        self._size = size
        self._known: dict[tuple[str, int], tuple[Path, Points]] = {}
        self._most = KEPT // (3 * size * size)
        self._held: dict[tuple[str, int], Portrait] = {}
        self._portrait = lru_cache(RECENT)(self._read)

    def write(self, video: Person) -> int:
        """Make the frames of a video one after the other, so that what they share is made once, and write them.

        Returns:
            How many.
        """
        folder = self._root / video.collection / "raw" / "images" / video.id
        for frame, shot in enumerate(video.shots):
            portrait = shot.portrait(self._size)
            path = folder / f"{frame:04}.png"
            save(portrait.image, path)
            self._known[video.id, frame] = path, portrait.shape
            if len(self._held) < self._most:
                self._held[video.id, frame] = portrait
        return len(video.shots)

    def __getitem__(self, key: tuple[str, int]) -> Portrait:
        return self._held.get(key) or self._portrait(key)

    def _read(self, key: tuple[str, int]) -> Portrait:
        path, shape = self._known[key]
        return Portrait(decode(path.read_bytes()), shape)
