"""The failure signatures of METHODS: each fires on its own curves and is silent on healthy ones."""

from __future__ import annotations

import re
from typing import Any

import pytest

from unfooled.training.signatures import failure_signatures


def curves(epochs: int = 9, **columns: Any) -> list[dict[str, Any]]:
    """Healthy curves, with some replaced: a number, or a function of time in [0, 1]."""
    healthy: dict[str, Any] = {
        "eps": 2 / 255, "dcl": lambda t: 0.7 - 0.4 * t, "asl": lambda t: 0.5 - 0.4 * t, "cos_real_fake": 0.1,
        "cos_weight": 0.1, "val_clean_auc": lambda t: 0.7 + 0.2 * t, "val_robust_auc": lambda t: 0.5 + 0.25 * t,
    }  # fmt: skip
    rows = []
    for number in range(epochs):
        t = number / (epochs - 1)
        rows.append({k: v(t) if callable(v) else v for k, v in {**healthy, **columns}.items()})
    return rows


def test_a_healthy_run_and_an_empty_one_are_silent() -> None:
    assert failure_signatures(curves()) == []
    assert failure_signatures([]) == []


@pytest.mark.parametrize(
    ("columns", "scale", "words"),
    [
        ({"val_clean_auc": 0.5, "dcl": 0.693}, None, "never left chance"),
        ({"val_robust_auc": 0.5}, None, "L_asl falls while robust AUC stays flat"),
        ({"cos_real_fake": 0.98}, None, r"cos\(real, fake\) is near 1"),
        ({"cos_weight": 0.5}, 64.0, "cosine head saturates"),
        ({"val_robust_auc": 0.2, "asl": 0.5}, None, r"never passed \.5"),
    ],
)
def test_each_failure_is_named(columns: dict[str, Any], scale: float | None, words: str) -> None:
    (warning,) = failure_signatures(curves(**columns), logit_scale=scale)
    assert re.search(words, warning)


def test_a_standard_run_is_not_blamed_for_its_robust_auc() -> None:
    assert failure_signatures(curves(eps=0.0, val_robust_auc=0.01)) == []
