"""A small residual network for small faces."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.errors import ConfigError
from unfooled.models.detector import Detector, check_size, make_head

SMALLEST = 16


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; ``last_relu`` False leaves the sum as it is."""

    def __init__(self, width_in: int, width: int, stride: int, last_relu: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width_in, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.last_relu = last_relu
        self.shortcut = nn.Sequential()
        if stride != 1 or width_in != width:
            self.shortcut = nn.Sequential(nn.Conv2d(width_in, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out)) + self.shortcut(x)
        return F.relu(out) if self.last_relu else out


class ResNet(nn.Module):
    """Stem, four stages of widths ``width * (1, 2, 4, 8)``, global average; features (B, 8 * width)."""

    def __init__(self, width: int, blocks: int, stem_stride: int, last_relu: bool) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
        )
        widths = [width, width, 2 * width, 4 * width, 8 * width]
        self.stages = nn.Sequential()
        for stage, (width_in, width_out) in enumerate(pairwise(widths)):
            for block in range(blocks):
                is_last = stage == 3 and block == blocks - 1
                self.stages.append(
                    BasicBlock(
                        width_in if block == 0 else width_out,
                        width_out,
                        stride=2 if stage > 0 and block == 0 else 1,
                        last_relu=last_relu or not is_last,
                    )
                )
        self.dim = widths[-1]
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.stages(self.stem(x))
        return maps.mean((2, 3))


def resnet(
    width: int = 16,
    blocks: int = 1,
    stem_stride: int = 1,
    features: Literal["relu", "linear"] = "relu",
    size: int | None = None,
    head: Literal["linear", "cosine"] = "linear",
    scale: float | None = None,
    dropout: float = 0.0,
) -> Detector:
    """Small residual network for small faces, 0.3 M parameters (He et al. 2015).

    Args:
        width: channels of the stem and the first stage; the later ones have 2, 4 and 8 times as many.
        blocks: basic blocks in each of the four stages.
        stem_stride: 1 keeps fine traces of small crops; 2 is about 4 times faster.
        features: ``relu`` pools after the last ReLU; ``linear`` before it, so that features have both signs and
            their cosines use the whole of [-1, 1].
        size: pixels per side that the network sees, at least 16; None keeps the crop's own.
        head: ``linear`` or ``cosine``.
        scale: of the cosine head (None: 64).
        dropout: share of features hidden from the head in training, [0, 1).

    Source: arXiv:1512.03385, basic blocks. Deviation: 3x3 stem without pooling, widths for small faces.
    """
    if width < 1 or blocks < 1:
        raise ConfigError(f"resnet: width and blocks must be at least 1, got width {width}, blocks {blocks}")
    if stem_stride not in (1, 2):
        raise ConfigError(f"resnet: stem_stride must be 1 or 2, got {stem_stride}")
    check_size(size, SMALLEST)
    backbone = ResNet(width, blocks, stem_stride, last_relu=features == "relu")
    top = make_head(head, backbone.dim, scale, dropout)
    return Detector(backbone, top, size=size, mean=0.5, std=0.5, smallest=SMALLEST, clips=False)
