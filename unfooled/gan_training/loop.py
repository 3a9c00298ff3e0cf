"""The GAN's fit loop: resumable after any kill, stopped by the first number that is not finite."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import CheckpointError, ConfigError, DataError, TrainingError
from unfooled.gan_training.card import model_card
from unfooled.gan_training.frechet import Gaussian, features_of, frechet_distance
from unfooled.gan_training.images import batches_from, generate, grid, real_faces, some_faces, write_png
from unfooled.gan_training.settings import GanSettings
from unfooled.gan_training.step import GanStepper
from unfooled.gan_training.weights import FILE_NAME, save_generator
from unfooled.models.detector import Detector
from unfooled.training import Progress, Record, RunFolder, Settings
from unfooled.training.engine import make_fabric

FEW = 100
PEOPLE = "train.parquet"
NOT_THE_RESULT = {"resume", "device", "workers", "steps"}


@dataclass(frozen=True)
class GanResult:
    """What ``fit_gan`` leaves: the folder, the best point's record, one record a point, and what looks wrong."""

    out: Path
    best: Record
    history: list[Record]
    warnings: list[str]


def fit_gan(
    manifest: Manifest,
    settings: GanSettings,
    out: Path | str,
    *,
    features: Detector,
    progress: Progress | None = None,
) -> GanResult:
    """Train a generator on the real training rows of a manifest and write the run folder.

    The folder holds ``generator.safetensors`` (the average of the weights, at the point with the lowest Frechet
    distance to the validation reals), ``samples/`` (a grid of every point), ``metrics.jsonl``, ``log.txt``,
    ``model_card.md``, ``gan.json``, ``train.parquet`` (the rows that were learnt from) and ``state.pt``.

    Args:
        manifest: with real rows of split ``train``; the Frechet distance is taken to its real rows of ``validation``,
            and to the training rows themselves where it has none.
        out: the run folder.
        features: whose penultimate features the distance is measured in.

    Raises:
        ConfigError: the folder holds another run, a setting does not fit this machine, or ``features`` takes clips.
        DataError: no real training row can be read, or the rows are clips.
        TrainingError: a loss, gradient or weight is not finite, or the disk is full; what was saved is kept.
    """
    folder = RunFolder(Path(out))
    fabric = make_fabric(Settings(device=settings.device, precision=settings.precision))
    folder.check(settings.resume)
    train, unreadable = real_faces(manifest, "train", settings.size, settings.seed)
    watched = manifest.select(split="validation", label=0)
    judge = real_faces(manifest, "validation", settings.size)[0] if len(watched) else train
    if features.clips or len(judge) < 2:
        found = "a detector of clips" if features.clips else f"{len(judge)} real image"
        raise ConfigError(f"a Frechet distance needs a detector of frames and 2 real images, got {found}")
    if next(iter(train.test_loader(1))).x.dim() != 4:
        raise DataError("the manifest holds clips, and a GAN learns from single images; index their frames")
    folder.claim(settings.resume)
    cuda = [fabric.device] if fabric.device.type == "cuda" else []
    with torch.random.fork_rng(cuda), torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True):
        # Squares of tiny gradients become numbers that a CPU computes with a hundred times slower than with 0.
        torch.set_flush_denormal(True)
        stepper = GanStepper(fabric, settings)
        run = _Run(folder, settings, stepper, train, judge, features.to(fabric.device).eval(), unreadable)
        try:
            return run.fit(progress)
        except TrainingError as error:
            folder.log(f"stopped: {error}")
            raise
        finally:
            torch.set_flush_denormal(False)


