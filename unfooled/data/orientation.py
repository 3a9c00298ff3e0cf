"""Stored pictures made upright and progressive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

from unfooled.codecs import Pixels

Matrix = tuple[tuple[int, int], tuple[int, int]]


def matrix_of(picture: VideoFrame) -> Matrix:
    """((a, b), (c, d)): a stored point (x, y) is shown at (a x + c y, b x + d y)."""
    notes = cast(Mapping[Type, Any], picture.side_data)
    if Type.DISPLAYMATRIX not in notes:
        return (1, 0), (0, 1)
    values = np.frombuffer(bytes(notes[Type.DISPLAYMATRIX]), np.int32)
    return (int(values[0]), int(values[1])), (int(values[3]), int(values[4]))


def lies_flat(matrix: Matrix) -> bool:
    """Rows stay rows: no turn by a quarter."""
    (a, b), (c, d) = matrix
    return abs(a) + abs(d) >= abs(b) + abs(c)


def turned(pixels: Pixels, matrix: Matrix) -> Pixels:
    """(H, W, 3) pixels as they are shown; the nearest of the eight ways to turn and mirror."""
    (a, b), (c, d) = matrix
    right, down = (a, d) if lies_flat(matrix) else (c, b)
    if not lies_flat(matrix):
        pixels = pixels.transpose(1, 0, 2)
    return pixels[:: -1 if down < 0 else 1, :: -1 if right < 0 else 1]


def one_field(pixels: Pixels) -> Pixels:
    """The first of two interlaced fields; each line of the other is the mean of its neighbours."""
    pixels = pixels.copy()
    above, below = pixels[:-2:2].astype(np.uint16), pixels[2::2]
    pixels[1 : 2 * len(below) : 2] = (above + below + 1) // 2
    if len(pixels) > 1 and len(pixels) % 2 == 0:
        pixels[-1] = pixels[-2]
    return pixels
