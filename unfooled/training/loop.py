"""The fit loop: any detector, any objective, on one device or several, resumable after any kill."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from unfooled import checkpoints
from unfooled.attacks import describe
from unfooled.data.frames import Frames
from unfooled.errors import DataError, TrainingError
from unfooled.models.detector import Detector
from unfooled.objectives import Objective
from unfooled.training.card import model_card
from unfooled.training.engine import first_process, make_fabric, make_optimizer, weights_channels_last
from unfooled.training.folder import Record, RunFolder
from unfooled.training.settings import Settings
from unfooled.training.signatures import failure_signatures
from unfooled.training.step import Stepper
from unfooled.training.validation import limited, validate

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.loggers.tensorboard import TensorBoardLogger

NOT_THE_RESULT = {"resume", "device", "devices", "workers", "save_every", "log_every"}


class Progress(Protocol):
    """What a caller may watch; ``fit`` itself never prints."""

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None: ...

    def on_epoch(self, record: Record) -> None: ...


@dataclass(frozen=True)
class FitResult:
    """What ``fit`` leaves: the folder, the best epoch's record, one record an epoch, and what looks wrong."""

    out: Path
    best: Record
    history: list[Record]
    warnings: list[str]


def fit(
    detector: Detector,
    objective: Objective,
    train: Frames,
    validation: Frames,
    settings: Settings,
    out: Path | str,
    *,
    progress: Progress | None = None,
) -> FitResult:
    """Train ``detector`` in place and write the run folder.

    Data-parallel: every process takes its share of each batch; gradients, batch-norm statistics and terms are averaged
    in one all-reduce a step. Batch norm and the real x fake pairs of L_srl see a process's own rows.

    Args:
        detector: ends with the weights of the last step; the best ones are in ``best.safetensors``.
        train, validation: frames with both classes. The best epoch has the highest mean of clean and robust AUC on
            validation (clean AUC alone for an objective without an adversary), among the epochs with the largest
            eps.
        out: the run folder.

    Raises:
        ConfigError: the folder holds another run, or a setting does not fit this machine.
        DataError: a class is absent.
        TrainingError: a loss or gradient is not finite (before the weights are touched), memory or disk is full.
    """
    for name, frames in (("training", train), ("validation", validation)):
        if len(np.unique(frames.labels)) < 2:
            raise DataError(f"the {name} rows hold one class only; training needs real and fake rows in both splits")
    folder, fabric = RunFolder(Path(out)), make_fabric(settings)
    if first_process():
        folder.claim(settings.resume)
    fabric.launch()
    cuda = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        run = _Run(fabric, folder, settings, detector, objective, train, limited(validation, settings.validation_limit))
        try:
            return run.fit(progress)
        except TrainingError as error:
            run.log(f"stopped: {error}")
            raise


