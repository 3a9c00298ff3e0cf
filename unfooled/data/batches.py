"""Batches: requests go to worker processes, decoded frames come back in the same order."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from unfooled.errors import DataError

if TYPE_CHECKING:
    from unfooled.data.frames import Frames

Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Args:
        x: (B,3,H,W) frames or (B,3,T,H,W) clips, float32 in [0,1].
        y: (B,) int64.
        index: (B,) row numbers of the manifest.
    """

    x: Tensor
    y: Tensor
    index: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(*(t.to(device, non_blocking=True) for t in (self.x, self.y, self.index)))


@dataclass(frozen=True)
class Request:
    """What one batch is made of: positions in the Frames and how often each was drawn before in this epoch."""

    positions: Numbers
    repeats: Numbers
    epoch: int | None


@dataclass(frozen=True, eq=False)
class Loader:
    """The batches of one pass; ``len`` is their number, iterating again gives the same."""

    frames: Frames
    requests: tuple[Request, ...]
    workers: int = 0

    def __len__(self) -> int:
        return len(self.requests)

    def __iter__(self) -> Iterator[Batch]:
        frames = self.frames
        frames.fill()
        for x, positions, failures in self._raw():
            frames.reasons.update(failures)
            if len(positions):
                y, index = torch.from_numpy(frames.labels[positions]), torch.from_numpy(frames.rows[positions])
                yield Batch(x.to(torch.float32).div_(255), y, index)

    def _raw(self) -> Iterator[_Decoded]:
        if not self.workers:
            views = _Views(self.frames)
            yield from (views[request] for request in self.requests)
            return
        pool = self.frames.pools.get(self.workers)
        if pool is None or pool.busy:
            # A second pass at the same time gets workers of its own: two readers of one pool would mix their batches.
            # The copy has no pools: in a reference cycle the workers would be told to stop too late, and waited for.
            pool = Pool(_Views(copy(self.frames)), self.workers)
            self.frames.pools.setdefault(self.workers, pool)
        yield from pool.run(self.requests)


_Decoded = tuple[Tensor, Numbers, dict[int, str]]


@dataclass
class _Views(Dataset[_Decoded]):
    """What runs in a worker: a request in; frames, their positions and the failures out."""

    frames: Frames

    def __getitem__(self, request: Request) -> _Decoded:
        decoded, kept, failures = [], [], {}
        for position, repeat in zip(request.positions.tolist(), request.repeats.tolist(), strict=True):
            try:
                decoded.append(self.frames.view(position, repeat, request.epoch))
                kept.append(position)
            except DataError as error:
                failures[position] = str(error)
        x = torch.stack(decoded) if decoded else torch.empty(0, *self.frames.shape)
        return x, np.array(kept, dtype=np.int64), failures


@dataclass
class _Requests(Sampler[Request]):
    requests: tuple[Request, ...] = field(default=())

    def __iter__(self) -> Iterator[Request]:
        return iter(self.requests)

    def __len__(self) -> int:
        return len(self.requests)


class Pool:
    """Worker processes that live from epoch to epoch."""

    def __init__(self, views: _Views, workers: int) -> None:
        self.busy = False
        self._sampler = _Requests()
        self._loader: DataLoader[_Decoded] = DataLoader(
            views,
            batch_size=None,
            sampler=self._sampler,
            num_workers=workers,
            collate_fn=_as_is,
            persistent_workers=True,
            prefetch_factor=4,
            worker_init_fn=_start_worker,
        )

    def run(self, requests: tuple[Request, ...]) -> Iterator[_Decoded]:
        self.busy = True
        self._sampler.requests = requests
        try:
            yield from self._loader
        finally:
            self.busy = False


def _as_is(item: Any) -> Any:
    return item


def _start_worker(_: int) -> None:
    cv2.setNumThreads(0)
