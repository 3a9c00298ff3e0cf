"""Evaluate a detector on somebody's folder of adversarial images: do they fool it, and how far did they go?"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unfooled.data.frames import Batch, Frames
from unfooled.data.images import IMAGE_SUFFIXES, walk
from unfooled.data.manifest import Manifest
from unfooled.errors import DataError
from unfooled.evaluation.provenance import provenance as facts_of
from unfooled.evaluation.run import placed
from unfooled.evaluation.samples import PixelDigest, distorted_before, samples_of
from unfooled.evaluation.tables import MODES, Tables
from unfooled.models.detector import Detector
from unfooled.results import ConditionResult, Evaluation
from unfooled.threats import L2, Linf

Rows = NDArray[np.int64]


def evaluate_images(
    detector: Detector,
    frames: Frames,
    folder: Path | str,
    *,
    name: str = "detector",
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    seed: int = 0,
    video_rule: str = "mean_logit",
    replicates: int = 1000,
    provenance: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Robust AUC on images from a folder, and their distance to the originals.

    An image belongs to a sample by its path or the sample's id below ``folder``, with any suffix, else by its bare
    file name where that is unique on both sides. A class without any image counts as not attacked; a sample without
    one, in a class that has some, is left out and listed in ``missing``.

    Args:
        detector: left as it was found.
        frames: the clean samples; the images are cropped and resized exactly as these.
        folder: holds the adversarial images.
        name, batch_size, device, seed, video_rule, replicates, provenance: as in ``evaluate``.

    Raises:
        DataError: the folder is not there or holds no image that belongs to a sample, or a class is missing.
    """
    folder = Path(folder)
    manifest = frames.manifest
    files = match(manifest, folder)
    rows = np.array([row for row in frames.rows.tolist() if row in files], np.int64)
    if not len(rows):
        raise DataError(
            f"{folder} holds no image that belongs to a sample; name images by the manifest's path or id, such as"
            f" {manifest.column('path')[0]}"
        )
    theirs = Frames(_elsewhere(manifest, rows, [files[r] for r in rows.tolist()], folder), frames.size, cache=False)
    attacked_classes = set(manifest.take(rows).column("label").tolist())
    distances: dict[str, list[float]] = {"linf": [], "l2": []}
    clean, attacked = np.full(len(manifest), np.nan), np.full(len(manifest), np.nan)
    with placed(detector, device), torch.no_grad():
        pixels = PixelDigest()
        ids = manifest.column("id")
        for batch in frames.test_loader(batch_size):
            pixels.see(ids[batch.index.numpy()], batch.x)
            clean[batch.index.numpy()] = detector(batch.x.to(device)).double().cpu().numpy()
        for batch in theirs.test_loader(batch_size):
            # A sample whose clean image does not decode has nothing to be compared with.
            there = torch.from_numpy(np.isfinite(clean[rows[batch.index.numpy()]]))
            batch = Batch(batch.x[there], batch.y[there], batch.index[there])
            if not len(batch):
                continue
            own = rows[batch.index.numpy()]
            attacked[own] = detector(batch.x.to(device)).double().cpu().numpy()
            x = torch.stack([frames[int(p)] for p in np.searchsorted(frames.rows, own)]).float() / 255
            for key, threat in (("linf", Linf(math.inf)), ("l2", L2(math.inf))):
                distances[key] += threat.distance(batch.x - x).tolist()
    label = manifest.column("label")
    untouched = ~np.isin(label, list(attacked_classes))
    attacked[untouched] = clean[untouched]
    kept = np.flatnonzero(np.isfinite(clean) & np.isfinite(attacked))
    samples = samples_of(manifest, kept)
    tables = Tables(samples, float(detector.threshold), video_rule, replicates, seed)
    modes = [m for m, classes in MODES.items() if set(classes) <= attacked_classes]
    paths = manifest.column("path")
    missing = [str(paths[row]) for row in frames.rows.tolist() if row not in files and not untouched[row]]
    clean, attacked = clean[kept], attacked[kept]
    condition = ConditionResult(
        name=f"images:{folder.name}",
        attack=f"images as given; median Linf {255 * np.median(distances['linf']):.2f}/255",
        norm="linf",
        logits=attacked.tolist(),
        distance_median=float(np.median(distances["linf"])),
        distance_max=max(distances["linf"]),
        l2_median=float(np.median(distances["l2"])),
        metrics=tables.attacked(clean, attacked, modes=modes),
    )
    warnings = [f"{len(missing)} samples have no image in {folder.name} and are left out"] if missing else []
    bad = [reason.replace(f"{theirs.manifest.root}/", "") for _, reason in theirs.unreadable]
    facts = facts_of(detector, str(device), seed)
    return Evaluation(
        name=name,
        provenance={
            **facts,
            "data_digest": manifest.digest(),
            "pixel_digest": pixels.of(samples.id),
            "size": frames.size,
            **(provenance or {}),
        },
        threshold=float(detector.threshold),
        video_rule=video_rule,
        samples=samples,
        distortion=distorted_before(manifest),
        conditions=[ConditionResult(name="clean", logits=clean.tolist(), metrics=tables.clean(clean)), condition],
        unreadable=bad + [reason.replace(f"{manifest.root}/", "") for _, reason in frames.unreadable],
        missing=missing,
        warnings=warnings + ([f"{len(bad)} images could not be read, such as {bad[0]}"] if bad else []),
    )


def match(manifest: Manifest, folder: Path) -> dict[int, str]:
    """The image (relative to ``folder``) of each row of the manifest that has one.

    Raises:
        DataError: ``folder`` is no folder, or two images claim the same path without suffix.
    """
    found: dict[str, str] = {}
    for entry in walk(folder):
        path = Path(os.path.relpath(entry.path, folder))
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        stem = path.with_suffix("").as_posix()
        if stem in found:
            raise DataError(f"{folder} has {found[stem]} and {path.as_posix()}; keep one image for each sample")
        found[stem] = path.as_posix()
    stems = [Path(p).with_suffix("").as_posix() for p in manifest.column("path").tolist()]
    ids = manifest.column("id").tolist()
    by_name, wanted = _unique(list(found)), _unique(stems)
    matched = {}
    for row, (stem, key) in enumerate(zip(stems, ids, strict=True)):
        bare = Path(stem).name
        place = next((s for s in (stem, key, Path(key).with_suffix("").as_posix()) if s in found), None)
        if place is None and bare in wanted:
            place = by_name.get(bare)
        if place is not None:
            matched[row] = found[place]
    return matched


def _unique(stems: list[str]) -> dict[str, str]:
    names = [Path(stem).name for stem in stems]
    times = Counter(names)
    return {name: stem for name, stem in zip(names, stems, strict=True) if times[name] == 1}


def _elsewhere(manifest: Manifest, rows: Rows, files: list[str], folder: Path) -> Manifest:
    return replace(manifest.take(rows).with_column("path", files), root=folder.absolute())
