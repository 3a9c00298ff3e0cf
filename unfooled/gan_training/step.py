"""One step of a GAN: the discriminator's update, then the generator's, both checked before a weight moves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from unfooled.errors import TrainingError
from unfooled.gan_training.augment import augment, parse
from unfooled.gan_training.settings import GanSettings
from unfooled.models.gan import Discriminator, Generator, draw_latents
from unfooled.randomness import seed_of
from unfooled.training.engine import weights_channels_last


def hinge_discriminator(real: Tensor, fake: Tensor) -> Tensor:
    """``mean(max(0, 1 - D(x))) + mean(max(0, 1 + D(G(z))))``; 2 for one that says 0, 0 beyond the margins.

    Source: Geometric GAN, arXiv:1705.02894. Deviation: none.
    """
    return torch.relu(1 - real).mean() + torch.relu(1 + fake).mean()


def hinge_generator(fake: Tensor) -> Tensor:
    """``-mean(D(G(z)))``."""
    return -fake.mean()


def moving_average(averaged: list[Tensor], now: list[Tensor], decay: float) -> None:
    """``averaged = decay * averaged + (1 - decay) * now``, in place; counters are copied, shared tensors left alone."""
    with torch.no_grad():
        for average, value in zip(averaged, now, strict=True):
            if average.data_ptr() == value.data_ptr():
                continue
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


@dataclass
class GanStepper:
    """Both networks, their optimisers and the average of the generator.

    Args:
        fabric: device and precision.
        settings: widths, learning rate, augmentation, seed.
    """

    fabric: Fabric
    settings: GanSettings
    generator: Generator = field(init=False)
    discriminator: Discriminator = field(init=False)
    averaged: Generator = field(init=False)

    def __post_init__(self) -> None:
        s = self.settings
        torch.manual_seed(seed_of(s.seed, "gan", "weights"))
        self.generator = Generator(s.size, s.width, s.latent)
        self.discriminator = Discriminator(s.size, s.width)
        self.averaged = Generator(s.size, s.width, s.latent)
        self.averaged.load_state_dict(self.generator.state_dict())
        self.averaged.requires_grad_(False).eval()
        for network in (self.generator, self.discriminator, self.averaged):
            weights_channels_last(network.to(self.fabric.device))
        # The linear face model does not train, so there is one of it.
        self.averaged.mean, self.averaged.components = self.generator.mean, self.generator.components
        self.policy = parse(s.augment)
        self.optimizers: dict[str, Any] = {
            name: self.fabric.setup_optimizers(
                torch.optim.Adam(network.parameters(), lr=s.lr, betas=(s.beta1, s.beta2), fused=True)
            )
            for name, network in (("generator", self.generator), ("discriminator", self.discriminator))
        }

    def __call__(self, x: Tensor, step: int) -> dict[str, float]:
        """The losses of step ``step`` (from 0), and what the discriminator says of reals and fakes on average.

        Args:
            x: (B, 3, size, size) reals in [0, 1].

        Raises:
            TrainingError: a loss or a gradient is not finite; the weights it belongs to are untouched.
        """
        torch.manual_seed(seed_of(self.settings.seed, "gan", step))
        x = x.to(self.fabric.device)
        z = draw_latents(len(x), self.settings.latent).to(x)
        with self.fabric.autocast():
            fakes = self.generator(z)
            judged = self.discriminator(augment(torch.cat([x, fakes.detach()]), self.policy)).float()
            real, fake = judged.chunk(2)
            loss = hinge_discriminator(real, fake)
        terms = {"discriminator": loss, "real": real.mean(), "fake": fake.mean()}
        numbers = self._update("discriminator", self.discriminator, loss, terms, step)
        # The discriminator only passes the gradient on here.
        self.discriminator.requires_grad_(False)
        try:
            with self.fabric.autocast():
                loss = hinge_generator(self.discriminator(augment(fakes, self.policy)).float())
            numbers |= self._update("generator", self.generator, loss, {"generator": loss}, step)
        finally:
            self.discriminator.requires_grad_(True)
        average, now = self.averaged.state_dict(), self.generator.state_dict()
        moving_average(list(average.values()), list(now.values()), self.settings.decay(step))
        return numbers

    def _update(
        self, name: str, network: nn.Module, loss: Tensor, terms: Mapping[str, Tensor], step: int
    ) -> dict[str, float]:
        optimizer = self.optimizers[name]
        optimizer.zero_grad()
        self.fabric.backward(loss)
        norm = get_total_norm([p.grad for p in network.parameters() if p.grad is not None])
        *values, length = torch.stack([*(t.detach().float() for t in terms.values()), norm.float()]).tolist()
        numbers = dict(zip(terms, values, strict=True))
        bad = [f"{key} is {value}" for key, value in {**numbers, "the gradient": length}.items() if _infinite(value)]
        if bad:
            raise TrainingError(
                f"step {step + 1}, {name}: {', '.join(bad)}; the run stops and keeps its last good point; lower --lr "
                "or take --precision 32 in a new --out"
            )
        optimizer.step()
        return numbers

    def start_from(self, faces: Tensor) -> None:
        """Fit the linear face model of the generator and of its average, which share it."""
        self.generator.start_from(faces.to(self.fabric.device))

    def finite(self) -> bool:
        """Whether every weight is a number."""
        state = [*self.averaged.state_dict().values(), *self.generator.state_dict().values()]
        state += self.discriminator.state_dict().values()
        return all(bool(t.isfinite().all()) for t in state)

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next step depends on."""
        return {
            **{name: getattr(self, name).state_dict() for name in ("generator", "discriminator", "averaged")},
            "optimizers": {name: optimizer.optimizer.state_dict() for name, optimizer in self.optimizers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""
        for name in ("generator", "discriminator", "averaged"):
            getattr(self, name).load_state_dict(state[name])
        for name, optimizer in self.optimizers.items():
            optimizer.optimizer.load_state_dict(state["optimizers"][name])


def _infinite(value: float) -> bool:
    return not math.isfinite(value)
