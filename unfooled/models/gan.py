"""Generator and discriminator of a GAN for faces: the DCGAN family over a linear face model."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from unfooled.errors import ConfigError

SIZES = (32, 64, 128)
"""Sides of the images, in pixels: 4 doubled three, four or five times."""
REACH = 0.95
"""Of tanh for black and white in the linear face model: at 1 they would need infinite numbers."""


def check_shape(size: int, width: int, latent: int = 1) -> None:
    """Refuse a network that can not be built, in one line."""
    if size not in SIZES:
        raise ConfigError(f"size must be {', '.join(map(str, SIZES[:-1]))} or {SIZES[-1]} pixels, got {size}")
    if width < 2 or latent < 1:
        raise ConfigError(f"width must be >= 2 and latent >= 1, got width {width}, latent {latent}; write 24 and 640")


def _widths(size: int, width: int) -> list[int]:
    """Channels at 4, 8, 16, ... pixels, without the image itself: 8w, 4w, 2w, w, and for 128 pixels w/2."""
    count = (size // 4).bit_length() - 1
    return [max(1, 8 * width >> level) for level in range(count)]


class Generator(nn.Module):
    """Latent vectors (B, latent) -> images (B, 3, size, size) in [0, 1].

    A trunk of convolutions, each after doubling the pixels, adds to the image at every resolution; below it lies a
    linear face model, which is empty until ``start_from`` fits it. The sum goes through tanh.

    Args:
        size: 32, 64 or 128 pixels.
        width: channels at half the size of 64 pixels; earlier layers have twice as many each, later ones half.
        latent: length of z, drawn from N(0, 1).

    Source: DCGAN, arXiv:1511.06434; an image at every resolution as in StyleGAN2, arXiv:1912.04958. Deviations: doubled
    pixels and a 3x3 convolution instead of a transposed one, which leaves checkerboards (Odena et al. 2016,
    doi:10.23915/distill.00003); the linear face model, ours, so that few images and one CPU core are enough.
    """

    mean: Tensor
    components: Tensor

    def __init__(self, size: int = 64, width: int = 24, latent: int = 640) -> None:
        super().__init__()
        check_shape(size, width, latent)
        self.size, self.width, self.latent = size, width, latent
        widths = [*_widths(size, width), max(1, _widths(size, width)[-1] // 2)]
        self.first = nn.Linear(latent, widths[0] * 16, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(w) for w in widths)
        self.convs = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1, bias=False) for a, b in pairwise(widths))
        self.images = nn.ModuleList(nn.Conv2d(w, 3, 1) for w in widths)
        _start(self)
        for layer in self.images:
            # An untrained trunk adds nothing to the linear faces.
            nn.init.zeros_(layer.get_parameter("weight"))
        self.register_buffer("mean", torch.zeros(3 * size * size))
        self.register_buffer("components", torch.zeros(latent, 3 * size * size))

    @property
    def spec(self) -> dict[str, int]:
        """What builds it again."""
        return {"size": self.size, "width": self.width, "latent": self.latent}

    def start_from(self, faces: Tensor) -> None:
        """Fit the linear face model: the Gaussian of ``faces`` and their mirror images, before tanh.

        Args:
            faces: (N, 3, size, size) in [0, 1], N >= 1; with fewer than ``latent`` directions the rest stays 0.
        """
        faces = torch.cat([faces, faces.flip(3)]).double()
        flat = (REACH * (2 * faces - 1)).atanh().flatten(1)
        mean = flat.mean(0)
        rest = flat - mean
        # Of the table of inner products, which is smaller than pixels times pixels.
        values, vectors = torch.linalg.eigh(rest @ rest.t() / len(flat))
        keep = values.flip(0)[: self.latent] > 1e-9 * values[-1].clamp_min(1e-12)
        vectors = vectors.flip(1)[:, : self.latent][:, keep]
        self.mean.copy_(mean)
        self.components.zero_()
        self.components[: vectors.shape[1]] = vectors.t() @ rest / len(flat) ** 0.5

    def forward(self, z: Tensor) -> Tensor:
        x = torch.relu(self.norms[0](self.first(z).reshape(len(z), -1, 4, 4)))
        total = self.images[0](x)
        for conv, norm, image in zip(self.convs, self.norms[1:], self.images[1:], strict=True):
            x = torch.relu(norm(conv(F.interpolate(x, scale_factor=2, mode="nearest"))))
            total = F.interpolate(total, scale_factor=2, mode="bilinear") + image(x)
        # Half precision would leave bands in an even background.
        with torch.autocast(z.device.type, enabled=False):
            faces = (self.mean + z.float() @ self.components).reshape(total.shape)
            images: Tensor = ((faces + total.float()).tanh() + 1) / 2
        return images


class Discriminator(nn.Module):
    """Images (B, 3, size, size) in [0, 1] -> one number each (B,), high for real; every layer has spectral norm 1.

    It judges what a generator makes while that is trained. It is no deepfake detector: it knows one generator only.

    Args:
        size: 32, 64 or 128 pixels.
        width: channels of its first layer; each later one has twice as many.

    Source: DCGAN, arXiv:1511.06434, with spectral norm, arXiv:1802.05957, in place of batch norm. Deviation: none.
    """

    def __init__(self, size: int = 64, width: int = 24) -> None:
        super().__init__()
        check_shape(size, width)
        widths = [3, *reversed(_widths(size, width))]
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Conv2d(width_in, width_out, 4, 2, 1), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4))
        _start(self)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                spectral_norm(layer)

    def forward(self, x: Tensor) -> Tensor:
        judged: Tensor = self.layers(2 * x - 1)
        return judged.flatten()


def _start(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            nn.init.normal_(module.weight, std=0.02)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def draw_latents(count: int, latent: int, generator: torch.Generator | None = None) -> Tensor:
    """(count, latent) standard normal vectors."""
    return torch.randn(count, latent, generator=generator)
