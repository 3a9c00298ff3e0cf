"""Forged faces per second on one core: ``python benchmarks/forge.py ../shared/data/faces``."""

from __future__ import annotations

import argparse
import csv
import os
import tempfile
import time
from pathlib import Path

# Before NumPy starts its threads: the bar is one core.
os.environ.update({"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"})

from unfooled.synthesis.forge import forge
from unfooled.synthesis.forgeries import MANIPULATIONS

BAR = 25.0


def subset(source: Path, folder: Path, photographs: int) -> Path:
    """A table of the first photographs of every collection; the images stay where they are."""
    with (source / "faces.csv").open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    rows = rows[:: max(len(rows) // photographs, 1)]
    with (folder / "faces.csv").open("w", newline="", encoding="utf-8") as lines:
        table = csv.writer(lines)
        table.writerow(["file", "identity", "landmarks", "collection"])
        table.writerows([(source / r["file"]).absolute(), r["identity"], r["landmarks"], "all"] for r in rows)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="folder of photographs with a faces.csv")
    parser.add_argument("--photographs", type=int, default=150)
    parser.add_argument("--size", type=int, default=128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        table = subset(options.source, Path(scratch), options.photographs)
        for name in [*MANIPULATIONS, None]:
            out = Path(scratch) / (name or "all")
            wall, core = time.perf_counter(), time.process_time()
            summary = forge(table, out, manipulations=name and [name], size=options.size, workers=0)
            wall, core = time.perf_counter() - wall, time.process_time() - core
            fakes = sum(summary.fake.values())
            speed = f"{fakes / core:7.1f} /s of one core {fakes / wall:7.1f} /s of wall clock"
            print(f"{name or 'all five':<16}{fakes:5} fakes {speed}")
    verdict = "met" if fakes / core >= BAR else "MISSED"
    print(f"real faces, autoencoders and PNG files included; bar: {BAR:g} fakes/s: {verdict}")


if __name__ == "__main__":
    main()
