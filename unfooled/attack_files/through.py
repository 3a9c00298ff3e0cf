"""A detector of crops as one of frames: what it says about the part of a frame that a crop is made of."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.codecs import to_tensor
from unfooled.data.alignment import Cut
from unfooled.data.images import Pixels
from unfooled.models.detector import Detector


class Through(Detector):
    """A detector of crops that is shown the parts of the frames which they are cut from; differentiable.

    So an attack moves pixels of the frame, its threat holds there, and its gradient knows what ``alignment.crop``
    makes of them. Input and crops are rounded to 8 bits on the way, as in a file; gradients pass as if they were not.

    The input is (B, 3, H, W), or (B, 3, T, H, W) for clips, with the part of frame t in the upper left corner, see
    ``canvas``; what lies beside it plays no role. All rows are of one sample.

    Args:
        detector: of crops or clips.
        cuts: of each frame of the sample.
    """

    def __init__(self, detector: Detector, cuts: Sequence[Cut]) -> None:
        super().__init__(_Cropped(detector, cuts), _Classified(detector), clips=detector.clips)
        self.threshold = detector.threshold.clone()
        self.to(detector.threshold.device)

    def crops(self, x: Tensor) -> Tensor:
        """What the detector is shown of ``x``: (B, 3, S, S) or (B, 3, T, S, S)."""
        backbone = self.backbone
        assert isinstance(backbone, _Cropped)
        return backbone.crops(x)


def canvas(parts: Sequence[Pixels], device: torch.device | str, clip: bool) -> Tensor:
    """(1, 3, H, W) or, for a clip, (1, 3, T, H, W) in [0, 1] that holds each of T parts; black beside smaller ones."""
    height, width = (max(part.shape[side] for part in parts) for side in (0, 1))
    x = torch.zeros(3, len(parts), height, width)
    for t, part in enumerate(parts):
        x[:, t, : part.shape[0], : part.shape[1]] = to_tensor(part)
    x = x.to(device)[None]
    return x if clip else x[:, :, 0]


class _Cropped(nn.Module):
    """(B, 3, H, W) or (B, 3, T, H, W) -> (B, D) features of the crops."""

    def __init__(self, detector: Detector, cuts: Sequence[Cut]) -> None:
        super().__init__()
        self.detector = detector
        self.each = nn.ModuleList(_Warp(cut) for cut in cuts)

    def forward(self, x: Tensor) -> Tensor:
        return self.detector.features(self.crops(x))

    def crops(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            x = _rounded(x.float())
            if x.dim() == 4:
                return _rounded(self.each[0](x))
            return _rounded(torch.stack([warp(x[:, :, t]) for t, warp in enumerate(self.each)], 2))


class _Classified(nn.Module):
    """(B, D) -> (B, 1) logits."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, features: Tensor) -> Tensor:
        return self.detector.classify(features)[:, None]


class _Warp(nn.Module):
    """(B, 3, H, W) with the part of a cut in its upper left corner -> (B, 3, S, S), as ``Cut`` but for rounding."""

    rows: Tensor | None
    columns: Tensor | None
    grid: Tensor

    def __init__(self, cut: Cut) -> None:
        super().__init__()
        left, top, right, bottom = cut.region
        self.width, self.height = right - left, bottom - top
        self.register_buffer("rows", _averages(self.height, cut.small[1]), persistent=False)
        self.register_buffer("columns", _averages(self.width, cut.small[0]), persistent=False)
        reach = np.maximum(np.array(cut.small) - 1, 1)
        grid = torch.from_numpy(2 * cut.places() / reach - 1).float()
        self.register_buffer("grid", grid, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, : self.height, : self.width]
        if self.rows is not None:
            x = self.rows @ x
        if self.columns is not None:
            x = x @ self.columns.t()
        if self.rows is not None or self.columns is not None:
            x = _rounded(x)
        grid = self.grid.expand(len(x), -1, -1, -1)
        return F.grid_sample(x, grid, "bilinear", padding_mode="border", align_corners=True)


def _averages(side: int, small: int) -> Tensor | None:
    """(small, side) weights with which OpenCV averages a side to a smaller one; None: nothing is averaged."""
    if side == small:
        return None
    weights = cv2.resize(np.eye(side, dtype=np.float32), (side, small), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.asarray(weights, np.float32))


def _rounded(x: Tensor) -> Tensor:
    """``x`` at the 256 values of 8 bits; its gradient is that before."""
    return x + ((x * 255).round() / 255 - x).detach()
