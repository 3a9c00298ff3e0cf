"""Promises of every detector in the registry."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from torch import Tensor

from unfooled import models
from unfooled.errors import ConfigError
from unfooled.models import DETECTORS, Detector
from unfooled.registry import summary

SIZE = 64
COMMON: dict[str, tuple[dict[str, Any], Any]] = {
    "size": ({"size": SIZE}, None),
    "head": ({}, "cosine"),
    "scale": ({"head": "cosine"}, 16.0),
    "dropout": ({"dropout": 0.0}, 0.4),
}
MESO = COMMON | {"form": ({}, "keras")}
CSN = COMMON | {"features": ({}, "linear"), "head": ({"head": "linear"}, "cosine"), "checkpointing": ({}, True)}
CHANGES = {
    "convnet": COMMON
    | {"width": ({}, 16), "depth": ({}, 3), "hidden": ({}, 64)}
    | {"norm": ({}, "group"), "activation": ({}, "silu"), "residual": ({}, True)},
    "csn-r101": CSN,
    "csn-r50": CSN,
    "csn-small": CSN | {"width": ({}, 8), "stem_stride": ({}, 1)},
    "meso4": MESO,
    "mesoinception4": MESO,
    "resnet": COMMON | {"width": ({}, 8), "blocks": ({}, 2), "stem_stride": ({}, 2), "features": ({}, "linear")},
    "xception": COMMON | {"features": ({}, "linear")},
}
SAME_NUMBERS = {"checkpointing"}
"""Options that change the cost alone; their own tests say which."""
VARIANTS = [
    *[(name, {"head": head}) for name in sorted(DETECTORS) for head in ("linear", "cosine")],
    ("convnet", {"norm": "group", "activation": "silu", "residual": True}),
    ("csn-small", {"features": "linear", "stem_stride": 1}),
    ("meso4", {"form": "keras"}),
    ("mesoinception4", {"form": "keras"}),
    ("resnet", {"features": "linear", "stem_stride": 2}),
    ("xception", {"features": "adjusted"}),
]


def make(name: str, **options: Any) -> Detector:
    torch.manual_seed(0)
    return models.create(name, **{"size": SIZE, **options}).eval()


def images(*shape: int, of: Detector) -> Tensor:
    """Frames of this shape, or clips of three such frames for a detector of clips."""
    if of.clips:
        shape = (*shape[:2], 3, *shape[2:])
    return torch.rand(*shape, generator=torch.Generator().manual_seed(3))


def test_the_registry_is_sorted_and_says_one_line_each() -> None:
    assert list(DETECTORS) == sorted(DETECTORS)
    assert all(40 < len(summary(make)) < 120 for make in DETECTORS.values())


@pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)
def test_forward_is_classify_of_features_and_every_parameter_gets_a_gradient(
    name: str, options: dict[str, Any]
) -> None:
    detector = make(name, **options)
    x = images(2, 3, SIZE, SIZE, of=detector).requires_grad_()
    features = detector.features(x)
    z = detector(x)
    assert features.dim() == 2
    assert z.shape == (2,)
    assert torch.equal(z, detector.classify(features))
    assert torch.equal(z, detector(x)), "eval mode must be deterministic"
    z.sum().backward()
    without = [k for k, p in detector.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert not without
    assert x.grad is not None
    assert x.grad.abs().max() > 0


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_a_row_does_not_depend_on_its_batch_dtype_or_memory_format(name: str) -> None:
    detector = make(name)
    x = images(3, 3, SIZE, SIZE, of=detector)
    with torch.no_grad():
        z = detector(x)
        tolerance = 1e-4 * max(1.0, z.abs().max().item())
        assert torch.allclose(z[1:2], detector(x[1:2]), atol=tolerance)
        last = torch.channels_last_3d if detector.clips else torch.channels_last
        nhwc = detector.to(memory_format=last)(x.to(memory_format=last))
        assert torch.allclose(z, nhwc, atol=tolerance)
        double = detector.double()(x.double())
    assert double.dtype == torch.float64
    assert torch.allclose(z.double(), double, atol=tolerance)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_any_crop_is_seen_resized_or_as_it_is(name: str) -> None:
    resized, own = make(name, size=48), make(name, size=None)
    with torch.no_grad():
        for shape in ((1, 3, 32, 32), (1, 3, 48, 48), (2, 3, 70, 55)):
            assert resized(images(*shape, of=resized)).shape == shape[:1]
            assert own(images(*shape, of=own)).isfinite().all()
        own.load_state_dict(resized.state_dict())
        x = images(1, 3, 48, 48, of=own)
        assert torch.equal(resized(x), own(x))


@pytest.mark.parametrize(
    ("name", "option"), [(n, o) for n, table in CHANGES.items() for o in table if o not in SAME_NUMBERS]
)
def test_every_option_changes_something(name: str, option: str) -> None:
    base, other = CHANGES[name][option]
    results = []
    for options in (base, {**base, option: other}):
        detector = make(name, **options).train()
        torch.manual_seed(1)
        shapes = {k: v.shape for k, v in detector.state_dict().items()}
        results.append((shapes, detector(images(2, 3, 96, 96, of=detector)).detach()))
    (shapes, z), (shapes_other, z_other) = results
    assert shapes != shapes_other or not torch.allclose(z, z_other)


def test_no_option_is_forgotten() -> None:
    for name, builder in DETECTORS.items():
        assert set(CHANGES[name]) == set(inspect.signature(builder).parameters)


def test_the_spec_is_json_and_builds_the_same_detector() -> None:
    detector = models.create("resnet", width="8", head="cosine", scale="16", size="none")
    again = models.create(**json.loads(json.dumps(detector.spec)))
    assert {k: v.shape for k, v in again.state_dict().items()} == {k: v.shape for k, v in detector.state_dict().items()}
    assert again.head.scale == 16
    assert again.size is None


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnt", {}, "did you mean 'resnet'"),
        ("resnet", {"widht": 8}, "did you mean 'width'"),
        ("convnet", {"width": 12}, "multiple of 8"),
        ("convnet", {"depth": 7}, "1 to 6"),
        ("convnet", {"size": 8}, "at least 16"),
        ("resnet", {"width": 0}, "at least 1"),
        ("resnet", {"stem_stride": 3}, "1 or 2"),
        ("resnet", {"size": 8}, "at least 16"),
        ("resnet", {"features": "gelu"}, "relu, linear"),
        ("meso4", {"form": "tf"}, "deepfakebench, keras"),
        ("meso4", {"size": 16}, "at least 32"),
        ("csn-r101", {"size": 16}, "at least 32"),
        ("csn-small", {"width": 0}, "at least 1"),
        ("csn-small", {"stem_stride": 4}, "1 or 2"),
        ("xception", {"dropout": 1}, r"\[0, 1\)"),
        ("xception", {"scale": 64}, "leave scale out"),
        ("resnet", {"head": "cosine", "scale": -1}, "scale must be > 0"),
    ],
)
def test_wrong_names_and_options_say_the_fix(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        models.create(name, **options)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_the_other_kind_of_input_is_refused_in_one_line(name: str) -> None:
    detector = make(name)
    clip = torch.rand(2, 3, 4, SIZE, SIZE)
    other = clip[:, :, 0] if detector.clips else clip
    for call in (detector, detector.features):
        with pytest.raises(ConfigError, match=rf"^{name} takes (clips|frames) \(B, .*, got \(2, 3, .*; use a [^\n]*$"):
            call(other)


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_dropout_is_applied_in_training_only(name: str) -> None:
    detector = make(name, dropout=0.5)
    features = detector.features(images(2, 3, SIZE, SIZE, of=detector)).detach()
    assert torch.equal(detector.classify(features), detector.classify(features))
    detector.train()
    assert not torch.equal(detector.classify(features), detector.classify(features))
