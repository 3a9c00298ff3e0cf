"""A scanner that needs no detector: what a file does is written in the file. Imported by the worker process too."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unfooled.scanning.options import ScanOptions
from unfooled.scanning.verdict import (
    About,
    Margin,
    Media,
    Point,
    Scan,
    Tampering,
    Telling,
    Thresholds,
    Track,
)
from unfooled.service.settings import Scans

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc00000030101"
    "00c9fe92ef0000000049454e44ae426082"
)
ABOUT = About(
    name="fake", digest="0" * 64, calibrated=False, calibration="not calibrated", note="made up for tests; no detector"
)


class FakeScanner:
    """Reads ``{"do": ...}`` from the file; anything else is given a verdict at once."""

    @property
    def about(self) -> About:
        return ABOUT

    def __call__(
        self,
        path: Path,
        *,
        name: str | None = None,
        evidence: Path | None = None,
        progress: Callable[[str, float], None] | None = None,
    ) -> Scan:
        data = path.read_bytes()
        try:
            wish = json.loads(data)
        except ValueError:
            wish = {}
        wish = wish if isinstance(wish, dict) else {}
        do, say = wish.get("do"), progress or (lambda stage, share: None)
        say("faces", 0.0)
        if do == "sleep":
            end = time.monotonic() + wish["seconds"]
            while time.monotonic() < end:
                time.sleep(0.02)
                say("faces", 0.5)
        elif do == "eat":
            bytearray(wish["megabytes"] << 20)
        elif do == "die":
            os.kill(os.getpid(), signal.SIGSEGV)
        elif do == "raise":
            raise ValueError("an odd file")
        elif do == "disk":
            flag = Path(wish["flag"])
            if not flag.exists():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if do == "broken":
            return scan_of(name or path.name, data, "unreadable", "is no video")
        if evidence is not None:
            evidence.mkdir(parents=True, exist_ok=True)
            for picture in ("a.png", "a-saliency.png"):
                (evidence / picture).write_bytes(PNG)
        say("scores", 1.0)
        return scan_of(name or path.name, data)


def scan_of(name: str, data: bytes, status: Any = "ok", reason: str = "") -> Scan:
    """A whole Scan of made-up numbers."""
    ok = status == "ok"
    points = [
        Point(time=k / 5, frame=6 * k, box=(20 + k, 10, 50 + k, 44), logit=k / 4 - 1, probability=0.1 + 0.08 * k)
        for k in range(10)
    ]
    telling = [Telling(time=1.8, frame=54, logit=1.25, crop="a.png", saliency="a-saliency.png")]
    track = Track(
        id="0-0", start=0.0, stop=1.8, frames=55, verdict="fake", logit=0.125, probability=0.82, points=points,
        telling=telling,
    )  # fmt: skip
    return Scan(
        file=name, sha256=hashlib.sha256(data).hexdigest(), status=status, reason=reason,
        verdict="fake" if ok else None, logit=0.125 if ok else None, probability=0.82 if ok else None, rule="max",
        thresholds=Thresholds(real_below=0.3, fake_above=0.7, target_fpr=None),
        media=Media(width=96, height=64, fps=30.0, frames=60, seconds=1.97) if ok else None,
        tracks=[track] if ok else [],
        margin=Margin(linf_255=0.6, attack="made up", searched_255=8.0, fragile=True, survives_rounding=True)
        if ok
        else None,
        tampering=Tampering(
            logits={"as it is": 0.125, "jpeg 90": 0.1}, jump=0.025, limit=2.0, flagged=False, detection_rate=None,
            false_alarm_rate=None,
        )
        if ok
        else None,
        cautions=["The detector is not calibrated: its probability is no probability."] if ok else [],
        detector=ABOUT, unfooled="0",
    )  # fmt: skip


def fake(run: Path | None, options: ScanOptions) -> Scans:
    """The opener for ``Settings``."""
    from unfooled.errors import ConfigError

    if run is not None and not run.exists():
        raise ConfigError(f"{run} is no run folder")
    return FakeScanner()
