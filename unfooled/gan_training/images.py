"""Real faces in, generated faces out: readable rows of a manifest, batches by step, samples and grids of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unfooled.codecs import NOTE, Pixels, encode_png, quantise, to_pixels
from unfooled.data.frames import Frames
from unfooled.data.manifest import REAL, Manifest
from unfooled.errors import DataError
from unfooled.files import replacing
from unfooled.models.gan import Generator, draw_latents
from unfooled.randomness import seed_of

BATCH = 64
GRID = 8


def real_faces(manifest: Manifest, split: str, size: int, seed: int = 0) -> tuple[Frames, list[str]]:
    """The readable real rows of a split, mirrored at random when drawn for training, and why others are left out.

    Raises:
        DataError: not one can be read.
    """
    rows = manifest.select(split=split, label=REAL)
    if not len(rows):
        raise DataError(f"the manifest has no real rows of split {split!r}; a generator of faces learns from reals")
    found = Frames(rows, size)
    kept = [batch.index for batch in found.test_loader(BATCH)]
    reasons = [f"{path}: {reason}" for path, reason in found.unreadable]
    if not kept:
        raise DataError(f"none of the {len(rows)} real images of split {split!r} can be read, such as {reasons[0]}")
    return Frames(rows.take(torch.cat(kept).numpy()), size, augment=["flip"], seed=seed), reasons


def some_faces(frames: Frames, most: int = 1000) -> Tensor:
    """(N, 3, size, size) at most so many of the faces, spread evenly over the rows."""
    chosen = np.linspace(0, len(frames) - 1, min(most, len(frames))).round().astype(int)
    return torch.stack([frames[position] for position in chosen.tolist()]).float() / 255


def batches_from(frames: Frames, batch_size: int, start: int, steps: int, workers: int) -> Iterator[Tensor]:
    """The reals (B, 3, H, W) of step ``start`` and those after it, up to ``steps``; the same after any resume."""
    per_epoch = frames.batches_per_epoch(batch_size, fake_share=None)
    step = start
    while step < steps:
        epoch, first = divmod(step, per_epoch)
        loader = frames.train_loader(batch_size, epoch, fake_share=None, workers=workers)
        last = min(per_epoch, first + steps - step)
        for batch in replace(loader, requests=loader.requests[first:last]):
            yield batch.x
        step += last - first


def latents(count: int, latent: int, seed: int, first: int = 0) -> Tensor:
    """(count, latent) vectors; number i depends on (seed, i) alone, so more samples begin with the same ones."""
    draws = (torch.Generator().manual_seed(seed_of(seed, "latent", i)) for i in range(first, first + count))
    return torch.cat([draw_latents(1, latent, draw) for draw in draws])


def generate(generator: Generator, count: int, seed: int) -> Iterator[Tensor]:
    """Batches of ``count`` samples (B, 3, size, size) in [0, 1], each value one that a file of 8 bits holds."""
    device = next(generator.parameters()).device
    for first in range(0, count, BATCH):
        z = latents(min(BATCH, count - first), generator.latent, seed, first)
        with torch.no_grad():
            yield quantise(generator(z.to(device))).cpu()


def grid(generator: Generator, seed: int) -> Pixels:
    """(8 size, 8 size, 3) the first 64 samples, side by side."""
    tiles = [to_pixels(x) for x in torch.cat(list(generate(generator, GRID * GRID, seed)))]
    return np.concatenate([np.concatenate(tiles[row : row + GRID], 1) for row in range(0, GRID * GRID, GRID)], 0)


def write_png(path: Path, pixels: Pixels) -> None:
    """A PNG whose metadata say that unfooled made it; OSError (a full disk) goes through."""
    with replacing(path) as temporary:
        temporary.write_bytes(encode_png(pixels, NOTE))
