"""One perturbation for all fakes, learned on some and worn by others."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
from torch import Tensor

from unfooled.attacks.base import check_batch, frozen
from unfooled.attacks.evasion import Evasion, need_count, need_step
from unfooled.attacks.gradient import autograd, margin
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector


@dataclass(frozen=True)
class Universal(Evasion):
    """Adds one learned perturbation to every fake; all frames of a clip wear the same.

    ``fit`` learns it on the fakes of TRAINING batches; the result is judged on pictures it has not seen.

    Args:
        epochs: >= 1 passes over the batches.
        step_size: of a step in pixel units, > 0.
        delta: (3, H, W) what ``fit`` has learned; None before.

    Raises:
        ConfigError: an option is out of range, the threat is not Linf, or it is used before it has learned.
        DataError: the pictures have another size than those it has learned from.

    Source: arXiv:1610.08401, arXiv:2011.09957: signs of the mean gradient over a batch. Deviation: ascends the logit
    margin, which does not saturate.
    """

    learns: ClassVar[bool] = True

    epochs: int = 10
    step_size: float = 1 / 255
    delta: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        need_count("epochs", self.epochs)
        need_step("step_size", self.step_size)
        if self.delta is not None and not isinstance(self.delta, Tensor):
            raise ConfigError(f"delta is learned by fit, got {self.delta!r}; leave it out")

    def fit(self, detector: Detector, batches: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """The attack with its perturbation, from the fakes of labelled batches (x, y) as for a call.

        Args:
            batches: gone through ``epochs`` times, so a list or a loader.

        Raises:
            ConfigError: ``batches`` can be gone through only once.
            DataError: there are no fakes, or pictures of several sizes.
        """
        if self.epochs > 1 and isinstance(batches, Iterator):
            raise ConfigError(
                f"universal goes through the batches {self.epochs} times, an iterator ends after one; "
                "give a list or a loader"
            )
        delta: Tensor | None = None
        with torch.inference_mode(False), torch.enable_grad(), frozen(detector):
            for _ in range(self.epochs):
                for x, y in batches:
                    check_batch(x, y)
                    fakes = x.detach()[y == 1].clone()
                    if len(fakes):
                        delta = torch.zeros_like(_worn(fakes)) if delta is None else delta
                        delta = self._step(detector, fakes, delta)
        if delta is None:
            raise DataError("universal learns from fakes, the batches held none; give batches of the training split")
        return replace(self, delta=delta)

    def _step(self, detector: Detector, x: Tensor, delta: Tensor) -> Tensor:
        """``delta`` after one sign step down the logits of the fakes ``x``."""
        leaf = delta.clone().requires_grad_()
        x_adv = _wear(x, leaf).clamp(0, 1)
        _, gradient = autograd(detector, margin(torch.ones(len(x), device=x.device)))(x_adv.detach())
        (slope,) = torch.autograd.grad(x_adv, leaf, gradient.to(x_adv))
        eps = self.threat.eps
        return (delta + self.step_size * slope.sign()).clamp(-eps, eps)

    def evade(self, detector: Detector, x: Tensor) -> Tensor:
        if self.delta is None:
            raise ConfigError("universal has to learn first; call attack = attack.fit(detector, training_batches)")
        return _wear(x, self.delta.to(x))


def _worn(x: Tensor) -> Tensor:
    """The (3, H, W) part of ``x`` that a perturbation covers."""
    return x[0] if x.dim() == 4 else x[0, :, 0]


def _wear(x: Tensor, delta: Tensor) -> Tensor:
    """``x`` with ``delta`` on every frame."""
    if x.shape[-2:] != delta.shape[-2:]:
        (h, w), (height, width) = delta.shape[-2:], x.shape[-2:]
        raise DataError(f"universal has learned on {h} x {w} pixels, got {height} x {width}; fit it on that size")
    return x + (delta if x.dim() == 4 else delta.unsqueeze(1))
