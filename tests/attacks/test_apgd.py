"""APGD: its schedule, closed forms, and at least what PGD finds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from unfooled.attacks import APGD, PGD
from unfooled.attacks.apgd import checkpoints, climb
from unfooled.attacks.base import wrong_way
from unfooled.attacks.external import TwoClasses
from unfooled.attacks.gradient import ascend, autograd, margin
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

Net = tuple[Detector, Tensor, Tensor]


def test_checkpoints_of_the_paper() -> None:
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1] * 8
    assert all(0 < look <= 10 for look in checkpoints(10))


@pytest.mark.parametrize("threat", [Linf(2 / 255), Linf(16 / 255), L2(0.1), L2(1.0)], ids=str)
@pytest.mark.parametrize("steps", [10, 40])
def test_finds_at_least_what_pgd_finds(threat: Linf | L2, steps: int, net: Net) -> None:
    detector, x, y = net
    way = wrong_way(y, x)
    ours, theirs = (way * a(detector, x, y).logits for a in (APGD(threat, steps, 1), PGD(threat, steps)))
    assert ours.mean() >= theirs.mean() - 1e-3 * theirs.abs().mean()


@pytest.mark.parametrize("threat", [Linf(8 / 255), L2(0.5)], ids=str)
def test_a_linear_detector_gives_the_closed_form(threat: Linf | L2, linear_detector: Detector) -> None:
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    y = torch.arange(6) % 2
    w = linear_detector.head.weight.detach()
    reach = threat.eps * (w.abs().sum() if isinstance(threat, Linf) else w.norm())
    found = APGD(threat, steps=30, restarts=1)(linear_detector, x, y)
    with torch.no_grad():
        gain = wrong_way(y, x) * (found.logits - linear_detector(x))
    torch.testing.assert_close(gain, reach.expand(6), rtol=1e-3, atol=0)


def test_first_step_is_twice_the_radius_and_a_stall_halves_it(linear_detector: Detector) -> None:
    """On a plane one step reaches the best point, so every look finds a stall: 2 eps, then eps, then eps / 2."""
    x, y = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1])
    seen: list[Tensor] = []
    sizes = []

    class Told(Linf):
        def direction(self, gradient: Tensor) -> Tensor:
            sizes.append(None)
            return super().direction(gradient)

    threat = Told(0.1)
    slope = autograd(linear_detector, margin(y))
    end = climb(threat, x, x, slope, lambda z: wrong_way(y, z) * z, 20, see=lambda at, _: seen.append(at))
    assert len(seen) == len(sizes) == 20
    torch.testing.assert_close(seen[1], ascend(threat, x, x, slope, 1, 0.2))
    torch.testing.assert_close(end, seen[1])


def test_a_row_that_overshoots_returns_to_its_best_point() -> None:
    """A tent around 0.3: steps of 2 eps jump across its top, smaller ones climb it."""
    x = torch.zeros(1, 3, 1, 1) + 0.5

    def slope(at: Tensor) -> tuple[Tensor, Tensor]:
        height = -(at - 0.3).abs().flatten(1).sum(1)
        return height, (0.3 - at).sign()

    heights: list[float] = []
    climb(Linf(0.4), x, x, slope, lambda z: z, 60, see=lambda _, z: heights.append(z.item()))
    crude = ascend(Linf(0.4), x, x, slope, 60, 0.8)
    assert max(heights) > -0.02
    assert slope(crude)[0].item() < -0.5


@pytest.mark.parametrize(
    ("change", "queries"), [({}, 8), ({"steps": 9}, 11), ({"restarts": 3}, 22), ({"restarts": 3, "steps": 1}, 7)]
)
def test_queries(change: dict[str, int], queries: int, tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    attack = APGD(Linf(0.1), **{"steps": 6, "restarts": 1, **change})
    assert attack(tiny_detector, *batch).queries.tolist() == [queries] * 8


@pytest.mark.parametrize(
    "change", [{"steps": 9}, {"restarts": 3}, {"momentum": 1.0}, {"rho": 0.0}, {"seed": 1}, {"seed": None}], ids=str
)
def test_every_option_changes_something(change: dict[str, Any], net: Net) -> None:
    detector, x, y = net
    attack = APGD(Linf(16 / 255), steps=8, restarts=1)
    assert not torch.equal(attack(detector, x, y).x, replace(attack, **change)(detector, x, y).x)


def test_more_restarts_never_weaken(net: Net) -> None:
    detector, x, y = net
    one, three = (wrong_way(y, x) * APGD(Linf(0.1), 5, n)(detector, x, y).logits for n in (1, 3))
    assert (three >= one - 1e-6).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be >= 1"),
        ({"restarts": 0}, "restarts must be >= 1"),
        ({"momentum": 1.1}, "momentum must be in"),
        ({"rho": -0.1}, "rho must be in"),
        ({"threat": L2(float("inf"))}, "eps must be finite"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        APGD(**{"threat": Linf(0.1), **options})


def test_at_least_what_arts_finds(peer: Callable[[str], Any], net: Net) -> None:
    """ART's is the published one on cross-entropy, so it may only be weaker."""
    evasion, estimators = peer("art.attacks.evasion"), peer("art.estimators.classification")
    detector, x, y = net
    detector, x = detector.float().eval(), x.float()
    model = estimators.PyTorchClassifier(
        TwoClasses(detector), torch.nn.CrossEntropyLoss(), (3, 32, 32), 2, clip_values=(0, 1), device_type="cpu"
    )
    eps = 4 / 255
    theirs = evasion.AutoProjectedGradientDescent(
        model, eps=eps, eps_step=2 * eps, max_iter=20, nb_random_init=1, loss_type="cross_entropy", verbose=False
    ).generate(x.numpy(), torch.nn.functional.one_hot(y, 2).numpy())
    with torch.no_grad():
        harm = wrong_way(y, x) * detector(torch.from_numpy(theirs))
    ours = wrong_way(y, x) * APGD(Linf(eps), 20, 1)(detector, x, y).logits
    assert ours.mean() >= harm.mean() - 1e-3
