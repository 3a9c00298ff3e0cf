"""Frames per second of decoding and preparing on one core, against their floors in one run; memory of a long file.

Decoding: both sides decode the same file with one thread into RGB arrays; repeats are interleaved and CPU time is
counted, so that a busy machine slows both; the ratio is the median over repeats. The long file repeats the packets of
FILE without encoding them again, and is decoded in a process of its own whose peak memory is printed. Bar: < 700 MB for
30 minutes. Preparing: all of ``prepare`` (decode twice, find, follow, align, crop, write) against the face detector
alone on every decoded frame, which is what it may not be much slower than. Bar: .8. ``--hd`` makes a 1280 x 720 copy
first. ``--copies 8`` prepares as many copies of the file with one worker process and with two, wall time, starting the
processes included; for an idle machine only. Bar: 1.8.

    python benchmarks/video.py --video FILE --minutes 30
    python benchmarks/video.py --video FILE --minutes 0 --hd --detector yunet
    python benchmarks/video.py --video FILE --minutes 0 --hd --detector yunet --copies 12
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from unfooled.codecs import encode_video
from unfooled.data.cropping import Settings, crop_file
from unfooled.data.faces import face_detector
from unfooled.data.folder import read_folder
from unfooled.data.prepare import prepare
from unfooled.data.video import decode, probe

BAR_MB = 700
BAR_PREPARE = 0.8
BAR_WORKERS = 1.8


def ours(path: Path) -> int:
    """Frames that ``decode`` gives."""
    return sum(1 for _ in decode(path))


def bare(path: Path) -> int:
    """Frames of PyAV's own loop with one thread, as RGB arrays."""
    with av.open(str(path)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        return sum(frame.to_ndarray(format="rgb24", threads=1).shape[2] == 3 for frame in container.decode(video=0))


def rate(read: Callable[[Path], int], path: Path) -> float:
    """Frames per second of CPU time."""
    start = time.process_time()
    return read(path) / (time.process_time() - start)


def lengthen(path: Path, target: Path, minutes: float) -> None:
    """The video packets of ``path`` again and again until they last so long, copied as they are."""
    with av.open(str(target), "w") as out:
        shift, stream = 0, None
        while True:
            with av.open(str(path)) as container:
                source = container.streams.video[0]
                stream = stream or out.add_stream_from_template(source)
                first, end = None, 0
                for packet in container.demux(source):
                    if packet.dts is None:
                        continue
                    first = packet.dts if first is None else first
                    end = max(end, packet.dts - first + (packet.duration or 1))
                    packet.dts, packet.pts = packet.dts - first + shift, packet.pts - first + shift
                    packet.stream = stream
                    out.mux(packet)
                shift += end
                if shift * source.time_base >= 60 * minutes:
                    return


def peak_mb(path: Path) -> tuple[int, float]:
    """Frames and peak resident memory of a fresh process that decodes a file."""
    code = "import resource, sys; from unfooled.data.video import decode; n = sum(1 for _ in decode(sys.argv[1]));"
    code += "print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True)
    frames, kilobytes = map(int, done.stdout.split())
    return frames, kilobytes / 1024


def measure_decoding(path: Path, repeats: int) -> None:
    """Print the rate of ``decode`` and its ratio to the bare library's."""
    ours(path), bare(path)
    pairs = [(rate(ours, path), rate(bare, path)) for _ in range(repeats)]
    ratio = statistics.median(a / b for a, b in pairs)
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    info = probe(path)
    print(
        f"decode {info.width}x{info.height} {info.codec}, one thread: {mine:.0f} frames/s, "
        f"bare PyAV {theirs:.0f} frames/s, ratio {ratio:.3f}"
    )


def measure_memory(path: Path, minutes: float) -> bool:
    """Print the peak memory over a file of so many minutes; whether it is below the bar."""
    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.mkv"
        lengthen(path, long, minutes)
        short_frames, short = peak_mb(path)
        frames, peak = peak_mb(long)
    print(
        f"memory: {peak:.0f} MB at the peak over {frames} frames ({minutes:g} min), {short:.0f} MB over "
        f"{short_frames} frames (bar {BAR_MB} MB)"
    )
    return peak < BAR_MB


def measure_preparing(path: Path, detector: str, every: int, repeats: int) -> bool:
    """Print the rate of ``prepare`` and its ratio to the detector alone; whether it is above the bar."""
    cv2.setNumThreads(1)
    find = face_detector(detector)
    frames = [frame.pixels for frame in decode(path)]
    settings = Settings(detector=detector, every=every)
    rates = []
    for _ in range(repeats):
        start = time.process_time()
        for pixels in frames:
            find(pixels)
        between = time.process_time()
        with tempfile.TemporaryDirectory() as folder:
            told = crop_file(path, Path(folder), settings)
        rates.append((len(frames) / (time.process_time() - between), len(frames) / (between - start)))
    ratio = statistics.median(a / b for a, b in rates)
    mine, alone = (statistics.median(side) for side in zip(*rates, strict=True))
    crops = sum(len(track["frames"]) for track in told["tracks"])
    print(
        f"prepare {frames[0].shape[1]}x{frames[0].shape[0]}, {find.name}, every={every}, one thread: {mine:.0f} "
        f"frames/s ({crops} crops of {len(frames)} frames), {find.name} alone on every frame {alone:.0f} frames/s, "
        f"ratio {ratio:.2f} (bar {BAR_PREPARE})"
    )
    return ratio >= BAR_PREPARE


def measure_workers(path: Path, detector: str, every: int, copies: int, repeats: int) -> bool:
    """Print how much faster two processes are than one; whether it is above the bar."""
    times: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "set" / "real").mkdir(parents=True)
        for number in range(copies):
            shutil.copy(path, folder / "set" / "real" / f"{number:03}{path.suffix}")
        files = read_folder(folder / "set")
        for repeat in range(repeats):
            for workers, seconds in times.items():
                start = time.perf_counter()
                out = folder / f"out-{repeat}-{workers}"
                prepare(files, out, Settings(detector=detector, every=every), workers=workers)
                seconds.append(time.perf_counter() - start)
                shutil.rmtree(out)
    ratio = statistics.median(one / two for one, two in zip(times[1], times[2], strict=True))
    one, two = (statistics.median(seconds) for seconds in times.values())
    print(f"prepare {copies} files: 1 worker {one:.1f} s, 2 workers {two:.1f} s, ratio {ratio:.2f} (bar {BAR_WORKERS})")
    return ratio >= BAR_WORKERS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=30, help="length of the synthesised file; 0 leaves it out")
    parser.add_argument("--detector", help="also measure prepare with it: haar, yunet, an .onnx file")
    parser.add_argument("--every", type=int, default=Settings().every)
    parser.add_argument("--copies", type=int, default=0, help="files to prepare with one and two workers; 0: leave out")
    parser.add_argument("--hd", action="store_true", help="measure a 1280 x 720 copy of the file")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        video = args.video
        if args.hd:
            video = Path(folder) / "hd.mkv"
            frames = [cv2.resize(frame.pixels, (1280, 720)) for frame in decode(args.video)]
            video.write_bytes(encode_video(np.stack(frames)))
            del frames
        measure_decoding(video, args.repeats)
        held = [measure_memory(video, args.minutes)] if args.minutes else []
        held += [measure_preparing(video, args.detector, args.every, args.repeats)] if args.detector else []
        if args.detector and args.copies:
            held.append(measure_workers(video, args.detector, args.every, args.copies, max(1, args.repeats // 2)))
    if args.check and not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
