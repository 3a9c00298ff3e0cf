"""Meso4 and MesoInception4, each in both published forms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.models.detector import Detector, check_size, make_head

SMALLEST = 32
GRID = 8
Form = Literal["deepfakebench", "keras"]


class MesoNet(nn.Module, ABC):
    """What both networks share: 16 maps on an 8x8 grid, flattened (C, H, W), then 16 features.

    ``keras`` is the authors' own form: convolutions with bias, one batch norm per convolution, eps 1e-3.
    ``deepfakebench`` has no bias and uses one batch norm for two convolutions of equal width.
    """

    dim = 16
    fc1: nn.Linear

    def __init__(self, form: Form, dropout: float) -> None:
        super().__init__()
        self.keras = form == "keras"
        self.dropout = dropout

    def conv(self, width_in: int, width: int, kernel: int, dilation: int = 1) -> nn.Conv2d:
        padding = dilation * (kernel // 2)
        return nn.Conv2d(width_in, width, kernel, padding=padding, dilation=dilation, bias=self.keras)

    def norm(self, width: int) -> nn.BatchNorm2d:
        return nn.BatchNorm2d(width, eps=1e-3 if self.keras else 1e-5)

    @abstractmethod
    def maps(self, x: Tensor) -> Tensor:
        """(B, 16, H/32, W/32) output of the convolutions."""

    def conv_features(self, x: Tensor) -> Tensor:
        """(B, 1024) flattened maps; other sizes than 256 px are averaged onto the 8x8 grid."""
        maps = self.maps(x)
        if maps.shape[-2:] != (GRID, GRID):
            maps = F.adaptive_avg_pool2d(maps, GRID)
        return maps.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.dropout(self.conv_features(x), self.dropout, self.training)
        return F.leaky_relu(self.fc1(hidden), 0.1)


class Meso4(MesoNet):
    """Four convolutions, each with ReLU, batch norm and max-pool."""

    def __init__(self, form: Form, dropout: float) -> None:
        super().__init__(form, dropout)
        self.conv1 = self.conv(3, 8, 3)
        self.bn1 = self.norm(8)
        self.conv2 = self.conv(8, 8, 5)
        self.bn2 = self.norm(8 if self.keras else 16)
        self.conv3 = self.conv(8, 16, 5)
        self.conv4 = self.conv(16, 16, 5)
        if self.keras:
            self.bn3, self.bn4 = self.norm(16), self.norm(16)
        self.fc1 = nn.Linear(16 * GRID**2, self.dim)

    def maps(self, x: Tensor) -> Tensor:
        bn1, bn2, bn3, bn4 = (
            (self.bn1, self.bn2, self.bn3, self.bn4) if self.keras else (self.bn1, self.bn1, self.bn2, self.bn2)
        )
        x = F.max_pool2d(bn1(F.relu(self.conv1(x))), 2)
        x = F.max_pool2d(bn2(F.relu(self.conv2(x))), 2)
        x = F.max_pool2d(bn3(F.relu(self.conv3(x))), 2)
        return F.max_pool2d(bn4(F.relu(self.conv4(x))), 4)


class MesoInception4(MesoNet):
    """Two inception layers with dilated branches, then two convolutions."""

    def __init__(self, form: Form, dropout: float) -> None:
        super().__init__(form, dropout)
        # The published keys spell it so.
        self._add_inception("Incption1", 3, (1, 4, 4, 2))
        self._add_inception("Incption2", 11, (2, 4, 4, 2))
        self.conv1 = self.conv(12, 16, 5)
        self.bn1 = self.norm(16)
        self.conv2 = self.conv(16, 16, 5)
        if self.keras:
            self.bn2 = self.norm(16)
        self.fc1 = nn.Linear(16 * GRID**2, self.dim)

    def _add_inception(self, name: str, width_in: int, widths: tuple[int, int, int, int]) -> None:
        self.add_module(f"{name}_conv1", self.conv(width_in, widths[0], 1))
        for branch, dilation in ((2, 1), (3, 2), (4, 3)):
            width = widths[branch - 1]
            self.add_module(f"{name}_conv{branch}_1", self.conv(width_in, width, 1))
            self.add_module(f"{name}_conv{branch}_2", self.conv(width, width, 3, dilation))
        self.add_module(f"{name}_bn", self.norm(sum(widths)))
        if self.keras:
            self._wake(name)

    def _wake(self, name: str) -> None:
        # These filters read values >= 0 (pixels, ReLUs) and end in a ReLU themselves: one that is negative on grey
        # starts dead, and a branch has as few as one or two of them.
        for part, conv in self.named_children():
            if part.startswith(name) and isinstance(conv, nn.Conv2d) and conv.bias is not None:
                sign = (conv.weight.detach().sum((1, 2, 3)) + conv.bias.detach()).sign()
                conv.weight.data.mul_(sign.view(-1, 1, 1, 1))
                conv.bias.data.mul_(sign)

    def _inception(self, name: str, x: Tensor) -> Tensor:
        def conv(part: str, x: Tensor) -> Tensor:
            out: Tensor = self.get_submodule(f"{name}_{part}")(x)
            return F.relu(out) if self.keras else out

        branches = [conv("conv1", x), *(conv(f"conv{b}_2", conv(f"conv{b}_1", x)) for b in (2, 3, 4))]
        normed: Tensor = self.get_submodule(f"{name}_bn")(torch.cat(branches, 1))
        return F.max_pool2d(normed, 2)

    def maps(self, x: Tensor) -> Tensor:
        x = self._inception("Incption2", self._inception("Incption1", x))
        x = F.max_pool2d(self.bn1(F.relu(self.conv1(x))), 2)
        return F.max_pool2d((self.bn2 if self.keras else self.bn1)(F.relu(self.conv2(x))), 4)


def meso4(
    form: Form = "deepfakebench",
    size: int | None = 256,
    head: Literal["linear", "cosine"] = "linear",
    scale: float | None = None,
    dropout: float = 0.5,
) -> Detector:
    """Meso4: four convolutions, 28 thousand parameters (Afchar et al. 2018).

    Args:
        form: ``deepfakebench`` (shared batch norms, input -1..1) or ``keras`` (the authors' own, input 0..1).
        size: pixels per side that the network sees, at least 32; None keeps the crop's own.
        head: ``linear`` or ``cosine`` over the 16 features after fc1 and LeakyReLU.
        scale: of the cosine head (None: 64).
        dropout: share hidden in training before fc1 and before the head, [0, 1).

    Source: arXiv:1809.00888. Deviation: one logit (two classes: fake minus real); sizes other than 256 are averaged
    onto the published 8x8 grid.
    """
    return _detector(Meso4, form, size, head, scale, dropout)


def mesoinception4(
    form: Form = "deepfakebench",
    size: int | None = 256,
    head: Literal["linear", "cosine"] = "linear",
    scale: float | None = None,
    dropout: float = 0.5,
) -> Detector:
    """MesoInception4: two dilated inception layers, two convolutions, 29 thousand parameters (Afchar et al. 2018).

    Args:
        form: ``deepfakebench`` (shared batch norm, no ReLU in the inception layers, input -1..1) or ``keras``
            (the authors' own, input 0..1).
        size: pixels per side that the network sees, at least 32; None keeps the crop's own.
        head: ``linear`` or ``cosine`` over the 16 features after fc1 and LeakyReLU.
        scale: of the cosine head (None: 64).
        dropout: share hidden in training before fc1 and before the head, [0, 1).

    Source: arXiv:1809.00888. Deviation: as ``meso4``.
    """
    return _detector(MesoInception4, form, size, head, scale, dropout)


def _detector(
    network: type[Meso4] | type[MesoInception4],
    form: Form,
    size: int | None,
    head: str,
    scale: float | None,
    dropout: float,
) -> Detector:
    check_size(size, SMALLEST)
    top = make_head(head, MesoNet.dim, scale, dropout)
    mean, std = (0.0, 1.0) if form == "keras" else (0.5, 0.5)
    return Detector(network(form, dropout), top, size=size, mean=mean, std=std, smallest=SMALLEST, clips=False)