@dataclass
class _Run:
    """A run under way: what changes from point to point, and the loop that changes it."""

    folder: RunFolder
    settings: GanSettings
    stepper: GanStepper
    train: Frames
    judge: Frames
    features: Detector
    unreadable: list[str]
    done: int = 0
    best: Record = field(default_factory=dict)
    history: list[Record] = field(default_factory=list)

    def fit(self, progress: Progress | None) -> GanResult:
        """Point by point: train, measure, keep."""
        s = self.settings
        if s.resume:
            self.resume()
        self.folder.log(f"{'resumed' if self.done else 'started'} at step {self.done + 1}: {self.identity()}")
        if not self.done:
            if s.start == "eigenfaces":
                self.stepper.start_from(some_faces(self.train))
            self.train.manifest.write(self.folder.path / PEOPLE)
            self.folder.write("gan.json", json.dumps({**asdict(s), **self.facts()}, indent=2) + "\n")
        warnings = self.warnings()
        for warning in warnings:
            self.folder.log(f"warning: {warning}")
        reals = Gaussian.of(features_of(self.features, (b.x for b in self.judge.test_loader(64))))
        batches = batches_from(self.train, s.batch_size, self.done, s.steps, s.workers)
        while self.done < s.steps:
            start, sums, first = time.perf_counter(), Counter[str](), self.done
            end = min(s.steps, (first // s.every + 1) * s.every)
            for step in range(first, end):
                terms = self.stepper(next(batches), step)
                sums.update(terms)
                if progress:
                    progress.on_step(step + 1, s.steps, terms)
            seconds = time.perf_counter() - start
            record: Record = {"step": end, **{name: total / (end - first) for name, total in sums.items()}}
            rate = round((end - first) * s.batch_size / seconds, 1)
            self.keep(record | {"seconds": round(seconds, 3), "images_per_second": rate}, reals)
            if progress:
                progress.on_epoch(self.history[-1])
        self.folder.log(f"finished; the best point is step {self.best['step']}")
        return GanResult(self.folder.path, self.best, self.history, warnings)

    def keep(self, record: Record, reals: Gaussian) -> None:
        """Measure, then write the generator, the grid, and the state that makes the point count."""
        generator = self.stepper.averaged
        if not self.stepper.finite():
            raise TrainingError(
                f"step {record['step']}: a weight is not finite; the run stops and keeps its last good point; lower "
                "--lr or take --precision 32 in a new --out"
            )
        made = features_of(self.features, generate(generator, self.settings.samples, self.settings.seed))
        record["frechet"] = frechet_distance(Gaussian.of(made), reals)
        better = not self.best or record["frechet"] < self.best["frechet"]
        self.best = record if better else self.best
        self.history.append(record)
        self.done = record["step"]
        try:
            if better:
                facts = {name: record[name] for name in ("step", "frechet")}
                save_generator(generator, self.folder.path / FILE_NAME, **facts, **self.facts())
            picture = grid(generator, self.settings.seed)
            write_png(self.folder.path / "samples" / f"step-{self.done:06}.png", picture)
        except (OSError, CheckpointError) as error:
            why = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise TrainingError(
                f"{self.folder.path} can not be written to: {why}; make room, then go on with --resume"
            ) from None
        self.folder.save_state(self.state())
        self.folder.write_history(self.history)
        self.folder.write("model_card.md", model_card(self.folder.path.name, self.facts(), self.best, self.warnings()))
        shown = ", ".join(f"{name} {value:.4g}" for name, value in record.items() if isinstance(value, float))
        self.folder.log(f"step {self.done}{' (best so far)' if better else ''}: {shown}")

    def state(self) -> dict[str, Any]:
        return {
            "identity": self.identity(),
            "done": self.done,
            "best": self.best,
            "history": self.history,
            "networks": self.stepper.state_dict(),
        }

    def resume(self) -> None:
        """Take up the saved state; without one the run starts from its beginning.

        Raises:
            ConfigError: the run was made with other settings.
        """
        state = self.folder.load_state()
        if state is None:
            return
        then: Mapping[str, str] = state["identity"] if "networks" in state else {}
        if not then:
            raise ConfigError(f"{self.folder.path} is no run of a GAN; choose another --out")
        self.folder.refuse_other(then, self.identity())
        self.stepper.load_state_dict(state["networks"])
        self.done, self.best, self.history = state["done"], state["best"], state["history"]

    def identity(self) -> dict[str, str]:
        """What decides the weights and which of them are kept: a resume must find it unchanged."""
        settings = {name: str(value) for name, value in asdict(self.settings).items() if name not in NOT_THE_RESULT}
        data = {"train": self.train.digest(), "validation": self.judge.digest(), "features": self.features.digest()}
        return {**settings, **data}

    def facts(self) -> dict[str, Any]:
        """What stands beside the weights."""
        own = self.judge is self.train
        return {
            "images": len(self.train),
            "train": self.train.manifest.digest(),
            "measured_on": f"{len(self.judge)} {'training' if own else 'validation'} reals",
            "samples": self.settings.samples,
            "features": self.features.title or str(self.features.spec.get("name", "detector")),
        }

    def warnings(self) -> list[str]:
        found = []
        if len(self.train) < FEW:
            found.append(
                f"only {len(self.train)} images to learn from; below {FEW} a generator repeats its training faces"
            )
        if self.judge is self.train:
            found.append(
                "no real rows of split 'validation': the Frechet distance is taken to the training faces, which "
                "flatters a generator that repeats them"
            )
        if self.unreadable:
            found.append(f"{len(self.unreadable)} training images could not be read, such as {self.unreadable[0]}")
        return found
