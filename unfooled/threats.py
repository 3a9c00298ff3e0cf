"""What an adversary may change: balls around x, intersected with the pixel range [0, 1]."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.errors import ConfigError
from unfooled.randomness import normal_like, uniform_like


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Threat(ABC):
    """A ball of radius ``eps`` around every sample.

    Args:
        eps: radius in pixel units of [0, 1], so ``8/255``; 0 allows nothing, ``inf`` only the pixel range
            (minimum-norm attacks).
    """

    eps: float
    largest: ClassVar[float] = math.inf

    def __post_init__(self) -> None:
        if math.isnan(self.eps) or self.eps < 0:
            raise ConfigError(f"eps must be >= 0, got {self.eps:g}; write 8/255")
        if self.eps > self.largest and not math.isinf(self.eps):
            raise ConfigError(
                f"eps must be <= {self.largest:g} in pixel units, got {self.eps:g}; write {self.eps:g}/255"
            )

    @abstractmethod
    def distance(self, delta: Tensor) -> Tensor:
        """(B,) norm of each row of ``delta``, >= 0."""

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Steepest ascent step of norm 1 for each row; a zero gradient gives a zero step."""

    @abstractmethod
    def sample(self, x: Tensor, seed: int | None) -> Tensor:
        """A random point of the ball around each row of ``x``, before it is cut to [0, 1]."""

    @abstractmethod
    def _shrink(self, delta: Tensor) -> Tensor:
        """The nearest change of the ball, in memory of its own."""

    def project(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The point of the ball around ``x`` and of [0, 1] that belongs to ``x_adv``."""
        return self._shrink(x_adv - x).add_(x).clamp_(0, 1)

    def projector(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """``project`` around a fixed ``x``, for a loop: what depends on ``x`` alone is computed once.

        It may reuse the memory of what it is given.
        """
        return partial(self.project, x)


@dataclass(frozen=True)
class Linf(Threat):
    """No pixel changes by more than eps; eps in [0, 1]."""

    largest = 1.0

    def distance(self, delta: Tensor) -> Tensor:
        largest: Tensor = torch.linalg.vector_norm(delta, math.inf, dim=tuple(range(1, delta.dim())))
        return largest

    def direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign()

    def projector(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        low, high = (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1)
        return lambda x_adv: torch.clamp(x_adv, low, high, out=x_adv)

    def sample(self, x: Tensor, seed: int | None) -> Tensor:
        if math.isinf(self.eps):
            raise ConfigError("eps must be finite for a random start, got inf")
        return x + self.eps * uniform_like(x, seed, "linf")

    def _shrink(self, delta: Tensor) -> Tensor:
        return delta.clamp(-self.eps, self.eps)


@dataclass(frozen=True)
class L2(Threat):
    """The Euclidean length of the change over all pixels and channels is at most eps."""

    def distance(self, delta: Tensor) -> Tensor:
        length: Tensor = torch.linalg.vector_norm(delta, dim=tuple(range(1, delta.dim())))
        return length

    def direction(self, gradient: Tensor) -> Tensor:
        # Scaled by the largest entry first: the squares of a tiny gradient underflow, and it would look like none.
        largest = _per_row(gradient.abs().amax(tuple(range(1, gradient.dim()))), gradient)
        scaled = gradient / largest.clamp_min(torch.finfo(gradient.dtype).tiny)
        return scaled / _per_row(self.distance(scaled), gradient).clamp_min(1)

    def sample(self, x: Tensor, seed: int | None) -> Tensor:
        """Uniform in the ball: a uniform direction, its length by the d-th root."""
        if math.isinf(self.eps):
            raise ConfigError("eps must be finite for a random start, got inf")
        radius = ((uniform_like(x, seed, "l2 radius").flatten(1)[:, 0] + 1) / 2) ** (1 / x[0].numel())
        return x + self.eps * _per_row(radius, x) * self.direction(normal_like(x, seed, "l2"))

    def _shrink(self, delta: Tensor) -> Tensor:
        norm = _per_row(self.distance(delta), delta)
        return delta * (self.eps / norm.clamp_min(torch.finfo(norm.dtype).tiny)).clamp(max=1)


@dataclass(frozen=True)
class L0(Threat):
    """At most eps pixels change, each in any channel by any amount; eps is a whole number.

    Of a clip the pixels of all frames count together.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if not math.isinf(self.eps) and self.eps != int(self.eps):
            raise ConfigError(f"eps under norm l0 counts pixels and must be whole, got {self.eps:g}; write 32")

    def distance(self, delta: Tensor) -> Tensor:
        return (delta != 0).any(1).flatten(1).sum(1).to(delta)

    def direction(self, gradient: Tensor) -> Tensor:
        """The sign of the gradient in the one pixel where its entries sum to most."""
        steepness = gradient.abs().sum(1).flatten(1)
        best = torch.zeros_like(steepness).scatter_(1, steepness.argmax(1, keepdim=True), 1)
        return gradient.sign() * best.reshape(len(best), 1, *gradient.shape[2:])

    def sample(self, x: Tensor, seed: int | None) -> Tensor:
        """Random colours in random pixels."""
        if math.isinf(self.eps):
            raise ConfigError("eps must be finite for a random start, got inf")
        order = uniform_like(x[:, :1], seed, "l0 pixels")
        colours = (uniform_like(x, seed, "l0 colours") + 1) / 2
        return torch.where(_strongest(order + 1, int(self.eps)), colours, x)

    def _shrink(self, delta: Tensor) -> Tensor:
        if math.isinf(self.eps):
            return delta.clone()
        return delta * _strongest(delta.abs().sum(1, keepdim=True), int(self.eps))


def _strongest(values: Tensor, count: int) -> Tensor:
    """(B, 1, ...) bool: the ``count`` largest of each row's ``values`` (B, 1, ...)."""
    flat = values.flatten(1)
    chosen = torch.zeros_like(flat, dtype=torch.bool)
    chosen.scatter_(1, flat.topk(min(count, flat.shape[1]), dim=1).indices, True)
    return chosen.reshape(values.shape)
