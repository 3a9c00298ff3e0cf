"""A training step of AFSL against its floor, in one run: k x (forward + input gradient) + one forward/backward on 2B.

The floor is what no implementation can go below: k gradients of the input with frozen weights, then one forward and
backward with parameter gradients on clean and perturbed rows together. Repeats are interleaved, so that a busy machine
slows both; the ratio is the median over repeats. Bar: <= 1.10.

    python benchmarks/training_step.py --detector resnet --size 96 --batch 32 --steps 5
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from lightning_fabric import Fabric

from unfooled import models
from unfooled.attacks import frozen
from unfooled.attacks.constant_norms import constant_norms
from unfooled.data.frames import Batch
from unfooled.memory import keep_memory
from unfooled.models import Detector
from unfooled.objectives import create
from unfooled.training.engine import make_fabric, make_optimizer
from unfooled.training.settings import Settings
from unfooled.training.step import Stepper

BAR = 1.10


def floor_of(fabric: Fabric, detector: Detector, batch: Batch, steps: int) -> Callable[[], object]:
    """One pass of the floor."""
    x = batch.x.contiguous(memory_format=torch.channels_last)
    twice = torch.cat([x, x]).contiguous(memory_format=torch.channels_last)

    def run() -> None:
        with frozen(detector), constant_norms(detector):
            for _ in range(steps):
                leaf = x.detach().requires_grad_()
                with fabric.autocast():
                    total = detector(leaf).float().sum()
                torch.autograd.grad(total, leaf)
        detector.train()
        detector.zero_grad()
        with fabric.autocast():
            total = detector(twice).float().sum()
        total.backward()

    return run


def seconds(run: Callable[[], object], device: torch.device) -> float:
    """Wall time of one call, the device's queue included."""
    start = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="resnet")
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--precision", default="32", choices=["32", "bf16-mixed"])
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--check", action="store_true", help=f"exit status 1 above {BAR}")
    args = parser.parse_args()

    torch.manual_seed(0)
    settings = Settings(lr=1e-4, batch_size=args.batch, precision=args.precision, device=args.device)
    fabric = make_fabric(settings)
    detector = models.create(args.detector)
    detector.to(fabric.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = fabric.setup_optimizers(make_optimizer(detector, settings))
    y = torch.arange(args.batch) % 2
    batch = Batch(torch.rand(args.batch, 3, args.size, args.size), y, y).to(fabric.device)
    objective = create("afsl", steps=args.steps)
    update = Stepper(fabric, detector, optimizer, None, args.batch, 0.0, 0, print)

    step = 0

    def train() -> None:
        nonlocal step
        update(objective, batch, step, 1e-4)
        step += 1

    floor = floor_of(fabric, detector, batch, args.steps)
    for run in (train, floor):
        run()
    pairs = [(seconds(train, fabric.device), seconds(floor, fabric.device)) for _ in range(args.repeats)]
    ratio = statistics.median(a / b for a, b in pairs)
    ours, least = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(
        f"{args.detector} {args.size} px, B={args.batch}, k={args.steps}, {args.precision}, {fabric.device}, "
        f"{torch.get_num_threads()} threads: step {ours * 1e3:.0f} ms, floor {least * 1e3:.0f} ms, "
        f"ratio {ratio:.3f} (bar {BAR:.2f})"
    )
    if args.check and ratio > BAR:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
