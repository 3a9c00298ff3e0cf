"""Rendered frames per second of one core: ``python benchmarks/portraits.py``."""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

# Before NumPy starts its threads: the bar is one core.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})

import cv2

from unfooled.codecs import encode_png
from unfooled.synthesis.portraits import contact_sheet, portraits

BAR = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=8)
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=3, help="the fastest one counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sheet", type=Path, help="also write a PNG with a face of each of 24 people")
    options = parser.parse_args()
    if options.sheet:
        clips = portraits(24, 60, options.seed)
        faces = contact_sheet([clips[60 * p + 17 * p % 60] for p in range(24)], 8, 112)
        options.sheet.write_bytes(encode_png(faces, effort=9))
    cv2.setNumThreads(1)
    frames = portraits(options.people, options.frames, options.seed)
    first = time.process_time()
    for frame in frames[:: options.frames]:
        frame.portrait(options.size)
    first = (time.process_time() - first) / options.people
    rounds = []
    for _ in range(options.rounds):
        core, wall = time.process_time(), time.perf_counter()
        for frame in frames:
            frame.portrait(options.size)
        rounds.append((time.process_time() - core, time.perf_counter() - wall))
    # Whatever else runs on the machine can only slow a round down.
    core, wall = min(rounds)
    rate = len(frames) / core
    print(f"a person, painted once, with the first frame: {first:.2f} s of one core")
    print(f"{len(frames)} frames of {options.size} px, camera and JPEG included: {rate:.1f} /s of one core, "
          f"{len(frames) / wall:.1f} /s of wall clock")  # fmt: skip
    print(f"bar: {BAR:g} frames/s at 128 px; ratio {rate / BAR:.2f}: {'met' if rate >= BAR else 'MISSED'}")


if __name__ == "__main__":
    main()
