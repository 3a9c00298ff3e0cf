"""A generator of faces against the PCA-face baseline: ``python benchmarks/gan.py MANIFEST RUN --features DETECTOR``.

Both make as many faces of the generator's size, rounded to 8 bits. Their Frechet distance to the held-out reals
(validation and test) is taken in the features of the named detector and of the package's small one. The baseline is the
Gaussian fitted to the training reals, in pixels, along its first components; the training reals themselves show how
small a distance can get. The step of the run was chosen on validation reals, so the test reals stand beside it.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unfooled import checkpoints
from unfooled.codecs import quantise
from unfooled.data.manifest import Manifest
from unfooled.gan_training import Gaussian, features_of, frechet_distance, load_generator
from unfooled.gan_training.images import generate, real_faces
from unfooled.metrics import auc
from unfooled.models.detector import Detector
from unfooled.models.gan import Generator
from unfooled.scanning.scanner import SMALL
from unfooled.synthesis.eigenfaces import Eigenfaces

BAR = 0.5
RANKS = (16, 128, None)


def reals(manifest: Manifest, split: str, size: int) -> Tensor:
    """(N, 3, size, size) the readable reals of a split."""
    return torch.cat([batch.x for batch in real_faces(manifest, split, size)[0].test_loader(64)])


def eigenfaces(faces: Tensor, rank: int | None, count: int, seed: int) -> Tensor:
    """``count`` draws from the Gaussian along the first components of some faces; None: along all."""
    fitted = Eigenfaces.fit(faces.permute(0, 2, 3, 1).numpy(), rank or len(faces))
    codes = np.random.default_rng(seed).standard_normal((count, len(fitted.spread))).astype(np.float32)
    drawn = fitted.mean + (codes * fitted.spread) @ fitted.components
    size = faces.shape[-1]
    return quantise(torch.from_numpy(drawn).reshape(count, size, size, 3).permute(0, 3, 1, 2).clamp(0, 1))


def batches(x: Tensor) -> Iterator[Tensor]:
    """Pieces of 64."""
    return iter(x.split(64))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("manifest", type=Path, help="of the faces that the run was trained on")
    parser.add_argument("run", type=Path, help="folder of `unfooled gan train`")
    parser.add_argument("--features", type=Path, default=SMALL, help="run or checkpoint of a detector")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1, help="of the samples; the run was chosen with its own seed")
    options = parser.parse_args()
    table = Manifest.read(options.manifest)
    generator, facts = load_generator(options.run)
    train, validation, test = (reals(table, split, generator.size) for split in ("train", "validation", "test"))
    held_out = torch.cat([validation, test])
    made = {"training reals": train}
    for rank in RANKS:
        name = f"PCA faces, {'all' if rank is None else rank} components"
        made[name] = eigenfaces(train, rank, options.samples, options.seed)
    untrained = Generator(**generator.spec).eval()
    untrained.start_from(train)
    made["GAN, untrained"] = torch.cat(list(generate(untrained, options.samples, options.seed)))
    made["GAN"] = torch.cat(list(generate(generator, options.samples, options.seed)))
    print(
        f"{options.samples} samples of {generator.size} px, step {facts['step']}; held-out reals: {len(validation)} "
        f"validation, {len(test)} test"
    )
    detectors: dict[str, Detector] = {str(options.features): checkpoints.load(options.features)}
    if options.features != SMALL:
        detectors["the package's small detector"] = checkpoints.load(SMALL)
    ratios = []
    for name, detector in detectors.items():
        distances = report(name, detector, made, held_out, test)
        baseline = min(value for kind, value in distances.items() if kind.startswith("PCA"))
        ratios.append(distances["GAN"] / baseline)
        print(f"  GAN over the best PCA-face baseline: {ratios[-1]:.2f}")
    print(f"bar: {BAR:g} in the features of {options.features}: {'met' if ratios[0] <= BAR else 'MISSED'}")


def report(name: str, detector: Detector, made: dict[str, Tensor], held_out: Tensor, test: Tensor) -> dict[str, float]:
    """Print a table of one detector; the distances to all held-out reals."""
    everyone, tested = (features_of(detector, batches(x)) for x in (held_out, test))
    print(f"features of {name}\n  {'':<28}{'held-out':>10}{'test':>10}{'AUC':>8}")
    distances = {}
    with torch.no_grad():
        scores = detector.classify(everyone.float())
        for kind, x in made.items():
            found = features_of(detector, batches(x))
            distances[kind] = frechet_distance(Gaussian.of(found), Gaussian.of(everyone))
            beside = frechet_distance(Gaussian.of(found), Gaussian.of(tested))
            logits = torch.cat([detector.classify(found.float()), scores])
            truth = np.r_[np.ones(len(found), int), np.zeros(len(scores), int)]
            score = auc(logits.numpy(), truth)
            print(f"  {kind:<28}{distances[kind]:>10.4f}{beside:>10.4f}{score:>8.3f}")
    return distances


if __name__ == "__main__":
    main()
