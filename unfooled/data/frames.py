"""Frames: decoded images or clips in batches, their order and augmentation fixed by (seed, sample id, epoch)."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from unfooled.data import augmentations
from unfooled.data.batches import Batch, Loader, Numbers, Pool, Request
from unfooled.data.images import VIDEO_SUFFIXES, fit_square, read_image
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.data.windows import Windows
from unfooled.errors import ConfigError, DataError
from unfooled.randomness import seed_of

__all__ = ["Batch", "Frames", "Loader"]

CACHE_BYTES = 2_000_000_000


class Frames(Dataset[Tensor]):
    """The readable images or clips of a manifest as square RGB frames.

    Args:
        manifest: rows of images, of ``clips`` or of ``tracks`` (not of videos); rows whose status is not ``ok`` are
            left out and counted in ``left_out``.
        size: height and width in pixels; the central square of the image is resized to it.
        augment: names from ``augmentations.AUGMENTATIONS`` with options, in order of use (training loader only).
        seed: fixes order and augmentation together with sample id and epoch.
        cache: keep decoded uint8 frames in memory; None = where they need less than 2 GB.
        length: frames of a clip; None = images, or clips as long as their rows. From a longer row the training loader
            takes a random stretch, other for each view, and the test loader the middle.

    Raises:
        DataError: no readable image row, or the rows are videos.
        ConfigError: an unknown augmentation, one that needs clips, or a size below 1.

    ``unreadable`` lists (path, reason) of the samples that did not decode so far; they are skipped, never replaced. A
    clip fails as a whole.
    """

    def __init__(
        self,
        manifest: Manifest,
        size: int = 96,
        augment: Sequence[str] = (),
        seed: int = 0,
        cache: bool | None = None,
        length: int | None = None,
    ) -> None:
        if size < 1:
            raise ConfigError(f"size must be >= 1 pixel, got {size}; write 96")
        self.manifest, self.size, self.augment, self.seed = manifest, size, tuple(augment), seed
        self._augment = augmentations.parse(self.augment)
        codes, statuses = manifest.codes("status")
        ok = np.isin(codes, [c for c, s in enumerate(statuses) if s == "ok"])
        self.rows: Numbers = np.flatnonzero(ok)
        self.left_out = len(manifest) - len(self.rows)
        if not len(self.rows):
            raise DataError(f"none of the manifest's {len(manifest)} rows is a readable image; check split and status")
        self.labels: Numbers = manifest.column("label")[self.rows]
        self._ids = manifest.table["id"]
        self._windows = Windows(manifest, self.rows, length)
        self.length = self._windows.length
        files = self._windows.files
        if (first := files[0].as_py()).lower().endswith(VIDEO_SUFFIXES):
            raise DataError(f"{first} is a video; Frames reads images: extract its frames first")
        if self.length is None and (lost := [a for a in self._augment if a.clips_only]):
            raise ConfigError(f"augmentation {type(lost[0]).__name__} needs clips, got images; write data.clip = 25")
        self.cached = len(files) * 3 * size * size < CACHE_BYTES if cache is None else cache
        self._memory: Tensor | None = None
        self._damaged: dict[int, str] = {}
        self.reasons: dict[int, str] = {}
        self.pools: dict[int, Pool] = {}

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, position: int) -> Tensor:
        """(3, size, size) uint8 of the frame at ``position``, or (3, length, size, size) of the clip, not augmented.

        Raises:
            DataError: it does not decode.
        """
        return _channels_first(self._pixels(int(position), None))

    @property
    def shape(self) -> tuple[int, ...]:
        """Of a sample: channels, frames of a clip, height, width."""
        return (3, *(() if self.length is None else (self.length,)), self.size, self.size)

    def take(self, rows: npt.ArrayLike) -> Frames:
        """Some rows of the manifest by number, in that order, of the same size and length, and not augmented."""
        return Frames(self.manifest.take(rows), self.size, seed=self.seed, length=self.length)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "pools": {}}

    @property
    def unreadable(self) -> list[tuple[str, str]]:
        """(path, reason) of each sample that did not decode so far, in the order of the manifest."""
        paths = self.manifest.table["path"]
        found = sorted(self.reasons.items())
        return [(str(self.manifest.root / paths[int(self.rows[p])].as_py()), reason) for p, reason in found]

    def fake_share(self, fake_share: float | None = None, batch_size: int | None = None) -> float:
        """The share of fakes that ``train_loader`` delivers: the data's or as asked; exact with ``batch_size``."""
        share = self._share(fake_share)
        return share if batch_size is None else self._fakes(share, batch_size) / batch_size

    def batches_per_epoch(
        self, batch_size: int, fake_share: float | None = 0.5, views: int | None = None, shards: int = 1
    ) -> int:
        """How many batches each of ``shards`` processes gets in an epoch; at least 1."""
        share = self._share(fake_share)
        fakes = self._fakes(share, batch_size)
        if views is None and fake_share is None:
            views = len(self)
        elif views is None:
            counts = {FAKE: fakes / batch_size, REAL: 1 - fakes / batch_size}
            # Every sample of the class that needs more views is seen once.
            views = max(math.ceil(np.sum(self.labels == y) / part) for y, part in counts.items() if part)
        if views < 1:
            raise ConfigError(f"views must be >= 1, got {views}; leave it out for one pass over the larger class")
        return max(1, views // (batch_size * shards))

    def train_loader(
        self,
        batch_size: int,
        epoch: int,
        fake_share: float | None = 0.5,
        views: int | None = None,
        workers: int = 2,
        shard: tuple[int, int] = (0, 1),
    ) -> Loader:
        """Shuffled, augmented batches of one epoch, the same for any number of workers and after any resume.

        Args:
            batch_size: >= 1; each batch holds ``round(batch_size * fake_share)`` fakes (of both classes at least one).
            epoch: >= 0; order and augmentation depend on it, not on earlier epochs.
            fake_share: in (0, 1); None = as in the data set. The smaller class is repeated, each time augmented anew.
            views: samples an epoch, cut to whole batches; None = as many as show each sample at least once (twice the
                larger class at 0.5), or one pass where ``fake_share`` is None.
            workers: decoding processes; 0 decodes in this one.
            shard: (number, count) of this process in data-parallel training; each gets as many batches.

        Raises:
            ConfigError: a number out of its range.
            DataError: a class is absent although ``fake_share`` asks for it.
        """
        number, count = shard
        if epoch < 0 or workers < 0 or not 0 <= number < count:
            raise ConfigError(
                f"epoch and workers must be >= 0, shard (i, n) with i < n; got {epoch}, {workers}, {shard}"
            )
        batches = self.batches_per_epoch(batch_size, fake_share, views, count)
        fakes = self._fakes(self._share(fake_share), batch_size)
        drawn = {FAKE: self._draw(FAKE, epoch, fakes * batches * count)}
        drawn[REAL] = self._draw(REAL, epoch, (batch_size - fakes) * batches * count)
        requests = []
        for step in range(number, batches * count, count):
            parts = [drawn[y][:, step * n : (step + 1) * n] for y, n in ((FAKE, fakes), (REAL, batch_size - fakes))]
            order = _rng(self.seed, "mix", epoch, step).permutation(batch_size)
            positions, repeats = np.concatenate(parts, axis=1)[:, order]
            requests.append(Request(positions, repeats, epoch))
        return Loader(self, tuple(requests), workers)

    def test_loader(self, batch_size: int, workers: int = 0) -> Loader:
        """Every frame once, in the order of the manifest, not augmented; the last batch may be smaller."""
        self._fakes(0.5, batch_size)
        positions = np.arange(len(self), dtype=np.int64)
        starts = range(0, len(self), batch_size)
        parts = [positions[s : s + batch_size] for s in starts]
        return Loader(self, tuple(Request(p, np.zeros_like(p), None) for p in parts), workers)

    def digest(self) -> str:
        """SHA-256 of the manifest's digest, size, augmentation and seed, and for clips of their frames."""
        facts = [self.manifest.digest(), self.size, list(self.augment), self.seed]
        facts += [] if self.length is None else [self._windows.digest()]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def _share(self, fake_share: float | None) -> float:
        present = float(np.mean(self.labels == FAKE))
        if fake_share is None:
            return present
        if not 0 < fake_share < 1:
            raise ConfigError(
                f"fake_share must be in (0, 1), got {fake_share:g}; write 0.5, or none for the data's own"
            )
        if present in (0, 1):
            raise DataError(
                f"the data hold only {'fakes' if present else 'reals'}; fake_share {fake_share:g} needs both"
            )
        return fake_share

    def _fakes(self, share: float, batch_size: int) -> int:
        if batch_size < 1:
            raise ConfigError(f"batch_size must be >= 1, got {batch_size}; write 32")
        fakes = round(batch_size * share)
        return min(max(fakes, 1), batch_size - 1) if 0 < share < 1 and batch_size > 1 else fakes

    def _draw(self, label: int, epoch: int, count: int) -> Numbers:
        """(2, count): positions from one permutation of the class after the other, and the permutation's number."""
        own = np.flatnonzero(self.labels == label)
        rounds = math.ceil(count / len(own)) if count else 0
        orders = [own[_rng(self.seed, "order", epoch, label, r).permutation(len(own))] for r in range(rounds)]
        positions = np.concatenate([np.empty(0, np.int64), *orders])[:count]
        return np.stack([positions, np.repeat(np.arange(rounds), len(own))[:count]])

    def view(self, position: int, repeat: int, epoch: int | None) -> Tensor:
        """uint8 of ``shape``: one augmented view; epoch None gives the sample itself."""
        if epoch is None:
            return self[position]
        sample = self._ids[int(self.rows[position])].as_py()
        pixels = self._pixels(position, _rng(self.seed, "start", sample, epoch, repeat) if self.length else None)
        rng = _rng(self.seed, sample, epoch, repeat)
        for augmentation in self._augment:
            pixels = augmentation(pixels, rng)
        return _channels_first(pixels)

    def _pixels(self, position: int, rng: np.random.Generator | None) -> npt.NDArray[np.uint8]:
        """(H, W, 3) of a frame or (T, H, W, 3) of a clip."""
        numbers = self._windows(position, rng)
        try:
            if self.length is None:
                return self._frame(int(numbers[0]))
            # A track that is too short, or slower than the clip, shows a frame more than once.
            distinct, places = np.unique(numbers, return_inverse=True)
            return np.stack([self._frame(number) for number in distinct.tolist()])[places]
        except DataError as error:
            if self.length is None:
                raise
            raise DataError(f"clip {self._ids[int(self.rows[position])].as_py()}: {error}") from None

    def _frame(self, number: int) -> npt.NDArray[np.uint8]:
        if self._memory is None:
            return self._decode(number)
        if number in self._damaged:
            raise DataError(self._damaged[number])
        return self._memory[number].numpy()

    def _decode(self, number: int) -> npt.NDArray[np.uint8]:
        return fit_square(read_image(self.manifest.root / self._windows.files[number].as_py()), self.size)

    def fill(self) -> None:
        """Decode every file into memory, once, in threads (the decoder releases the interpreter)."""
        if not self.cached or self._memory is not None:
            return
        files = len(self._windows.files)
        memory = torch.zeros((files, self.size, self.size, 3), dtype=torch.uint8)

        def keep(number: int) -> None:
            try:
                memory[number] = torch.from_numpy(self._decode(number))
            except DataError as error:
                self._damaged[number] = str(error)

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            list(threads.map(keep, range(files)))
        self._memory = memory


def _channels_first(pixels: npt.NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(pixels, -1, 0)))


def _rng(*parts: object) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed_of("frames", *parts)))
