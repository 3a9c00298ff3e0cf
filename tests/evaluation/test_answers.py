"""Batches that are finished stay finished; attacks learn elsewhere; files that were saved are scored again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from unfooled.attacks import FGSM, PGD, Attack
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.evaluation import Condition, evaluate
from unfooled.evaluation.answers import Store
from unfooled.evaluation.tables import RADII
from unfooled.models.detector import Detector
from unfooled.results import Evaluation
from unfooled.threats import L2, Linf


@dataclass(frozen=True)
class Breaking(Attack):
    """FGSM that is killed in one of its batches."""

    batch: int = 2
    calls: ClassVar[list[int]] = []

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        self.calls.append(len(x))
        if len(self.calls) == self.batch:
            raise KeyboardInterrupt
        return FGSM(self.threat).perturb(detector, x, y)


@dataclass(frozen=True)
class Learnt(Attack):
    """Adds the mean of what it has learnt from; turns fakes into reals."""

    mean: float | None = None
    seen: int = 0
    fakes_only: ClassVar[bool] = True
    learns: ClassVar[bool] = True

    def fit(self, detector: Detector, batches: Iterable[tuple[Tensor, Tensor]]) -> Self:
        known = list(batches)
        return replace(self, mean=float(torch.cat([x for x, _ in known]).mean()), seen=sum(len(x) for x, _ in known))

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        assert self.mean is not None
        return torch.where((y == 1).reshape(-1, 1, 1, 1), x - self.mean, x)


def run(detector: Detector, frames: Frames, attack: Attack, **options: object) -> Evaluation:
    return evaluate(
        detector, frames, [Condition(attack, name="attack")], checks=False, replicates=0, batch_size=8,
        example_collections=("london",), **options,  # type: ignore[arg-type]
    )  # fmt: skip


def test_a_broken_evaluation_goes_on_from_its_last_batch(trained: Detector, frames: Frames, tmp_path: Path) -> None:
    attack = Breaking(Linf(4 / 255))
    Breaking.calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run(trained, frames, attack, resume=tmp_path)
    assert Breaking.calls == [8, 8]
    resumed = run(trained, frames, attack, resume=tmp_path)
    assert Breaking.calls == [8, 8, 8, 8]
    whole = run(trained, frames, attack)
    for name in ("logits", "logits_png", "distance", "queries", "metrics", "examples", "projection"):
        assert getattr(resumed.conditions[1], name) == getattr(whole.conditions[1], name), name
    assert resumed.provenance["pixel_digest"] == whole.provenance["pixel_digest"]


def test_kept_batches_belong_to_one_job(trained: Detector, frames: Frames, tmp_path: Path) -> None:
    before = run(trained, frames, FGSM(Linf(1 / 255)), resume=tmp_path)
    other = run(trained, frames, FGSM(Linf(8 / 255)), resume=tmp_path)
    assert other.conditions[1].logits != before.conditions[1].logits
    moved = replace_bias(trained)
    assert run(moved, frames, FGSM(Linf(1 / 255)), resume=tmp_path).conditions[1].logits != before.conditions[1].logits


def test_kept_batches_belong_to_their_pixels_and_order(
    trained: Detector, faces: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = faces(tmp_path / "faces")
    attack = FGSM(Linf(4 / 255))
    first = run(trained, Frames(manifest, 16), attack, resume=tmp_path / "parts")
    other_order = manifest.take(np.arange(len(manifest))[::-1])
    again = run(trained, Frames(other_order, 16), attack, resume=tmp_path / "parts")
    by_id = dict(zip(first.samples.id, first.conditions[1].logits, strict=True))
    assert again.conditions[1].logits == pytest.approx([by_id[name] for name in again.samples.id], abs=1e-4)
    # Another picture under the old name.
    path = manifest.root / manifest.column("path")[0]
    Image.new("RGB", Image.open(path).size, "white").save(path)
    changed = run(trained, Frames(manifest, 16), attack, resume=tmp_path / "parts")
    whole = run(trained, Frames(manifest, 16), attack)
    assert changed.conditions[0].logits == whole.conditions[0].logits != first.conditions[0].logits


def replace_bias(detector: Detector) -> Detector:
    import copy

    other = copy.deepcopy(detector)
    with torch.no_grad():
        other.head.bias += 1  # type: ignore[union-attr, operator]
    return other


def test_a_damaged_batch_is_answered_anew(tmp_path: Path) -> None:
    store = Store(tmp_path, "job")
    store.save(0, {"logits": torch.arange(3.0)})
    assert store.load(0)["logits"].tolist() == [0, 1, 2]  # type: ignore[index]
    next(tmp_path.iterdir()).write_bytes(b"cut")
    assert store.load(0) is None
    assert Store(None).load(0) is None


def test_an_attack_learns_from_training_faces_and_is_judged_on_others(trained: Detector, frames: Frames) -> None:
    found = run(trained, frames, Learnt(Linf(1.0)), learn_from=frames).conditions[1]
    # Reals are left alone and count neither as attacked nor as far away.
    label = np.array(run(trained, frames, FGSM(Linf(0.0))).samples.label)
    assert (np.array(found.distance)[label == 0] == 0).all()
    assert found.distance_median == pytest.approx(float(np.median(np.array(found.distance)[label == 1])))
    assert "robust/fakes_only/frame_auc" in found.metrics
    assert not {"robust/both/frame_auc", "robust/reals_only/frame_auc"} & set(found.metrics)


def test_saved_files_are_scored_again(trained: Detector, frames: Frames) -> None:
    attack = PGD(Linf(8 / 255), steps=3)
    found = run(trained, frames, attack, saved=(90, 10)).conditions[1].metrics
    for name in ("png", "jpeg90", "jpeg10"):
        assert 0 <= (found[f"attack_success_rate_{name}"].value or 0) <= 1
        assert found[f"robust/both/{name}_frame_auc"].value is not None
    # The stripes that tell the fakes do not survive the coarse file, and neither does the attack on them.
    assert found["robust/both/jpeg10_frame_auc"].value != found["robust/both/jpeg90_frame_auc"].value


def test_an_attack_without_radius_has_distances_and_no_robust_auc(trained: Detector, frames: Frames) -> None:
    @dataclass(frozen=True)
    class Grey(Attack):
        """Halves the contrast."""

        def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
            return x / 2 + 0.25

    found = run(trained, frames, Grey(L2(math.inf))).conditions[1]
    assert found.eps is None
    assert not any("auc" in name for name in found.metrics)
    over_eps = [found.metrics[f"robust_accuracy/eps={r:g}"].value or 0.0 for r in RADII]
    assert over_eps == sorted(over_eps, reverse=True)
    label, distance = np.array(run(trained, frames, FGSM(Linf(0.0))).samples.label), np.array(found.distance)
    with torch.no_grad():
        before = np.concatenate([trained(batch.x).numpy() for batch in frames.test_loader(64)])
    right, wrong = (before > 0) == (label == 1), (np.array(found.logits) > 0) != (label == 1)
    assert over_eps == pytest.approx([float((right & ~(wrong & (distance <= r))).mean()) for r in RADII])
    assert len(found.distance or []) == len(frames)
