"""Post-training against a plain reading of METHODS 5, sample by sample; its promises, switches and limits."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfooled.attacks import DeepFool
from unfooled.defenses import PostTraining, create, describe, parse
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.randomness import seed_of
from unfooled.threats import L2, Linf

VARIANTS = [(1, True), (1, False), (2, True), (2, False)]
STRONG = {"lr": 0.05, "tau": 0.5}
"""Settings under which 12 features and 20 steps do something that can be measured."""


def anchor_of(detector: Detector, x: Tensor, algorithm: int) -> tuple[Tensor, bool]:
    """The anchor of one sample (1, ...), and whether it is beyond the boundary; the plainest form of both attacks."""
    fake = detector(x).item() > detector.threshold.item()
    away = -1.0 if fake else 1.0

    def slope(there: Tensor) -> tuple[float, Tensor]:
        leaf = there.clone().requires_grad_()
        z = detector(leaf)
        (gradient,) = torch.autograd.grad(z.sum(), leaf)
        return z.item() - detector.threshold.item(), gradient

    there = x
    if algorithm == 1:
        ball = Linf(8 / 255)
        there = (x + ball.sample(x, seed_of(0, 0))).clamp(0, 1)
        for _ in range(10):
            _, gradient = slope(there)
            there = there + 2 / 255 * away * gradient.sign()
            there = (x + (there - x).clamp(-8 / 255, 8 / 255)).clamp(0, 1)
    else:
        first = None
        for _ in range(50):
            z, gradient = slope(there)
            if (z > 0) != fake:
                break
            first = abs(z) if first is None else first
            r = max(abs(z), 1e-3 * first) / gradient.square().sum()
            there = (there + 1.02 * r * away * gradient).clamp(0, 1)
    return there, (detector(there).item() > detector.threshold.item()) != fake


def plainly(
    detector: Detector,
    x: Tensor,
    support: Tensor,
    labels: Tensor,
    *,
    algorithm: int,
    freeze: bool,
    tau: float,
    lr: float,
) -> tuple[Tensor, list[list[int]]]:
    """METHODS 5 word by word: everything for one sample after the other, by a deep copy and torch's own optimiser."""
    logits, neighbours = [], []
    for one in x.split(1):
        anchor, flipped = anchor_of(detector, one, algorithm)
        seen = [anchor, one] if algorithm == 1 else [anchor]
        near = []
        for number, sample in enumerate(support.split(1)):
            with torch.no_grad():
                cosine = [F.cosine_similarity(detector.features(s), detector.features(sample)).item() for s in seen]
            if flipped and max(cosine) > tau:
                near.append(number)
        neighbours.append(near)
        copy = deepcopy(detector).eval()
        if near:
            moving = copy.head.parameters() if freeze else copy.parameters()
            optimizer = torch.optim.SGD(moving, lr, momentum=0.9)
            for _ in range(20):
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(copy(support[near]), labels[near].float()).backward()
                optimizer.step()
        with torch.no_grad():
            logits.append(copy(one))
    return torch.cat(logits), neighbours


def state(detector: Detector) -> list[object]:
    """All that a defense must leave alone."""
    tensors = [*detector.state_dict().values(), detector.threshold, detector.mean, detector.std]
    flags = [(m.training, len(m._forward_pre_hooks), "forward" in vars(m)) for m in detector.modules()]
    return [[t.numpy().tobytes() for t in tensors], flags, [p.requires_grad for p in detector.parameters()]]


