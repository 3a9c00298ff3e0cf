"""Schedules and the limits of every number."""

from __future__ import annotations

import math
from typing import Any

import pytest

from unfooled.errors import ConfigError
from unfooled.training import Settings


def test_learning_rate_rises_and_falls() -> None:
    s = Settings(lr=1.0, warmup=4)
    rates = [s.learning_rate(step, 20) for step in range(20)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4] == 1
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert rates[12] == pytest.approx(0.5)
    assert 0 < rates[-1] < 0.02
    assert Settings(lr=1.0, schedule="constant").learning_rate(19, 20) == 1
    assert Settings().learning_rate(0, 10) == 0.01
    assert Settings(optimizer="adam").learning_rate(0, 10) == 2e-4


def test_the_adversary_waits_then_grows_step_by_step() -> None:
    s = Settings(clean_epochs=2, ramp_epochs=1)
    shares = [s.adversary(step, 4) for step in range(16)]
    assert shares == [0] * 8 + [0.25, 0.5, 0.75, 1] + [1] * 4
    assert [Settings().adversary(step, 4) for step in range(3)] == [1, 1, 1]
    assert [Settings(clean_epochs=0.5).adversary(step, 4) for step in range(4)] == [0, 0, 1, 1]


@pytest.mark.parametrize(
    "bad",
    [
        {"epochs": 0}, {"batch_size": 1}, {"lr": 0.0}, {"lr": math.inf}, {"lr": math.nan}, {"weight_decay": -1.0},
        {"ema": 1.0}, {"ema": -0.1}, {"clip": -1.0}, {"clip": math.nan}, {"warmup": -1}, {"ramp_epochs": -1.0},
        {"devices": 3}, {"batch_size": 4, "devices": 4}, {"validation_limit": 1}, {"workers": -1},
        {"accumulate": 0}, {"accumulate": 3, "batch_size": 4}, {"save_every": 0},
    ],
)  # fmt: skip
def test_numbers_out_of_range_are_named(bad: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"training.({'|'.join([*bad, 'batch_size'])})"):
        Settings(**bad)
