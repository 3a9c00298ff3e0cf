"""Image files: which ones there are, and their pixels as RGB uint8, or why they can not be read."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from unfooled.errors import DataError

Pixels = npt.NDArray[np.uint8]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm")
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg")


def read_image(path: Path | str) -> Pixels:
    """(H, W, 3) RGB pixels of an image file, turned as its EXIF orientation says; 16 bits become 8, alpha is dropped.

    Raises:
        DataError: the file is absent, empty, cut short or not an image; the text says which and names it.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path} can not be opened: {error.strerror}") from None
    try:
        return decode_image(data)
    except DataError as error:
        raise DataError(f"{path} {error}") from None


def decode_image(data: bytes) -> Pixels:
    """(H, W, 3) RGB pixels of an encoded image; otherwise as ``read_image``."""
    if not data:
        raise DataError("is empty (0 bytes)")
    if _cut_short(data):
        raise DataError("is cut short")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        pixels = None
    if pixels is not None:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), dtype=np.uint8)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"does not decode as an image ({_reason(error)})") from None


def _reason(error: Exception) -> str:
    # Pillow's words name an object in memory, which is another one in every run.
    return "unknown format" if isinstance(error, UnidentifiedImageError) else str(error)[:80]


def fit_square(pixels: Pixels, size: int) -> Pixels:
    """The central square of an image at ``size`` x ``size``: area averaging when it shrinks, bilinear when it grows."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = pixels[top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(square, (size, size), interpolation=way), dtype=np.uint8)


def statuses(paths: Sequence[Path], threads: int | None = None) -> list[tuple[str, str]]:
    """(status, reason) of each image after decoding it; reason is empty where the status is ``ok``."""
    with ThreadPoolExecutor(threads or os.cpu_count()) as pool:
        return list(pool.map(_status, paths))


def file_status(path: Path | str) -> str:
    """``missing`` (also a link to nothing), ``unreadable`` (no bytes) or ``ok``, without decoding."""
    try:
        return "ok" if os.stat(path).st_size else "unreadable"  # noqa: PTH116 (called for every file)
    except OSError:
        return "missing"


def walk(root: Path, *, leave: Path | None = None, others: Counter[str] | None = None) -> Iterator[os.DirEntry[str]]:
    """Every image and video file below ``root`` in sorted order; hidden files and folders are passed over.

    Args:
        root: the folder.
        leave: a folder below it that is not entered.
        others: counts the endings of the files that are neither, in small letters.

    Raises:
        DataError: ``root`` is no folder, or a symbolic link leads back into one of its own parents.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name the folder that holds the data")
    left = None
    if leave is not None and leave.exists():
        left = (leave.stat().st_dev, leave.stat().st_ino)
    yield from _walk(root, (), left, Counter() if others is None else others)


def _walk(
    folder: Path | str, above: tuple[tuple[int, int], ...], left: tuple[int, int] | None, others: Counter[str]
) -> Iterator[os.DirEntry[str]]:
    state = os.stat(folder)  # noqa: PTH116 (the path may be a plain string from scandir)
    here = (state.st_dev, state.st_ino)
    if here == left:
        return
    if here in above:
        raise DataError(f"{folder} is a symbolic link that leads back to a folder above it; remove it")
    with os.scandir(folder) as entries:
        ordered = sorted((e for e in entries if not e.name.startswith(".")), key=lambda e: e.name)
    for entry in ordered:
        if entry.is_dir():
            yield from _walk(entry.path, (*above, here), left, others)
        elif entry.name.lower().endswith((*IMAGE_SUFFIXES, *VIDEO_SUFFIXES)):
            yield entry
        else:
            others[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122 (entries are strings)


def _status(path: Path) -> tuple[str, str]:
    if not path.is_file():
        return "missing", f"{path} is not there"
    try:
        read_image(path)
    except DataError as error:
        return "unreadable", str(error)
    return "ok", ""


def _cut_short(data: bytes) -> bool:
    # OpenCV fills the rest of a truncated file with grey and calls it a success; the end marker tells.
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda")
    return data.startswith(b"\x89PNG\r\n\x1a\n") and data.rfind(b"IEND") < 0
