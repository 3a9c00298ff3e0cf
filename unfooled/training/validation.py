"""Clean and robust AUC on validation frames, which choose the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch

from unfooled.attacks.base import Attack
from unfooled.data.frames import Frames
from unfooled.metrics import auc
from unfooled.models.detector import Detector
from unfooled.training.engine import channels_last


def validate(
    detector: Detector,
    frames: Frames,
    attack: Attack | None,
    batch_size: int,
    context: Callable[[], AbstractContextManager[Any]] = nullcontext,
) -> tuple[float, float | None]:
    """(clean AUC, robust AUC or None) of a detector on frames; its mode is put back.

    Args:
        frames: with both classes, each row once.
        attack: on both classes; None measures clean AUC only.
        context: makes what every batch runs in, such as autocast.
    """
    modes = [(module, module.training) for module in detector.modules()]
    clean, attacked, labels = [], [], []
    detector.eval()
    for batch in frames.test_loader(batch_size):
        x = channels_last(batch.x.to(detector.threshold.device))
        y = batch.y.to(x.device)
        with context(), torch.no_grad():
            clean.append(detector(x).float().cpu())
            if attack is not None:
                attacked.append(attack(detector, x, y).logits.float().cpu())
        labels.append(batch.y)
    for module, training in modes:
        module.training = training
    truth = torch.cat(labels).numpy()
    robust = float(auc(torch.cat(attacked).numpy(), truth)) if attacked else None
    return float(auc(torch.cat(clean).numpy(), truth)), robust


def limited(frames: Frames, limit: int | None) -> Frames:
    """At most ``limit`` frames, half of each class where both have enough, spread evenly over the manifest."""
    if limit is None or limit >= len(frames):
        return frames
    kept: list[int] = []
    for label in (0, 1):
        own = np.flatnonzero(frames.labels == label)
        spread = np.linspace(0, len(own) - 1, min(len(own), limit // 2)).round().astype(int)
        kept += own[spread].tolist()
    return frames.take(frames.rows[np.sort(kept)])
