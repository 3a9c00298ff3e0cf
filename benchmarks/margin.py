"""The margin of a verdict against an attack that knows nothing of it: it turns where the margin says, and not before.

Single faces of a run's validation people. The margin is searched as a scan searches it; then APGD with other settings,
from another seed and from random starts, attacks each face at 1.05 and at .8 times the margin. Bars: at least 95 %
turn at 1.05 times, at most 10 % at .8 times. Cost: gradients that the search took for a face.

    python benchmarks/margin.py --run runs/afsl --limit 44
    python benchmarks/margin.py --run runs/afsl --limit 44 --steps 10,20     # of the search at each radius
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

import numpy as np
import torch

from unfooled import checkpoints, config
from unfooled.attacks import APGD
from unfooled.attacks.base import counted
from unfooled.config.runs import of_split
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.evaluation.samples import balanced_rows
from unfooled.memory import keep_memory
from unfooled.scanning.points import Shape
from unfooled.scanning.robustness import MarginSearch, margin_of
from unfooled.threats import Linf

TIMES = {1.05: 0.95, 0.8: 0.10}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="a run folder of a frame detector")
    parser.add_argument("--data", type=Path, help="a manifest; default: the one the run was trained on")
    parser.add_argument("--limit", type=int, default=44)
    parser.add_argument("--steps", default=str(MarginSearch().steps), help="of the search at each radius, with commas")
    parser.add_argument("--attack-steps", type=int, default=60)
    args = parser.parse_args()
    keep_memory()
    recipe, detector = config.load_recipe(args.run), checkpoints.load(args.run)
    frames = Frames(of_split(Manifest.read(args.data or recipe.data.manifest), "validation"), recipe.data.size)
    chosen = frames.take(balanced_rows(frames.manifest, frames.rows, args.limit, seed=0))
    batch = next(iter(chosen.test_loader(args.limit)))
    shape = Shape(recipe.data.size, None, 25.0)
    faces = (255 * batch.x).round().to(torch.uint8).permute(0, 2, 3, 1).unsqueeze(1).contiguous().numpy()
    for steps in map(int, args.steps.split(",")):
        search = MarginSearch(steps=steps)
        turned: dict[float, list[bool]] = {times: [] for times in TIMES}
        gradients, margins = [], []
        for x, face in zip(batch.x, faces, strict=True):
            with torch.no_grad():
                logit = float(detector.eval()(x[None]))
            target = float(detector.threshold)
            with counted(detector) as asked:
                found = margin_of(
                    detector, {"0": face[None]}, {"0": logit}, ["0"], target, logit <= target, shape, search
                )
            gradients.append(int(asked()))
            if found.linf_255 is None:
                continue
            margins.append(found.linf_255)
            y = torch.tensor([int(logit > target)])
            for times in TIMES:
                attack = APGD(Linf(times * found.linf_255 / 255), steps=args.attack_steps, restarts=1, seed=1)
                turned[times].append(bool((attack(detector, x[None], y).logits > target).item() != bool(y.item())))
        told = ", ".join(
            f"{sum(hits)} of {len(hits)} turn at {times} x (bar {'>=' if times > 1 else '<='} {TIMES[times]:.0%})"
            for times, hits in turned.items()
        )
        quartiles = np.percentile(margins, (25, 50, 75))
        print(
            f"{search}: {told}; margin {' / '.join(f'{q:.2f}' for q in quartiles)} /255 (quartiles); "
            f"{statistics.mean(gradients):.0f} gradients a face",
            flush=True,
        )


if __name__ == "__main__":
    main()
