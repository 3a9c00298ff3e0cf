"""Transfer: made on one detector, judged on another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from unfooled.attacks import PGD, Attack, Transfer, create
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf


@dataclass(frozen=True)
class Learner(PGD):
    """Remembers whom it learned from."""

    teacher: int = 0

    def fit(self, detector: Detector, batches: Iterable[tuple[Tensor, Tensor]]) -> Learner:
        return replace(self, teacher=id(detector))


@pytest.fixture
def surrogate(linear_detector: Detector) -> Detector:
    return linear_detector


@pytest.fixture
def small(batch: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return batch[0][:, :, :8, :8].contiguous(), batch[1]


def test_the_perturbation_is_the_surrogates_and_the_judge_the_targets(
    surrogate: Detector, tiny_detector: Detector, small: tuple[Tensor, Tensor]
) -> None:
    attack: Attack = PGD(Linf(8 / 255))
    found = Transfer(Linf(8 / 255), attack, surrogate)(tiny_detector, *small)
    torch.testing.assert_close(found.x, attack(surrogate, *small).x, rtol=0, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(found.logits, tiny_detector(found.x))
    assert found.queries.tolist() == [0] * 8


def test_its_own_threat_decides(surrogate: Detector, tiny_detector: Detector, small: tuple[Tensor, Tensor]) -> None:
    found = Transfer(Linf(1 / 255), PGD(L2(3.0)), surrogate)(tiny_detector, *small)
    assert found.distance.max() <= 1 / 255 + 1e-6
    assert found.distance.min() > 0.9 / 255
    with pytest.raises(ConfigError, match="eps must be finite"):
        Transfer(Linf(float("inf")), PGD(L2(3.0)), surrogate)


def test_both_detectors_stay_as_they_were(
    surrogate: Detector, tiny_detector: Detector, small: tuple[Tensor, Tensor]
) -> None:
    surrogate.train()
    create("transfer", surrogate=surrogate, attack="fgsm")(tiny_detector.train(), *small)
    assert surrogate.training
    assert tiny_detector.training
    assert all(p.requires_grad and p.grad is None for p in (*surrogate.parameters(), *tiny_detector.parameters()))


def test_learning_happens_on_the_surrogate(surrogate: Detector, tiny_detector: Detector) -> None:
    fitted = Transfer(Linf(0.1), Learner(Linf(0.1)), surrogate).fit(tiny_detector, [])
    assert fitted.attack == Learner(Linf(0.1), teacher=id(surrogate))
    assert Transfer(Linf(0.1), PGD(Linf(0.1)), surrogate).fit(tiny_detector, []).surrogate is surrogate
