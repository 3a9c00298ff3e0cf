"""What every distortion promises, over the registry; limits and closed forms of each."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from unfooled.attacks.views import Identity, over_views
from unfooled.codecs import round_trip
from unfooled.distortions import (
    DISTORTIONS,
    H264,
    LEVELS,
    Blocks,
    Blur,
    Contrast,
    Distortion,
    Noise,
    Pixelation,
    Saturation,
    create,
    describe,
    family,
    parse,
    series,
)
from unfooled.distortions.base import EightBits
from unfooled.errors import ConfigError, DataError

SMOOTH = sorted(name for name, kind in DISTORTIONS.items() if kind.differentiable)
NOTHING: dict[str, Any] = {"saturation": 1.0, "contrast": 1.0, "blocks": 0, "noise": 0.0, "blur": 1, "pixelation": 1}


@pytest.fixture(scope="module")
def x() -> Tensor:
    """Three pictures of 8 bits, 40 x 48, with coarse and fine parts."""
    g = torch.Generator().manual_seed(0)
    coarse = torch.nn.functional.interpolate(torch.rand(3, 3, 5, 6, generator=g), (40, 48), mode="bilinear")
    return (0.8 * coarse + 0.2 * torch.rand(3, 3, 40, 48, generator=g)).mul(255).round() / 255


@pytest.fixture(scope="module")
def clips(x: Tensor) -> Tensor:
    return torch.stack([x, x.flip(0), x.flip(-1)], 2)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", DISTORTIONS)
def test_shape_range_and_more_with_every_level(name: str, level: int, x: Tensor) -> None:
    found = create(name, level=level)(x)
    assert (found.shape, found.dtype) == (x.shape, x.dtype)
    assert 0 <= found.min() <= found.max() <= 1
    assert torch.equal(found * 255, (found * 255).round())
    assert (found - x).abs().mean() > 0.002


@pytest.mark.parametrize("name", DISTORTIONS)
def test_every_level_takes_more_away(name: str, x: Tensor) -> None:
    lost = [float((create(name, level=level)(x) - x).square().mean()) for level in LEVELS]
    assert all(more > less * 0.98 for less, more in pairwise(lost))
    assert lost[-1] > lost[0]


@pytest.mark.parametrize("name", DISTORTIONS)
def test_a_row_does_not_depend_on_its_batch_and_nothing_on_the_moment(name: str, x: Tensor) -> None:
    distortion = create(name, level=4)
    together = distortion(x)
    torch.manual_seed(99)
    assert torch.equal(distortion(x), together)
    for i in range(len(x)):
        assert torch.equal(distortion(x[i : i + 1])[0], together[i])
    assert torch.equal(distortion(x.flip(0)), together.flip(0))


@pytest.mark.parametrize("name", SMOOTH)
def test_a_clip_is_its_frames(name: str, clips: Tensor) -> None:
    distortion = create(name, level=3)
    found = distortion(clips)
    assert found.shape == clips.shape
    for t in range(clips.shape[2]):
        assert torch.equal(found[:, :, t], distortion(clips[:, :, t]))


def test_compression_sees_the_whole_clip(clips: Tensor) -> None:
    found = H264(level=5)(clips)
    assert found.shape == clips.shape
    assert torch.equal(found, round_trip(clips, "h264", 40))
    assert not torch.equal(found[:, :, 1], H264(level=5)(clips[:, :, 1]))
    with_grad = clips.clone().requires_grad_()
    assert not H264(level=1)(with_grad).requires_grad


@pytest.mark.parametrize("name", SMOOTH)
@pytest.mark.parametrize("rounded", [True, False])
def test_gradients_pass_as_those_of_a_view(name: str, rounded: bool, x: Tensor) -> None:
    distortion = create(name, level=2, rounded=rounded)
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(distortion(leaf).sum(), leaf)
    assert torch.isfinite(gradient).all()
    assert (gradient != 0).float().mean() > 0.1
    smooth = create(name, level=2, rounded=False)
    (expected,) = torch.autograd.grad(smooth(leaf).sum(), leaf)
    torch.testing.assert_close(gradient, expected, atol=0.05 if name != "noise" else 1.5, rtol=0.2)


@pytest.mark.parametrize("name", ["saturation", "contrast", "blur", "pixelation"])
def test_gradients_are_right(name: str) -> None:
    x = torch.rand(1, 3, 6, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3
    distortion = create(name, level=1, rounded=False)
    assert torch.autograd.gradcheck(distortion, x.requires_grad_())
    assert torch.autograd.gradcheck(lambda z: distortion(z[:, :, None]), x)


def test_gradients_of_what_belongs_to_the_content_are_right() -> None:
    x = torch.rand(1, 3, 9, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 0.4 + 0.3
    noise = torch.randn(1, 3, 9, 5, dtype=torch.float64) * 0.1
    assert torch.autograd.gradcheck(lambda z: Noise(level=1, rounded=False).add(z, noise), x.requires_grad_())
    corners = torch.tensor([[[3, 4], [4, 0]]])
    assert torch.autograd.gradcheck(lambda z: Blocks(level=1, rounded=False).paint(z, corners), x)


@pytest.mark.parametrize("name", SMOOTH)
def test_strength_nothing_changes_nothing(name: str, x: Tensor) -> None:
    kind = DISTORTIONS[name]
    # The colour conversion has coefficients of three digits, and what is cut off takes a step.
    step = {"saturation": 1, "noise": 1}.get(name, 0)
    found = create(name, **{kind.parameter: NOTHING[name]})(x)
    assert (found - x).abs().max() <= step / 255 + 1e-6
    found = create(name, **{kind.parameter: NOTHING[name], "rounded": False})(x)
    torch.testing.assert_close(found, x, atol=2e-3, rtol=0)


@pytest.mark.parametrize("side", [1, 2, 7, 9])
@pytest.mark.parametrize("name", DISTORTIONS)
def test_tiny_pictures(name: str, side: int) -> None:
    x = torch.rand(2, 3, side, side + 1)
    found = create(name, level=5)(x)
    assert found.shape == x.shape
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("name", DISTORTIONS)
def test_nothing_in_nothing_out(name: str) -> None:
    assert create(name, level=1)(torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_no_other_shape(name: str) -> None:
    for wrong in (torch.zeros(3, 8, 8), torch.zeros(1, 1, 8, 8), torch.zeros(1, 3, 8, 8, dtype=torch.uint8)):
        with pytest.raises(DataError, match="x must be float"):
            create(name, level=1)(wrong)


def test_saturation_zero_is_grey_and_keeps_brightness(x: Tensor) -> None:
    found = Saturation(factor=0.0, rounded=False)(x)
    luma = (x * torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
    torch.testing.assert_close(found, luma.expand_as(found), atol=1e-4, rtol=0)


def test_contrast_multiplies_and_cuts_off(x: Tensor) -> None:
    torch.testing.assert_close(Contrast(factor=0.4, rounded=False)(x), 0.4 * x)
    assert torch.equal(Contrast(factor=0.4)(x), (0.4 * (x * 255)).floor() / 255)


def test_noise_has_its_variance(x: Tensor) -> None:
    middle = torch.full((1, 3, 200, 200), 0.5)
    found = Noise(variance=0.001, rounded=False)(middle) - middle
    y = (found * torch.tensor([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1)).sum(1)
    assert float(y.var()) == pytest.approx(0.001 * (255 / 219) ** 2, rel=0.05)
    assert abs(float(found.mean())) < 0.002
    # One pattern for a picture, so that levels differ in strength alone.
    weak, strong = (Noise(variance=v, rounded=False)(middle) - middle for v in (0.0001, 0.0004))
    torch.testing.assert_close(strong, 2 * weak, atol=1e-5, rtol=0)


def test_blocks_are_grey_squares(x: Tensor) -> None:
    found = Blocks(count=300)(x)
    changed = (found != x).any(1)
    assert (found.transpose(0, 1)[:, changed] * 255 == 128).all()
    n = Blocks(count=300).number(40, 48)
    assert n == round(300 * 40 * 48 / 256**2)
    assert 64 <= int(changed[0].sum()) <= 64 * n


@pytest.mark.parametrize("kernel", [3, 21])
def test_blur_is_opencv_s(kernel: int, x: Tensor) -> None:
    for side in (40, 7):
        picture = x[0, :, :side, :side].permute(1, 2, 0).numpy().astype(np.float64)
        expected = cv2.GaussianBlur(picture, (kernel, kernel), kernel / 6, borderType=cv2.BORDER_REFLECT_101)
        found = Blur(kernel=kernel, rounded=False)(x[:1, :, :side, :side].double())[0].permute(1, 2, 0)
        np.testing.assert_allclose(found, expected, atol=1e-9)


@pytest.mark.parametrize("factor", [2, 3, 6])
def test_pixelation_is_opencv_s(factor: int, x: Tensor) -> None:
    picture = x[0].permute(1, 2, 0).mul(255).round().byte().numpy()
    height, width = picture.shape[:2]
    expected = cv2.resize(cv2.resize(picture, (width // factor, height // factor)), (width, height))
    found = Pixelation(factor=factor)(x)[0].permute(1, 2, 0) * 255
    apart = np.abs(found.numpy() - expected)
    assert apart.max() <= 1
    assert apart.mean() < 0.05
    smooth = Pixelation(factor=factor, rounded=False)(x)
    assert (smooth - Pixelation(factor=factor)(x)).abs().max() < 2.5 / 255


OPTIONS = [
    (Noise(level=2), {"seed": 1}),
    (Blocks(level=3), {"seed": 1}),
    (Blocks(level=3), {"rule": "published"}),
    *((create(name, level=2), {"level": 4}) for name in DISTORTIONS),
    *((create(name, level=2), {"rounded": False}) for name in SMOOTH if name != "blocks"),
]


@pytest.mark.parametrize(("distortion", "change"), OPTIONS, ids=str)
def test_every_option_changes_something(distortion: Distortion, change: dict[str, Any], x: Tensor) -> None:
    assert not torch.equal(replace(distortion, **change)(x), distortion(x))


def test_blocks_round_what_they_leave(x: Tensor) -> None:
    between = (x + 0.3 / 255).clamp(0, 1)
    assert not torch.equal(Blocks(level=1)(between), Blocks(level=1, rounded=False)(between))


def test_without_a_seed_every_call_draws_anew(x: Tensor) -> None:
    for distortion in (Noise(level=1, seed=None), Blocks(level=5, seed=None)):
        assert not torch.equal(distortion(x), distortion(x))
        torch.manual_seed(3)
        first = distortion(x)
        torch.manual_seed(3)
        assert torch.equal(distortion(x), first)


@pytest.mark.parametrize("name", DISTORTIONS)
def test_text_and_back(name: str) -> None:
    kind = DISTORTIONS[name]
    some = [create(name, level=3), create(name, **{kind.parameter: kind.levels[1]})]
    some += [replace(some[0], seed=5)] if "seed" in {f.name for f in fields(kind)} else []
    some += [replace(some[1], rounded=False)] if issubclass(kind, EightBits) else []
    for distortion in some:
        assert parse(describe(distortion)) == distortion
    assert describe(some[0]) == f"{name}:level=3"
    assert family(some[0]) == name
    assert family(some[1]) is None
    assert kind.name == name


def test_series() -> None:
    assert series("blur") == [Blur(level=level) for level in LEVELS]
    assert series("blur:level=2") == [Blur(level=2)]
    assert series("blur:kernel=9") == [Blur(kernel=9)]
    assert series("noise:seed=4") == [Noise(level=level, seed=4) for level in LEVELS]
    assert {family(d) for d in series("noise:seed=4")} == {"noise:seed=4"}
    assert len(series("all")) == 35
    assert len(set(series("all"))) == 35


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("blurr", "did you mean 'blur'?"),
        ("al", "did you mean 'all'?"),
        ("jpeg", "known: all, blocks, blur"),
        ("blur:level=6", "level must be 1 (weakest) to 5, got 6; write blur:level=3"),
        ("blur:level=0", "1 (weakest) to 5"),
        ("blur:level=2.5", "whole number"),
        ("blur:level=2,kernel=9", "got both"),
        ("blur:kernel=8", "odd number"),
        ("blur:sigma=2", "no option 'sigma'"),
        ("contrast:factor=2", "in [0, 1]"),
        ("noise:variance=-1", "at least 0"),
        ("noise:variance=nan", "at least 0"),
        ("saturation:factor=nan", "in [0, 1]"),
        ("pixelation:factor=0", "whole number >= 1"),
        ("blocks:count=-1", ">= 0"),
        ("blocks:level=1,rule=half", "area, published"),
        ("h264:crf=52", "0 to 51"),
        ("all:level=3", "takes no options"),
    ],
)
def test_mistakes(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        series(text)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_distortion_needs_a_strength() -> None:
    for text in ("blur", "noise:seed=1"):
        with pytest.raises(ConfigError, match="needs a level from 1 to 5"):
            parse(text)


@pytest.mark.parametrize("name", SMOOTH)
def test_it_is_a_view_of_an_attack(name: str, clips: Tensor) -> None:
    def slope(seen: Tensor) -> tuple[Tensor, Tensor]:
        return seen.square().flatten(1).sum(1) / 2, seen

    logits, gradient = over_views(slope, [Identity(), create(name, level=1)])(clips)
    assert logits.shape == clips.shape[:1]
    assert gradient.shape == clips.shape
    assert (gradient - clips).abs().mean() > 0.001
