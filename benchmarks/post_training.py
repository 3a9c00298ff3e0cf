"""Post-training at inference: ours against the naive form of the paper and against its floor, in one process.

The naive form takes one image after the other and embeds everything anew in each iteration: the support set, the
anchor, and for its step the neighbours. Ours embeds the support set once and tunes the heads of a batch by matrix
products; where all weights move, nothing can be spared but embedding twice. The floor of that is the anchor and one
forward, backward and step of torch's own SGD on the neighbours for each iteration. It is measured one image at a time,
so that no two can share a tuned copy, as images with equal neighbours do in a batch.

    OMP_NUM_THREADS=1 python benchmarks/post_training.py --run runs/standard --manifest sets/faces/manifest.parquet
    OMP_NUM_THREADS=1 python benchmarks/post_training.py --run runs/standard --manifest ... --algorithm 1 --images 32

Times are CPU seconds of this process: with one thread, a busy machine disturbs them least. Everybody runs in turns; a
ratio is the median over rounds. Images come from the test split, the support set from the training split.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfooled import checkpoints
from unfooled.attacks.base import frozen, pixels_together
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.defenses import PostTraining
from unfooled.evaluation.samples import balanced_rows
from unfooled.memory import keep_memory
from unfooled.models.detector import Detector

BARS = {"naive": 20.0, "floor": 0.9}
EQUAL = 1e-4
"""Largest difference of two logits that count as equal: float32, sums in another order, 20 steps."""
Answer = Callable[[], Tensor]


def naive(defense: PostTraining, detector: Detector, x: Tensor, support: Tensor, y: Tensor) -> Tensor:
    """METHODS 5 as it stands, everything embedded anew in each iteration."""
    answers = []
    for one in x.split(1):
        with frozen(detector), torch.no_grad():
            said = (detector(one) > detector.threshold).long()
            anchor = defense.anchor().search(detector, one, said)
            flipped = bool((detector(anchor) > detector.threshold) != (said == 1))
        copy = deepcopy(detector).eval().requires_grad_(not defense.freeze)
        copy.head.requires_grad_(True)
        optimizer = torch.optim.SGD([p for p in copy.parameters() if p.requires_grad], defense.lr, defense.momentum)
        for _ in range(defense.iterations if flipped else 0):
            with torch.no_grad():
                held = detector.features(support)
                near = F.cosine_similarity(detector.features(anchor), held) > defense.tau
                if defense.algorithm == 1:
                    near |= F.cosine_similarity(detector.features(one), held) > defense.tau
            if not near.any():
                break
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(copy(support[near]), y[near].float()).backward()
            optimizer.step()
        with torch.no_grad():
            answers.append(copy(one))
    return torch.cat(answers)


def floor(defense: PostTraining, detector: Detector, x: Tensor, support: Tensor, y: Tensor, near: Tensor) -> Tensor:
    """The anchor, and the steps on neighbours that somebody else has found; not a whole defense."""
    answers = []
    copy = deepcopy(detector).eval()
    start = deepcopy(copy.state_dict())
    for one, own in zip(x.split(1), near, strict=True):
        with frozen(detector), torch.no_grad():
            said = (detector(one) > detector.threshold).long()
            defense.anchor().search(detector, one, said)
        copy.load_state_dict(start)
        optimizer = torch.optim.SGD(copy.parameters(), defense.lr, defense.momentum)
        pixels, labels = pixels_together(support[own]), y[own].float()
        for _ in range(defense.iterations if own.any() else 0):
            optimizer.zero_grad()
            F.binary_cross_entropy_with_logits(copy(pixels), labels).backward()
            optimizer.step()
        with torch.no_grad():
            answers.append(copy(one))
    return torch.cat(answers)


def timed(run: Answer) -> tuple[float, Tensor]:
    start = time.process_time()
    found = run()
    return time.process_time() - start, found


def measure(title: str, answers: dict[str, Answer], rounds: int, count: int) -> bool:
    """Prints a table; whether the bars hold and the results are equal. The first answer is ours."""
    print(f"\n{title}, {count} images, {torch.get_num_threads()} threads", flush=True)
    seconds: dict[str, list[float]] = {name: [] for name in answers}
    found: dict[str, Tensor] = {}
    for _ in range(rounds):
        for name, run in answers.items():
            took, found[name] = timed(run)
            seconds[name].append(took)
    ours = next(iter(answers))
    held = True
    for name in answers:
        each = statistics.median(seconds[name]) / count
        ratio = statistics.median(a / b for a, b in zip(seconds[name], seconds[ours], strict=True))
        apart = (found[name] - found[ours]).abs().max().item()
        bar = BARS.get(name)
        held &= (bar is None or ratio >= bar) and apart <= EQUAL
        told = "" if bar is None else f"bar {bar:g} {'ok' if ratio >= bar else 'MISSED'}"
        equal = f"logits differ by at most {apart:.1e}" + ("" if apart <= EQUAL else " NOT EQUAL")
        print(f"  {name:18} {each:9.4f} CPU s/image   ours {ratio:6.2f} x   {told:16} {equal}", flush=True)
    return held


def prepared(args: argparse.Namespace) -> tuple[Detector, Tensor, Frames]:
    """The detector, test images and the training pool, decoded."""
    manifest = Manifest.read(args.manifest)
    test = Frames(manifest.select(split="test"), args.size)
    (batch,) = test.take(balanced_rows(test.manifest, test.rows, args.images)).test_loader(args.images)
    pool = Frames(manifest.select(split="train"), args.size)
    pool.fill()
    return checkpoints.load(args.run), batch.x, pool


def ready(defense: PostTraining, detector: nn.Module, pool: Frames) -> tuple[PostTraining, Tensor, Tensor]:
    """The fitted defense, and its support set in pixels."""
    fitted = defense.fit(detector, pool)
    assert fitted.found is not None
    every = torch.arange(len(fitted.found.y))
    return fitted, fitted.found.pixels(every, torch.zeros(1)), fitted.found.y


def main() -> None:
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run of `unfooled train`")
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--algorithm", type=int, default=2, choices=[1, 2])
    parser.add_argument("--tau", type=float, default=0.9)
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    args = parser.parse_args()
    detector, x, pool = prepared(args)
    usual = PostTraining(algorithm=args.algorithm, tau=args.tau)
    held = []
    for freeze in (True, False):
        defense, support, y = ready(replace(usual, freeze=freeze), detector, pool)
        with frozen(detector):
            near = defense.neighbours(detector, x)
        title = f"Algorithm {args.algorithm}, {'freeze' if freeze else 'no freeze'}, {near.sum(1).float().mean():.1f}"
        title += f" neighbours of {near.shape[1]}"

        def whole(defense: PostTraining = defense) -> Tensor:
            return defense(detector, x)

        def one_by_one(defense: PostTraining = defense) -> Tensor:
            return torch.cat([defense(detector, one) for one in x.split(1)])

        def plainly(defense: PostTraining = defense, support: Tensor = support, y: Tensor = y) -> Tensor:
            return naive(defense, detector, x, support, y)

        def least(
            defense: PostTraining = defense, support: Tensor = support, y: Tensor = y, near: Tensor = near
        ) -> Tensor:
            return floor(defense, detector, x, support, y, near)

        if freeze:
            answers = {"ours": whole, "naive": plainly}
        else:
            answers = {"ours, one by one": one_by_one, "floor": least, "ours, a batch": whole, "naive, whole": plainly}
        held.append(measure(title, answers, args.rounds, len(x)))
    if args.check and not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
