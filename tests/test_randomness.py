"""Noise that belongs to its sample, and seeds that are the same on every machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from unfooled.randomness import normal_like, seed_of, uniform_like

X = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(3))
BOTH = pytest.mark.parametrize("noise", [uniform_like, normal_like])
Noise = Callable[[Tensor, int | None, str], Tensor]


def test_seeds_are_fixed_for_ever() -> None:
    assert seed_of(0) == 4246866556266386882
    assert seed_of(0, "linf") == 4749867386440880276
    assert seed_of("a", "b") != seed_of("ab") != seed_of("b", "a")
    assert all(0 <= seed_of(i) < 2**63 for i in range(1000))
    assert len({seed_of(i) for i in range(1000)}) == 1000


@BOTH
def test_a_draw_depends_on_seed_purpose_and_content_alone(noise: Noise) -> None:
    draw = noise(X, 0, "a")
    torch.manual_seed(12)
    assert torch.equal(noise(X, 0, "a"), draw)
    assert torch.equal(noise(X[2:3], 0, "a"), draw[2:3])
    assert torch.equal(noise(X.flip(0), 0, "a").flip(0), draw)
    assert torch.equal(noise(X.contiguous(memory_format=torch.channels_last), 0, "a"), draw)
    assert torch.equal(noise(X.double(), 0, "a"), draw.double())
    for other in (noise(X, 1, "a"), noise(X, 0, "b"), noise(X + 0.001, 0, "a")):
        assert (other != draw).flatten(1).any(1).all()
    assert not torch.equal(draw[0], draw[1])


@BOTH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_draws_follow_shape_and_type(noise: Noise, dtype: torch.dtype) -> None:
    for seed in (0, None):
        for shape in ((2, 3, 4, 4), (2, 3, 2, 4, 4), (0, 3, 4, 4)):
            draw = noise(torch.zeros(shape, dtype=dtype), seed, "a")
            assert draw.shape == shape
            assert draw.dtype == dtype
            assert not draw.requires_grad


@BOTH
def test_without_a_seed_the_global_generator_rules(noise: Noise) -> None:
    torch.manual_seed(4)
    first = noise(X, None, "a")
    assert not torch.equal(noise(X, None, "a"), first)
    torch.manual_seed(4)
    assert torch.equal(noise(X, None, "a"), first)


@BOTH
def test_a_seeded_draw_leaves_the_global_generator_alone(noise: Noise) -> None:
    before = torch.get_rng_state()
    noise(X, 0, "a")
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("seed", [0, None])
def test_distributions(seed: int | None) -> None:
    torch.manual_seed(0)
    x = torch.rand(50, 3, 16, 16)
    uniform, normal = uniform_like(x, seed, "a"), normal_like(x, seed, "a")
    assert uniform.min() >= -1
    assert uniform.max() <= 1
    assert uniform.mean().abs() < 0.02
    assert (uniform.var() - 1 / 3).abs() < 0.01
    assert normal.mean().abs() < 0.02
    assert (normal.std() - 1).abs() < 0.02
