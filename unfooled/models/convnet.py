"""The DFDC CNN: four convolutions and two fully connected layers."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.errors import ConfigError
from unfooled.models.detector import Detector, check_size, make_head

GROUPS = 8
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "silu": nn.SiLU}


class ConvBlock(nn.Module):
    """Convolution 3x3, norm, activation, max-pool 2; ``residual`` adds the input, brought to the width by 1x1."""

    def __init__(self, width_in: int, width: int, norm: str, activation: str, residual: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(width) if norm == "batch" else nn.GroupNorm(min(GROUPS, width), width)
        self.activation = ACTIVATIONS[activation]()
        self.shortcut = nn.Conv2d(width_in, width, 1, bias=False) if residual else None

    def forward(self, x: Tensor) -> Tensor:
        out = self.norm(self.conv(x))
        if self.shortcut is not None:
            out = out + self.shortcut(x)
        return F.max_pool2d(self.activation(out), 2)


class ConvNet(nn.Module):
    """``depth`` blocks of widths ``width * (1, 2, 4, ...)``, global average, one hidden layer; features (B, hidden)."""

    def __init__(self, width: int, depth: int, hidden: int, norm: str, activation: str, residual: bool) -> None:
        super().__init__()
        widths = [3, *(width << level for level in range(depth))]
        self.blocks = nn.Sequential(*(ConvBlock(a, b, norm, activation, residual) for a, b in pairwise(widths)))
        self.fc = nn.Linear(widths[-1], hidden)
        self.activation = ACTIVATIONS[activation]()
        self.dim = hidden
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.activation(self.fc(self.blocks(x).mean((2, 3))))
        return features


def convnet(
    width: int = 32,
    depth: int = 4,
    hidden: int = 256,
    norm: Literal["batch", "group"] = "batch",
    activation: Literal["relu", "silu"] = "relu",
    residual: bool = False,
    size: int | None = 256,
    head: Literal["linear", "cosine"] = "linear",
    scale: float | None = None,
    dropout: float = 0.5,
) -> Detector:
    """The DFDC CNN: four convolutions and two fully connected layers, 0.45 M parameters (arXiv 2302.11704).

    Args:
        width: channels of the first convolution, a multiple of 8 (group norm has 8 groups); each later one has twice
            as many.
        depth: convolutions, 1 to 6; each halves the side.
        hidden: features after the first fully connected layer.
        norm: ``batch``, or ``group`` with 8 groups, which does not see the other rows.
        activation: ``relu`` or the smooth ``silu``, everywhere.
        residual: a 1x1 shortcut around each convolution.
        size: pixels per side that the network sees, at least ``2 ** depth``; None keeps the crop's own.
        head: ``linear`` or ``cosine``: the second fully connected layer.
        scale: of the cosine head (None: 64).
        dropout: share of features hidden from the head in training, [0, 1).

    Source: arXiv:2302.11704: four convolutional and two fully connected layers on 256x256 images of DFDC. Deviation:
    widths, kernel, norm, pooling and dropout are unpublished; these defaults are ours. ``norm``, ``activation``,
    ``residual`` and ``depth`` are for studies of the architecture.
    """
    if width < GROUPS or width % GROUPS:
        raise ConfigError(f"convnet: width must be a multiple of {GROUPS}, got {width}; write 32")
    if not 1 <= depth <= 6 or hidden < 1:
        raise ConfigError(f"convnet: depth must be 1 to 6 and hidden at least 1, got depth {depth}, hidden {hidden}")
    smallest = 2**depth
    check_size(size, smallest)
    backbone = ConvNet(width, depth, hidden, norm, activation, residual)
    top = make_head(head, hidden, scale, dropout)
    return Detector(backbone, top, size=size, mean=0.5, std=0.5, smallest=smallest, clips=False)
