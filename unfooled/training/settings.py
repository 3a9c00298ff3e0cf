"""How to train: numbers and names, checked once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from unfooled.attacks.base import Attack
from unfooled.errors import ConfigError

DEFAULT_LR = {"adam": 2e-4, "sgd": 0.01}
LEAST = {
    "epochs": 1, "batch_size": 2, "weight_decay": 0, "momentum": 0, "warmup": 0, "clean_epochs": 0, "ramp_epochs": 0,
    "clip": 0, "accumulate": 1, "devices": 1, "workers": 0, "save_every": 1, "log_every": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Settings:
    """How to train; what to minimise is the objective's business.

    Args:
        epochs: passes, >= 1; the learning rate and the adversary are planned over all of them.
        batch_size: rows of a step over all devices together, >= 2.
        optimizer: ``sgd`` (frame models) or ``adam`` (clip models).
        lr: peak learning rate; None: 0.01 for sgd, 2e-4 for adam.
        weight_decay, momentum: >= 0; momentum is sgd's.
        schedule: ``cosine`` falls to 0 at the end, ``constant`` stays.
        warmup: steps in which the learning rate grows linearly to its peak.
        clean_epochs: epochs at the start without an adversary: a warm start inside the run.
        ramp_epochs: epochs in which eps then grows linearly, step by step, to its full size.
        ema: decay of the average of the weights, in [0, 1); 0 is off. The average is what is validated and saved.
        clip: largest gradient norm; 0 is off.
        accumulate: parts that a batch is computed in, one after the other, before the step: as much less memory. Batch
            norm and the real x fake pairs of L_srl see a part's rows only; without both the step is the same.
        precision: ``32``, ``bf16-mixed`` or ``16-mixed`` (CUDA only).
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        devices: processes; each computes its share of every batch.
        workers: decoding processes.
        views: samples an epoch; None: each sample of the class that needs more is seen once.
        fake_share: of every batch, in (0, 1); None: as in the data.
        validation_attack: adversary of the robust AUC on validation; None measures clean AUC only.
        validation_limit: at most so many validation frames, half of them fake; None takes all.
        seed: of everything that is drawn.
        resume: go on from state.pt where there is one.
        save_every: epochs between two states to resume from.
        log_every: steps between two points in TensorBoard.

    Raises:
        ConfigError: a value is out of its range.
    """

    epochs: int = 10
    batch_size: int = 32
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float | None = None
    weight_decay: float = 5e-4
    momentum: float = 0.9
    schedule: Literal["cosine", "constant"] = "cosine"
    warmup: int = 0
    clean_epochs: float = 0.0
    ramp_epochs: float = 0.0
    ema: float = 0.0
    clip: float = 0.0
    accumulate: int = 1
    precision: Literal["32", "bf16-mixed", "16-mixed"] = "32"
    device: str = "auto"
    devices: int = 1
    workers: int = 2
    views: int | None = None
    fake_share: float | None = 0.5
    validation_attack: Attack | None = None
    validation_limit: int | None = None
    seed: int = 0
    resume: bool = False
    save_every: int = 1
    log_every: int = 20

    def __post_init__(self) -> None:
        for name, low in LEAST.items():
            if not getattr(self, name) >= low:
                raise ConfigError(f"training.{name} must be >= {low}, got {getattr(self, name)}")
        if not self.momentum < 1:
            raise ConfigError(f"training.momentum must be < 1, got {self.momentum:g}; write 0.9")
        if self.fake_share is not None and not 0 < self.fake_share < 1:
            raise ConfigError(f'data.fake_share must be in (0, 1), got {self.fake_share:g}; write 0.5, or "data"')
        if self.views is not None and self.views < self.batch_size:
            raise ConfigError(f"data.views must be >= training.batch_size, got {self.views} < {self.batch_size}")
        if self.lr is not None and not 0 < self.lr < math.inf:
            raise ConfigError(f"training.lr must be > 0, got {self.lr:g}")
        if not 0 <= self.ema < 1:
            raise ConfigError(f"training.ema must be in [0, 1), got {self.ema:g}; write 0.99, or 0 for none")
        if self.batch_size % self.devices or self.batch_size // self.devices < 2:
            raise ConfigError(
                f"training.batch_size must be a multiple of devices and >= 2 on each, got {self.batch_size} on "
                f"{self.devices}"
            )
        if self.batch_size // self.devices // self.accumulate < 2:
            raise ConfigError(
                f"training.accumulate must leave 2 rows of the {self.batch_size // self.devices} of a device, got "
                f"{self.accumulate}"
            )
        if self.validation_limit is not None and self.validation_limit < 2:
            raise ConfigError(f"training.validation_limit must be >= 2, got {self.validation_limit}")

    def learning_rate(self, step: int, steps: int) -> float:
        """Of step ``step`` (from 0) of ``steps``."""
        peak = DEFAULT_LR[self.optimizer] if self.lr is None else self.lr
        if step < self.warmup:
            return peak * (step + 1) / self.warmup
        if self.schedule == "constant":
            return peak
        return peak * (1 + math.cos(math.pi * (step - self.warmup) / max(1, steps - self.warmup))) / 2

    def adversary(self, step: int, steps_per_epoch: int) -> float:
        """Share of the full eps at step ``step`` (from 0), in [0, 1]."""
        ramped = step + 1 - round(self.clean_epochs * steps_per_epoch)
        return min(1.0, max(0.0, ramped / max(1, round(self.ramp_epochs * steps_per_epoch))))
