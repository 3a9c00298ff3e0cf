"""Photographs with landmarks: read their table, cut the square around the face, bring it to one size."""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from unfooled.data.alignment import crop, placement
from unfooled.data.faces import Face
from unfooled.errors import DataError, suggest
from unfooled.synthesis.landmarks import Points, check_points, five_of, shape_from

Image = NDArray[np.uint8]

TABLES = ("faces.csv", "landmarks.csv")
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
MARGIN = 1.35
"""Side of the cut square over the larger side of the face's box."""
SMALLEST = 16
"""Pixels of a face in its file, under which there is nothing to forge."""


@dataclass(frozen=True)
class Portrait:
    """A face in a square picture.

    Args:
        image: (S, S, 3) uint8 RGB.
        shape: (68, 2) face points in pixels of ``image``.
    """

    image: Image
    shape: Points


class Shot(Protocol):
    """One picture of somebody that can be made at any size: a photograph, or a frame of a clip."""

    @property
    def identity(self) -> str:
        """Name of the person; pictures of one person never fall into two splits."""

    @property
    def collection(self) -> str:
        """Where the picture comes from; faces are never mixed across collections."""

    def portrait(self, size: int) -> Portrait:
        """The square around the face, ``size`` pixels high and wide."""


@dataclass(frozen=True)
class Photograph:
    """One row of the table: a file, who is on it, where the face is.

    Args:
        path: the image file.
        identity: name of the person; two files of one person never fall into two splits.
        collection: where the photograph comes from; faces are never mixed across collections.
        points: (5, 2) or (68, 2) landmarks in pixels of the file.
        margin: None = an upright square close around the face that never leaves the picture. A number = turned and
            scaled as ``data.alignment.crop`` does, its side over the height of the face: what ``prepare`` makes of it.
    """

    path: Path
    identity: str
    collection: str
    points: Points
    margin: float | None = None

    def portrait(self, size: int) -> Portrait:
        """The square around the face, ``size`` pixels high and wide.

        Raises:
            DataError: the file does not decode, or the landmarks lie outside of it.
        """
        bgr = cv2.imread(str(self.path), cv2.IMREAD_COLOR) if self.path.is_file() else None
        if bgr is None:
            what = "can not be decoded" if self.path.exists() else "does not exist"
            raise DataError(f"{self.path}: the image {what}; mend the file or remove its row from the table")
        shape = shape_from(self.points)
        height, width = bgr.shape[:2]
        low, high = shape.min(0), shape.max(0)
        if (self.points < 0).any() or (self.points >= (width, height)).any():
            raise DataError(f"{self.path}: landmarks lie outside of the {width} x {height} image")
        if (high - low).max() < SMALLEST:
            raise DataError(f"{self.path}: the face is under {SMALLEST} pixels high and wide; use a larger photograph")
        if self.margin is not None:
            x0, y0, x1, y1 = (float(v) for v in (*low, *high))
            face = Face((x0, y0, x1, y1), 1.0, five_of(shape))
            affine = placement(face, size, self.margin)
            cut = cv2.cvtColor(crop(bgr.astype(np.uint8, copy=False), face, size, self.margin), cv2.COLOR_BGR2RGB)
            return Portrait(cut.astype(np.uint8, copy=False), shape @ affine[:, :2].T + affine[:, 2])
        side = min(round(MARGIN * float((high - low).max())), height, width)
        left, top = (
            round(min(max(c - side / 2, 0), n - side)) for c, n in zip((low + high) / 2, (width, height), strict=True)
        )
        square = bgr[top : top + side, left : left + side]
        way = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        image = cv2.cvtColor(cv2.resize(square, (size, size), interpolation=way), cv2.COLOR_BGR2RGB)
        return Portrait(image.astype(np.uint8, copy=False), (shape - (left, top) + 0.5) * (size / side) - 0.5)


def read_photographs(folder: Path, fewest: int = 1) -> list[Photograph]:
    """The rows of ``faces.csv`` (or ``landmarks.csv``) of a folder, in the order of the table.

    Columns: ``file``, ``landmarks`` (10 or 136 numbers, parted by blanks), and if known ``identity`` (else every file
    is its own person) and ``collection``. Without that column the text before the first ``_`` of the file name is the
    collection, as long as every one so made has ``fewest`` people; else all belong to one.

    Raises:
        DataError: no folder, no table, no row, a missing column, a row without landmarks, a file named twice.
    """
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; give a folder of photographs with a {TABLES[0]}, or write portraits for drawn "
            "people"
        )
    table = next((folder / name for name in TABLES if (folder / name).is_file()), None)
    if table is None:
        raise DataError(f"{folder}: has no {' or '.join(TABLES)}; write one with the columns file,identity,landmarks")
    with table.open(newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    if not rows:
        raise DataError(f"{table}: has no rows; write one row for every photograph")
    for column in ("file", "landmarks"):
        if column not in rows[0]:
            raise DataError(f"{table}: has no column {column!r}{suggest(column, [k for k in rows[0] if k])}")
    photographs = [_photograph(folder, table, row) for row in rows]
    files = Counter(p.path for p in photographs)
    twice = [path for path, n in files.items() if n > 1]
    if twice:
        raise DataError(f"{table}: {twice[0].name} is named {files[twice[0]]} times; keep one row for every file")
    unknown = sorted(p for p in folder.iterdir() if p.suffix.lower() in PICTURES and p not in files)
    if unknown:
        more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
        raise DataError(f"{unknown[0]}{more}: no landmarks in {table.name}; add a row or move the file away")
    if "collection" in rows[0]:
        return photographs
    return _by_prefix(photographs, fewest)


def _photograph(folder: Path, table: Path, row: dict[str, str | None]) -> Photograph:
    name = (row["file"] or "").strip()
    text = (row["landmarks"] or "").replace(",", " ").split()
    if not name:
        raise DataError(f"{table}: a row has no file name")
    if not text:
        raise DataError(f"{folder / name}: has no landmarks in {table.name}; write 5 or 68 points 'x y x y ...'")
    try:
        points = check_points([float(t) for t in text])
    except ValueError:
        raise DataError(
            f"{folder / name}: landmarks in {table.name} must be numbers, got {' '.join(text)[:60]!r}"
        ) from None
    except DataError as wrong:
        raise DataError(f"{folder / name}: {wrong}") from None
    collection = (row.get("collection") or "").strip() or "photos"
    return Photograph(folder / name, (row.get("identity") or "").strip() or Path(name).stem, collection, points)


def _by_prefix(photographs: Sequence[Photograph], fewest: int) -> list[Photograph]:
    people: dict[str, set[str]] = defaultdict(set)
    for p in photographs:
        people[p.path.name.partition("_")[0]].add(p.identity)
    together = sum(len(names) for names in people.values()) > len({p.identity for p in photographs})
    if together or min(len(names) for names in people.values()) < fewest:
        return list(photographs)
    return [replace(p, collection=p.path.name.partition("_")[0]) for p in photographs]
