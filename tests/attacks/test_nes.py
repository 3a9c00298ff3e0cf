"""NES: the gradient that answers alone can tell."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.attacks import nes as module
from unfooled.attacks.gradient import autograd, margin
from unfooled.attacks.nes import nes
from unfooled.models.detector import Detector
from unfooled.randomness import generators


@pytest.fixture
def inner() -> Tensor:
    return torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.6 + 0.2


def test_many_pairs_find_the_gradient_of_a_linear_detector(linear_detector: Detector, inner: Tensor) -> None:
    detector, way = linear_detector.double(), torch.tensor([1.0, -1.0, 1.0])
    w = detector.head.weight.detach().reshape(1, 3, 8, 8)
    _, slope = nes(detector, way, inner, pairs=2000)(inner)
    expected = way.reshape(-1, 1, 1, 1) * w
    assert (F.cosine_similarity(slope.flatten(1), expected.flatten(1)) > 0.9).all()
    # Not only the direction: the estimate has no bias.
    assert ((slope * expected).flatten(1).sum(1) / w.square().sum() - 1).abs().max() < 0.15


def test_a_curved_detector_too(tiny_detector: Detector, inner: Tensor) -> None:
    detector, y = tiny_detector.double(), torch.tensor([0, 1, 1])
    _, exact = autograd(detector, margin(y))(inner)
    _, slope = nes(detector, 1.0 - 2 * y, inner, pairs=1500)(inner)
    assert (F.cosine_similarity(slope.flatten(1), exact.flatten(1)) > 0.85).all()


@pytest.mark.parametrize("together", [2, 10, 1000])
def test_it_is_the_formula(
    together: int, tiny_detector: Detector, inner: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ROWS", together)
    detector, x_adv, sigma = tiny_detector.double(), inner + 0.01, 0.002
    logits, slope = nes(detector, -torch.ones(3), inner, pairs=5, sigma=sigma, seed=7)(x_adv)
    for i in range(3):
        total, answers = torch.zeros(3, 8, 8, dtype=torch.float64), []
        (source,) = generators(inner[i : i + 1], 7, "nes")
        for _ in range(5):
            d = torch.empty(3, 8, 8).normal_(generator=source).double()
            with torch.no_grad():
                up, down = detector((x_adv[i] + sigma * d)[None]), detector((x_adv[i] - sigma * d)[None])
            total += -(up - down) / (2 * sigma) * d
            answers += [up, down]
        torch.testing.assert_close(slope[i], total / 5, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(logits[i], torch.cat(answers).mean())


def test_it_asks_twice_a_pair_inside_the_pixel_range_and_without_gradients(
    tiny_detector: Detector, batch: tuple[Tensor, Tensor]
) -> None:
    asked: list[Tensor] = []

    def ask(x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        asked.append(x)
        logits: Tensor = tiny_detector(x)
        return logits

    x = batch[0].clone()
    x[:, :, :4] = 0
    x[:, :, 4:8] = 1
    with torch.enable_grad():
        logits, slope = nes(ask, torch.ones(8), x, pairs=20)(x)
    assert sum(len(a) for a in asked) == 2 * 20 * 8
    assert all(a.min() >= 0 and a.max() <= 1 for a in asked)
    assert all(len(a) <= module.ROWS for a in asked)
    assert slope.shape == x.shape
    assert not slope.requires_grad
    torch.testing.assert_close(logits, tiny_detector(x).detach(), rtol=0, atol=1e-3)


def test_on_the_edge_of_the_pixel_range_the_estimate_is_halved(linear_detector: Detector) -> None:
    detector, x = linear_detector.double(), torch.full((1, 3, 8, 8), 0.5, dtype=torch.float64)
    x[..., :4] = 0
    w = detector.head.weight.detach().reshape(1, 3, 8, 8)
    _, slope = nes(detector, torch.ones(1), x, pairs=4000)(x)
    ratio = [((slope * w)[..., part].sum() / w[..., part].square().sum()).item() for part in (slice(4), slice(4, 8))]
    assert abs(ratio[0] - 0.5) < 0.1
    assert abs(ratio[1] - 1) < 0.15


def test_a_row_is_its_own_and_the_seed_decides(tiny_detector: Detector, inner: Tensor) -> None:
    detector, way = tiny_detector.double(), torch.ones(3)
    _, slope = nes(detector, way, inner, seed=3)(inner)
    _, alone = nes(detector, way[:1], inner[1:2], seed=3)(inner[1:2])
    torch.testing.assert_close(alone[0], slope[1], rtol=0, atol=1e-9)
    assert not torch.equal(nes(detector, way, inner, seed=4)(inner)[1], slope)
    assert not torch.equal(nes(detector, way, inner, seed=3, pairs=21)(inner)[1], slope)
    assert not torch.equal(nes(detector, way, inner, seed=3, sigma=0.01)(inner)[1], slope)
    torch.testing.assert_close(nes(detector, -way, inner, seed=3)(inner)[1], -slope)
    torch.manual_seed(0)
    first = nes(detector, way, inner, seed=None)(inner)[1]
    assert not torch.equal(nes(detector, way, inner, seed=None)(inner)[1], first)
    torch.manual_seed(0)
    assert torch.equal(nes(detector, way, inner, seed=None)(inner)[1], first)


def test_logits_not_probabilities_so_confidence_does_not_blind_it(linear_detector: Detector, inner: Tensor) -> None:
    detector = linear_detector.double()
    torch.nn.init.constant_(detector.head.bias, 60.0)
    _, slope = nes(detector, torch.ones(3), inner)(inner)
    assert (slope.flatten(1).norm(dim=1) > 0.1).all()


def test_clips(linear_detector: Detector) -> None:
    x = torch.rand(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    logits, slope = nes(linear_detector.double(), torch.ones(2), x, pairs=3)(x)
    assert slope.shape == x.shape
    assert logits.shape == (2,)
