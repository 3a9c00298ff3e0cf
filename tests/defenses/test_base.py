"""The promises of every defense in the registry, and the view that an adaptive attacker has."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from unfooled.attacks import APGD, FGSM, PGD, DeepFool, Square
from unfooled.defenses import (
    DEFENSES,
    Defended,
    Defense,
    Jpeg,
    PostTraining,
    Resize,
    Smoothing,
    create,
    describe,
    parse,
)
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

READY: dict[str, Defense] = {
    "jpeg": Jpeg(40), "post-training": PostTraining(freeze=True, lr=0.05, tau=0.5), "resize": Resize(0.5),
    "smoothing": Smoothing(0.1, 8),
}  # fmt: skip
THREAT = Linf(8 / 255)


@pytest.fixture(params=sorted(READY))
def defense(request: pytest.FixtureRequest, detector: Detector, pool: Any) -> Defense:
    return READY[request.param].fit(detector, pool)


def snapshot(detector: Detector) -> list[Any]:
    tensors = [t.detach().clone() for t in [*detector.state_dict().values(), detector.threshold]]
    return [tensors, [m.training for m in detector.modules()], [p.requires_grad for p in detector.parameters()]]


def same(a: list[Any], b: list[Any]) -> bool:
    return a[1:] == b[1:] and all(torch.equal(s, t) for s, t in zip(a[0], b[0], strict=True))


def test_the_registry_is_whole() -> None:
    assert set(READY) == set(DEFENSES)
    for name, kind in DEFENSES.items():
        assert kind.name == name
        assert parse(describe(create(name))) == create(name)


def test_a_defense_leaves_the_detector_alone_and_does_something(
    defense: Defense, detector: Detector, x: Tensor
) -> None:
    detector.train()
    before = snapshot(detector)
    answers = defense(detector, x)
    assert same(before, snapshot(detector))
    detector.eval()
    assert answers.shape == (32,)
    assert not answers.requires_grad
    with torch.no_grad():
        assert not torch.allclose(answers, detector(x), atol=1e-4)


def test_deterministic_and_alone_as_in_a_batch(defense: Defense, detector: Detector, x: Tensor) -> None:
    together = defense(detector, x[:6])
    assert torch.equal(defense(detector, x[:6]), together)
    alone = torch.cat([defense(detector, one) for one in x[:6].split(1)])
    torch.testing.assert_close(alone, together, rtol=0, atol=1e-5)
    assert defense(detector, x[:0]).shape == (0,)


def test_clips(clip_detector: Detector, pixels: Any) -> None:
    pool, x = pixels(20, 1, 4), pixels(3, 2, 4).x.float() / 255
    for defense in READY.values():
        assert defense.fit(clip_detector, pool)(clip_detector, x).shape == (3,)


def test_what_is_no_batch_is_refused(defense: Defense, detector: Detector, x: Tensor) -> None:
    for bad in (x[0], x[:, :1], (x * 255).byte()):
        with pytest.raises(DataError, match="x must be float"):
            defense(detector, bad)


def test_defended_answers_as_the_defense(defense: Defense, detector: Detector, x: Tensor) -> None:
    view = Defended(defense, detector)
    with torch.no_grad():
        assert torch.equal(view(x), defense(detector, x))
        assert torch.equal(view.classify(view.features(x)), view(x))
    assert view.threshold is detector.threshold
    leaf = x[:4].clone().requires_grad_()
    logits = view(leaf)
    torch.testing.assert_close(logits.detach(), defense(detector, x[:4]), rtol=0, atol=1e-5)
    (gradient,) = torch.autograd.grad(logits.sum(), leaf)
    assert (gradient.flatten(1).abs().sum(1) > 0).all()
    with pytest.raises(ConfigError, match="retune must be >= 1"):
        Defended(defense, detector, 0)


def test_the_gradient_holds_what_the_defense_decided(detector: Detector, pool: Any, x: Tensor) -> None:
    """Against finite differences of the tuned copy, its weights fixed."""
    for freeze in (True, False):
        defense = PostTraining(freeze=freeze, lr=0.05, tau=0.3).fit(detector, pool)
        one = x[:2].clone().requires_grad_()
        (gradient,) = torch.autograd.grad(Defended(defense, detector)(one).sum(), one)
        with torch.no_grad():
            answer = defense.adapt(detector, x[:2])
            step = torch.zeros_like(x[:2])
            step[:, 0, 3, 4] = 1e-2
            slope = (answer(x[:2] + step) - answer(x[:2] - step)) / 2e-2
        torch.testing.assert_close(gradient[:, 0, 3, 4], slope, rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("attack", [FGSM(THREAT), PGD(THREAT, 3), APGD(THREAT, steps=4, restarts=1)], ids=repr)
def test_attacks_go_through(attack: Any, defense: Defense, detector: Detector, x: Tensor) -> None:
    y = torch.arange(6) % 2
    before = snapshot(detector)
    found = attack(Defended(defense, detector), x[:6], y)
    assert same(before, snapshot(detector))
    assert (found.distance <= THREAT.eps + 1e-6).all()
    torch.testing.assert_close(found.logits, defense(detector, found.x), rtol=0, atol=1e-5)
    harm = (1 - 2 * y) * (found.logits - defense(detector, x[:6]))
    assert harm.mean() > 0
    assert (found.queries > 0).all()


def test_other_searches_go_through_too(detector: Detector, pool: Any, x: Tensor) -> None:
    defense = PostTraining(freeze=True, lr=0.05, tau=0.3).fit(detector, pool)
    y = torch.arange(4) % 2
    for attack in (DeepFool(L2(float("inf"))), Square(THREAT, queries=5)):
        found = attack(Defended(defense, detector), x[:4], y)
        torch.testing.assert_close(found.logits, defense(detector, found.x), rtol=0, atol=1e-5)


def test_retune_asks_the_defense_less_often(detector: Detector, pool: Any, x: Tensor) -> None:
    calls = []

    class Counting(PostTraining):
        def adapt(self, detector: Detector, x: Tensor) -> Any:
            calls.append(len(x))
            return super().adapt(detector, x)

    defense = Counting(lr=0.05, tau=0.3).fit(detector, pool)
    for retune, expected in ((1, 6), (3, 2)):
        view = Defended(defense, detector, retune)
        calls.clear()
        for _ in range(6):
            leaf = x[:2].clone().requires_grad_()
            torch.autograd.grad(view(leaf).sum(), leaf)
        assert len(calls) == expected
        view(x[:3].clone().requires_grad_())
        assert len(calls) == expected + 1
        # An attack asks without a gradient where a walk ends: the next one does not inherit what was decided.
        view(x[3:6])
        calls.clear()
        view(x[3:6].clone().requires_grad_())
        assert len(calls) == 1
