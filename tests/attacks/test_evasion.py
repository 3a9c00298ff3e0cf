"""Evasion: fakes alone are searched, reals stay as they are."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from unfooled.attacks.evasion import Evasion, need_count, need_step
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf


@dataclass(frozen=True)
class Darken(Evasion):
    """Takes 1 from every pixel after one look."""

    def evade(self, detector: Detector, x: Tensor) -> Tensor:
        assert len(x)
        detector(x)
        return x - 1


@pytest.mark.parametrize("labels", [[0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 0]])
def test_reals_are_neither_changed_nor_asked_for(labels: list[int], tiny_detector: Detector) -> None:
    x, y = torch.rand(4, 3, 8, 8) * 0.5 + 0.4, torch.tensor(labels)
    before = x.clone()
    found = Darken(Linf(0.1))(tiny_detector, x, y)
    assert torch.equal(x, before)
    for i, label in enumerate(labels):
        torch.testing.assert_close(found.x[i], x[i] - 0.1 * label)
    assert torch.equal(found.x[y == 0], x[y == 0])
    assert found.queries.tolist() == labels
    assert Darken.fakes_only


def test_only_signs_of_finite_length() -> None:
    with pytest.raises(ConfigError, match="Darken is an attack under norm linf, got l2; write norm=linf"):
        Darken(L2(0.5))
    with pytest.raises(ConfigError, match="eps must be finite"):
        Darken(Linf(math.inf))


@pytest.mark.parametrize(
    ("value", "zero", "message"),
    [
        (0.0, False, "s must be > 0 and <= 1, got 0; write 1/255"),
        (-0.5, True, "s must be in [0, 1], got -0.5; write 1/255"),
        (8.0, False, "s must be > 0 and <= 1, got 8; in pixel units write 8/255"),
        (math.inf, True, "s must be in [0, 1], got inf; write 1/255"),
        (math.nan, False, "s must be > 0 and <= 1, got nan; write 1/255"),
    ],
)
def test_a_step_is_a_length_in_pixel_units(value: float, zero: bool, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        need_step("s", value, zero=zero)
    assert str(error.value) == message


def test_good_steps_and_counts_pass() -> None:
    need_step("s", 1.0)
    need_step("s", 1 / 255)
    need_step("s", 0.0, zero=True)
    need_count("n", 1)
    need_count("n", 2, 2)
    with pytest.raises(ConfigError, match="n must be >= 2, got 1"):
        need_count("n", 1, 2)
