"""The balls: projection, distance, direction and random points, for every radius, shape and precision."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unfooled.errors import ConfigError
from unfooled.threats import L0, L2, Linf, Threat

SHAPES = st.sampled_from([(1, 3, 4, 4), (3, 3, 5, 2), (2, 3, 2, 3, 3)])
LINF = st.one_of(st.sampled_from([0.0, 1.0, math.inf]), st.floats(1e-4, 1.0)).map(Linf)
L2S = st.one_of(st.sampled_from([0.0, math.inf]), st.floats(1e-4, 20.0)).map(L2)
THREATS = st.one_of(LINF, L2S)
FINITE = THREATS.filter(lambda t: math.isfinite(t.eps))
SEEDS = st.integers(0, 2**32 - 1)
TYPES = st.sampled_from([torch.float32, torch.float64])


def pair(shape: tuple[int, ...], seed: int, dtype: torch.dtype, spread: float) -> tuple[Tensor, Tensor]:
    """A clean input with pixels at the edges of the range, and any point around it."""
    generator = torch.Generator().manual_seed(seed)
    x = (torch.rand(shape, generator=generator, dtype=dtype) * 1.4 - 0.2).clamp(0, 1)
    return x, x + spread * torch.randn(shape, generator=generator, dtype=dtype)


def slack(x: Tensor, threat: Threat) -> float:
    """Rounding of x + delta; in L2 it adds up over the pixels."""
    return 8 * torch.finfo(x.dtype).eps * x[0].numel() ** 0.5 * max(1.0, threat.eps if math.isfinite(threat.eps) else 1)


@settings(max_examples=60, deadline=None)
@given(THREATS, SHAPES, SEEDS, TYPES, st.floats(0, 3))
def test_project_lands_in_ball_and_box_and_stays(
    threat: Threat, shape: tuple[int, ...], seed: int, dtype: torch.dtype, spread: float
) -> None:
    x, y = pair(shape, seed, dtype, spread)
    once = threat.project(x, y)
    assert once.dtype == dtype
    assert once.min() >= 0
    assert once.max() <= 1
    assert (threat.distance(once - x) <= threat.eps + slack(x, threat)).all()
    torch.testing.assert_close(threat.project(x, once), once, rtol=0, atol=slack(x, threat))


@settings(max_examples=30, deadline=None)
@given(THREATS, SHAPES, SEEDS, TYPES)
def test_project_keeps_what_is_inside(threat: Threat, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    x, y = pair(shape, seed, dtype, 0.3)
    torch.testing.assert_close(threat.project(x, x), x, rtol=0, atol=0)
    inside = x + (y.clamp(0, 1) - x) * min(1.0, 0.5 * threat.eps / x[0].numel() ** 0.5 if threat.eps < 1e9 else 1.0)
    torch.testing.assert_close(threat.project(x, inside), inside, rtol=0, atol=slack(x, threat))


@settings(max_examples=30, deadline=None)
@given(THREATS, SHAPES, SEEDS, TYPES)
def test_distance_is_a_norm(threat: Threat, shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    x, y = pair(shape, seed, dtype, 0.5)
    delta = y - x
    distance = threat.distance(delta)
    assert distance.shape == (shape[0],)
    torch.testing.assert_close(distance, threat.distance(-delta), rtol=0, atol=0)
    torch.testing.assert_close(3 * distance, threat.distance(3 * delta))
    assert (threat.distance(delta + x) <= distance + threat.distance(x) + 1e-4).all()
    assert (threat.distance(torch.zeros_like(x)) == 0).all()
    order = math.inf if isinstance(threat, Linf) else 2
    torch.testing.assert_close(distance, torch.linalg.vector_norm(delta.flatten(1), ord=order, dim=1))


@settings(max_examples=40, deadline=None)
@given(THREATS, SHAPES, SEEDS, TYPES, st.floats(-35, 35))
def test_direction_has_length_one_and_climbs_best(
    threat: Threat, shape: tuple[int, ...], seed: int, dtype: torch.dtype, exponent: float
) -> None:
    x, y = pair(shape, seed, dtype, 1.0)
    gradient = (y - x) * 10**exponent
    step = threat.direction(gradient)
    torch.testing.assert_close(threat.distance(step), x.new_ones(shape[0]), rtol=1e-4, atol=0)
    # The dual norm is the largest slope that a step of length one can have.
    dual = 1 if isinstance(threat, Linf) else 2
    best = torch.linalg.vector_norm((y - x).flatten(1), ord=dual, dim=1)
    torch.testing.assert_close(((y - x) * step).flatten(1).sum(1), best, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("threat", [Linf(0.1), L2(0.1)], ids=str)
def test_no_gradient_no_step(threat: Threat) -> None:
    gradient = torch.stack([torch.zeros(3, 4, 4), torch.ones(3, 4, 4)])
    step = threat.direction(gradient)
    assert (step[0] == 0).all()
    assert (step[1] > 0).all()


@settings(max_examples=40, deadline=None)
@given(FINITE, SHAPES, SEEDS, TYPES)
def test_samples_lie_in_the_ball_and_belong_to_their_row(
    threat: Threat, shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    x, _ = pair(shape, seed, dtype, 0.0)
    near = threat.sample(x, seed)
    assert near.dtype == dtype
    assert (threat.distance(near - x) <= threat.eps + slack(x, threat)).all()
    assert torch.equal(threat.sample(x, seed), near)
    assert torch.equal(threat.sample(x[:1], seed), near[:1])


@pytest.mark.parametrize("threat", [Linf(0.25), L2(2.0)], ids=str)
def test_samples_fill_the_ball_evenly(threat: Threat) -> None:
    x = torch.rand(400, 3, 2, 2)
    length = threat.distance(threat.sample(x, 0) - x) / threat.eps
    # Uniform in d dimensions: P(length <= r) = r^d for every norm.
    assert ((length**12).mean() - 0.5).abs() < 0.05
    assert ((length**12 < 0.25).float().mean() - 0.25).abs() < 0.07
    mean = (threat.sample(x, 0) - x).mean(0).abs().max()
    assert mean < 0.2 * threat.eps


@pytest.mark.parametrize("kind", [Linf, L2])
def test_wrong_radii_are_refused(kind: type[Threat]) -> None:
    for eps in (-0.1, math.nan, -math.inf):
        with pytest.raises(ConfigError, match="eps must be >= 0"):
            kind(eps)
    with pytest.raises(ConfigError, match="eps must be finite for a random start"):
        kind(math.inf).sample(torch.rand(1, 3, 2, 2), 0)
    assert kind(math.inf).project(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), 5.0)).eq(1).all()


def test_eps_in_grey_levels_is_refused_with_the_fix() -> None:
    with pytest.raises(ConfigError, match=r"eps must be <= 1 in pixel units, got 8; write 8/255"):
        Linf(8)
    assert L2(8).eps == 8


def test_threats_are_values() -> None:
    assert Linf(0.1) == Linf(0.1) != L2(0.1)
    assert len({Linf(0.1), Linf(0.1), L2(0.1)}) == 2
    assert repr(Linf(0.1)) == "Linf(eps=0.1)"


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 30), SHAPES, SEEDS, TYPES)
def test_few_pixels_are_kept_those_that_changed_most(
    pixels: int, shape: tuple[int, ...], seed: int, dtype: torch.dtype
) -> None:
    threat = L0(pixels)
    x, y = pair(shape, seed, dtype, 0.5)
    once = threat.project(x, y)
    assert once.aminmax().min >= 0
    assert once.aminmax().max <= 1
    count = min(pixels, x[0, 0].numel())
    assert (threat.distance(once - x) <= count).all()
    change = (y - x).abs().sum(1).flatten(1)
    kept = (once != x).any(1).flatten(1)
    for row in range(len(x)):
        if kept[row].any() and not kept[row].all():
            assert change[row][kept[row]].min() >= change[row].sort(descending=True).values[count - 1]
    assert torch.equal(threat.project(x, once), once) or (threat.project(x, once) - once).abs().max() < 1e-6
    sampled = threat.sample(x, seed)
    assert (threat.distance(sampled - x) <= count).all()
    assert torch.equal(sampled[:1], threat.sample(x[:1], seed))
    step = threat.direction(y - x)
    assert (threat.distance(step) == 1).all()
    assert torch.equal(step.any(1).flatten(1).nonzero()[:, 1], change.argmax(1))


def test_pixels_are_whole() -> None:
    with pytest.raises(ConfigError, match=r"counts pixels and must be whole, got 2.5; write 32"):
        L0(2.5)
    assert L0(math.inf).project(torch.zeros(1, 3, 2, 2), torch.ones(1, 3, 2, 2)).sum() == 12