@pytest.mark.parametrize(("algorithm", "freeze"), VARIANTS)
def test_equals_the_plain_reading(detector: Detector, pool: Any, x: Tensor, algorithm: int, freeze: bool) -> None:
    options: dict[str, Any] = {"algorithm": algorithm, "freeze": freeze, **STRONG}
    defense = PostTraining(**options).fit(detector, pool)
    found = defense.found
    assert found is not None
    support = torch.stack([pool[row] for row in found.rows.tolist()]).float() / 255
    assert found.y.tolist() == pool.labels[found.rows].tolist()
    assert found.y.sum() == 16 == len(found.y) - 16
    expected, neighbours = plainly(detector, x, support, found.y, **options)
    near = defense.neighbours(detector, x)
    assert [row.nonzero().squeeze(1).tolist() for row in near] == neighbours
    sizes = {len(n) for n in neighbours}
    assert len(sizes) > 3, "the test says little where all samples have the same neighbours"
    torch.testing.assert_close(defense(detector, x), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert (expected - detector(x)).abs().max() > 0.05


@pytest.mark.parametrize("head", ["linear", "cosine", "other"])
def test_every_kind_of_head_is_tuned_as_a_step_by_step_copy(
    head: str, detector: Detector, cosine_detector: Detector, pool: Any, x: Tensor
) -> None:
    plain = cosine_detector if head == "cosine" else detector
    if head == "other":
        plain = deepcopy(detector)
        torch.manual_seed(0)
        plain.head = nn.Sequential(nn.Linear(12, 5), nn.Tanh(), nn.Linear(5, 1))
    options: dict[str, Any] = {"algorithm": 2, "freeze": True, "lr": 0.05, "tau": 0.2}
    defense = PostTraining(**options).fit(plain, pool)
    assert defense.found is not None
    support = torch.stack([pool[row] for row in defense.found.rows.tolist()]).float() / 255
    expected, _ = plainly(plain, x[:8], support, defense.found.y, **options)
    torch.testing.assert_close(defense(plain, x[:8]), expected, rtol=0, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(expected, plain(x[:8]), atol=1e-3)


@pytest.mark.parametrize(("algorithm", "freeze"), VARIANTS)
@pytest.mark.parametrize("batch_norm", ["frozen", "moving"])
def test_the_detector_is_bitwise_unchanged(
    detector: Detector, pool: Any, x: Tensor, algorithm: int, freeze: bool, batch_norm: Any
) -> None:
    detector.train()
    detector.backbone[0].requires_grad_(False)
    before = state(detector)
    defense = PostTraining(algorithm=algorithm, freeze=freeze, batch_norm=batch_norm, **STRONG)
    defense.fit(detector, pool)(detector, x[:4])
    assert state(detector) == before


SWITCHES: list[dict[str, Any]] = [
    {"algorithm": 1}, {"freeze": True}, {"tau": 0.1}, {"percentile": 60.0}, {"support": "whole"}, {"per_class": 4},
    {"redraw": True}, {"draw": 3}, {"batch_norm": "moving"}, {"iterations": 5}, {"lr": 0.02}, {"momentum": 0.5},
    {"overshoot": 0.5}, {"seed": 1},
]  # fmt: skip
OF_PGD: list[dict[str, Any]] = [{"eps": 16 / 255}, {"step_size": 0.3 / 255}, {"steps": 4}, {"seed": 1}]


@pytest.mark.parametrize("freeze", [True, False])
@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_changes_something(
    detector: Detector, pool: Any, x: Tensor, switch: dict[str, Any], freeze: bool
) -> None:
    usual = PostTraining(freeze=freeze, **STRONG)
    changed = replace(usual, **switch)
    if changed == usual:
        pytest.skip("it is the usual one here")
    answers = [d.fit(detector, pool)(detector, x[:12]) for d in (usual, changed)]
    assert all(a.isfinite().all() for a in answers)
    assert not torch.allclose(*answers, atol=1e-6)


@pytest.mark.parametrize("switch", OF_PGD, ids=str)
def test_every_switch_of_the_pgd_anchor_changes_something(
    detector: Detector, pool: Any, x: Tensor, switch: dict[str, Any]
) -> None:
    usual = PostTraining(algorithm=1, freeze=True, lr=0.05, tau=0.9)
    answers = [replace(usual, **s).fit(detector, pool)(detector, x) for s in ({}, switch)]
    assert not torch.allclose(*answers, atol=1e-6)


def test_the_steps_of_deepfool_reach_it() -> None:
    # On a small detector one step is nearly always enough.
    assert PostTraining(deepfool_steps=7).anchor() == DeepFool(L2(float("inf")), 7, 0.02)


def test_all_switches_were_tried() -> None:
    tried = {key for switch in [*SWITCHES, *OF_PGD] for key in switch}
    assert tried | {"deepfool_steps"} == {f.name for f in fields(PostTraining) if f.compare}


@pytest.mark.parametrize("options", [{}, {"redraw": True, "draw": 5}, {"freeze": True, "draw": 5, "support": "whole"}])
def test_an_answer_does_not_depend_on_its_batch(
    detector: Detector, pool: Any, x: Tensor, options: dict[str, Any]
) -> None:
    defense = PostTraining(**STRONG, **options).fit(detector, pool)
    together = defense(detector, x[:8])
    alone = torch.cat([defense(detector, one) for one in x[:8].split(1)])
    backward = defense(detector, x[:8].flip(0)).flip(0)
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    torch.testing.assert_close(backward, together, rtol=0, atol=1e-5)
    assert torch.equal(defense(detector, x[:8]), together)


@pytest.mark.parametrize("freeze", [True, False])
def test_tau_1_gives_the_plain_logits(detector: Detector, pool: Any, x: Tensor, freeze: bool) -> None:
    for algorithm in (1, 2):
        defense = PostTraining(algorithm=algorithm, freeze=freeze, tau=1.0).fit(detector, pool)
        assert not defense.neighbours(detector, x).any()
        with torch.no_grad():
            assert torch.equal(defense(detector, x), detector(x))


def test_without_a_neighbour_or_a_flip_the_plain_detector_answers(detector: Detector, pool: Any, x: Tensor) -> None:
    far = PostTraining(tau=0.999999, **{"lr": 0.05}).fit(detector, pool)
    stuck = PostTraining(algorithm=1, tau=-0.99, lr=0.05, eps=1e-7, step_size=1e-7).fit(detector, pool)
    with torch.no_grad():
        plain = detector(x)
    for defense in (far, stuck):
        alone = ~defense.neighbours(detector, x).any(1)
        assert alone.any()
        assert torch.equal(defense(detector, x)[alone], plain[alone])


@pytest.mark.parametrize(("algorithm", "freeze"), VARIANTS)
def test_clips(clip_detector: Detector, pixels: Callable[..., Any], algorithm: int, freeze: bool) -> None:
    options: dict[str, Any] = {"algorithm": algorithm, "freeze": freeze, "lr": 0.05, "tau": 0.3}
    pool, x = pixels(40, 1, 4), pixels(6, 2, 4).x.float() / 255
    defense = PostTraining(**options).fit(clip_detector, pool)
    assert defense.found is not None
    support = torch.stack([pool[row] for row in defense.found.rows.tolist()]).float() / 255
    expected, neighbours = plainly(clip_detector, x, support, defense.found.y, **options)
    assert any(neighbours)
    torch.testing.assert_close(defense(clip_detector, x), expected, rtol=0, atol=1e-5)


def test_many_neighbours_go_through_in_parts(
    detector: Detector, pool: Any, x: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    defense = PostTraining(support="whole", lr=0.05, tau=0.0).fit(detector, pool)
    assert defense.neighbours(detector, x[:3]).sum(1).max() > 10
    whole = defense(detector, x[:3])
    for module in ("tuning", "post_training"):
        monkeypatch.setattr(f"unfooled.defenses.{module}.TOGETHER", 7)
    monkeypatch.setattr("unfooled.defenses.support.SEARCHED", 9)
    torch.testing.assert_close(defense(detector, x[:3]), whole, rtol=0, atol=1e-5)


def test_an_empty_batch_and_double_precision(detector: Detector, pool: Any, x: Tensor) -> None:
    defense = PostTraining(freeze=True, **STRONG).fit(detector, pool)
    assert defense(detector, x[:0]).shape == (0,)
    exact = deepcopy(detector).double()
    found = PostTraining(**STRONG).fit(exact, pool)(exact, x[:4].double())
    assert found.dtype == torch.float64
    with torch.inference_mode():
        torch.testing.assert_close(defense(detector, x[:4] + 0), defense(detector, x[:4]))


def test_bad_options() -> None:
    for bad, match in (
        ({"tau": -1.0}, "tau must be in"), ({"tau": 1.01}, "tau must be in"), ({"tau": float("nan")}, "tau must be in"),
        ({"percentile": 100.0}, "percentile"), ({"algorithm": 3}, "algorithm must be 1"),
        ({"per_class": 0}, "per_class"),
        ({"iterations": 0}, "iterations"), ({"draw": 0}, "draw"), ({"lr": 0.0}, "lr"), ({"momentum": 1.0}, "momentum"),
        ({"support": "all"}, "support must be"), ({"batch_norm": "off"}, "batch_norm must be"),
        ({"support": "whole", "redraw": True}, "redraw"), ({"algorithm": 1, "step_size": 9.0}, "step_size"),
        ({"deepfool_steps": 0}, "steps"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=match):
            PostTraining(**bad)
    with pytest.raises(ConfigError, match="did you mean 'freeze'"):
        create("post-training", freez=True)
    with pytest.raises(ConfigError, match="no option 'found'"):
        parse("post-training:found=1")


def test_bad_support(detector: Detector, cosine_detector: Detector, pool: Any, x: Tensor) -> None:
    defense = PostTraining(**STRONG)
    with pytest.raises(ConfigError, match="no support set yet"):
        defense(detector, x)
    for options in ({}, {"support": "whole"}):
        one_class = replace(pool, x=pool.x[::2], labels=pool.labels[::2])
        with pytest.raises(DataError, match=r"must hold reals and fakes, got .*reals only"):
            PostTraining(**options).fit(detector, one_class)
        leaking = replace(pool, x=torch.cat([pool.x, (x[:2] * 255).round().byte()] * 1))
        leaking = replace(leaking, labels=torch.cat([torch.from_numpy(pool.labels), torch.tensor([0, 1])]).numpy())
        fitted = PostTraining(per_class=41, **options).fit(detector, leaking)
        with pytest.raises(DataError, match="leak: the support set holds 2 of the 32 tested samples"):
            fitted(detector, x)
        fitted(detector, x[2:4])
    moved = deepcopy(detector)
    with torch.no_grad():
        next(moved.parameters()).add_(0.01)
    sized = Detector(detector.backbone, detector.head, mean=0.4, std=0.25).eval()
    for other in (cosine_detector, moved, sized):
        with pytest.raises(ConfigError, match="was fitted to another detector"):
            defense.fit(detector, pool)(other, x)
    before = {name: value.clone() for name, value in detector.state_dict().items()}
    detector.train()
    defense.fit(detector, pool).neighbours(detector, x)
    assert detector.training
    assert all(torch.equal(before[name], value) for name, value in detector.state_dict().items())
    headless = Detector(nn.Sequential(*detector.backbone, nn.Linear(12, 1)), nn.Identity(), mean=0.5, std=0.25).eval()
    with pytest.raises(ConfigError, match="freeze=false"):
        PostTraining(freeze=True).fit(headless, pool)
    with pytest.raises(DataError, match="x must be float"):
        defense.fit(detector, pool)(detector, x[0])


def test_text_there_and_back() -> None:
    assert describe(PostTraining()) == "post-training:algorithm=2,freeze=false"
    for text in (
        "post-training:algorithm=1,freeze=true,tau=0.5,draw=16",
        "post-training:algorithm=2,freeze=false,lr=0.01",
    ):
        assert describe(parse(text)) == text
    assert parse("post-training:eps=4/255,percentile=90").percentile == 90  # type: ignore[attr-defined]
