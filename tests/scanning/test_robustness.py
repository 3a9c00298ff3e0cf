"""The margin: closed forms on a linear detector, rules of several faces, and an independent attack."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scan_toys import linear
from torch import nn

from unfooled.attack_files.clips import to_input
from unfooled.attacks import APGD
from unfooled.data.images import Pixels
from unfooled.models.detector import Detector, LinearHead
from unfooled.scanning import robustness
from unfooled.scanning.points import Shape
from unfooled.scanning.robustness import MarginSearch, margin_of
from unfooled.scanning.scores import logits_of, mean
from unfooled.scanning.verdict import Margin
from unfooled.threats import Linf

SHAPE = Shape(16)


def grey(*reds: int) -> Pixels:
    """(N, 1, 16, 16, 3) plain crops."""
    shown = np.full((len(reds), 1, 16, 16, 3), 128, np.uint8)
    for k, red in enumerate(reds):
        shown[k, ..., 0] = red
    return shown


def asked(shown: dict[str, Pixels], target: float = 0.0, rising: bool = False, **search: object) -> Margin:
    detector = linear()
    logits = {name: mean(logits_of(detector, crops, SHAPE)) for name, crops in shown.items()}
    return margin_of(detector, shown, logits, list(shown), target, rising, SHAPE, MarginSearch(**search))  # type: ignore[arg-type]


def expected(red: float, target: float = 0.0) -> float:
    return abs(red - 255 * (10 + target) / 40)


def test_of_a_track_it_is_that_of_the_mean_of_its_points() -> None:
    found = asked({"0": grey(60, 70, 80)}).linf_255
    assert found == pytest.approx(expected(70), rel=0.06)
    assert found is not None
    assert found >= expected(70) - 0.001


def test_every_track_above_has_to_fall_but_one_that_rises_is_enough() -> None:
    shown = {"0": grey(66), "1": grey(76), "2": grey(40)}
    assert asked(shown).linf_255 == pytest.approx(expected(76), rel=0.06)
    low = {"0": grey(50), "1": grey(60), "2": grey(40)}
    assert asked(low, rising=True).linf_255 == pytest.approx(expected(60), rel=0.06)


@pytest.mark.parametrize(("target", "rising"), [(0.5, False), (3.0, True)])
def test_the_target_is_the_one_asked_for(target: float, rising: bool) -> None:
    assert asked({"0": grey(72)}, target, rising).linf_255 == pytest.approx(expected(72, target), rel=0.06)


def test_beyond_the_largest_radius_none_is_found_and_none_is_claimed() -> None:
    found = asked({"0": grey(120)})
    assert (found.linf_255, found.searched_255, found.survives_rounding) == (None, 16, True)
    near = asked({"0": grey(70)}, largest=2 / 255)
    assert (near.linf_255, near.searched_255) == (None, 2)
    # Of two faces that have to fall, one can not.
    assert asked({"0": grey(70), "1": grey(120)}).linf_255 is None
    # Of two that may rise, one can.
    assert asked({"0": grey(60), "1": grey(10)}, rising=True).linf_255 == pytest.approx(expected(60), rel=0.06)


def test_pixels_can_not_leave_their_range() -> None:
    detector = linear((-40.0, 0.0, 0.0), 1.0)  # bright red is real, and black can not get darker
    shown = {"0": grey(0)}
    found = margin_of(detector, shown, {"0": 1.0}, ["0"], 2.0, True, SHAPE)
    assert found.linf_255 is None


def test_a_verdict_on_its_threshold_has_no_margin() -> None:
    detector = linear((40.0, 0.0, 0.0), -40 * 100 / 255)
    logits = {"0": mean(logits_of(detector, grey(100), SHAPE))}
    found = margin_of(detector, {"0": grey(100)}, logits, ["0"], logits["0"], True, SHAPE)
    assert found.linf_255 == pytest.approx(0, abs=1e-2)
    assert found.fragile
    assert not found.survives_rounding


def test_too_many_faces_are_not_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(robustness, "MOST_TRACKS", 1)
    found = asked({"0": grey(66), "1": grey(76)})
    assert (found.linf_255, found.searched_255) == (None, 0)
    assert "2 faces would have to change" in found.attack


def test_it_does_not_depend_on_what_was_searched_before_and_leaves_the_detector_alone() -> None:
    detector = linear().train()
    shown = {"0": grey(70)}
    one = margin_of(detector, shown, {"0": 0.98}, ["0"], 0.0, False, SHAPE)
    two = margin_of(detector, shown, {"0": 0.98}, ["0"], 0.0, False, SHAPE)
    assert one == two
    assert detector.training
    assert all(p.requires_grad and p.grad is None for p in detector.parameters())


@pytest.mark.parametrize("shape", [SHAPE, Shape(16, 3)])
def test_another_attack_from_another_seed_agrees(shape: Shape) -> None:
    torch.manual_seed(3)
    conv = nn.Conv2d if shape.clip is None else nn.Conv3d
    pool = nn.AdaptiveAvgPool2d(1) if shape.clip is None else nn.AdaptiveAvgPool3d(1)
    body = nn.Sequential(conv(3, 8, 3, 1, 1), nn.Softplus(4), conv(8, 8, 3, 1, 1), nn.Softplus(4), pool, nn.Flatten())
    detector = Detector(body, LinearHead(8), mean=0.5, std=0.1).eval()
    flips = {1.05: 0, 0.8: 0}
    for seed in range(4):
        pixels = np.random.default_rng(seed).integers(60, 200, (2, shape.clip or 1, 16, 16, 3), np.uint8)
        z = mean(logits_of(detector, pixels, shape))
        x, y = to_input(pixels, shape.clip, "cpu"), torch.ones(2, dtype=torch.int64)
        target = APGD(Linf(3 / 255), steps=40, restarts=1, seed=7)(detector, x, y).logits.mean().item()
        found = margin_of(detector, {"0": pixels}, {"0": z}, ["0"], target, False, shape).linf_255
        assert found is not None
        assert found <= 3.2
        for times in flips:
            attack = APGD(Linf(times * found / 255), steps=40, restarts=1, seed=99)
            flips[times] += attack(detector, x, y).logits.mean().item() <= target
    assert flips == {1.05: 4, 0.8: 0}
