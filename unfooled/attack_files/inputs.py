"""Which images and videos a job attacks, what their results are called, and which of them can not be attacked."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from unfooled.codecs import Pixels
from unfooled.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, fit_square, read_image, walk
from unfooled.errors import DataError

LARGEST = 40_000_000
"""Pixels: four times a large photograph. A header that promises more is not decoded."""


@dataclass(frozen=True)
class Input:
    """An image or a video to attack.

    Args:
        path: where it lies.
        name: its path below the source; what it is called in the results.
        target: the PNG or video to write, below the output folder.
    """

    path: Path
    name: str
    target: str

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEO_SUFFIXES


class UnfitError(DataError):
    """A file that can not be attacked; ``status`` says why in two words, the text continues the file's name."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def find_inputs(source: Path, video_suffix: str = ".mkv") -> list[Input]:
    """The image or video itself, or all of them below a folder, sorted.

    A result keeps the name of its file with the suffix png, or ``video_suffix`` for a video, after the whole name where
    two would get the same.

    Raises:
        DataError: there is no such file or folder, or no image or video in it.
    """
    if source.is_dir():
        names = [Path(os.path.relpath(entry.path, source)).as_posix() for entry in walk(source)]
        home = source
    elif source.exists():
        names, home = [source.name], source.parent
    else:
        raise DataError(f"{source} is not there; name an image, a video or a folder of them")
    if not names:
        raise DataError(f"{source} holds no images or videos; known are {', '.join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)}")
    endings = {name: video_suffix if Path(name).suffix.lower() in VIDEO_SUFFIXES else ".png" for name in names}
    short = {name: Path(name).with_suffix(endings[name]).as_posix() for name in names}
    # Without regard to case: a file system may have none.
    times = Counter(target.lower() for target in short.values())
    taken = {target for target, count in times.items() if count == 1}
    found = []
    for name in names:
        target = short[name]
        if times[target.lower()] > 1:
            target = name + endings[name]
            while target.lower() in taken:
                target += endings[name]
            taken.add(target.lower())
        found.append(Input(home / name, name, target))
    return found


def read_input(item: Input, size: int | None, smallest: int) -> Pixels:
    """(H, W, 3) RGB pixels of an image, upright, 8 bits, without alpha.

    Args:
        item: the image.
        size: its central square is resized to this; None leaves it as it is.
        smallest: pixels that its shorter side needs.

    Raises:
        UnfitError: unreadable, too large to be decoded (told from its header) or too small.
    """
    try:
        width, height = extent(item.path)
    except OSError as error:
        empty = "is empty (0 bytes)" if item.path.is_file() and not item.path.stat().st_size else None
        reason = empty or error.strerror or "does not decode as an image (unknown format)"
        raise UnfitError("unreadable", reason) from None
    if width * height > LARGEST:
        raise UnfitError("too large", f"has {width} x {height} pixels, more than {LARGEST:,}; scale it down")
    try:
        pixels = read_image(item.path)
    except DataError as error:
        raise UnfitError("unreadable", str(error).replace(str(item.path), "").strip()) from None
    if size is not None:
        return fit_square(pixels, size)
    if min(pixels.shape[:2]) < smallest:
        raise UnfitError(
            "too small", f"has {pixels.shape[1]} x {pixels.shape[0]} pixels, the detector needs {smallest}"
        )
    return pixels


def extent(path: Path) -> tuple[int, int]:
    """Width and height from the header; nothing is decoded.

    Raises:
        UnfitError: the header promises what nobody should decode.
        OSError: there is no header.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            with Image.open(path) as image:
                return image.size
        except Image.DecompressionBombError:
            # Pillow refuses before it tells the size.
            raise UnfitError("too large", f"has far more than {LARGEST:,} pixels; scale it down") from None
        except (ValueError, SyntaxError) as error:
            raise OSError(str(error)) from None
