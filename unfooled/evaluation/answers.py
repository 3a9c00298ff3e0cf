"""What a detector answers under conditions, batch by batch; finished batches can be kept for a resume."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unfooled import __version__
from unfooled.attacks import Adversarial, Attack, describe
from unfooled.attacks.base import is_wrong
from unfooled.codecs import eight_bits, quantise, round_trip
from unfooled.data.frames import Batch, Frames
from unfooled.errors import DataError
from unfooled.evaluation.conditions import Condition
from unfooled.evaluation.examples import Gallery, some_frames
from unfooled.evaluation.projection import FeatureSpace
from unfooled.evaluation.samples import PixelDigest
from unfooled.files import replacing
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox
from unfooled.results import Samples
from unfooled.threats import L2

Array = NDArray[np.float64]
Found = dict[str, Tensor]
ATTACKED = ("success", "distance", "l2", "queries")


@dataclass(frozen=True)
class Store:
    """Keeps what was found for each batch in a file of its own; what does not belong to the job is not found.

    Args:
        folder: None keeps nothing.
        job: what the answers depend on, as text; part of every file name.
    """

    folder: Path | None
    job: str = ""

    def load(self, batch: int) -> Found | None:
        """What ``save`` kept; None where there is nothing whole."""
        path = self._path(batch)
        try:
            return load_file(path) if path and path.exists() else None
        except (SafetensorError, OSError):
            return None

    def save(self, batch: int, found: Found) -> None:
        """Keep it; the file appears whole or not at all."""
        if path := self._path(batch):
            with replacing(path) as temporary:
                save_file({name: tensor.contiguous().cpu() for name, tensor in found.items()}, temporary)

    def _path(self, batch: int) -> Path | None:
        digest = hashlib.blake2b(self.job.encode(), digest_size=12).hexdigest()
        return self.folder / f"{digest}-{batch:06}.safetensors" if self.folder else None


def job(
    detector: Detector, frames: Frames, condition: Condition, batch_size: int, learnt_from: object, *more: object
) -> str:
    """Everything that decides the answers of a condition, as text."""
    attack, distortion = condition.attack, condition.distortion
    asked: list[object] = [describe(attack), repr(attack)] if attack else []
    asked += ["then", repr(distortion)] if distortion else []
    asked += ["by", repr(condition.defense), condition.retune] if condition.defense else []
    facts = [__version__, detector.digest(), dict(detector.spec), frames.digest(), asked, batch_size, learnt_from, more]
    return json.dumps(facts, default=repr)


@dataclass
class Answers:
    """What is found under one condition while batches go by.

    Args:
        condition: its attack has learnt what it needs.
        gallery, space: look at what an attack does to the plain detector, unless a distortion follows.
        store: of finished batches.
        columns: over the rows of the manifest, nan where a row was never delivered.
        seconds: what they took; an attack that several conditions share counts in the first.
    """

    condition: Condition
    gallery: Gallery
    space: FeatureSpace
    store: Store = field(default_factory=lambda: Store(None))
    columns: dict[str, Array] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def plain(self) -> bool:
        """Whether the plain detector answers for the undistorted samples."""
        return self.condition.distortion is None and self.condition.defense is None

    @property
    def adaptive(self) -> bool:
        """Whether the attack was made through the defense that answers, on undistorted samples."""
        return self.condition.retune is not None and self.condition.distortion is None

    def names(self, saved: Sequence[int]) -> list[str]:
        """Of the columns."""
        if self.condition.attack is None:
            return ["logits"]
        # What is left of an attack in a file is asked of whoever was attacked, not again behind every distortion.
        files = ["png", *(f"jpeg{q}" for q in saved)] if self.plain or self.adaptive else []
        return ["logits", *files, *ATTACKED]


@dataclass
class _Made:
    """A batch on its device, and what the attack makes of it, once, when it is first asked for."""

    target: Detector
    batch: Batch
    attack: Attack | None
    device: str | torch.device

    @cached_property
    def clean(self) -> Batch:
        return self.batch.to(self.device)

    @cached_property
    def adversarial(self) -> Adversarial:
        if self.attack is None:
            raise ValueError("there is no attack")
        return self.attack(self.target, self.clean.x, self.clean.y)


def answer(
    detector: Detector,
    frames: Frames,
    group: Sequence[Answers],
    known: Samples,
    *,
    pixels: PixelDigest,
    clean: Array | None,
    device: str | torch.device,
    batch_size: int,
    workers: int,
    saved: Sequence[int],
    tick: Callable[[int], None],
) -> None:
    """Score every sample under conditions that share one attack, which is run once for all of them.

    Args:
        group: filled here.
        known: the columns of the rows of ``frames.manifest``.
        pixels: looks at the samples as they are.
        clean: logits of the clean condition; None while they are being found.
        saved: qualities of JPEG that attacked samples are also scored after.
        tick: is told of every finished sample.

    Raises:
        DataError: the detector answers NaN.
    """
    for answers in group:
        answers.columns = {name: np.full(len(known.id), np.nan) for name in answers.names(saved)}
    for number, batch in enumerate(frames.test_loader(batch_size, workers)):
        rows = batch.index.numpy()
        if clean is None:
            pixels.see([known.id[row] for row in rows], batch.x)
        first = group[0].condition
        made = _Made(first.target(detector), batch, first.attack, device)
        kept = group[0].store.folder is not None
        seen = _content([known.id[row] for row in rows], batch) if kept else torch.empty(0)
        for answers in group:
            found = answers.store.load(number)
            if found is None or "seen" not in found or not torch.equal(found["seen"], seen):
                started = time.perf_counter()
                found = _answer(detector, made, answers, clean is not None, saved)
                found |= {"seen": seen, "seconds": torch.tensor(time.perf_counter() - started)}
                answers.store.save(number, found)
            for name, column in answers.columns.items():
                column[rows] = found[name].double().cpu().numpy()
            if bad := int(np.isnan(answers.columns["logits"][rows]).sum()):
                raise DataError(f"the detector answered NaN for {bad} of {len(rows)} inputs; its weights are broken")
            if clean is not None and "shown" in found:
                shown = found["shown"]
                before, after = torch.from_numpy(clean[rows])[shown], found["logits"].cpu()[shown]
                x, clip = batch.x[shown], batch.x.shape[2] if batch.x.dim() == 5 else None
                after_x = found["shown_x_adv"]
                answers.gallery.see(batch.index[shown].tolist(), some_frames(x), after_x, before, after, clip)
                answers.space.add(batch.index[found["drawn"]].tolist(), found["drawn_features"])
            answers.seconds += float(found["seconds"])
            tick(len(rows))


def _content(ids: Sequence[str], batch: Batch) -> Tensor:
    """16 bytes that tell a batch from any other: its samples, their labels and pixels, in order."""
    found = hashlib.blake2b(json.dumps([ids, batch.y.tolist()]).encode(), digest_size=16)
    found.update(eight_bits(batch.x).tobytes())
    return torch.tensor(list(found.digest()), dtype=torch.uint8)


def _answer(detector: Detector, made: _Made, answers: Answers, look: bool, saved: Sequence[int]) -> Found:
    attack, distortion, defense = answers.condition.attack, answers.condition.distortion, answers.condition.defense
    there = made.clean

    def score(x: Tensor) -> Tensor:
        x = distortion(x) if distortion else x
        logits: Tensor = defense(detector, x) if defense else detector(x)
        return logits

    if attack is None:
        with torch.no_grad():
            return {"logits": score(there.x)}
    adversarial = made.adversarial
    x_adv = adversarial.x
    found = {
        "distance": adversarial.distance,
        "l2": L2(math.inf).distance(x_adv - there.x),
        "queries": adversarial.queries,
    }
    with torch.no_grad():
        if not answers.plain:
            # A defended detector that was itself attacked has judged its answer already.
            logits = adversarial.logits if answers.adaptive else score(x_adv)
            found |= {"logits": logits, "success": is_wrong(detector, logits, there.y)}
            # A defense that draws noise by the pixels draws it anew for the file: the search's luck ends there.
            return found | (_in_files(score, x_adv, saved) if answers.adaptive else {})
        found |= {"logits": adversarial.logits, "success": adversarial.success, **_in_files(score, x_adv, saved)}
    return found | _looked_at(detector, made, answers) if look else found


def _in_files(score: Callable[[Tensor], Tensor], x_adv: Tensor, saved: Sequence[int]) -> Found:
    """Logits after saving: as PNG, which has 8 bits, and as JPEG of each quality."""
    return {"png": score(quantise(x_adv))} | {f"jpeg{q}": score(round_trip(x_adv, "jpeg", q)) for q in saved}


def _looked_at(detector: Detector, made: _Made, answers: Answers) -> Found:
    """What the gallery and the picture of the feature space want to see of a batch."""
    rows, x, x_adv = made.batch.index.tolist(), made.clean.x, made.adversarial.x
    shown = torch.tensor(answers.gallery.best(rows), dtype=torch.int64)
    # Whoever can only be called shows no features.
    drawn = torch.tensor([] if isinstance(detector, BlackBox) else answers.space.among(rows), dtype=torch.int64)
    at = drawn.to(x.device)
    return {
        "shown": shown,
        "shown_x_adv": some_frames(x_adv[shown.to(x_adv.device)]).cpu(),
        "drawn": drawn,
        "drawn_features": answers.space.features(detector, x[at], x_adv[at]),
    }
