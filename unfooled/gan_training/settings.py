"""How to train a GAN: numbers and names, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from unfooled.errors import ConfigError
from unfooled.gan_training.augment import parse
from unfooled.models.gan import check_shape

LEAST = {"steps": 1, "batch_size": 2, "every": 1, "samples": 2, "workers": 0}


@dataclass(frozen=True)
class GanSettings:
    """How to train a generator of faces; the defaults are for some hundred photographs and one CPU core.

    Args:
        size: side of the images, 32, 64 or 128 pixels.
        width: channels of the generator and the discriminator beside the image, >= 2.
        latent: length of the generator's input, and the most components of its linear face model.
        start: ``eigenfaces`` fits the linear face model to the training faces, so that the generator starts as the
            Gaussian along their principal components; ``nothing`` leaves it empty.
        steps: of the discriminator and of the generator, one each in turn.
        batch_size: reals, and as many fakes, of a step; >= 2.
        lr: learning rate of both networks (Adam).
        beta1, beta2: of Adam, in [0, 1).
        ema: decay of the average of the generator's weights, in [0, 1), which is what is measured and saved; it grows
            to this value over the first steps, so that the random start is forgotten.
        augment: differentiable augmentations in order of use, or ``none``.
        every: steps between two points that a resume can start from; there the Frechet distance is measured and a grid
            of samples is drawn.
        samples: images that the Frechet distance is measured on.
        precision: ``32`` or ``bf16-mixed``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        workers: decoding processes.
        seed: of everything that is drawn.
        resume: go on from state.pt where there is one.

    Raises:
        ConfigError: a value is out of its range.
    """

    size: int = 64
    width: int = 24
    latent: int = 640
    start: Literal["eigenfaces", "nothing"] = "eigenfaces"
    steps: int = 9000
    batch_size: int = 16
    lr: float = 4e-4
    beta1: float = 0.0
    beta2: float = 0.999
    ema: float = 0.998
    augment: str = "colour,translation,cutout"
    every: int = 500
    samples: int = 1000
    precision: Literal["32", "bf16-mixed"] = "32"
    device: str = "auto"
    workers: int = 0
    seed: int = 0
    resume: bool = False

    def __post_init__(self) -> None:
        check_shape(self.size, self.width, self.latent)
        for name, low in LEAST.items():
            if getattr(self, name) < low:
                raise ConfigError(f"{name} must be >= {low}, got {getattr(self, name)}")
        for name in ("beta1", "beta2", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise ConfigError(f"{name} must be in [0, 1), got {getattr(self, name):g}")
        if not 0 < self.lr < math.inf:
            raise ConfigError(f"lr must be > 0, got {self.lr:g}; write 2e-4")
        if self.precision not in ("32", "bf16-mixed"):
            raise ConfigError(f"precision must be 32 or bf16-mixed, got {self.precision!r}")
        if self.start not in ("eigenfaces", "nothing"):
            raise ConfigError(f"start must be eigenfaces or nothing, got {self.start!r}")
        parse(self.augment)

    def decay(self, step: int) -> float:
        """Of the average after step ``step`` (from 0)."""
        return min(self.ema, (1 + step) / (10 + step))
