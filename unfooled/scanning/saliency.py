"""Which places of a face moved its score: the input gradient, smoothed, as a heat map over the crop."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from unfooled.attack_files.clips import to_input
from unfooled.attacks.base import frozen
from unfooled.attacks.constant_norms import constant_norms
from unfooled.data.images import Pixels
from unfooled.models.detector import Detector
from unfooled.randomness import normal_like
from unfooled.scanning.points import Shape

Heat = NDArray[np.float32]
DRAWS, SIGMA = 6, 0.02
"""Noisy copies whose gradients are averaged, and the standard deviation of their noise."""
SPREAD = 1 / 24
"""Of the side of a crop: standard deviation of the blur that makes places of single pixels."""


def saliency(detector: Detector, shown: Pixels, shape: Shape, device: str = "cpu") -> Heat:
    """(S, S) in [0, 1] of one point: 1 where a small change of the picture moves its logit most.

    Of a clip, the middle frame.

    Args:
        detector: differentiable.
        shown: (T, S, S, 3) RGB.
        shape: what the detector is shown.
        device: of the detector.

    Source: SmoothGrad, arXiv:1706.03825. Deviations: the size of the mean gradient over the channels is blurred, so
    that it marks places and no pixels; scaled so that the highest hundredth is 1. A gradient tells what the detector
    reacts to, not what is forged.
    """
    x = to_input([shown], shape.clip, device)
    with torch.inference_mode(False), torch.enable_grad(), frozen(detector), constant_norms(detector):
        total = torch.zeros_like(x)
        for k in range(DRAWS):
            leaf = (x + SIGMA * normal_like(x, k, "saliency")).clamp(0, 1).requires_grad_()
            (gradient,) = torch.autograd.grad(detector(leaf).sum(), leaf)
            total += gradient.nan_to_num(nan=0.0)
    frame = total[0] if shape.clip is None else total[0, :, total.shape[2] // 2]
    size = frame.shape[-1]
    heat = cv2.GaussianBlur(frame.abs().sum(0).cpu().numpy(), (0, 0), max(1.0, SPREAD * size))
    top = float(np.quantile(heat, 0.99))
    return np.clip(heat / top, 0, 1).astype(np.float32) if top > 0 else np.zeros((size, size), np.float32)


def drawn_over(face: Pixels, heat: Heat) -> Pixels:
    """(S, S, 3) the face in grey with the heat over it: dark violet where little, yellow where much."""
    grey = cv2.cvtColor(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB).astype(np.float32)
    colour = cv2.cvtColor(cv2.applyColorMap((heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    weight = (0.25 + 0.5 * heat)[..., None]
    return np.clip(np.rint((1 - weight) * grey + weight * colour), 0, 255).astype(np.uint8)
