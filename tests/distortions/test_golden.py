"""The published distortions, number by number: crops of their outputs, and the mean of the whole picture."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unfooled.distortions import Blocks, Noise, create

NAMES = {"CS": "saturation", "CC": "contrast", "BW": "blocks", "GNC": "noise", "GB": "blur", "JPEG": "pixelation"}
CROPS = {"a300": (slice(60, 156), slice(110, 206)), "s600": (slice(200, 296), slice(300, 396))}
EXACT = ("CC", "BW")
Pixels = np.ndarray[Any, np.dtype[np.uint8]]


@pytest.fixture(scope="module")
def known(golden: Callable[[str], Path]) -> tuple[dict[str, Any], dict[str, Pixels], dict[str, Pixels]]:
    """What is told of the outputs, the inputs (BGR) and the crops of the outputs."""
    told = json.loads(golden("distort_meta.json").read_text())
    with np.load(golden("distort_small.npz")) as crops:
        arrays = dict(crops)
    y, x = np.mgrid[0:600, 0:800]
    ramp = np.stack([x * 255 // 799, y * 255 // 599, (x + y) * 255 // 1398], -1)
    ramp = ramp + np.random.default_rng(0).integers(0, 24, size=(600, 800, 3)) - 12
    inputs = {"a300": arrays["a300_input"], "s600": np.clip(ramp, 0, 255).astype(np.uint8)}
    return told, inputs, arrays


def tensor(bgr: Pixels) -> Tensor:
    return torch.from_numpy(bgr[..., ::-1].copy()).permute(2, 0, 1)[None].float() / 255


@pytest.mark.parametrize("level", range(1, 6))
@pytest.mark.parametrize("image", CROPS)
@pytest.mark.parametrize("kind", NAMES)
def test_it_is_the_published_one(
    kind: str, image: str, level: int, known: tuple[dict[str, Any], dict[str, Pixels], dict[str, Pixels]]
) -> None:
    told, inputs, crops = known
    item = next(i for i in told["items"] if (i["type"], i["image"], i["level"]) == (kind, image, level))
    x = tensor(inputs[image])
    distortion = create(NAMES[kind], level=level, **({"rule": "published"} if kind == "BW" else {}))
    assert distortion.strength == item["param"]
    if isinstance(distortion, Blocks):
        assert distortion.number(*x.shape[-2:]) == item["n_blocks"]
        found = distortion.paint(x, torch.tensor(item["xy"])[None])
    elif isinstance(distortion, Noise):
        np.random.seed(item["seed"])
        noise = torch.from_numpy(np.random.randn(*inputs[image].shape)).permute(2, 0, 1)[None].float()
        found = distortion.add(x, noise)
    else:
        found = distortion(x)
    bytes_ = found[0] * 255
    assert torch.equal(bytes_, bytes_.round()), "the result has 8 bits"
    pixels = bytes_.double().permute(1, 2, 0).numpy()[..., ::-1]
    np.testing.assert_allclose(pixels.mean((0, 1)), item["channel_mean_bgr"], atol=0.01)
    apart = np.abs(pixels[CROPS[image]] - crops[f"{image}_{kind}_{level}_crop"])
    assert apart.max() <= (0 if kind in EXACT else 1)
    # The tolerance of the reference is 0.15; what is left is the fixed point of OpenCV's blur.
    assert apart.mean() <= (0.07 if kind == "GB" else 0.01)


def test_the_published_number_of_blocks_is_none_below_256_pixels(
    known: tuple[dict[str, Any], dict[str, Pixels], dict[str, Pixels]],
) -> None:
    assert known[0]["bw_on_224_unchanged"] is True
    x = torch.rand(1, 3, 224, 224).mul(255).round() / 255
    assert torch.equal(Blocks(level=5, rule="published")(x), x)
    assert Blocks(level=5).number(224, 224) == 61
    assert Blocks(level=5).number(256, 256) == 80
    assert Blocks(level=1).number(16, 16) == 1
