"""What a detector is shown of face tracks: single crops, or clips of consecutive ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from unfooled.attack_files.scene import Crop
from unfooled.data.images import Pixels

BATCH = 32
"""Single crops that are attacked or scored together; clips go one by one, for each is a batch of frames."""


@dataclass(frozen=True, eq=False, slots=True)
class Sample:
    """One crop or one clip.

    Args:
        track: name of its track.
        start: place of its first frame in the track.
        crops: of its T frames; T = 1 for a single crop.
        fresh: (first, stop) of its frames that no earlier sample of the track holds.
    """

    track: str
    start: int
    crops: tuple[Crop, ...]
    fresh: tuple[int, int]

    @property
    def pixels(self) -> Pixels:
        """(T, S, S, 3) RGB."""
        return np.stack([crop.pixels for crop in self.crops])


def samples(crops: Iterable[Crop], counts: Mapping[str, int], length: int | None) -> Iterator[Sample]:
    """Consecutive windows of every track as they fill up; at most a window of each track is in memory.

    The last window of a track ends with it and so overlaps the one before; a track that is shorter than a window
    holds its last frame.

    Args:
        crops: of each track in order.
        counts: frames of each track.
        length: of a window; None: single crops.
    """
    size = 1 if length is None else length
    held: dict[str, deque[Crop]] = {track: deque(maxlen=size) for track in counts}
    for crop in crops:
        held[crop.track].append(crop)
        seen = crop.place + 1
        if seen % size == 0 or seen == counts[crop.track]:
            window = list(held[crop.track])
            start = seen - len(window)
            first = (seen - 1) // size * size - start
            window += window[-1:] * (size - len(window))
            yield Sample(crop.track, start, tuple(window), (first, seen - start))


def batches(shown: Iterable[Sample], length: int | None) -> Iterator[list[Sample]]:
    """Groups of samples that are small enough to be asked about at once."""
    shown = iter(shown)
    while group := list(islice(shown, BATCH if length is None else 1)):
        yield group


def to_input(pixels: Iterable[Pixels], length: int | None, device: torch.device | str) -> Tensor:
    """(B, 3, S, S), or (B, 3, T, S, S) where clips have a ``length``, in [0, 1], of the pixels of samples."""
    x = torch.from_numpy(np.stack(list(pixels))).to(device).permute(0, 4, 1, 2, 3).float() / 255
    return x[:, :, 0] if length is None else x


def frames_of(x: Tensor) -> Tensor:
    """(T, 3, S, S) frames of a sample (3, S, S) or (3, T, S, S)."""
    return x[None] if x.dim() == 3 else x.transpose(0, 1)
