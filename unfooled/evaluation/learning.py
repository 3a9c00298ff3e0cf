"""Attacks that learn first, from other faces than they are judged on."""

from __future__ import annotations

import torch

from unfooled.attacks import Attack, Transfer
from unfooled.data.frames import Frames
from unfooled.evaluation.samples import balanced_rows
from unfooled.models.detector import Detector

LEARNT_FROM = 1024
"""Training faces that an attack learns from: enough for one perturbation, and ten passes stay affordable."""


def learns(attack: Attack) -> bool:
    """Whether the attack, or that of a transfer, has to learn before it can be used."""
    return (attack.attack if isinstance(attack, Transfer) else attack).learns


def learnt(
    attack: Attack, detector: Detector, frames: Frames, batch_size: int = 64, device: str | torch.device = "cpu"
) -> Attack:
    """The attack after it has learnt what it needs once, from at most ``LEARNT_FROM`` balanced training samples."""
    if not learns(attack):
        return attack
    chosen = frames.take(balanced_rows(frames.manifest, frames.rows, LEARNT_FROM))
    batches = [(there.x, there.y) for there in (b.to(device) for b in chosen.test_loader(batch_size))]
    return attack.fit(detector, batches)
