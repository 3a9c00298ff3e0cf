"""Differentiable augmentation: reals and fakes change alike before the discriminator sees them."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.errors import ConfigError, suggest

GREY = 0.5
"""What lies beyond an image's edge and under a cutout: the middle of [0, 1], 0 in the paper's [-1, 1]."""


def colour(x: Tensor) -> Tensor:
    """Brightness +-.25, saturation 0 to 2 times, contrast .5 to 1.5 times, drawn for each image; may leave [0, 1]."""
    brightness, saturation, contrast = (torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) for _ in range(3))
    x = x + (brightness - 0.5) / 2
    grey = x.mean(1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    middle = x.mean((1, 2, 3), keepdim=True)
    return middle + (x - middle) * (contrast + 0.5)


def translation(x: Tensor, ratio: float = 0.125) -> Tensor:
    """Shifted by up to ``ratio`` of the side each way, in whole pixels, drawn for each image; grey comes in."""
    height, width = x.shape[-2:]
    high, wide = int(height * ratio + 0.5), int(width * ratio + 0.5)
    down = torch.randint(0, 2 * high + 1, (len(x),)).tolist()
    right = torch.randint(0, 2 * wide + 1, (len(x),)).tolist()
    padded = F.pad(x, (wide, wide, high, high), value=GREY)
    # Slices: the gradient of an index by tensors takes longer than the discriminator's first layer.
    moved = [image[:, d : d + height, r : r + width] for image, d, r in zip(padded, down, right, strict=True)]
    return torch.stack(moved)


def cutout(x: Tensor, ratio: float = 0.5) -> Tensor:
    """A square of ``ratio`` of the side, anywhere and partly outside too, becomes grey; drawn for each image."""
    height, width = x.shape[-2:]
    masks = []
    for side in (height, width):
        hole = int(side * ratio + 0.5)
        first = torch.randint(0, side + (1 - hole % 2), (len(x), 1), device=x.device) - hole // 2
        place = torch.arange(side, device=x.device)[None]
        masks.append((place >= first) & (place < first + hole))
    covered = masks[0][:, None, :, None] & masks[1][:, None, None, :]
    return torch.where(covered, torch.full((), GREY, device=x.device, dtype=x.dtype), x)


AUGMENTATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "colour": colour,
    "cutout": cutout,
    "translation": translation,
}


def parse(policy: str) -> tuple[str, ...]:
    """``"colour,translation,cutout"`` as names in that order; ``"none"`` gives none of them.

    Raises:
        ConfigError: an unknown name.
    """
    names = tuple(name.strip() for name in policy.split(",") if name.strip())
    if names == ("none",):
        return ()
    for name in names:
        if name not in AUGMENTATIONS:
            raise ConfigError(f"no augmentation of a GAN named {name!r}{suggest(name, AUGMENTATIONS)}")
    return names


def augment(x: Tensor, policy: tuple[str, ...]) -> Tensor:
    """Images (B, 3, H, W) in [0, 1] changed by every named augmentation in turn; gradients flow through.

    Draws come from torch's global generator: the loop seeds every step. Without it a discriminator learns a few hundred
    training images by heart; applied to reals and fakes alike, and in the generator's own step, it does not leak into
    what is generated.

    Source: DiffAugment, arXiv:2006.10738, its colour, translation and cutout at the published strengths. Deviation:
    images in [0, 1] instead of [-1, 1], with numbers to match.
    """
    for name in policy:
        x = AUGMENTATIONS[name](x)
    return x
