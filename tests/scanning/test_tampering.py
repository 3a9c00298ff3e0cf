"""Mild changes leave plain pictures alone and take noise away."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scan_toys import linear

from unfooled.scanning.points import Shape
from unfooled.scanning.tampering import MILD, after_mild_changes, jump, moves


@pytest.mark.parametrize("name", MILD)
def test_a_mild_change_keeps_shape_range_and_plain_colours(name: str) -> None:
    for shape in ((2, 3, 16, 16), (2, 3, 4, 16, 16)):
        x = torch.full(shape, 128 / 255)
        changed = MILD[name](x)
        assert changed.shape == x.shape
        assert (changed - x).abs().max() <= 2.01 / 255
        noise = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        changed = MILD[name](noise)
        assert changed.min() >= 0
        assert changed.max() <= 1
        assert torch.allclose(changed * 255, (changed * 255).round(), atol=1e-3)
        assert changed.std() < (0.99 if name == "jpeg_90" else 0.9) * noise.std()


def test_a_clip_changes_as_its_frames_do() -> None:
    x = torch.rand(1, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1))
    for change in MILD.values():
        alone = torch.stack([change(x[:, :, t]) for t in range(4)], 2)
        assert torch.equal(change(x), alone)


def test_the_file_is_judged_by_its_rule_before_and_after() -> None:
    shown = {name: np.full((2, 1, 16, 16, 3), value, np.uint8) for name, value in (("0", 60), ("1", 200))}
    logits = {"0": 40 * 60 / 255 - 10, "1": 40 * 200 / 255 - 10}
    for rule, name in (("max", "1"), ("largest", "0")):
        found = after_mild_changes(linear(), shown, logits, {"0": 2.0, "1": 1.0}, Shape(16), rule)  # type: ignore[arg-type]
        assert list(found) == ["as_is", *MILD]
        assert found["as_is"] == logits[name]
        assert jump(found) == max(abs(z - logits[name]) for z in found.values())
        assert jump(found) < 0.4


def test_each_change_has_its_own_usual() -> None:
    logits = {"as_is": 1.0, "a": 1.5, "b": -3.0}
    assert moves(logits) == {"a": 0.5, "b": 4.0}
    assert jump(logits) == 4
    assert jump(logits, {"a": 0.1, "b": 8.0}) == 5
