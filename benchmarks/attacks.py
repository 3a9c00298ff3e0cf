"""Attacks against those of torchattacks, foolbox and ART, in one process: images per second at equal result.

Everybody attacks the same images on the same detector, in turns of short rounds, so that a busy machine slows all
alike; a ratio is the median over rounds of their seconds to ours. The floor is what no PGD can go below: as many times
a forward and the gradient of the input as the attack has steps: frozen, channels last, batch norms as constants.

    python benchmarks/attacks.py --detector meso4 --size 256 --rounds 7
    python benchmarks/attacks.py --detector xception --size 160 --batch 8 --attacks pgd,bf16
    python benchmarks/attacks.py --weights Meso4_DF.h5 --images FOLDER     # a trained detector on real faces
    python benchmarks/attacks.py --run runs/standard --images FOLDER --size 96 --batch 1000 --attacks square \
        --queries 1000 --square-eps 2 --rounds 0                           # success at equal queries on many images

Peers come with the extra ``bench`` (torchattacks: ``pip install torchattacks --no-deps``); who is not there is left
out. Freed memory is kept for everybody (``unfooled.memory``): cleared pages are a third of such small networks' time.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import cv2
import torch
from torch import Tensor, nn

from unfooled import checkpoints, models
from unfooled.attacks import PGD, Attack, CarliniWagner, DeepFool, Square, frozen
from unfooled.attacks.constant_norms import constant_norms
from unfooled.attacks.external import TwoClasses
from unfooled.memory import keep_memory
from unfooled.models.detector import Detector
from unfooled.models.published import load_published
from unfooled.threats import L2, Linf

EPS, STEPS = 2 / 255, 10
FREE = L2(float("inf"))
BARS = {
    ("pgd", "meso4"): {"torchattacks": 1.4, "foolbox": 1.9, "art": 1.9, "floor": 0.9},
    ("pgd", "xception"): {"torchattacks": 1.15, "foolbox": 2.0, "art": 2.0, "floor": 0.9},
    ("bf16", ""): {"torchattacks": 1.6},
    ("deepfool", ""): {"torchattacks": 1.0, "foolbox": 1.0, "art": 1.0},
    ("cw", ""): {"torchattacks": 1.0, "foolbox": 1.0, "art": 1.0},
    ("square", ""): {"torchattacks": 1.0, "art": 1.0},
}
Search = Callable[[], Tensor]


@dataclass(frozen=True)
class Bench:
    """A detector, its two-class view for the peers, and images that it gets right."""

    detector: Detector
    x: Tensor
    y: Tensor

    @property
    def view(self) -> nn.Module:
        return TwoClasses(self.detector).eval()

    def ours(self, attack: Attack) -> Search:
        return lambda: attack(self.detector, self.x, self.y).x

    def floor(self) -> Search:
        x = self.x.contiguous(memory_format=torch.channels_last)

        def run() -> Tensor:
            with frozen(self.detector), constant_norms(self.detector):
                for _ in range(STEPS):
                    leaf = x.detach().requires_grad_()
                    torch.autograd.grad(self.detector(leaf).sum(), leaf)
            return x

        return run

    def torchattacks(self, name: str, **options: Any) -> Search:
        attack = getattr(import_module("torchattacks"), name)(self.view, **options)
        return lambda: attack(self.x, self.y)

    def foolbox(self, name: str, eps: float | None, **options: Any) -> Search:
        foolbox = import_module("foolbox")
        model = foolbox.PyTorchModel(self.view, bounds=(0, 1), device="cpu")
        attack = getattr(foolbox.attacks, name)(**options)
        return lambda: attack(model, self.x, self.y, epsilons=eps)[1]

    def art(self, name: str, **options: Any) -> Search:
        classifier = import_module("art.estimators.classification").PyTorchClassifier(
            self.view, nn.CrossEntropyLoss(), tuple(self.x.shape[1:]), 2, clip_values=(0, 1), device_type="cpu"
        )
        attack = getattr(import_module("art.attacks.evasion"), name)(classifier, verbose=False, **options)
        labels = nn.functional.one_hot(self.y, 2).numpy()
        return lambda: torch.from_numpy(attack.generate(self.x.numpy(), labels))

    def result(self, x_adv: Tensor) -> str:
        """Success rate, harm to the logit and length of what was found."""
        with torch.no_grad():
            z, clean = self.detector(x_adv), self.detector(self.x)
        success = (z > self.detector.threshold) != (self.y == 1)
        length = FREE.distance(x_adv - self.x)[success].mean().item()
        harm = ((1 - 2 * self.y) * (z - clean)).mean().item()
        return f"success {success.double().mean():.3f}, harm {harm:6.2f}, L2 {length:.3f}"


def contestants(kind: str, bench: Bench, args: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Search]]]:
    """Ours first, then the peers at the same settings; each is made when it is needed, for a library may be missing."""
    step = 2.5 * EPS / STEPS
    if kind in ("pgd", "bf16"):
        pgd = PGD(Linf(EPS), STEPS, step_size=step, random_start=False, keep="last")
        coarse = PGD(Linf(EPS), STEPS, step_size=step, random_start=False, keep="last", precision="bfloat16")
        yield "ours", lambda: bench.ours(pgd if kind == "pgd" else coarse)
        yield "floor", bench.floor
        yield "torchattacks", lambda: bench.torchattacks("PGD", eps=EPS, alpha=step, steps=STEPS, random_start=False)
        yield "foolbox", lambda: bench.foolbox("LinfPGD", EPS, abs_stepsize=step, steps=STEPS, random_start=False)
        yield "art", lambda: bench.art("ProjectedGradientDescent", eps=EPS, eps_step=step, max_iter=STEPS)
    elif kind == "deepfool":
        yield "ours", lambda: bench.ours(DeepFool(FREE))
        yield "torchattacks", lambda: bench.torchattacks("DeepFool", steps=50, overshoot=0.02)
        yield "foolbox", lambda: bench.foolbox("L2DeepFoolAttack", None, steps=50, overshoot=0.02, candidates=2)
        yield "art", lambda: bench.art("DeepFool", max_iter=50, epsilon=0.02, nb_grads=2, batch_size=len(bench.x))
    elif kind == "cw":
        # torchattacks' margin of two logits is half of z.
        foolbox = {"binary_search_steps": 1, "steps": 50, "stepsize": 0.01, "initial_const": 1.0, "abort_early": False}
        art = {"binary_search_steps": 1, "max_iter": 50, "learning_rate": 0.01, "initial_const": 1.0}
        yield "ours", lambda: bench.ours(CarliniWagner(FREE))
        yield "ours, early", lambda: bench.ours(CarliniWagner(FREE, early_stop=True))
        yield "torchattacks", lambda: bench.torchattacks("CW", c=2, steps=50, lr=0.01)
        yield "foolbox", lambda: bench.foolbox("L2CarliniWagnerAttack", None, **foolbox)
        yield "art", lambda: bench.art("CarliniL2Method", batch_size=len(bench.x), **art)
    elif kind == "square":
        eps, queries = args.square_eps / 255, args.queries
        yield "ours", lambda: bench.ours(Square(Linf(eps), queries=queries, stop_at_flip=True))
        yield "torchattacks", lambda: bench.torchattacks("Square", eps=eps, n_queries=queries, loss="margin")
        yield "art", lambda: bench.art("SquareAttack", eps=eps, max_iter=queries, batch_size=len(bench.x))
    else:
        raise SystemExit(f"no benchmark named {kind!r}; known: pgd, bf16, deepfool, cw, square")


def there(makers: Iterator[tuple[str, Callable[[], Search]]], peers: str) -> dict[str, Search]:
    """Those that are wanted and whose library is installed."""
    found = {}
    for name, make in makers:
        if name in ("torchattacks", "foolbox", "art") and name not in peers.split(","):
            continue
        try:
            found[name] = make()
        except (ImportError, RuntimeError) as error:
            print(f"  {name} is left out: {error}")
    return found


def timed(run: Search) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def measure(kind: str, bench: Bench, args: argparse.Namespace) -> bool:
    """Prints one table; whether all bars hold."""
    print(f"\n{kind}: {args.detector} {args.size} px, B={len(bench.x)}, {torch.get_num_threads()} threads", flush=True)
    searches = there(contestants(kind, bench, args), args.peers)
    results = {name: bench.result(run()) for name, run in searches.items()}  # also warms up
    rounds = [{name: timed(run) for name, run in searches.items()} for _ in range(args.rounds)]
    bars = BARS.get((kind, args.detector)) or BARS.get((kind, ""), {})
    held = True
    if not rounds:
        for name, result in results.items():
            print(f"  {name:13} {result}", flush=True)
    for name in searches if rounds else ():
        rate = statistics.median(len(bench.x) / r[name] for r in rounds)
        ratio = statistics.median(r[name] / r["ours"] for r in rounds)
        bar = bars.get(name)
        held &= bar is None or ratio >= bar
        told = "" if bar is None else f"bar {bar:.2f} {'ok' if ratio >= bar else 'MISSED'}"
        found = results[name] if name != "floor" else ""
        print(f"  {name:13} {rate:8.2f} images/s   ours {ratio:6.2f} x   {told:15} {found}", flush=True)
    return held


def prepared(args: argparse.Namespace) -> Bench:
    """The detector and ``args.batch`` images, labelled as it sees them, so that every attack has work to do."""
    torch.manual_seed(0)
    if args.images:
        files = sorted(p for p in args.images.iterdir() if p.suffix.lower() in (".jpg", ".jpeg", ".png"))[: args.batch]
        pictures = [cv2.resize(cv2.imread(str(file)), (args.size, args.size))[:, :, ::-1].copy() for file in files]
        x = torch.stack([torch.from_numpy(picture).permute(2, 0, 1).float() / 255 for picture in pictures])
    else:
        x = torch.rand(args.batch, 3, args.size, args.size)
    if args.run:
        detector = checkpoints.load(args.run)
    elif args.weights:
        detector = load_published(args.weights, args.detector, size=args.size)
    else:
        detector = models.create(args.detector, size=args.size)
    detector.eval()
    with torch.no_grad():
        z = detector(x)
        if not args.weights and not args.run:
            # Untrained, all logits are nearly alike: spread them around the threshold as a trained detector's are.
            scale = 3 / z.std()
            detector.head.weight.mul_(scale)
            detector.head.bias.copy_((detector.head.bias - z.median()) * scale)
        y = (detector(x) > detector.threshold).long()
    return Bench(detector, x, y)


def main() -> None:
    keep_memory()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", default="meso4", choices=["meso4", "mesoinception4", "xception"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5, help="0 prints what was found, no times")
    parser.add_argument("--queries", type=int, default=100, help="of Square")
    parser.add_argument("--square-eps", type=float, default=8, help="in 1/255")
    parser.add_argument("--attacks", default="pgd,bf16,deepfool,cw,square")
    parser.add_argument(
        "--peers", default="torchattacks,foolbox,art", help="ART takes minutes for deepfool, cw, square"
    )
    parser.add_argument("--weights", type=Path, help="published weights; without, the detector is untrained")
    parser.add_argument("--run", type=Path, help="a run of `unfooled train` in place of --detector")
    parser.add_argument("--images", type=Path, help="folder of faces; without, random pixels")
    parser.add_argument("--check", action="store_true", help="exit status 1 where a bar is missed")
    args = parser.parse_args()
    bench = prepared(args)
    held = [measure(kind, bench, args) for kind in args.attacks.split(",")]
    if args.check and not all(held):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
