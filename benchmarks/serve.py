"""Load on the service: many clients upload at once while it is killed and started again; nothing may be lost.

    python benchmarks/serve.py --detector runs/afsl                          # 50 clients, 5 MB, 2 minutes
    python benchmarks/serve.py --detector runs/afsl --clients 4 --seconds 20

Each upload is another file: a short clip, padded to its size with a box that players pass over, with a number in it.
Allowed are 200, 202, 429 and, from the kill until the service answers again, a refused or broken connection. At the end
every id that was given out must be done. Prints a JSON object; exit status 1 when something was lost or went wrong.
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import av
import numpy as np

BOUNDARY = "load"


def clip(frames: int = 8, side: int = 96) -> bytes:
    """An MP4 of noise; with ``--face-detector whole`` it is a face."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(80, 170, (frames, side, side, 3)).astype(np.uint8)
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = side
        stream.pix_fmt = "yuv420p"
        for picture in pixels:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


class Load:
    """The clients, and what they were told."""

    def __init__(self, port: int, size: int) -> None:
        self.port = port
        self.numbers = itertools.count()
        start = clip()
        self.start = start + (size - len(start)).to_bytes(4, "big") + b"free"
        self.rest = bytes(size - len(self.start) - 16)
        self.ids: list[str] = []
        self.counts: Counter[str] = Counter()
        self.seconds: list[float] = []
        self.wrong: list[str] = []
        self.down = False
        self.over = False

    def form(self) -> bytes:
        number = f"{next(self.numbers):016d}".encode()
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="load.mp4"\r\n\r\n'.encode()
        return b"".join((head, self.start, number, self.rest, f"\r\n--{BOUNDARY}--\r\n".encode()))

    def client(self) -> None:
        link = None
        while not self.over:
            was_down, started = self.down, time.perf_counter()
            try:
                link = link or http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
                kind = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
                link.request("POST", "/v1/scan", self.form(), kind)
                answer = link.getresponse()
                body = json.loads(answer.read())
            except (OSError, http.client.HTTPException) as error:
                link = None
                # The service may have been killed while this upload was on its way.
                time.sleep(0.3)
                if was_down or self.down:
                    self.counts["down"] += 1
                else:
                    self.wrong.append(f"{type(error).__name__}: {error}")
                continue
            self.counts[str(answer.status)] += 1
            self.seconds.append(time.perf_counter() - started)
            if answer.status in (200, 202):
                self.ids.append(body["id"])
            elif answer.status == 429:
                time.sleep(float(answer.headers["Retry-After"]))
            else:
                self.wrong.append(f"{answer.status}: {body}")

    def ask(self, way: str) -> tuple[int, Any]:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        link.request("GET", way)
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())


def started(command: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    line = process.stdout.readline()
    if "is ready" not in line:
        raise SystemExit(f"the service did not start: {line}")
    return process


def memory(pid: int) -> float:
    """Most MB that a process had in memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1e3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--detector", required=True)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--megabytes", type=float, default=5)
    parser.add_argument("--queue", type=int, default=100)
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-c", "from unfooled.cli import main; main()", "serve", "--detector", options.detector,
            "--port", str(port), "--data", f"{folder}/data", "--queue", str(options.queue), "--face-detector", "whole",
            "--margin", "off",
        ]  # fmt: skip
        service = started(command)
        load = Load(port, int(options.megabytes * 1e6))
        clients = [threading.Thread(target=load.client) for _ in range(options.clients)]
        for client in clients:
            client.start()
        time.sleep(options.seconds / 2)
        before = len(load.ids)
        load.down, killed = True, time.perf_counter()
        os.kill(service.pid, signal.SIGKILL)
        service.wait()
        service = started(command)
        while True:
            try:
                load.ask("/v1/health")
                break
            except OSError:
                time.sleep(0.1)
        away = time.perf_counter() - killed
        # Uploads that the kill broke may learn of it a moment later.
        time.sleep(1)
        load.down = False
        time.sleep(options.seconds / 2)
        load.over = True
        for client in clients:
            client.join()
        drained = time.perf_counter()
        ends: Counter[str] = Counter()
        for key in load.ids:
            while True:
                status, job = load.ask(f"/v1/scan/{key}")
                if status != 200 or job["state"] in ("done", "failed"):
                    break
                time.sleep(0.2)
            ends[job["state"] if status == 200 else "lost"] += 1
        seconds = np.sort(load.seconds)
        result = {
            "clients": options.clients, "megabytes": options.megabytes, "seconds": options.seconds,
            "answers": dict(load.counts), "accepted": len(load.ids), "accepted_before_the_kill": before,
            "ends": dict(ends), "wrong": load.wrong[:10], "seconds_away": round(away, 2),
            "answer_p50_s": round(float(np.quantile(seconds, 0.5)), 3),
            "answer_p95_s": round(float(np.quantile(seconds, 0.95)), 3), "answer_max_s": round(float(seconds[-1]), 3),
            "seconds_to_drain": round(time.perf_counter() - drained, 1),
            "service_peak_mb": round(memory(service.pid)),
            "uploads_left": len(list(Path(f"{folder}/data/uploads").iterdir())),
        }  # fmt: skip
        service.send_signal(signal.SIGINT)
        service.wait()
    print(json.dumps(result, indent=1))
    sys.exit(bool(load.wrong) or ends != Counter({"done": len(load.ids)}) or result["uploads_left"] != 0)


if __name__ == "__main__":
    main()
