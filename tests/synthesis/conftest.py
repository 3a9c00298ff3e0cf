"""Drawn faces: flat ellipses with grain, enough for the mechanics of forging."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from unfooled.synthesis.landmarks import MEAN_SHAPE, Points, five_of
from unfooled.synthesis.portraits import Portrait


def _draw(seed: int, size: int = 96) -> tuple[np.ndarray, Points]:
    """A face picture (size, size, 3) uint8 RGB and its 68 points."""
    rng = np.random.default_rng(seed)
    unit = size * rng.uniform(0.27, 0.31)
    shape = MEAN_SHAPE * (rng.uniform(0.95, 1.05), 1) * unit + (size / 2, size * 0.36)
    image = np.full((size, size, 3), rng.integers(60, 200, 3), np.uint8)
    skin = rng.integers(90, 220, 3).tolist()
    cv2.fillConvexPoly(image, cv2.convexHull(np.int32(np.vstack([shape[:17], shape[17:27] - (0, unit * 0.4)]))), skin)
    for part in (shape[36:42], shape[42:48], shape[48:60]):
        cv2.fillConvexPoly(image, np.int32(part), rng.integers(20, 120, 3).tolist())
    cv2.polylines(image, [np.int32(shape[27:31])], False, rng.integers(40, 200, 3).tolist(), 2)
    grain = cv2.resize(rng.normal(0, 12, (size // 2, size // 2, 3)), (size, size)) + rng.normal(0, 8, image.shape)
    return np.clip(image + grain, 0, 255).astype(np.uint8), shape


def _portrait(seed: int, size: int = 96) -> Portrait:
    return Portrait(*_draw(seed, size))


def _album(folder: Path, people: dict[str, int], shots: int = 1, points: int = 5) -> Path:
    """A folder of drawn photographs with faces.csv: so many people in each collection."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "faces.csv").open("w", newline="") as lines:
        table = csv.writer(lines)
        table.writerow(["file", "identity", "landmarks"])
        for c, (collection, count) in enumerate(people.items()):
            for who in range(count):
                for shot in range(shots):
                    image, shape = _draw(1000 * c + 10 * who + shot)
                    name = f"{collection}_{who:03}_{shot}.png"
                    cv2.imwrite(str(folder / name), image[:, :, ::-1])
                    marks = five_of(shape) if points == 5 else shape
                    table.writerow([name, f"{collection}-{who}", " ".join(f"{v:.2f}" for v in marks.ravel())])
    return folder


@pytest.fixture(scope="session")
def portrait() -> Callable[..., Portrait]:
    """``portrait(seed, size=96)``: a drawn face."""
    return _portrait


@pytest.fixture(scope="session")
def album() -> Callable[..., Path]:
    """``album(folder, {"collection": people}, shots=1, points=5)``: a folder of drawn faces with its table."""
    return _album
