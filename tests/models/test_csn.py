"""Channel-separated networks: golden outputs and keys, clips of any length, and memory for time."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unfooled import models
from unfooled.errors import CheckpointError, ConfigError
from unfooled.models import Detector
from unfooled.models.published import load_published


@pytest.fixture(scope="module")
def state(recipe: Any) -> dict[str, Tensor]:
    filled: dict[str, Tensor] = recipe.fill({k: s for k, s, _ in recipe.keys["csn_r101_realforensics"]["entries"]})
    return filled


@pytest.fixture(scope="module")
def detector(state: dict[str, Tensor]) -> Detector:
    return load_published(state, "csn-r101", form="realforensics")


def small(**options: Any) -> Detector:
    torch.manual_seed(0)
    return models.create("csn-small", **options)


def clip(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(5))


def test_keys_shapes_and_weights_are_the_published_ones(recipe: Any, state: dict[str, Tensor]) -> None:
    published = recipe.keys["csn_r101_realforensics"]
    assert recipe.digest(state) == published["weights_sha256"]
    own = models.create("csn-r101")
    wanted = [(k.replace("df_head", "head"), s) for k, s, _ in published["entries"]]
    assert [(k, list(v.shape)) for k, v in own.state_dict().items()] == wanted
    assert sum(p.numel() for p in own.parameters()) == published["n_params"] == 21_396_224


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_features_and_logit_are_the_golden_ones(
    dtype: torch.dtype, state: dict[str, Tensor], golden: Callable[[str], Path]
) -> None:
    want = np.load(golden("csn_r101.npz"))
    detector = load_published(state, "csn-r101").to(dtype)
    x = torch.from_numpy(want["input"]).to(dtype)
    with torch.no_grad():
        each = detector.backbone.over_time(x)[0].numpy()
        features = detector.backbone(x)
        z = detector.classify(features).item()
    largest = np.abs(want["feature"]).max()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    assert np.abs(features[0].numpy() - want["feature"]).max() <= tolerance * largest
    # These are kept in float32.
    assert np.abs(each - want["temporal_features"]).max() <= max(tolerance, 1e-7) * np.abs(each).max()
    assert abs(z - want["logit"].item()) <= 1e-4


def test_pixels_are_normalised_as_for_imagenet(detector: Detector, golden: Callable[[str], Path]) -> None:
    x = torch.from_numpy(np.load(golden("csn_r101.npz"))["input"])
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    own = models.create("csn-r101", size=None).eval()
    own.load_state_dict(detector.state_dict())
    with torch.no_grad():
        assert torch.allclose(own.features(x * std + mean), detector.backbone(x), atol=1e-4)


def test_every_stage_is_the_golden_one_in_float64(
    state: dict[str, Tensor], recipe: Any, golden: Callable[[str], Path]
) -> None:
    backbone = load_published(state, "csn-r101").backbone.double()
    stages = json.loads(golden("csn_r101_stages.json").read_text())["stages_f64"]
    seen: dict[str, Tensor] = {}

    def note(name: str, module: nn.Module) -> None:
        # A copy: the ReLU that follows a batch norm works in place.
        module.register_forward_hook(lambda _, __, out: seen.update({name: out + 0}))

    note("block0", backbone.blocks[0])
    for part in ("conv", "norm", "pool"):
        note(f"block0.{part}", backbone.blocks[0].get_submodule(part))
    for number in (1, 2, 3, 4):
        note(f"block{number}", backbone.blocks[number].res_blocks[-1])
    first = backbone.blocks[2].res_blocks[0]
    note("block2.res0", first)
    for part in ("branch1_conv", "branch1_norm"):
        note(f"block2.res0.{part}", first.get_submodule(part))
    for part in ("conv_a", "conv_b", "conv_c", "norm_c"):
        note(f"block2.res0.{part}", first.branch2.get_submodule(part))
    with torch.no_grad():
        seen["block5"] = backbone.over_time(recipe.network_input(1, 3, 8, 56, 56).double())
    assert seen.keys() == stages.keys()
    for name, stage in stages.items():
        assert list(seen[name].shape) == stage["shape"], name
        got = seen[name].flatten()[stage["flat_index"]].numpy()
        assert np.abs(got - stage["values"]).max() <= 1e-10 * stage["absmax"], name


def break_eps(backbone: nn.Module) -> None:
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.eps = 1e-3


def break_time(backbone: nn.Module) -> None:
    for name, weight in backbone.named_parameters():
        if "conv_b" in name:
            weight.data = weight.data.flip(2)


@pytest.mark.parametrize(("mistake", "least"), [(break_eps, 3e-3), (break_time, 1e-2)])
def test_the_golden_features_would_see_a_mistake(
    mistake: Callable[[nn.Module], None], least: float, state: dict[str, Tensor], golden: Callable[[str], Path]
) -> None:
    want = np.load(golden("csn_r101.npz"))
    backbone = load_published(state, "csn-r101").backbone
    mistake(backbone)
    with torch.no_grad():
        features = backbone(torch.from_numpy(want["input"]))[0].numpy()
    assert np.abs(features - want["feature"]).max() > least * np.abs(want["feature"]).max()


@pytest.mark.parametrize("kind", ["safetensors", "pth", "lightning.pt"])
def test_a_training_checkpoint_loads_and_what_is_left_out_is_counted(
    kind: str, detector: Detector, state: dict[str, Tensor], tmp_path: Path
) -> None:
    extra = {f"target_encoder.{k}": v.clone() for k, v in state.items() if k.startswith("backbone.blocks.0")}
    extra |= {f"ssl_head.{i}.weight": torch.zeros(2) for i in range(4)}
    path = tmp_path / f"weights.{kind}"
    if kind == "safetensors":
        save_file(state | extra, path)
    else:
        torch.save({"state_dict": state | extra} if kind == "lightning.pt" else state | extra, path)
    with pytest.warns(UserWarning, match=r"left out ssl_head\.\* \(4\), target_encoder\.\* \(6\)$"):
        loaded = load_published(path, "csn-r101")
    assert loaded.spec == {"name": "csn-r101"}
    assert not loaded.training
    got = loaded.state_dict()
    assert all(torch.equal(v, got[k]) for k, v in detector.state_dict().items())


def test_nothing_is_said_where_nothing_is_left_out(state: dict[str, Tensor]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_published(state, "csn-r101")
    with pytest.warns(UserWarning, match=r"df_head \(weight \[1, 2048\] does not fit the head, which starts fresh\)"):
        load_published(state, "csn-r101", head="linear")


def test_what_does_not_fit_is_one_line(state: dict[str, Tensor]) -> None:
    wrong = state | {"backbone.blocks.0.conv.weight": torch.zeros(64, 3, 1, 7, 7)}
    del wrong["backbone.blocks.4.res_blocks.2.branch2.norm_c.bias"]
    with pytest.raises(CheckpointError) as error:
        load_published(wrong, "csn-r101")
    assert "missing 1: blocks.4.res_blocks.2.branch2.norm_c.bias" in str(error.value)
    assert "blocks.0.conv.weight [64, 3, 1, 7, 7] for [64, 3, 3, 7, 7]" in str(error.value)
    assert "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="form of csn-r101 must be realforensics, got 'keras'"):
        load_published(state, "csn-r101", form="keras")
    with pytest.raises(ConfigError, match="no published detector named 'csn-r50'"):
        load_published(state, "csn-r50")


def test_sizes_of_the_other_variants() -> None:
    # R50 lacks 17 of the 23 bottlenecks of the third stage: two products, the depthwise kernels, three norms.
    bottleneck = 2 * 1024 * 256 + 27 * 256 + 2 * (256 + 256 + 1024)
    for name, parameters, dim in (("csn-r50", 21_396_224 - 17 * bottleneck, 2048), ("csn-small", 142_721, 256)):
        detector = models.create(name)
        assert sum(p.numel() for p in detector.parameters()) == parameters
        assert detector.backbone.dim == dim


def test_a_cosine_head_has_scale_64_unless_told() -> None:
    assert models.create("csn-r50").head.scale == 64
    assert models.create("csn-r50", scale=16).head.scale == 16


@pytest.mark.parametrize("frames", [1, 2, 5, 16])
def test_a_clip_of_any_length_keeps_every_frame(frames: int) -> None:
    detector = small().eval()
    x = clip(2, 3, frames, 32, 48)
    with torch.no_grad():
        each = detector.backbone.over_time(detector.prepare(x))
        assert each.shape == (2, 256, frames)
        assert torch.allclose(detector.features(x), each.mean(2))


def test_the_order_of_frames_matters() -> None:
    detector = small().eval()
    x = clip(1, 3, 6, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(detector(x), detector(x.flip(2)), atol=1e-4)
        assert torch.allclose(detector(x), detector(x.flip(2).flip(2)))


def test_the_small_one_sees_thirteen_frames() -> None:
    detector = small().eval()
    x = clip(1, 3, 15, 32, 32).requires_grad_()
    detector.backbone.over_time(detector.prepare(x))[0, :, 7].sum().backward()
    assert x.grad is not None
    moved = [t for t in range(15) if x.grad[:, :, t].abs().max() > 0]
    assert moved == list(range(1, 14))


def test_linear_features_have_both_signs_and_become_the_relu_ones_per_pixel() -> None:
    relu, linear = small().eval(), small(features="linear").eval()
    linear.load_state_dict(relu.state_dict())
    x = clip(1, 3, 3, 32, 32)
    with torch.no_grad():
        assert relu.features(x).min() >= 0
        assert linear.features(x).min() < 0
        linear.backbone.bottlenecks()[-1].last_relu = True
        assert torch.equal(linear.features(x), relu.features(x))


@pytest.mark.parametrize("training", [False, True])
def test_checkpointing_gives_the_same_gradients_and_statistics(training: bool) -> None:
    found = []
    for checkpointing in (False, True):
        detector = small(checkpointing=checkpointing).train(training)
        x = clip(2, 3, 4, 32, 32).requires_grad_()
        detector(x).square().sum().backward()
        gradients = {k: p.grad for k, p in detector.named_parameters()}
        found.append({"x": x.grad, **{f"grad of {k}": g for k, g in gradients.items()}, **detector.state_dict()})
        assert all(m.training == training for m in detector.modules())
        assert all(m.momentum == 0.1 for m in detector.modules() if isinstance(m, nn.BatchNorm3d))
    plain, again = found
    assert plain.keys() == again.keys()
    for name, tensor in plain.items():
        assert torch.allclose(tensor, again[name], rtol=1e-5, atol=1e-6), name


def test_checkpointing_keeps_less() -> None:
    kept = {}
    for checkpointing in (False, True):
        detector = small(checkpointing=checkpointing)
        tensors: list[Tensor] = []

        def keep(tensor: Tensor, tensors: list[Tensor] = tensors) -> Tensor:
            tensors.append(tensor)
            return tensor

        # A checkpoint holds its input where no hook for saved tensors sees it.
        for block in detector.backbone.bottlenecks():
            block.register_forward_pre_hook(lambda _, inputs, tensors=tensors: tensors.append(inputs[0]))
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            detector(clip(2, 3, 4, 64, 64))
        weights = {p.untyped_storage().data_ptr() for p in detector.parameters()}
        storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
        kept[checkpointing] = sum(size for where, size in storages.items() if where not in weights)
    assert kept[True] < 0.5 * kept[False]


def test_every_parameter_learns_in_training_too() -> None:
    detector = small().train()
    detector(clip(2, 3, 4, 32, 32)).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in detector.parameters())
