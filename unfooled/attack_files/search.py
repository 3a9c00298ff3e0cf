"""The attack on the faces of a video, as many at a time as are asked about at once, and what it did."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from unfooled.attack_files.clips import batches, samples, to_input
from unfooled.attack_files.scene import Crop, Scene
from unfooled.attack_files.spaces import Attacked, Space, ask, change_of
from unfooled.data.images import Pixels
from unfooled.data.video import Frame
from unfooled.models.detector import Detector

Logits = dict[str, list[float]]
"""Of each track, those of its samples in order."""


@dataclass
class Distance:
    """How far the parts of frames that hold a face were moved.

    Attributes:
        linf: largest change of a value, in units of [0, 1].
        l2: sum over the parts of the Euclidean length of their change.
        count: parts.
    """

    linf: float = 0.0
    l2: float = 0.0
    count: int = 0

    def see(self, change: Tensor) -> None:
        """Add the change (3, h, w) of one part."""
        self.linf = max(self.linf, change.abs().max().item())
        self.l2 += torch.linalg.vector_norm(change.double()).item()
        self.count += 1

    def row(self) -> tuple[float, float]:
        """Linf in 1/255 and the mean L2, as rows hold them."""
        return round(255 * self.linf, 3), round(self.l2 / max(1, self.count), 5)


def scored(
    detector: Detector, crops: Iterable[Crop], counts: Mapping[str, int], length: int | None, device: str
) -> Logits:
    """The logits of all crops or clips of a video; arguments as in ``clips.samples``."""
    found: Logits = {track: [] for track in counts}
    for group in batches(samples(crops, counts, length), length):
        x = to_input((sample.pixels for sample in group), length, device)
        for sample, logit in zip(group, ask(detector, x), strict=True):
            found[sample.track].append(logit)
    return found


class Search:
    """An attack on all faces of a scene, in the order of its frames.

    Args:
        scene: the video and its faces.
        space: which pixels the attack moves, and how.
        length: frames of a clip; None: single crops.

    Attributes:
        after: logits of the attacked crops or clips in memory.
        distance: from the parts of the frames that hold a face to these after the attack.
        queries: forward passes of a sample that the search took.
    """

    def __init__(self, scene: Scene, space: Space, length: int | None) -> None:
        self.scene, self.space, self.length = scene, space, length
        self.after: Logits = {track: [] for track in scene.counts}
        self.distance = Distance()
        self.queries = 0
        self._before: dict[str, list[Tensor]] = {}

    def changed(self) -> Generator[tuple[Crop, Pixels], None, None]:
        """Every crop, and the part of its frame after the attack; goes through the file once, a batch ahead."""
        for group in batches(samples(self.scene.crops(), self.scene.counts, self.length), self.length):
            for found in self.space.attacked(group):
                self.queries += found.queries
                sample, frames = found.sample, self._joined(found)
                # A clip that shares frames with the one before is not what the attack has judged.
                joined = sample.fresh != (0, len(frames))
                self.after[sample.track].append(self.space.logit(sample, frames) if joined else found.logit)
                for place in range(*sample.fresh):
                    crop = sample.crops[place]
                    part = self.space.part(crop, frames[place])
                    self.distance.see(change_of(part, crop))
                    yield crop, part

    def _joined(self, found: Attacked) -> list[Tensor]:
        """The frames of a sample as the file will hold them: what an earlier one has perturbed stays so."""
        (first, stop), track = found.sample.fresh, found.sample.track
        earlier = self._before.get(track, found.frames)
        held = [found.frames[stop - 1]] * (len(found.frames) - stop)
        whole = [*earlier[len(earlier) - first :], *found.frames[first:stop], *held]
        if self.length is not None:
            self._before[track] = whole
        return whole


class Pasting:
    """A frame of the file to the frame with its attacked faces; frames come in order.

    Where parts overlap, the larger change of a value counts, so that no value moves further than an attack moved it.

    Args:
        scene: the video and its faces.
        changed: their parts after the attack, from ``Search.changed``; a few are held until their frame comes.
    """

    def __init__(self, scene: Scene, changed: Iterator[tuple[Crop, Pixels]]) -> None:
        self._scene, self._changed = scene, changed
        self._ready: dict[tuple[str, int], Pixels] = {}

    def __call__(self, frame: Frame) -> Pixels:
        pixels = frame.pixels.copy()
        for own in self._scene.of(frame):
            while (own.track, own.place) not in self._ready:
                crop, found = next(self._changed)
                self._ready[crop.track, crop.place] = found
            after, here = self._ready.pop((own.track, own.place)), own.cut.part(pixels)
            change, there = (p.astype(np.int16) - own.part for p in (after, here))
            here[:] = np.where(np.abs(change) > np.abs(there), after, here)
        return pixels


def compared(scene: Scene, copy_crops: Iterator[Crop], distance: Distance) -> Iterator[Crop]:
    """The crops of a copy of the scene's file; ``distance`` learns how far their frames are from the file's own."""
    for own, there in zip(scene.crops(), copy_crops, strict=True):
        distance.see(change_of(there.part, own))
        yield there


def mean(values: list[float]) -> float:
    """The mean of the logits of a track."""
    return math.fsum(values) / len(values)
