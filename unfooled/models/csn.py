"""Channel-separated networks: clip detectors of bottlenecks whose 3x3x3 convolutions are depthwise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unfooled.errors import ConfigError
from unfooled.models.detector import Detector, check_size, make_head
from unfooled.models.separated import Depthwise3d, Pointwise3d

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
SMALLEST = 32
SMALLEST_SMALL = 16


def channels_last(x: Tensor) -> Tensor:
    """``x`` with its channels last in memory on a CPU, where that makes the network several times as fast."""
    return x.contiguous(memory_format=torch.channels_last_3d) if x.device.type == "cpu" else x


class Stem(nn.Module):
    """A convolution in space and time with batch norm and ReLU; ``pool`` adds a spatial max pool of stride 2."""

    def __init__(self, width: int, frames: int, kernel: int, stride: int, pool: bool) -> None:
        super().__init__()
        padding = (frames // 2, kernel // 2, kernel // 2)
        self.conv = nn.Conv3d(3, width, (frames, kernel, kernel), (1, stride, stride), padding, bias=False)
        self.norm = nn.BatchNorm3d(width)
        self.pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        if self.conv.kernel_size[0] == 1:
            x = x.transpose(1, 2)
            weight, stride, padding = self.conv.weight.squeeze(2), self.conv.stride[1:], self.conv.padding[1:]
            maps = F.conv2d(x.flatten(0, 1), weight, None, stride, padding)
            x = maps.reshape(*x.shape[:2], *maps.shape[1:]).transpose(1, 2)
        else:
            x = self.conv(x)
        out: Tensor = self.pool(F.relu(self.norm(channels_last(x)), inplace=True))
        return out


class Branch(nn.Module):
    """1x1x1, depthwise 3x3x3 with the spatial stride, 1x1x1; ReLU after the first two norms."""

    def __init__(self, width_in: int, inner: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv_a = Pointwise3d(width_in, inner)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = Depthwise3d(inner, stride)
        self.norm_b = nn.BatchNorm3d(inner)
        self.conv_c = Pointwise3d(inner, width)
        self.norm_c = nn.BatchNorm3d(width)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm_a(self.conv_a(x)), inplace=True)
        x = F.relu(self.norm_b(self.conv_b(x)), inplace=True)
        out: Tensor = self.norm_c(self.conv_c(x))
        return out


class Bottleneck(nn.Module):
    """A branch beside a shortcut; ``last_relu`` False leaves the sum as it is."""

    def __init__(self, width_in: int, inner: int, width: int, stride: int, project: bool, last_relu: bool) -> None:
        super().__init__()
        self.project = project
        if project:
            self.branch1_conv = Pointwise3d(width_in, width, stride)
            self.branch1_norm = nn.BatchNorm3d(width)
        self.branch2 = Branch(width_in, inner, width, stride)
        self.last_relu = last_relu

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.branch1_norm(self.branch1_conv(x)) if self.project else x
        out: Tensor = shortcut + self.branch2(x)
        return F.relu(out, inplace=True) if self.last_relu else out


class Stage(nn.Module):
    """Bottlenecks in a row; the first carries the stride."""

    def __init__(self, depth: int, width_in: int, inner: int, width: int, stride: int, last_relu: bool) -> None:
        super().__init__()
        self.res_blocks = nn.ModuleList(
            Bottleneck(width if i else width_in, inner, width, 1 if i else stride, i == 0, last_relu or i < depth - 1)
            for i in range(depth)
        )


class CSN(nn.Module):
    """Stem and four stages; features are the mean over space, then over time.

    Args:
        stem: its module.
        width: channels that the stem gives.
        depths: bottlenecks per stage.
        inner, outer: channels of the depthwise convolutions and of the sums of the first stage; they double per stage.
        last_relu: False leaves the last sum as it is.
        checkpointing: keep the inputs of the bottlenecks alone, and compute what is inside again for the gradient.
    """

    def __init__(
        self,
        stem: Stem,
        width: int,
        depths: Sequence[int],
        inner: int,
        outer: int,
        last_relu: bool,
        checkpointing: bool,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([stem])
        for stage, depth in enumerate(depths):
            self.dim = outer << stage
            is_last = stage == len(depths) - 1
            stride = 2 if stage else 1
            self.blocks.append(Stage(depth, width, inner << stage, self.dim, stride, last_relu or not is_last))
            width = self.dim
        self.checkpointing = checkpointing
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")

    def over_time(self, x: Tensor) -> Tensor:
        """(B, D, T) the mean over space of each frame."""
        x = self.blocks[0](channels_last(x))
        for block in self.bottlenecks():
            x = self._again(block, x) if self.checkpointing and torch.is_grad_enabled() else block(x)
        return x.mean((3, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.over_time(x).mean(2)

    def bottlenecks(self) -> list[nn.Module]:
        """All of them, in order."""
        return [block for stage in self.blocks if isinstance(stage, Stage) for block in stage.res_blocks]

    @staticmethod
    def _again(block: nn.Module, x: Tensor) -> Tensor:
        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _counted_once(block)

        out: Tensor = checkpoint(block, x, use_reentrant=False, preserve_rng_state=False, context_fn=contexts)
        return out


@contextmanager
def _counted_once(block: nn.Module) -> Iterator[None]:
    # The second computation of a block must not move the running statistics a second time.
    norms = [m for m in block.modules() if isinstance(m, nn.BatchNorm3d) and m.training]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, counter) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, counter


def csn_r101(
    features: Literal["relu", "linear"] = "relu",
    size: int | None = 112,
    head: Literal["linear", "cosine"] = "cosine",
    scale: float | None = None,
    dropout: float = 0.0,
    checkpointing: bool = False,
) -> Detector:
    """CSN-R101: the clip detector of RealForensics and AFSL, 21 M parameters (Tran et al. 2019).

    Args:
        features: ``relu`` (published) pools after the last ReLU; ``linear`` before it, so that features have both
            signs and their cosines use the whole of [-1, 1].
        size: pixels per side that the network sees, at least 32; None keeps the crop's own.
        head: ``cosine`` (published) or ``linear``.
        scale: of the cosine head (None: 64).
        dropout: share of features hidden from the head in training, [0, 1).
        checkpointing: compute each bottleneck again for the gradient in place of keeping what is inside: the same
            numbers, about a third of the memory, a third more time.

    ``x`` is (B, 3, T, H, W), any T; published are 25 frames at 25 per second. Features (B, 2048) are the mean over
    space and time. Source: arXiv:1904.02811 (interaction-reduced), wiring and head of RealForensics, arXiv:2201.07131.
    Deviation: none.
    """
    return _large((3, 4, 23, 3), features, size, head, scale, dropout, checkpointing)


def csn_r50(
    features: Literal["relu", "linear"] = "relu",
    size: int | None = 112,
    head: Literal["linear", "cosine"] = "cosine",
    scale: float | None = None,
    dropout: float = 0.0,
    checkpointing: bool = False,
) -> Detector:
    """CSN-R50: half as deep as CSN-R101, 12 M parameters, for clips (Tran et al. 2019).

    Args:
        features, size, head, scale, dropout, checkpointing: as for ``csn-r101``.

    Source: arXiv:1904.02811. Deviation: the wiring is that of ``csn-r101``.
    """
    return _large((3, 4, 6, 3), features, size, head, scale, dropout, checkpointing)


def csn_small(
    width: int = 16,
    stem_stride: int = 2,
    features: Literal["relu", "linear"] = "relu",
    size: int | None = None,
    head: Literal["linear", "cosine"] = "linear",
    scale: float | None = None,
    dropout: float = 0.0,
    checkpointing: bool = False,
) -> Detector:
    """Small channel-separated network for clips of small faces, 0.14 M parameters (after Tran et al. 2019).

    Args:
        width: channels of the stem and of the first depthwise convolutions, at least 1; they double in each stage.
        stem_stride: 2, or 1 to keep fine traces of small crops at about 4 times the cost.
        features: ``relu`` or ``linear``, as for ``csn-r101``; (B, 16 * width).
        size: pixels per side that the network sees, at least 16; None keeps the crop's own.
        head: ``linear``, or ``cosine``. Linear, because a cosine head of scale 64 saturates while the network still
            learns: both the loss and an attack in training then have next to no gradient. With ``cosine``, 16 does.
        scale: of the cosine head (None: 64).
        dropout: share of features hidden from the head in training, [0, 1).
        checkpointing: as for ``csn-r101``.

    Source: arXiv:1904.02811. Deviation: bottlenecks 1-2-2-1 with ratio 2; a 1x3x3 stem without a max pool, so that
    time enters at the depthwise convolutions, which see 13 frames in all.
    """
    if width < 1:
        raise ConfigError(f"csn-small: width must be at least 1, got {width}")
    if stem_stride not in (1, 2):
        raise ConfigError(f"csn-small: stem_stride must be 1 or 2, got {stem_stride}")
    check_size(size, SMALLEST_SMALL)
    stem = Stem(width, frames=1, kernel=3, stride=stem_stride, pool=False)
    backbone = CSN(stem, width, (1, 2, 2, 1), width, 2 * width, features == "relu", checkpointing)
    return _detector(backbone, head, scale, dropout, size, SMALLEST_SMALL)


def _large(
    depths: Sequence[int],
    features: str,
    size: int | None,
    head: str,
    scale: float | None,
    dropout: float,
    checkpointing: bool,
) -> Detector:
    check_size(size, SMALLEST)
    stem = Stem(64, frames=3, kernel=7, stride=2, pool=True)
    backbone = CSN(stem, 64, depths, 64, 256, features == "relu", checkpointing)
    return _detector(backbone, head, scale, dropout, size, SMALLEST)


def _detector(
    backbone: CSN, head: str, scale: float | None, dropout: float, size: int | None, smallest: int
) -> Detector:
    top = make_head(head, backbone.dim, scale, dropout)
    return Detector(backbone, top, size=size, mean=MEAN, std=STD, smallest=smallest, clips=True)
