"""Reads mutated video files in a process of its own, so that a crash of the decoder is a failed test and no more.

    python mutate_videos.py SCRATCH COUNT SEED...

Prints each case as it starts, and at the end how many gave frames and how many were refused.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from unfooled.data.video import decode, evenly, probe
from unfooled.errors import DataError

NAMES = ["a.mp4", "a.mkv", "a.avi", "a.jpg", "a.m3u8", "a.mov", "a.mpg", "a"]


def mutated(data: bytes, way: int, rng: np.random.Generator) -> bytes:
    """``data`` damaged in one of eight ways."""
    found = bytearray(data)
    size = len(found)
    a, b = sorted(int(v) for v in rng.integers(0, size, 2))
    if way == 0:
        return bytes(found[:a])
    if way == 1:  # a few bytes anywhere
        for at in rng.integers(0, size, int(rng.integers(1, 40))):
            found[at] = int(rng.integers(256))
    elif way == 2:  # a few bits near either end, where headers and indexes are
        for at in rng.integers(0, min(size, 1500), 6):
            found[at if rng.random() < 0.5 else -at - 1] ^= 1 << int(rng.integers(8))
    elif way == 3:
        found[a : a + 4096] = bytes(len(found[a : a + 4096]))
    elif way == 4:  # two chunks change places
        half = max(1, min((b - a), size - b) // 2)
        found[a : a + half], found[b : b + half] = found[b : b + half], found[a : a + half]
    elif way == 5:  # a chunk is gone
        del found[a : a + max(1, (b - a) // 4)]
    elif way == 6:  # a chunk comes twice
        found[a:a] = found[a : a + 2000]
    else:  # the largest number where sizes and counts are
        for at in rng.integers(0, min(size, 1500), 2):
            at = size - 4 - at if rng.random() < 0.5 else at
            found[at : at + 4] = b"\xff\xff\xff\xff" if rng.random() < 0.5 else b"\x7f\xff\xff\xff"
    return bytes(found)


def main() -> None:
    scratch, count = Path(sys.argv[1]), int(sys.argv[2])
    seeds = [Path(name).read_bytes() for name in sys.argv[3:]]
    decoded = refused = 0
    for case in range(count):
        rng = np.random.default_rng(case)
        # Real files are long: the start of one is enough, its header is cut off the index then.
        data = seeds[case % len(seeds)]
        path = scratch.with_name(NAMES[case % len(NAMES)])
        path.write_bytes(b"" if case == 0 else mutated(data, case // len(seeds) % 8, rng))
        print(case, path.name, flush=True)
        try:
            if case % 5 == 4:
                frames = evenly(path, 3)
                assert 1 <= len(frames) <= 3
            else:
                probe(path)
                last = -np.inf
                for frame in decode(path, stop=0.3 if len(data) > 300_000 else None, start=0.1 * (case % 3)):
                    assert frame.time > last
                    assert frame.pixels.ndim == 3
                    last = frame.time
            decoded += 1
        except DataError as error:
            reason = str(error)
            refused += 1
            assert reason.startswith(str(path))
            assert "\n" not in reason
        finally:
            path.unlink()
    print(decoded, refused)


if __name__ == "__main__":
    main()
