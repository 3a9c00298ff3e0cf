"""Xception, the usual frame detector of FaceForensics++."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.models.detector import Detector, check_size, make_head

SMALLEST = 32


class SeparableConv2d(nn.Module):
    """A depthwise 3x3 convolution, then a pointwise one; neither has a bias."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width_in, 3, padding=1, groups=width_in, bias=False)
        self.pointwise = nn.Conv2d(width_in, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.conv1(x))
        return out


class Block(nn.Module):
    """``len(widths) - 1`` times ReLU, separable convolution, batch norm, beside a shortcut.

    The published keys number the parts of ``rep`` with the leading ReLU counted, where there is one.
    """

    def __init__(self, *widths: int, stride: int = 1, first_relu: bool = True) -> None:
        super().__init__()
        self.has_projection = stride != 1 or widths[0] != widths[-1]
        if self.has_projection:
            self.skip = nn.Conv2d(widths[0], widths[-1], 1, stride, bias=False)
            self.skipbn = nn.BatchNorm2d(widths[-1])
        parts: list[nn.Module] = []
        for i, (width_in, width) in enumerate(pairwise(widths)):
            if i > 0 or first_relu:
                # The first ReLU must leave its input alone: the shortcut reads it too.
                parts.append(nn.ReLU(inplace=i > 0))
            parts += [SeparableConv2d(width_in, width), nn.BatchNorm2d(width)]
        if stride != 1:
            parts.append(nn.MaxPool2d(3, stride, 1))
        self.rep = nn.Sequential(*parts)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.skipbn(self.skip(x)) if self.has_projection else x
        out: Tensor = self.rep(x) + shortcut
        return out


class Xception(nn.Module):
    """Stem, twelve blocks, two separable convolutions, global average; features (B, 2048), ``adjusted`` (B, 512)."""

    def __init__(self, features: str) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.block1 = Block(64, 128, 128, stride=2, first_relu=False)
        self.block2 = Block(128, 256, 256, stride=2)
        self.block3 = Block(256, 728, 728, stride=2)
        for number in range(4, 12):
            self.add_module(f"block{number}", Block(728, 728, 728, 728))
        self.block12 = Block(728, 728, 1024, stride=2)
        self.conv3 = SeparableConv2d(1024, 1536)
        self.bn3 = nn.BatchNorm2d(1536)
        self.conv4 = SeparableConv2d(1536, 2048)
        self.bn4 = nn.BatchNorm2d(2048)
        self.kind = features
        self.dim = 2048
        if features == "adjusted":
            self.dim = 512
            self.adjust_channel = nn.Sequential(nn.Conv2d(2048, 512, 1), nn.BatchNorm2d(512), nn.ReLU())

    def maps(self, x: Tensor) -> Tensor:
        """(B, 2048, H/32, W/32) output of bn4, before the last ReLU."""
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        for number in range(1, 13):
            x = self.get_submodule(f"block{number}")(x)
        x = F.relu(self.bn3(self.conv3(x)), inplace=True)
        out: Tensor = self.bn4(self.conv4(x))
        return out

    def forward(self, x: Tensor) -> Tensor:
        maps = self.maps(x)
        if self.kind == "relu":
            maps = F.relu(maps)
        elif self.kind == "adjusted":
            maps = self.adjust_channel(maps)
        return maps.mean((2, 3))


def xception(
    features: Literal["relu", "linear", "adjusted"] = "relu",
    size: int | None = 299,
    head: Literal["linear", "cosine"] = "linear",
    scale: float | None = None,
    dropout: float = 0.5,
) -> Detector:
    """Xception: 20.8 M parameters, the usual frame detector of FaceForensics++ (Chollet 2017).

    Args:
        features: 2048 ``relu`` (published), 2048 ``linear`` (before the last ReLU, so both signs occur), or 512
            ``adjusted`` (a 1x1 convolution with batch norm and ReLU on them, DeepfakeBench's adjust_channel).
        size: pixels per side that the network sees, at least 32; None keeps the crop's own.
        head: ``linear`` or ``cosine``.
        scale: of the cosine head (None: 64).
        dropout: share of features hidden from the head in training, [0, 1).

    Source: arXiv:1610.02357, wiring of FaceForensics++. Deviation: one logit (two classes: fake minus real).
    """
    check_size(size, SMALLEST)
    backbone = Xception(features)
    top = make_head(head, backbone.dim, scale, dropout)
    return Detector(backbone, top, size=size, mean=0.5, std=0.5, smallest=SMALLEST, clips=False)
