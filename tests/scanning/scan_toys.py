"""Detectors with closed forms, and faces that are bright squares."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from unfooled.data.faces import Face
from unfooled.data.images import Pixels
from unfooled.models.detector import Detector


class Bright:
    """Finds every bright square on a dark ground."""

    name = "bright"

    def __call__(self, pixels: Pixels) -> list[Face]:
        mask = (pixels[..., 1] > 128).astype(np.uint8)
        count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
        boxes = [tuple(map(float, (x, y, x + w, y + h))) for x, y, w, h, _ in stats[1:count]]
        return [Face(box, 0.9) for box in boxes]  # type: ignore[arg-type]


class Mean(nn.Module):
    """Features are the three means of a crop or clip."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).mean(2)


def linear(weights: tuple[float, float, float] = (40.0, 0.0, 0.0), bias: float = -10.0) -> Detector:
    """z = weights . mean colour + bias: red is fake; its margin has a closed form."""
    head = nn.Linear(3, 1)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([weights]))
        head.bias.fill_(bias)
    return Detector(Mean(), head, smallest=8).eval()


def squares(reds: list[list[int]]) -> Pixels:
    """(T, 96, 128, 3): a square for every number of ``reds[t]``, its red; green is 200, blue 90."""
    clip = np.zeros((len(reds), 96, 128, 3), np.uint8)
    for t, values in enumerate(reds):
        for n, value in enumerate(values):
            clip[t, 30:66, 8 + 60 * n + t % 3 : 44 + 60 * n + t % 3] = (value, 200, 90)
    return clip
