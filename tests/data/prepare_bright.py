"""Prepares a manifest with a detector of bright squares that takes its time; a test kills it in the middle.

python prepare_bright.py MANIFEST OUT SECONDS_A_LOOK
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import cv2
import numpy as np

from unfooled.data import cropping
from unfooled.data import prepare as module
from unfooled.data.cropping import Settings
from unfooled.data.faces import Face
from unfooled.data.images import Pixels
from unfooled.data.manifest import Manifest


class Bright:
    """Finds every bright square on a dark ground."""

    name = "bright"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def __call__(self, pixels: Pixels) -> list[Face]:
        time.sleep(self.seconds)
        mask = (pixels[..., 1] > 128).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [tuple(map(float, (x, y, x + w, y + h))) for x, y, w, h, _ in stats[1:count]]
        return [Face(box, 0.9) for box in boxes]  # type: ignore[arg-type]


def main() -> None:
    manifest, out, seconds = sys.argv[1:]
    cropping.face_detector = module.face_detector = lambda name: Bright(float(seconds))  # type: ignore[assignment]
    found = module.prepare(Manifest.read(manifest), Path(out), Settings(size=32, every=1), workers=0)
    print(dict(found.statuses))


if __name__ == "__main__":
    main()