@dataclass
class _Run:
    """A run under way: what changes from epoch to epoch, and the loop that changes it."""

    fabric: Fabric
    folder: RunFolder
    settings: Settings
    detector: Detector
    objective: Objective
    train: Frames
    validation: Frames
    done: int = 0
    best: Record = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        s, world = self.settings, self.fabric.world_size
        self.rows = s.batch_size // world
        if self.objective.fake_share is None:
            self.objective = replace(self.objective, fake_share=self.train.fake_share(s.fake_share, self.rows))
        self.per_epoch = self.train.batches_per_epoch(self.rows, s.fake_share, s.views, world)
        weights_channels_last(self.detector.to(self.fabric.device))
        average = get_ema_multi_avg_fn(s.ema)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self.detector, multi_avg_fn=average, use_buffers=True) if s.ema else None
        optimizer = self.fabric.setup_optimizers(make_optimizer(self.detector, s))
        self.update = Stepper(
            self.fabric, self.detector, optimizer, self.averaged, self.rows, s.clip, s.seed, self.log, s.accumulate
        )
        self.identity = self._identity()

    def fit(self, progress: Progress | None) -> FitResult:
        """Epoch by epoch: train, validate, keep."""
        from lightning_fabric.loggers.tensorboard import TensorBoardLogger

        if self.settings.resume:
            self.resume()
        board = TensorBoardLogger(self.folder.path, "tensorboard", "", purge_step=self.done * self.per_epoch)
        self.log(f"{'resumed' if self.done else 'started'} at epoch {self.done + 1}: {self.identity}")
        watched = progress if self.fabric.is_global_zero else None
        for epoch in range(self.done, self.settings.epochs):
            record = self.train_epoch(epoch, watched, board)
            record |= self.fabric.broadcast(self.validate(record["step"]))
            self.keep(record)
            board.log_metrics(_numbers("epoch", record), record["step"])
            if watched:
                watched.on_epoch(record)
        board.finalize("success")
        return self.result()

    def train_epoch(self, epoch: int, progress: Progress | None, board: TensorBoardLogger) -> Record:
        s, start, step = self.settings, time.perf_counter(), epoch * self.per_epoch
        steps = s.epochs * self.per_epoch
        shard = (self.fabric.global_rank, self.fabric.world_size)
        sums: Counter[str] = Counter()
        terms: dict[str, float] = {}
        count = seen = 0
        for batch in self.train.train_loader(self.rows, epoch, s.fake_share, s.views, s.workers, shard):
            objective = self.objective.scaled(s.adversary(step, self.per_epoch))
            terms = self.update(objective, batch, step, s.learning_rate(step, steps))
            step, count, seen = step + 1, count + 1, seen + len(batch)
            sums.update(terms)
            if progress:
                progress.on_step(step, steps, terms)
            if step % s.log_every == 0:
                board.log_metrics(_numbers("step", terms), step)
        if not count:
            raise TrainingError(
                f"no training image could be read, such as {self.train.unreadable[:1]}; see the manifest"
            )
        means = {name: value / count for name, value in sums.items()}
        seconds = time.perf_counter() - start
        # lr and eps hold for the end of the epoch: their mean over a ramp was never in force.
        ending = {"lr": terms["lr"], "eps": terms["eps"], "seconds": round(seconds, 3)}
        rate = round(seen * self.fabric.world_size / seconds, 1)
        return {"epoch": epoch + 1, "step": step, **means, **ending, "images_per_second": rate}

    def validate(self, step: int) -> Record:
        """Clean and robust AUC after ``step`` steps; the first process measures for all."""
        if not self.fabric.is_global_zero:
            return {}
        s, defended = self.settings, self.objective.needs_attack
        share = s.adversary(step - 1, self.per_epoch)
        attack = None if defended and share == 0 else s.validation_attack
        clean, robust = self.update.within_memory(
            lambda: validate(self.model, self.validation, attack, self.rows // self.update.parts, self.fabric.autocast)
        )
        score = (clean + robust) / 2 if defended and robust is not None else clean
        return {
            "val_clean_auc": clean, "val_robust_auc": robust, "score": score,
            "eps_share": share if defended else 1.0,
        }  # fmt: skip

    def keep(self, record: Record) -> None:
        """Write the checkpoints, then the state that makes the epoch count, then what tells of it."""
        better = not self.best or _rank(record) > _rank(self.best)
        self.best = record if better else self.best
        self.history.append(record)
        self.done = record["epoch"]
        if not self.fabric.is_global_zero:
            return
        facts = {name: record[name] for name in ("epoch", "val_clean_auc", "val_robust_auc")}
        if better:
            checkpoints.save(self.model, self.folder.best, **facts)
        checkpoints.save(self.model, self.folder.last, **facts)
        if self.done % self.settings.save_every == 0 or self.done == self.settings.epochs:
            self.folder.save_state(self.state())
        self.folder.write_history(self.history)
        self.write_card([])
        shown = ", ".join(f"{name} {value:.4g}" for name, value in record.items() if isinstance(value, float))
        self.log(f"epoch {self.done}{' (best so far)' if better else ''}: {shown}")

    @property
    def model(self) -> Detector:
        """What is validated and saved: the average where there is one."""
        return self.averaged.module if self.averaged else self.detector  # type: ignore[return-value]

    def state(self) -> dict[str, Any]:
        return {
            "identity": self.identity,
            "done": self.done,
            "parts": self.update.parts,
            "best": self.best,
            "history": self.history,
            "detector": self.detector.state_dict(),
            "optimizer": self.update.optimizer.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "averaged": self.averaged.state_dict() if self.averaged else {},
        }

    def resume(self) -> None:
        """Take up the saved state; without one the run starts from its beginning.

        Raises:
            ConfigError: the run was made with other settings.
        """
        state = self.folder.load_state()
        if state is None:
            return
        # A setting that did not exist when the run began had the effect of its default.
        then = {f.name: str(f.default) for f in fields(Settings)} | state["identity"]
        self.folder.refuse_other(then, self.identity)
        self.detector.load_state_dict(state["detector"])
        self.update.optimizer.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        if self.averaged:
            self.averaged.load_state_dict(state["averaged"])
        self.done, self.update.parts = state["done"], state["parts"]
        self.best, self.history = state["best"], state["history"]
        if self.fabric.is_global_zero:
            # A kill may have come between the state and the history.
            self.folder.write_history(self.history)

    def result(self) -> FitResult:
        warnings = failure_signatures(self.history, logit_scale=getattr(self.detector.head, "scale", None))
        if unreadable := self.train.unreadable:
            path, reason = unreadable[0]
            warnings.append(f"{len(unreadable)} training images could not be read, such as {path}: {reason}")
        if self.fabric.is_global_zero:
            self.folder.write("warnings.txt", "".join(f"{warning}\n" for warning in warnings))
            self.write_card(warnings)
            for warning in warnings:
                self.log(f"warning: {warning}")
            self.log(f"finished; the best epoch is {self.best['epoch']}")
        return FitResult(self.folder.path, self.best, self.history, warnings)

    def write_card(self, warnings: list[str]) -> None:
        facts = {
            "name": self.folder.path.name,
            "detector": self.detector.spec or type(self.detector.backbone).__name__,
            "objective": self.objective,
            "attack": describe(attack) if (attack := self.settings.validation_attack) else "none",
            "epochs": self.settings.epochs,
            "best": self.best,
            "train": _counts(self.train),
            "validation": _counts(self.validation),
        }
        self.folder.write("model_card.md", model_card(facts, self.history, warnings))

    def log(self, text: str) -> None:
        if self.fabric.is_global_zero:
            self.folder.log(text)

    def _identity(self) -> dict[str, str]:
        """What decides the weights: a resume must find it unchanged."""
        settings = {f.name: str(getattr(self.settings, f.name)) for f in fields(Settings)}
        facts = {"detector": str(self.detector.spec), "objective": str(self.objective)}
        data = {"train": self.train.digest(), "validation": self.validation.digest()}
        return {**facts, **data, **{name: text for name, text in settings.items() if name not in NOT_THE_RESULT}}


def _rank(record: Record) -> tuple[float, float]:
    # A clean epoch of a robust run scores high and is not what was asked for.
    return record["eps_share"], record["score"]


def _counts(frames: Frames) -> dict[str, Any]:
    codes, names = frames.manifest.codes("manipulation")
    counts = np.bincount(codes[frames.rows], minlength=len(names))
    present = {name: int(count) for name, count in zip(names, counts, strict=True) if count}
    return {"rows": len(frames), "digest": frames.manifest.digest(), "counts": present}


def _numbers(prefix: str, record: Mapping[str, Any]) -> dict[str, float]:
    return {f"{prefix}/{name}": float(v) for name, v in record.items() if isinstance(v, (int, float))}
