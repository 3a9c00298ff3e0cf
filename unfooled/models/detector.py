"""The Detector: pixels in [0, 1] -> features (B, D) -> one logit, above its threshold means fake."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.errors import ConfigError


class LinearHead(nn.Linear):
    """One linear logit: w.f + b; ``dropout`` is the share of features hidden in training."""

    def __init__(self, dim: int, dropout: float = 0.0) -> None:
        super().__init__(dim, 1)
        self.dropout = dropout

    def forward(self, features: Tensor) -> Tensor:
        return super().forward(F.dropout(features, self.dropout, self.training))


class CosineHead(nn.Module):
    """``scale * cos(f, w)``: one weight vector, no bias; a zero row of f gives 0.

    Source: RealForensics, arXiv:2201.07131 (scale 64); AFSL, arXiv:2403.08806, "similarity between samples and
    weight vectors". Deviation: none.
    """

    def __init__(self, dim: int, scale: float = 64.0, dropout: float = 0.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, dim))
        nn.init.normal_(self.weight, std=dim**-0.5)
        self.scale = scale
        self.dropout = dropout

    def forward(self, features: Tensor) -> Tensor:
        features = F.dropout(features, self.dropout, self.training)
        return self.scale * F.normalize(features, dim=1) @ F.normalize(self.weight, dim=1).t()


def make_head(kind: str, dim: int, scale: float | None = None, dropout: float = 0.0) -> nn.Module:
    """A head by name: ``linear`` or ``cosine``.

    Args:
        kind: name of the head.
        dim: number of features D.
        scale: of the cosine, > 0 (None: 64); a linear head has none.
        dropout: share of the features hidden in training, in [0, 1). It belongs to the head, so that ``features``
            of one image agree from call to call.
    """
    if kind not in ("linear", "cosine"):
        raise ConfigError(f"head must be linear or cosine, got {kind!r}")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout must be in [0, 1), got {dropout:g}")
    if kind == "linear":
        if scale is not None:
            raise ConfigError(f"scale belongs to head cosine, got {scale:g} with head linear; leave scale out")
        return LinearHead(dim, dropout)
    if scale is not None and not scale > 0:
        raise ConfigError(f"scale must be > 0, got {scale:g}; the published one is 64")
    return CosineHead(dim, 64.0 if scale is None else scale, dropout)


def check_size(size: int | None, smallest: int) -> None:
    """Refuse a ``size`` that the backbone can not see anything in; None is the crop's own."""
    if size is not None and size < smallest:
        raise ConfigError(f"size must be at least {smallest} pixels (or none), got {size}")


class Detector(nn.Module):
    """A backbone and a head around a shared idea of input and output; only the backbone varies.

    Args:
        backbone: maps normalised input to features (B, D).
        head: maps features (B, D) to (B, 1) logits.
        size: height and width that the backbone sees; None keeps the input's own. Resizing (bilinear, antialiased
            when shrinking) is differentiable, so an attack works at the crop's own resolution.
        mean, std: normalisation per channel (or one number for all), in units of [0, 1].
        spec: ``{"name": ..., **options}``, what ``unfooled.models.create`` needs to build it again.
        smallest: pixels per side below which the backbone sees nothing.
        clips: True takes clips alone, False frames alone; None leaves it to the backbone.

    ``x`` is float RGB in [0, 1], (B,3,H,W) for frames or (B,3,T,H,W) for clips.
    """

    threshold: Tensor
    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: nn.Module,
        head: nn.Module,
        *,
        size: int | None = None,
        mean: float | Sequence[float] = 0.0,
        std: float | Sequence[float] = 1.0,
        spec: dict[str, Any] | None = None,
        smallest: int = 1,
        clips: bool | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.size = size
        self.spec = spec or {}
        self.smallest = smallest
        self.clips = clips
        # What people call this very detector, such as its run's folder; for tables only.
        self.title = ""
        # Not in the state dict: the checkpoint's metadata carries the threshold, the code the normalisation.
        self.register_buffer("threshold", torch.tensor(0.0), persistent=False)
        self.register_buffer("mean", torch.as_tensor(mean, dtype=torch.float32).reshape(-1), persistent=False)
        self.register_buffer("std", torch.as_tensor(std, dtype=torch.float32).reshape(-1), persistent=False)

    def digest(self) -> str:
        """32 digits that tell one set of weights, and the threshold, from another."""
        found = hashlib.blake2b(digest_size=16)
        for name, tensor in sorted({**self.state_dict(), "threshold": self.threshold}.items()):
            values = tensor.detach().to("cpu", torch.float64).contiguous().numpy()
            found.update(name.encode() + values.tobytes())
        return found.hexdigest()

    def prepare(self, x: Tensor) -> Tensor:
        """Resize and normalise; differentiable.

        Raises:
            ConfigError: a clip is shown to a detector of frames, or frames to one of clips.
        """
        if self.clips is not None and x.dim() != 4 + self.clips:
            kind = "clips (B, 3, T, H, W)" if self.clips else "frames (B, 3, H, W)"
            other = "detector of frames, or clips" if self.clips else "detector of clips, or single frames"
            raise ConfigError(
                f"{self.spec.get('name', 'this detector')} takes {kind}, got {tuple(x.shape)}; use a {other}"
            )
        if self.size is not None and x.shape[-2:] != (self.size, self.size):
            frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
            shrinks = frames.shape[-2] > self.size or frames.shape[-1] > self.size
            frames = F.interpolate(frames, (self.size, self.size), mode="bilinear", antialias=shrinks)
            x = frames.reshape(x.shape[0], -1, *frames.shape[1:]).transpose(1, 2) if x.dim() == 5 else frames
        shape = (1, -1, *[1] * (x.dim() - 2))
        return (x - self.mean.to(x).reshape(shape)) / self.std.to(x).reshape(shape)

    def features(self, x: Tensor) -> Tensor:
        """(B, D) features of ``x``."""
        features: Tensor = self.backbone(self.prepare(x))
        return features

    def classify(self, features: Tensor) -> Tensor:
        """(B,) logits of features."""
        logits: Tensor = self.head(features)
        return logits.squeeze(1)

    def forward(self, x: Tensor) -> Tensor:
        """(B,) logits of ``x``; above ``threshold`` means fake."""
        return self.classify(self.features(x))
