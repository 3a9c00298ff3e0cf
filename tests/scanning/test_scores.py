"""Points, tracks, files: logits in order, no number is no score, rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scan_toys import linear
from torch import nn

from unfooled.errors import DataError
from unfooled.models.detector import Detector
from unfooled.scanning.points import Shape
from unfooled.scanning.scores import logits_of, mean, speaker


def test_logits_keep_their_order_over_batches() -> None:
    shown = np.zeros((70, 1, 8, 8, 3), np.uint8)
    shown[..., 0] = np.arange(70)[:, None, None, None]
    found = logits_of(linear(), shown, Shape(8))
    assert found == pytest.approx([40 * k / 255 - 10 for k in range(70)], abs=1e-4)
    changed = logits_of(linear(), shown, Shape(8), change=lambda x: x + 0.1)
    assert changed == pytest.approx([z + 4 for z in found], abs=1e-4)
    clips = logits_of(linear(), shown.reshape(10, 7, 8, 8, 3), Shape(8, 7))
    assert clips == pytest.approx(np.reshape(found, (10, 7)).mean(1), abs=1e-4)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_no_number_is_no_score(value: float) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 1), value)

    with pytest.raises(DataError, match="no number"):
        logits_of(Detector(Odd(), nn.Identity()), np.zeros((1, 1, 8, 8, 3), np.uint8), Shape(8))


def test_a_mean_does_not_depend_on_order() -> None:
    values = np.random.default_rng(0).normal(size=99).tolist()
    assert mean(values) == mean(values[::-1]) == mean(sorted(values))


def test_the_rule_chooses_who_speaks() -> None:
    logits, areas = {"0": 1.0, "1": 2.0, "2": 2.0}, {"0": 9.0, "1": 3.0, "2": 4.0}
    assert speaker(logits, areas, "max") == "1"
    assert speaker(logits, areas, "largest") == "0"
