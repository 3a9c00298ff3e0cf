"""Xception against the golden outputs, stages and key names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unfooled import models
from unfooled.models import Detector
from unfooled.models.published import load_published


@pytest.fixture(scope="module")
def state(recipe: Any) -> dict[str, Tensor]:
    filled: dict[str, Tensor] = recipe.fill({r["canonical"]: r["shape"] for r in recipe.keys["xception"]["rows"]})
    return filled


@pytest.fixture(scope="module")
def detector(state: dict[str, Tensor]) -> Detector:
    return load_published({k: v for k, v in state.items() if not k.startswith("adjust")}, "xception")


def test_keys_and_weights_are_the_published_ones(recipe: Any, state: dict[str, Tensor]) -> None:
    assert recipe.digest(state) == recipe.keys["xception"]["weights_sha256"]
    own = models.create("xception", features="adjusted").backbone.state_dict()
    # One logit: the detector's head.weight and head.bias stand for last_linear.
    wanted = [(k, v.shape) for k, v in state.items() if not k.startswith("last_linear")]
    assert [(k, v.shape) for k, v in own.items()] == wanted


def test_float32_output_is_the_golden_one(detector: Detector, golden: Callable[[str], Path]) -> None:
    want = np.load(golden("xception.npz"))
    x = torch.from_numpy(want["input"])
    with torch.no_grad():
        features = detector.backbone(x)
        z = detector.classify(features).item()
    assert np.abs(features[0].numpy() - want["feature"]).max() <= 1e-5 * np.abs(want["feature"]).max()
    assert abs(z - (want["logits"][0, 1] - want["logits"][0, 0])) <= 1e-5


def test_every_stage_is_the_golden_one_in_float64(
    state: dict[str, Tensor], recipe: Any, golden: Callable[[str], Path]
) -> None:
    detector = models.create("xception").eval()
    backbone = detector.backbone.double()
    backbone.load_state_dict({k: v for k, v in state.items() if k in backbone.state_dict()})
    stages = json.loads(golden("xception_stages.json").read_text())["stages_f64"]
    seen: dict[str, Tensor] = {}
    hooks = [
        # A copy: the ReLU that follows a batch norm works in place.
        backbone.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out + 0}))
        for name in stages
    ]
    with torch.no_grad():
        backbone(recipe.network_input(1, 3, 128, 128).double())
    for hook in hooks:
        hook.remove()
    for name, stage in stages.items():
        assert list(seen[name].shape) == stage["shape"], name
        got = seen[name].flatten()[stage["flat_index"]].numpy()
        assert np.abs(got - stage["values"]).max() <= 1e-10 * stage["absmax"], name


def test_adjusted_features_are_the_golden_512(state: dict[str, Tensor], golden: Callable[[str], Path]) -> None:
    want = np.load(golden("xception.npz"))
    with pytest.warns(UserWarning, match="last_linear .* does not fit the head"):
        detector = load_published(state, "xception", features="adjusted")
    with torch.no_grad():
        got = detector.backbone(torch.from_numpy(want["input"]))[0].numpy()
    golden_features = want["adjust_channel_pooled_512"]
    assert np.abs(got - golden_features).max() <= 1e-5 * np.abs(golden_features).max()


def test_linear_features_are_the_ones_before_the_last_relu(detector: Detector) -> None:
    linear = models.create("xception", features="linear", size=None).eval()
    linear.load_state_dict(detector.state_dict())
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        maps = linear.backbone.maps(x)
        assert torch.allclose(linear.backbone(x), maps.mean((2, 3)))
        assert torch.allclose(detector.backbone(x), maps.relu().mean((2, 3)))
        assert (linear.backbone(x) < 0).any()
