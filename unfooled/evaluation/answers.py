"""What a detector answers under one condition, batch by batch; finished batches can be kept for a resume."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unfooled import __version__
from unfooled.attacks import Attack, describe
from unfooled.codecs import quantise, round_trip
from unfooled.data.frames import Batch, Frames
from unfooled.errors import DataError
from unfooled.evaluation.conditions import Condition
from unfooled.evaluation.examples import Gallery
from unfooled.evaluation.projection import FeatureSpace
from unfooled.evaluation.samples import PixelDigest
from unfooled.files import replacing
from unfooled.models.detector import Detector
from unfooled.models.remote import BlackBox
from unfooled.results import Samples
from unfooled.threats import L2

Array = NDArray[np.float64]
Found = dict[str, Tensor]
ATTACKED = ("png", "success", "distance", "l2", "queries")


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
    detector: Detector, frames: Frames, condition: Condition, batch_size: int, learnt_from: str, *more: object
) -> str:
    """Everything that decides the answers of a condition, as text."""
    attack = condition.attack
    asked = [describe(attack), repr(attack)] if attack else []
    facts = [__version__, detector.digest(), dict(detector.spec), frames.digest(), asked, batch_size, learnt_from, more]
    return json.dumps(facts, default=repr)


@dataclass
class Answers:
    """Columns over the rows of the manifest, nan where a row was never delivered; ``seconds`` is what they took."""

    columns: dict[str, Array]
    seconds: float
    gallery: Gallery
    space: FeatureSpace


def answer(
    detector: Detector,
    frames: Frames,
    condition: Condition,
    known: Samples,
    *,
    gallery: Gallery,
    space: FeatureSpace,
    pixels: PixelDigest,
    clean: Array | None,
    store: Store,
    device: str | torch.device,
    batch_size: int,
    workers: int,
    saved: Sequence[int],
    tick: Callable[[int], None],
) -> Answers:
    """Score every sample under ``condition``.

    Args:
        known: the columns of the rows of ``frames.manifest``.
        gallery, space, pixels: look at what goes by.
        clean: logits of the clean condition; None while they are being found.
        saved: qualities of JPEG that attacked samples are also scored after.
        tick: is told of every finished sample.

    Raises:
        DataError: the detector answers NaN.
    """
    names = ["logits"] if condition.attack is None else ["logits", *ATTACKED, *(f"jpeg{q}" for q in saved)]
    columns = {name: np.full(len(known.id), np.nan) for name in names}
    seconds = 0.0
    for number, batch in enumerate(frames.test_loader(batch_size, workers)):
        rows = batch.index.numpy()
        if condition.attack is None:
            pixels.see([known.id[row] for row in rows], batch.x)
        found = store.load(number)
        if found is None or not torch.equal(found["rows"], batch.index):
            started = time.perf_counter()
            found = _answer(detector, batch, condition.attack, clean, gallery, space, device, saved)
            found |= {"rows": batch.index, "seconds": torch.tensor(time.perf_counter() - started)}
            store.save(number, found)
        for name in names:
            columns[name][rows] = found[name].double().cpu().numpy()
        if bad := int(np.isnan(columns["logits"][rows]).sum()):
            raise DataError(f"the detector answered NaN for {bad} of {len(rows)} inputs; its weights are broken")
        if condition.attack is not None and clean is not None:
            shown = found["shown"]
            before, after = torch.from_numpy(clean[rows])[shown], found["logits"].cpu()[shown]
            gallery.see(batch.index[shown].tolist(), batch.x[shown], found["shown_x_adv"], before, after)
            space.add(batch.index[found["drawn"]].tolist(), found["drawn_features"])
        seconds += float(found["seconds"])
        tick(len(rows))
    return Answers(columns, seconds, gallery, space)


def _answer(
    detector: Detector,
    batch: Batch,
    attack: Attack | None,
    clean: Array | None,
    gallery: Gallery,
    space: FeatureSpace,
    device: str | torch.device,
    saved: Sequence[int],
) -> Found:
    there = batch.to(device)
    if attack is None:
        with torch.no_grad():
            return {"logits": detector(there.x)}
    adversarial = attack(detector, there.x, there.y)
    x_adv = adversarial.x
    with torch.no_grad():
        found = {
            "logits": adversarial.logits,
            "png": detector(quantise(x_adv)),
            "success": adversarial.success,
            "distance": adversarial.distance,
            "l2": L2(math.inf).distance(x_adv - there.x),
            "queries": adversarial.queries,
        }
        found |= {f"jpeg{q}": detector(round_trip(x_adv, "jpeg", q)) for q in saved}
    if clean is not None:
        rows = batch.index.tolist()
        shown = torch.tensor(gallery.best(rows), dtype=torch.int64)
        # Whoever can only be called shows no features.
        drawn = torch.tensor([] if isinstance(detector, BlackBox) else space.among(rows), dtype=torch.int64)
        found |= {
            "shown": shown,
            "shown_x_adv": x_adv.cpu()[shown] if x_adv.dim() == 4 else x_adv.new_zeros(0),
            "drawn": drawn,
            "drawn_features": space.features(
                detector, there.x[drawn.to(there.x.device)], x_adv[drawn.to(x_adv.device)]
            ),
        }
    return found
