"""Frames a second of a bulk scan against ``prepare`` alone, in one run; seconds to the first verdict from a cold start.

Both go over the same 1280 x 720 H.264 files, made from FILE, with the same face detector and as many processes; repeats
are interleaved. The time is that of the whole call, with the start of its processes, and for a busy machine also their
CPU time (both sides compute with one thread a process). ``full`` is the scan as it is by default, with evidence, margin
and signs of tampering; ``quick`` is ``--margin off``. Bar: .8 of the rate of ``prepare``. The cold start is the command
``unfooled scan`` on ten seconds of the file, from its call to its end. Bar: 15 s.

    python benchmarks/scan.py --video FILE --detector runs/afsl
    python benchmarks/scan.py --video FILE --files 4 --frames 60 --repeats 1 --only quick    # a first look
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, repeat
from pathlib import Path

import cv2
import numpy as np

from unfooled.codecs import encode_video
from unfooled.data.cropping import Settings
from unfooled.data.images import Pixels
from unfooled.data.manifest import Manifest
from unfooled.data.prepare import prepare
from unfooled.data.video import decode, probe
from unfooled.scanning.bulk import scan_many
from unfooled.scanning.options import ScanOptions

BAR_RATE, BAR_COLD = 0.8, 15.0
HD = (1280, 720)


def frames_of(path: Path) -> Iterator[Pixels]:
    """The frames of a file in 720p, forwards and backwards without end."""
    once = [cv2.resize(frame.pixels, HD, interpolation=cv2.INTER_AREA) for frame in decode(path)]
    return chain.from_iterable(repeat([*once, *once[::-1]]))


def make(video: Path, folder: Path, files: int, frames: int) -> list[Path]:
    """Distinct files of so many frames, each a little later in the video than the one before."""
    source, made = frames_of(video), []
    clip = [next(source) for _ in range(frames)]
    for number in range(files):
        path = folder / f"{number:03}.mkv"
        path.write_bytes(encode_video(np.stack(clip), probe(video).fps))
        made.append(path)
        clip = [*clip[5:], *(next(source) for _ in range(5))]
    return made


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall time, and of the CPU time of this process and of those that it has started."""

    def cpu() -> float:
        return sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))

    start, before = time.perf_counter(), cpu()
    work()
    return time.perf_counter() - start, cpu() - before


def measure_rate(paths: list[Path], frames: int, args: argparse.Namespace) -> bool:
    """Print the rates of ``prepare`` and of both scans; whether each is above the bar."""
    rows = [
        {"id": f"b/Real/{p.name}", "path": p.name, "label": 0, "video": p.stem, "manipulation": "Real", "split": "test",
         "identity": p.stem} for p in paths
    ]  # fmt: skip
    source, settings = Manifest.from_rows(rows, paths[0].parent), Settings(detector=args.face_detector)
    options = {
        "full": ScanOptions(face_detector=args.face_detector),
        "quick": ScanOptions(face_detector=args.face_detector, margin="off"),
    }
    kinds = ["prepare", *([args.only] if args.only else options)]
    taken: dict[str, list[tuple[float, float]]] = {kind: [] for kind in kinds}
    for _ in range(args.repeats):
        for kind in kinds:
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "out"
                if kind == "prepare":
                    taken[kind].append(timed(lambda out=out: prepare(source, out, settings, workers=args.workers)))
                else:
                    chosen = options[kind]
                    taken[kind].append(
                        timed(lambda out=out, o=chosen: scan_many(paths, out, args.detector, o, workers=args.workers))
                    )
    held, total = [], frames * len(paths)
    for kind, times in taken.items():
        wall, cpu = (statistics.median(total / t[k] for t in times) for k in (0, 1))
        pairs = list(zip(times, taken["prepare"], strict=True))
        ratios = [statistics.median(p[k] / t[k] for t, p in pairs) for k in (0, 1)]
        told = f"{kind:8} {wall:7.1f} frames/s, {cpu:7.1f} a second of CPU time"
        if kind != "prepare":
            told += f"; of prepare {ratios[0]:.2f} (CPU {ratios[1]:.2f}), bar {BAR_RATE}"
            held.append(ratios[0] >= BAR_RATE)
        print(told, flush=True)
    return all(held)


def measure_cold(video: Path, folder: Path, args: argparse.Namespace) -> bool:
    """Print the seconds of the command on ten seconds of video; whether they are below the bar."""
    fps = probe(video).fps
    (clip,) = make(video, folder, 1, round(10 * fps))
    call = [sys.executable, "-c", "from unfooled.cli import main; main()", "scan", str(clip)]
    call += ["--face-detector", args.face_detector, *(["--detector", str(args.detector)] if args.detector else [])]
    held = []
    for kind, more in (("full", []), ("quick", ["--margin", "off"])):
        if args.only not in (None, kind):
            continue
        seconds = []
        for number in range(args.repeats):
            out = folder / f"{kind}{number}"
            start = time.perf_counter()
            subprocess.run([*call, *more, "--out", str(out)], check=True, capture_output=True)
            seconds.append(time.perf_counter() - start)
        middle = statistics.median(seconds)
        print(
            f"{kind:8} first verdict on 10 s of 720p ({fps:g} fps) after {middle:.1f} s, bar {BAR_COLD:g}", flush=True
        )
        held.append(middle <= BAR_COLD)
    return all(held)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True, help="a video with a face")
    parser.add_argument("--detector", type=Path, help="a run folder; default: the small one of the package")
    parser.add_argument("--face-detector", default="haar")
    parser.add_argument("--files", type=int, default=12)
    parser.add_argument("--frames", type=int, default=250, help="of each file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["full", "quick"])
    parser.add_argument("--no-cold", action="store_true", help="leave out the cold start")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        paths = make(args.video, Path(folder), args.files, args.frames)
        print(f"{len(paths)} files of {args.frames} frames, {args.workers} processes, {args.face_detector}", flush=True)
        held = [measure_rate(paths, args.frames, args)]
        if not args.no_cold:
            held.append(measure_cold(args.video, Path(folder), args))
    if args.check and not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
