"""Validation AUC and the frames that it is measured on."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import numpy as np
import torch

from unfooled.attacks import PGD
from unfooled.metrics import auc
from unfooled.threats import Linf
from unfooled.training import limited, validate


def test_validate_is_the_auc_of_fresh_forwards_and_puts_the_mode_back(toy: ModuleType, manifest: Path) -> None:
    frames, detector = toy.frames(manifest, "validation"), toy.detector().train()
    detector.head.eval()
    before = {name: tensor.clone() for name, tensor in detector.state_dict().items()}
    attack = PGD(Linf(8 / 255), steps=2)
    clean, robust = validate(detector, frames, attack, 24)
    assert detector.backbone.training
    assert not detector.head.training
    assert all(torch.equal(before[name], tensor) for name, tensor in detector.state_dict().items())
    (batch,) = frames.test_loader(64)
    detector.eval()
    assert clean == auc(detector(batch.x).detach(), batch.y)
    assert robust == auc(attack(detector, batch.x, batch.y).logits, batch.y)
    assert robust is not None
    assert robust < clean
    assert validate(detector, frames, None, 64) == (clean, None)


def test_limited_takes_both_classes_evenly_and_always_the_same(toy: ModuleType, manifest: Path) -> None:
    frames = toy.frames(manifest, "validation")
    few = limited(frames, 10)
    assert len(few) == 10
    assert few.labels.sum() == 5
    assert few.manifest.column("id").tolist() == limited(frames, 10).manifest.column("id").tolist()
    assert np.ptp([int(i.removeprefix("validation").removesuffix(".png")) for i in few.manifest.column("id")]) > 50
    assert limited(frames, None) is frames
    assert limited(frames, 1000) is frames
