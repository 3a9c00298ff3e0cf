"""Views: differentiable changes of the picture that an attack shall survive (expectation over transformations)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.attacks.base import pixels_together
from unfooled.attacks.gradient import Slope
from unfooled.randomness import seed_of

View: TypeAlias = Callable[[Tensor], Tensor]
"""x (B, 3, H, W) or (B, 3, T, H, W) -> the same shape; every frame of a clip alike."""

ROWS = 8
"""Rows that go through the detector at once where the batch itself is smaller: several views of it are put together. A
CPU gets slower with more."""
FULL_SIDE = 80
"""Sides from here on are shifted by the published pixels; smaller pictures by proportionally less."""


@dataclass(frozen=True)
class Identity:
    """The picture as it is."""

    def __call__(self, x: Tensor) -> Tensor:
        return x


@dataclass(frozen=True, eq=False)
class Jitter:
    """The picture with given noise on top, limited to [0, 1].

    Args:
        noise: shape of ``x``, so that each row keeps its own.
    """

    noise: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (x + self.noise.to(x)).clamp(0, 1)


@dataclass(frozen=True)
class Blur:
    """Gaussian blur; the outermost pixels go on beyond the edge.

    Args:
        kernel: odd width in pixels; 1 changes nothing.
        sigma: in pixels, > 0; far above ``kernel`` it is a box filter.
    """

    kernel: int
    sigma: float

    def __call__(self, x: Tensor) -> Tensor:
        # Two matrix products: a convolution of single planes takes ten times as long, most of it in its backward.
        with torch.autocast(x.device.type, enabled=False):
            rows, columns = (self._smooth(side, x) for side in x.shape[-2:])
            return rows @ x @ columns.t()

    def _smooth(self, side: int, like: Tensor) -> Tensor:
        """(side, side) whose row i holds the weights of the pixels that make pixel i of a line."""
        offsets = torch.arange(-(self.kernel // 2), self.kernel // 2 + 1, device=like.device)
        weights = (-offsets.to(like.dtype).square() / (2 * self.sigma**2)).softmax(0)
        at = torch.arange(side, device=like.device)[:, None]
        near = (at + offsets).clamp(0, side - 1)
        return like.new_zeros(side, side).index_put((at, near), weights.expand(side, -1), accumulate=True)


@dataclass(frozen=True)
class Shift:
    """The picture moved by whole pixels; what comes in from outside is black.

    Args:
        down, right: in pixels, for a side of at least ``FULL_SIDE``; a smaller side of h pixels moves by
            h / ``FULL_SIDE`` of that, or else 20 pixels would leave nothing of a small face.
    """

    down: int
    right: int

    def __call__(self, x: Tensor) -> Tensor:
        down, right = (
            round(by * min(1, side / FULL_SIDE)) for by, side in zip((self.down, self.right), x.shape[-2:], strict=True)
        )
        return F.pad(x, (right, -right, down, -down))


@dataclass(frozen=True)
class Rescale:
    """The picture made smaller and back to its size, bilinear without a low-pass, so it also aliases.

    Args:
        factor: of the sides, in (0, 1]; no side gets below one pixel.
    """

    factor: float

    def __call__(self, x: Tensor) -> Tensor:
        frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
        sides = [max(1, int(side * self.factor)) for side in x.shape[-2:]]
        small = F.interpolate(frames, sides, mode="bilinear", align_corners=True)
        frames = F.interpolate(small, x.shape[-2:], mode="bilinear", align_corners=True)
        return frames.reshape(x.shape[0], -1, *frames.shape[1:]).transpose(1, 2) if x.dim() == 5 else frames


def fixed_views(noise: Tensor) -> list[View]:
    """The 17 views of the robust white-box attack.

    Args:
        noise: shape of the input; standard normal, it is scaled to 0.01 here.

    Source: arXiv:2002.12749. Deviations: the noise of a sample stays the same over the steps, so the objective does
    too; the eight shifts are symmetric (the authors' code has (-20, 10) in place of (-20, 20)); blur continues the edge
    instead of darkening it; small pictures are shifted less.
    """
    blurs = [Blur(kernel, sigma) for kernel in (5, 7) for sigma in (5.0, 10.0)]
    shifts = [Shift(a * by, b * by) for by in (10, 20) for a in (1, -1) for b in (1, -1)]
    return [Identity(), Jitter(0.01 * noise), *blurs, *shifts, *(Rescale(factor) for factor in (0.1, 0.2, 0.3))]


def random_views(seed: int | None, step: int) -> list[View]:
    """The views of one step of the robust black-box attack: the picture itself, blurred, shifted and rescaled.

    Args:
        seed: with ``step`` it decides the draw, for all samples alike; None draws from torch's global generator.
        step: from 0.

    Source: arXiv:2002.12749: blur of width 3 or 5 and sigma 5 to 7, shift of up to 20 pixels either way, rescaling by
    0.4 to 0.6. Deviation: small pictures are shifted less.
    """
    generator = None if seed is None else torch.Generator().manual_seed(seed_of(seed, "views", step))

    def draw(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    return [
        Identity(),
        Blur(2 * draw(1, 2) + 1, float(draw(5, 7))),
        Shift(draw(-20, 20), draw(-20, 20)),
        Rescale(draw(4, 6) / 10),
    ]


def over_views(slope: Slope, views: Sequence[View]) -> Slope:
    """The mean over the views of a slope behind them, by the chain rule; its logits are the highest of any view.

    Args:
        slope: of rows that need no label, for it is shown several views of a batch as one.
        views: at least one.
    """

    def mean(x_adv: Tensor) -> tuple[Tensor, Tensor]:
        highest, total = x_adv.new_full((len(x_adv),), -torch.inf), torch.zeros_like(x_adv)
        together = max(1, ROWS // len(x_adv))
        for first in range(0, len(views), together):
            leaf = x_adv.detach().requires_grad_()
            with torch.enable_grad():
                seen = pixels_together(torch.cat([view(leaf) for view in views[first : first + together]]))
            logits, gradient = slope(seen.detach())
            total += torch.autograd.grad(seen, leaf, gradient)[0]
            highest = highest.maximum(logits.to(highest).reshape(-1, len(x_adv)).amax(0))
        return highest, total / len(views)

    return mean


def average(slopes: Sequence[Slope]) -> Slope:
    """The mean of several slopes; its logits are the highest of any."""

    def mean(x_adv: Tensor) -> tuple[Tensor, Tensor]:
        logits, gradients = zip(*(slope(x_adv) for slope in slopes), strict=True)
        return torch.stack(logits).amax(0), torch.stack(gradients).mean(0)

    return mean
