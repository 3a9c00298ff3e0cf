"""One training step: gradients in as many parts as memory asks for, averaged, checked, and only then applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim.swa_utils import AveragedModel

from unfooled.data.frames import Batch
from unfooled.errors import TrainingError
from unfooled.models.detector import Detector
from unfooled.objectives import Objective
from unfooled.randomness import seed_of
from unfooled.training.engine import channels_last

if TYPE_CHECKING:
    from lightning_fabric import Fabric

T = TypeVar("T")


@dataclass
class Stepper:
    """Moves a detector's weights by one batch.

    Args:
        fabric: device, precision and the other processes.
        optimizer: set up by ``fabric``.
        averaged: follows the weights after each step; None without.
        rows: of a batch in this process.
        clip: largest gradient norm; 0 is off.
        seed: of the adversary's starts and of dropout, together with the step and the process.
        log: takes one line of text.
        parts: a batch is computed in so many pieces; doubled whenever memory runs out.
    """

    fabric: Fabric
    detector: Detector
    optimizer: Any
    averaged: AveragedModel | None
    rows: int
    clip: float
    seed: int
    log: Callable[[str], None]
    parts: int = 1

    def __call__(self, objective: Objective, batch: Batch, step: int, lr: float) -> dict[str, float]:
        """The terms of step ``step`` (from 0), their sum ``loss``, ``grad_norm``, ``lr`` and ``eps``.

        Raises:
            TrainingError: a term or the gradient is not finite; the weights are untouched then.
        """
        batch = batch.to(self.fabric.device)
        self.detector.train()
        before = [statistic.clone() for statistic in self._statistics()]
        sums = self.within_memory(lambda: self._backward(objective, batch, step, before))
        gradients = [p.grad for p in self.detector.parameters() if p.grad is not None]
        if self.fabric.world_size > 1:
            self._average([*gradients, *self._statistics(), *sums.values()])
        precision = self.fabric.strategy.precision
        precision.unscale_gradients(self.optimizer.optimizer)
        norm = get_total_norm(gradients)
        *values, length = torch.stack([*sums.values(), norm.float()]).tolist()
        terms = dict(zip(sums, values, strict=True))
        # With a loss scale an infinite gradient is ordinary: the scaler skips that step and lowers its scale.
        scaled = getattr(precision, "scaler", None) is not None
        try:
            _refuse_infinite(step, terms if scaled else {**terms, "the gradient": length})
        except TrainingError:
            self._restore(before)
            raise
        if self.clip:
            clip_grads_with_norm_(self.detector.parameters(), self.clip, norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        if self.averaged:
            self.averaged.update_parameters(self.detector)
        return {"loss": sum(summed(terms)), **terms, "grad_norm": length, "lr": lr, "eps": objective.eps}

    def within_memory(self, work: Callable[[], T]) -> T:
        """``work()``, again with halved batches for as long as memory runs out.

        Raises:
            TrainingError: it runs out with two rows at a time as well.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
            # Outside of the handler: the traceback would keep the failed forward's tensors alive.
            at_once = self.rows // (2 * self.parts)
            if at_once < 2:
                raise TrainingError(
                    f"out of memory with {self.rows // self.parts} rows at a time; take smaller frames (data.size), "
                    "shorter clips (data.clip) or a smaller detector"
                )
            self.parts *= 2
            self.optimizer.zero_grad()
            if self.fabric.device.type == "cuda":
                torch.cuda.empty_cache()
            self.log(
                f"warning: out of memory; going on with {at_once} rows at a time, {self.parts} times a step (batch "
                "norm and pairs see the smaller parts)"
            )

    def _backward(self, objective: Objective, batch: Batch, step: int, before: list[Tensor]) -> dict[str, Tensor]:
        # A first try that ran out of memory has already moved the batch-norm statistics.
        self._restore(before)
        torch.manual_seed(seed_of(self.seed, step, self.fabric.global_rank))
        self.optimizer.zero_grad()
        x = channels_last(batch.x)
        sums: dict[str, Tensor] = {}
        for rows in _split(batch.y, self.parts):
            y = batch.y[rows]
            with self.fabric.autocast():
                terms = objective(self.detector, x[rows], y)
            share = len(y) / len(batch)
            self.fabric.backward(torch.stack(summed(terms)).sum() * share)
            for name, term in terms.items():
                sums[name] = sums.get(name, 0) + term.detach().float() * share
        return sums

    def _average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes: one flat all-reduce."""
        flat = torch.cat([t.reshape(-1).float() for t in tensors])
        self.fabric.all_reduce(flat, reduce_op="mean")
        for tensor, mean in zip(tensors, torch.split(flat, [t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view(tensor.shape))

    def _restore(self, statistics: list[Tensor]) -> None:
        with torch.no_grad():
            for now, then in zip(self._statistics(), statistics, strict=True):
                now.copy_(then)

    def _statistics(self) -> list[Tensor]:
        """Running statistics of batch norm, which each process moves by its own rows."""
        kept = self.detector.state_dict().keys()
        return [b for name, b in self.detector.named_buffers() if name in kept and b.is_floating_point()]


def summed(terms: Mapping[str, T]) -> list[T]:
    """The terms that make up the loss; ``cos_`` ones are only looked at."""
    return [term for name, term in terms.items() if not name.startswith("cos_")]


def _refuse_infinite(step: int, terms: Mapping[str, float]) -> None:
    if bad := [f"{name} is {value}" for name, value in terms.items() if not math.isfinite(value)]:
        raise TrainingError(
            f"step {step + 1}: {', '.join(bad)}; the weights were not touched by it and the checkpoints of the last "
            "finished epoch are kept; try a lower training.lr, training.clip=1, more training.warmup or "
            "training.precision=32"
        )


def _split(y: Tensor, count: int) -> list[Tensor | slice]:
    """Row numbers of ``count`` parts with the classes spread evenly; one part keeps all rows in order."""
    if count == 1:
        return [slice(None)]
    order = torch.argsort(y, stable=True)
    return [order[part::count] for part in range(min(count, len(y)))]


def _out_of_memory(error: BaseException) -> bool:
    text = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
