"""Where the attack on a face in a video takes place: in pixels of the frame, or of the crop that is put back after."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from unfooled.attack_files.clips import Sample, frames_of, to_input
from unfooled.attack_files.scene import Crop
from unfooled.attack_files.shared import wear
from unfooled.attack_files.through import Through, canvas
from unfooled.attacks import Attack
from unfooled.codecs import to_pixels, to_tensor
from unfooled.data.alignment import paste
from unfooled.data.images import Pixels
from unfooled.errors import DataError
from unfooled.evaluation.learning import learns
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox

Place = Literal["frame", "crop"]


@dataclass(frozen=True, eq=False)
class Attacked:
    """What the attack makes of a sample.

    Args:
        sample: as it is in the file.
        frames: of each of its frames, in the pixels of the space.
        logit: of the sample after the attack.
        queries: forward passes that it took.
    """

    sample: Sample
    frames: list[Tensor]
    logit: float
    queries: int


class Space(Protocol):
    """The pixels that an attack moves."""

    def attacked(self, group: Sequence[Sample]) -> Iterator[Attacked]:
        """The samples after the attack, in their order."""

    def logit(self, sample: Sample, frames: Sequence[Tensor]) -> float:
        """What the detector says of a sample with these frames in the place of its own."""

    def part(self, crop: Crop, frame: Tensor) -> Pixels:
        """(h, w, 3) the part of the video's frame that holds the face, after the attack."""


def place_of(attack: Attack, detector: Detector, shared: bool, asked: Place) -> Place:
    """Where an attack can take place.

    What was learnt for crops, or is shared by all frames of a track, has the size of a crop, and a detector that one
    can only call has no gradient to lead through the frame: those move pixels of the crop whatever was asked.
    """
    return "crop" if shared or learns(attack) or isinstance(detector, BlackBox) else asked


@dataclass(frozen=True)
class InFrames:
    """The threat holds for pixels of the frame, and the detector is asked about what a crop makes of them.

    One sample at a time: the parts of frames differ in size.

    Args:
        detector: in evaluation mode on ``device``.
        attack: what searches.
        label: of the file, 0 real, 1 fake.
        length: frames of a clip; None: single crops.
        device: of the detector.
    """

    detector: Detector
    attack: Attack
    label: int
    length: int | None
    device: str

    def attacked(self, group: Sequence[Sample]) -> Iterator[Attacked]:
        for sample in group:
            cuts = [crop.cut for crop in sample.crops]
            through, attack = Through(self.detector, cuts), self.attack
            surrogate: Detector | None = getattr(attack, "surrogate", None)
            if surrogate is not None:
                changes: dict[str, Any] = {"surrogate": Through(surrogate, cuts)}
                attack = replace(attack, **changes)
            x = self._canvas([crop.part for crop in sample.crops])
            found = attack(through, x, torch.tensor([self.label], device=x.device))
            # What no crop reads stays as it is in the file.
            x_adv = torch.where(_read(through, x), found.x, x)
            frames = [
                frame[:, : crop.part.shape[0], : crop.part.shape[1]]
                for crop, frame in zip(sample.crops, frames_of(x_adv[0]), strict=True)
            ]
            yield Attacked(sample, frames, found.logits.item(), int(found.queries.item()))

    def logit(self, sample: Sample, frames: Sequence[Tensor]) -> float:
        through = Through(self.detector, [crop.cut for crop in sample.crops])
        return ask(through, self._canvas([to_pixels(frame) for frame in frames]))[0]

    def part(self, crop: Crop, frame: Tensor) -> Pixels:
        return to_pixels(frame)

    def _canvas(self, parts: Sequence[Pixels]) -> Tensor:
        return canvas(parts, self.device, clip=self.length is not None)


@dataclass(frozen=True)
class InCrops:
    """The threat holds for pixels of the crop; its change is put back into the frame, which keeps a part of it.

    Args:
        detector, attack, label, length, device: as of ``InFrames``.
        deltas: (3, S, S) of each track, worn by all of its frames; None: every sample is searched for itself.
    """

    detector: Detector
    attack: Attack
    label: int
    length: int | None
    device: str
    deltas: Mapping[str, Tensor] | None = None

    def attacked(self, group: Sequence[Sample]) -> Iterator[Attacked]:
        x = to_input((sample.pixels for sample in group), self.length, self.device)
        if self.deltas is None:
            found = self.attack(self.detector, x, torch.full((len(x),), self.label, device=x.device))
            x_adv, logits, queries = found.x, found.logits.tolist(), found.queries.tolist()
        else:
            x_adv = torch.cat([wear(x[k : k + 1], self.deltas[s.track]) for k, s in enumerate(group)])
            logits, queries = ask(self.detector, x_adv), [0] * len(x)
        for k, sample in enumerate(group):
            yield Attacked(sample, list(frames_of(x_adv[k])), logits[k], queries[k])

    def logit(self, sample: Sample, frames: Sequence[Tensor]) -> float:
        return ask(self.detector, torch.stack(list(frames), 1)[None])[0]

    def part(self, crop: Crop, frame: Tensor) -> Pixels:
        return paste(crop.part, to_pixels(frame), crop.pixels, crop.cut.whole)


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


def change_of(part: Pixels, crop: Crop) -> Tensor:
    """(3, h, w) change of the part of a frame, in units of [0, 1]."""
    return to_tensor(part) - to_tensor(crop.part)


def _read(through: Through, x: Tensor) -> Tensor:
    """Which pixels the crops depend on."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (slope,) = torch.autograd.grad(through.crops(x).sum(), x)
    return slope != 0
