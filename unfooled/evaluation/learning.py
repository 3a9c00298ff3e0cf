"""Attacks and defenses that learn first, from other faces than they are judged on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from unfooled.attacks import Attack, Transfer
from unfooled.data.frames import Frames
from unfooled.defenses import Defense
from unfooled.errors import ConfigError, DataError
from unfooled.evaluation.conditions import Condition
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


def defending(
    conditions: Sequence[Condition],
    detector: Detector,
    tested: Frames,
    support: Frames | None,
    batch_size: int = 64,
    keep: Path | None = None,
) -> list[Condition]:
    """The conditions with every defense as it is after it has learnt what it needs; each learns once.

    Args:
        keep: see ``Defense.fit``.

    Raises:
        ConfigError: a defense must learn and there are no training samples.
        DataError: a tested sample is among them.
    """
    learnt: dict[Defense, Defense] = {}
    for defense in {c.defense: None for c in conditions if c.defense is not None and c.defense.learns}:
        if support is None:
            raise ConfigError(f"{defense.name} needs training samples, the manifest has none in its train split")
        both = sorted(_ids(support) & _ids(tested))
        if both:
            raise DataError(
                f"leak: {len(both)} tested samples, such as {both[0]!r}, are among the training samples of"
                f" {defense.name}; test on another split"
            )
        learnt[defense] = defense.fit(detector, support, batch_size=batch_size, keep=keep)
    return [c if c.defense is None else replace(c, defense=learnt.get(c.defense, c.defense)) for c in conditions]


def _ids(frames: Frames) -> set[str]:
    return {str(name) for name in frames.manifest.column("id")[frames.rows]}
