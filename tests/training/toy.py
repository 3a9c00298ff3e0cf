"""A made-up set of striped and plain 32 px pictures, and one short run on it; also run as a script, to be killed."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import nn

from unfooled import models, objectives
from unfooled.attacks import PGD
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.models.detector import Detector, LinearHead
from unfooled.threats import Linf
from unfooled.training import FitResult, Settings, fit

ATTACK = PGD(Linf(4 / 255), steps=2)


def write(root: Path, rows: int = 64) -> Path:
    """A manifest with ``rows`` pictures in each of train and validation; a fake has stripes."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    table: list[dict[str, object]] = []
    for split in ("train", "validation", "test"):
        for number in range(rows):
            fake = number % 2
            pixels = rng.integers(60, 196, (8, 8, 3)).repeat(4, 0).repeat(4, 1)
            pixels[::2] += 50 * fake
            name = f"{split}{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(root / name)
            person, kind = f"{split} {number // 2}", "Stripes" if fake else "Real"
            table.append(
                {"id": name, "path": name, "label": fake, "video": name, "identity": person, "split": split,
                 "manipulation": kind, "dataset": "toy"}
            )  # fmt: skip
    Manifest.from_rows(table, root).write(root / "manifest.parquet")
    return root / "manifest.parquet"


def frames(manifest: Path, split: str = "train") -> Frames:
    return Frames(Manifest.read(manifest).select(split=split), 32, augment=("flip",) if split == "train" else ())


def detector() -> Detector:
    torch.manual_seed(0)
    return models.create("resnet", width=4, stem_stride=2)


def without_batch_norm() -> Detector:
    torch.manual_seed(0)
    return Detector(
        nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()), LinearHead(32), std=0.2
    )


def settings(**options: Any) -> Settings:
    return Settings(**{"epochs": 2, "batch_size": 8, "lr": 0.05, "workers": 0, "device": "cpu", **options})


def afsl(manifest: Path, out: Path, progress: Any = None, **options: Any) -> FitResult:
    """Four epochs with everything on: warm start, ramp, average, clipping, adversarial validation."""
    chosen = settings(
        **{"epochs": 4, "clean_epochs": 1, "ramp_epochs": 1, "ema": 0.5, "clip": 5.0, "warmup": 2, "log_every": 2,
           "validation_attack": ATTACK, "validation_limit": 32, **options}
    )  # fmt: skip
    objective = objectives.create("afsl", eps="4/255", steps=2, beta1=16)
    return fit(detector(), objective, frames(manifest), frames(manifest, "validation"), chosen, out, progress=progress)


class Kill:
    """Ends this process as a power cut would, at step ``at``."""

    def __init__(self, at: int) -> None:
        self.at = at

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None:
        if step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_epoch(self, record: Mapping[str, Any]) -> None: ...


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("manifest", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--devices", type=int)
    args = parser.parse_args()
    if args.devices:
        data = frames(args.manifest), frames(args.manifest, "validation")
        fit(without_batch_norm(), objectives.create("standard"), *data, settings(devices=args.devices), args.out)
    else:
        afsl(args.manifest, args.out, Kill(args.kill_at))


if __name__ == "__main__":
    main()
