"""One perturbation for all frames of a face track: the frames together are one input to the attack."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unfooled.attack_files.clips import BATCH, Sample, samples, to_input
from unfooled.attack_files.scene import Scene
from unfooled.attacks import APGD, FGSM, PGD, Attack, describe
from unfooled.data.images import Pixels
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector

LEARNT_FROM = 1000
"""Crops of a video that are held to find its perturbations: 150 MB at 224 px. Longer tracks give evenly spread ones."""
KINDS: tuple[type[Attack], ...] = (FGSM, PGD, APGD)
_GREY = 0.5


def check_shared(attack: Attack) -> None:
    """Refuse an attack that can not share its perturbation over time.

    Raises:
        ConfigError: it is not of the family of PGD: others change what they are shown, not only add to it.
    """
    if type(attack) not in KINDS:
        names = ", ".join(kind.__name__.lower() for kind in KINDS)
        raise ConfigError(
            f"shared is for {names}, got {describe(attack).partition(':')[0]}; leave it out to perturb each frame"
        )


def perturbations(
    scene: Scene, detector: Detector, attack: Attack, label: int, length: int | None, device: torch.device | str
) -> tuple[dict[str, Tensor], int]:
    """(3, S, S) perturbation of each track, and how many forward passes of a sample the search took in all.

    Args:
        scene: the video and its faces.
        detector: in evaluation mode on ``device``.
        attack: one of ``KINDS``; its threat holds for the perturbation.
        label: of the file, 0 real, 1 fake.
        length: frames of a clip; None: the detector sees single crops.
        device: of the detector.
    """
    each = max(1, LEARNT_FROM // (length or 1) // len(scene.counts))
    held: dict[str, list[Pixels]] = {track: [] for track in scene.counts}
    for sample in samples(scene.crops(), scene.counts, length):
        if _is_chosen(sample, -(-scene.counts[sample.track] // (length or 1)), length or 1, each):
            held[sample.track].append(sample.pixels)
    found, queries = {}, 0
    for track, pixels in held.items():
        together = Together(detector, pixels, length)
        grey = torch.full((1, 3, scene.size, scene.size), _GREY, device=device)
        result = attack(together, grey, torch.tensor([label], device=device))
        found[track] = (result.x - grey)[0].contiguous()
        queries += int(result.queries.item()) * len(pixels)
    return found, queries


class Together(Detector):
    """What a detector says on the mean about all samples of a track that wear one perturbation.

    The input (B, 3, S, S) is the perturbation on a ground of grey, 0.5, so that a ball around grey is the ball around
    no perturbation. What leaves [0, 1] on a sample is cut there, as it is when the perturbation is worn.

    Args:
        detector: of crops or clips.
        pixels: (T, S, S, 3) of each sample.
        length: frames of a clip; None: single crops.
    """

    def __init__(self, detector: Detector, pixels: Sequence[Pixels], length: int | None) -> None:
        super().__init__(_Worn(detector, pixels, length), _Mean(detector, len(pixels)))
        self.threshold = detector.threshold.clone()
        self.to(detector.threshold.device)


class _Worn(nn.Module):
    """(B, 3, S, S) -> (B, N * D) features of the N samples that wear it."""

    def __init__(self, detector: Detector, pixels: Sequence[Pixels], length: int | None) -> None:
        super().__init__()
        self.detector, self.length = detector, length
        size = BATCH if length is None else 1
        self.groups = [pixels[k : k + size] for k in range(0, len(pixels), size)]

    def forward(self, z: Tensor) -> Tensor:
        return torch.stack([self._features(row) for row in z])

    def _features(self, z: Tensor) -> Tensor:
        # Only the perturbation is kept for the backward pass: a long track would fill the memory.
        parts = [checkpoint(partial(self._group, group), z, use_reentrant=False) for group in self.groups]
        return torch.cat(parts).flatten()

    def _group(self, group: Sequence[Pixels], z: Tensor) -> Tensor:
        return self.detector.features(wear(to_input(group, self.length, z.device), z - _GREY))


class _Mean(nn.Module):
    """(B, N * D) -> (B, 1) mean of the N logits."""

    def __init__(self, detector: Detector, count: int) -> None:
        super().__init__()
        self.detector, self.count = detector, count

    def forward(self, features: Tensor) -> Tensor:
        logits = self.detector.classify(features.reshape(len(features) * self.count, -1))
        return logits.reshape(len(features), self.count).mean(1, keepdim=True)


def wear(x: Tensor, delta: Tensor) -> Tensor:
    """``x`` (B, 3, S, S) or (B, 3, T, S, S) with ``delta`` (3, S, S) on every frame, cut to [0, 1]."""
    return (x + (delta if x.dim() == 4 else delta[:, None])).clamp(0, 1)


def _is_chosen(sample: Sample, count: int, length: int, most: int) -> bool:
    """Whether a sample is among ``most`` of the ``count`` of its track that are evenly spread over it."""
    number = -(-sample.start // length)
    return count <= most or (number + 1) * most // count > number * most // count
