"""The attack on the faces of a video, as many at a time as are asked about at once, and what it did."""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unfooled.attack_files.clips import Sample, batches, frames_of, samples, to_input
from unfooled.attack_files.scene import Crop, Scene
from unfooled.attack_files.shared import wear
from unfooled.attacks import Attack
from unfooled.codecs import to_pixels, to_tensor
from unfooled.data.alignment import paste
from unfooled.data.images import Pixels
from unfooled.data.video import Frame
from unfooled.errors import DataError
from unfooled.models.detector import Detector

Logits = dict[str, list[float]]
"""Of each track, those of its samples in order."""


@dataclass
class Distance:
    """How far crops were moved.

    Attributes:
        linf: largest change of a value, in units of [0, 1].
        l2: sum over the crops of the Euclidean length of their change.
        count: crops.
    """

    linf: float = 0.0
    l2: float = 0.0
    count: int = 0

    def see(self, change: Tensor) -> None:
        """Add the change (3, S, S) of one crop."""
        self.linf = max(self.linf, change.abs().max().item())
        self.l2 += torch.linalg.vector_norm(change.double()).item()
        self.count += 1

    def row(self) -> tuple[float, float]:
        """Linf in 1/255 and the mean L2, as rows hold them."""
        return round(255 * self.linf, 3), round(self.l2 / max(1, self.count), 5)


def ask(detector: Detector, x: Tensor) -> list[float]:
    """The logits of a batch.

    Raises:
        DataError: one of them is NaN.
    """
    with torch.no_grad():
        logits = detector(x)
    if logits.isnan().any():
        raise DataError("the detector answered NaN; its weights are broken")
    # JSON knows no infinity.
    return [max(min(logit, 1e30), -1e30) for logit in logits.tolist()]


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


@dataclass
class Search:
    """An attack on all faces of a scene, in the order of its frames.

    Args:
        scene: the video and its faces.
        detector: in evaluation mode on ``device``.
        attack: what searches.
        label: of the file, 0 real, 1 fake.
        length: frames of a clip; None: single crops.
        device: of the detector.
        deltas: (3, S, S) of each track, worn by all of its frames; None: every sample is searched for itself.

    Attributes:
        after: logits of the attacked crops or clips in memory.
        distance: from the crops of the file to these.
        queries: forward passes of a sample that the search took.
    """

    scene: Scene
    detector: Detector
    attack: Attack
    label: int
    length: int | None
    device: str
    deltas: Mapping[str, Tensor] | None = None
    after: Logits = field(init=False)
    distance: Distance = field(default_factory=Distance)
    queries: int = 0

    def __post_init__(self) -> None:
        self.after = {track: [] for track in self.scene.counts}
        self._before: dict[str, Tensor] = {}

    def changed(self) -> Generator[tuple[str, int, Pixels], None, None]:
        """(track, place, pixels) of every crop after the attack; goes through the file once, a batch ahead."""
        for group in batches(samples(self.scene.crops(), self.scene.counts, self.length), self.length):
            x = to_input((sample.pixels for sample in group), self.length, self.device)
            if self.deltas is None:
                found = self.attack(self.detector, x, torch.full((len(x),), self.label, device=x.device))
                x_adv, logits = found.x, found.logits.tolist()
                self.queries += int(found.queries.sum().item())
            else:
                x_adv = torch.cat([wear(x[k : k + 1], self.deltas[s.track]) for k, s in enumerate(group)])
                logits = ask(self.detector, x_adv)
            for k, sample in enumerate(group):
                clean, attacked = frames_of(x[k]), self._joined(sample, frames_of(x_adv[k]))
                # A clip that shares frames with the one before is not what the attack has judged.
                joined = sample.fresh != (0, len(attacked))
                shown = attacked.transpose(0, 1)[None]
                self.after[sample.track].append(ask(self.detector, shown)[0] if joined else logits[k])
                for place in range(*sample.fresh):
                    self.distance.see(attacked[place] - clean[place])
                    yield sample.track, sample.start + place, to_pixels(attacked[place])

    def _joined(self, sample: Sample, frames: Tensor) -> Tensor:
        """The frames of a sample as the file will hold them: what an earlier one has perturbed stays so."""
        first, stop = sample.fresh
        earlier = self._before.get(sample.track, frames)
        held = [frames[stop - 1 : stop]] * (len(frames) - stop)
        whole = torch.cat([earlier[len(earlier) - first :], frames[first:stop], *held])
        if self.length is not None:
            self._before[sample.track] = whole
        return whole


class Pasting:
    """A frame of the file to the frame with its attacked faces; frames come in order.

    Args:
        scene: the video and its faces.
        changed: their crops after the attack, from ``Search.changed``; a few are held until their frame comes.
    """

    def __init__(self, scene: Scene, changed: Iterator[tuple[str, int, Pixels]]) -> None:
        self._scene, self._changed = scene, changed
        self._ready: dict[tuple[str, int], Pixels] = {}

    def __call__(self, frame: Frame) -> Pixels:
        pixels = frame.pixels
        for crop in self._scene.of(frame):
            while (crop.track, crop.place) not in self._ready:
                track, place, found = next(self._changed)
                self._ready[track, place] = found
            pixels = paste(pixels, self._ready.pop((crop.track, crop.place)), crop.pixels, crop.affine)
        return pixels


def compared(scene: Scene, copy_crops: Iterator[Crop], distance: Distance) -> Iterator[Crop]:
    """The crops of a copy of the scene's file; ``distance`` learns how far each is from the file's own."""
    for own, there in zip(scene.crops(), copy_crops, strict=True):
        distance.see(to_tensor(there.pixels) - to_tensor(own.pixels))
        yield there


def mean(values: list[float]) -> float:
    """The mean of the logits of a track."""
    return math.fsum(values) / len(values)
