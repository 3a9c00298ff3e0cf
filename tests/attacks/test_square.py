"""Square: the published schedule, corners of the ball, queries counted row by row, peers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import Noise, Square
from unfooled.attacks.base import wrong_way
from unfooled.attacks.external import TwoClasses
from unfooled.attacks.square import share
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

EPS = Linf(8 / 255)
Net = tuple[Detector, Tensor, Tensor]


@pytest.mark.parametrize(
    ("query", "halvings"),
    [(0, 0), (10, 0), (11, 1), (50, 1), (51, 2), (200, 2), (501, 4), (1001, 5), (8001, 9), (9999, 9)],
)
def test_schedule_of_the_paper(query: int, halvings: int) -> None:
    assert share(0.8, query, 10000) == 0.8 / 2**halvings
    assert share(0.8, query // 10, 1000) == share(0.8, query // 10 * 10, 10000)


def test_every_pixel_lies_at_a_corner_of_the_ball(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    found = Square(EPS, queries=60)(tiny_detector, x, y)
    moved = found.distance > 0  # else x itself was worse than all of them
    assert moved.sum() > 4
    delta = (found.x - x)[moved]
    torch.testing.assert_close(delta.abs(), torch.full_like(delta, 8 / 255), rtol=0, atol=1e-6)


def test_it_starts_from_stripes(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    seen: list[Tensor] = []
    hook = tiny_detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    Square(EPS, queries=3).search(tiny_detector, x, y)
    hook.remove()
    stripes = (seen[1] - seen[0]).sign()
    assert (stripes == stripes[:, :, :1]).all()
    assert (stripes[0] != stripes[1]).any()


def test_more_queries_never_weaken_and_it_beats_noise(net: Net) -> None:
    detector, x, y = net
    way = wrong_way(y, x)
    none = way * detector(x).detach()
    few, many = (way * Square(EPS, queries=n)(detector, x, y).logits for n in (2, 400))
    noise = way * Noise(EPS, 400)(detector, x, y).logits
    assert (few >= none - 1e-6).all()
    assert (many > noise).all()
    assert many.mean() > few.mean()


def test_a_square_that_changes_nothing_is_not_asked_for(net: Net) -> None:
    detector, x, y = net
    seen: list[int] = []
    hook = detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    found = Square(EPS, queries=200)(detector, x, y)
    hook.remove()
    assert ((found.queries > 150) & (found.queries < 200)).all()
    assert sum(seen) == found.queries.sum() + len(x)


def test_stopping_at_the_flip_saves_queries_and_finds_the_same_successes(net: Net) -> None:
    detector, x, y = net
    attack = Square(Linf(32 / 255), queries=150)
    whole, stopped = attack(detector, x, y), replace(attack, stop_at_flip=True)(detector, x, y)
    assert torch.equal(whole.success, stopped.success)
    assert whole.success.any()
    assert stopped.queries[3] == stopped.queries[6] == 2  # wrong before the first square
    assert (stopped.queries[whole.success] < whole.queries[whole.success]).all()
    way = wrong_way(y, x)
    assert (way * whole.logits >= way * stopped.logits).all()


class Coarse(nn.Module):
    """Brightness in whole tenths, and no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return (10 * x.detach().flatten(1).mean(1, keepdim=True)).floor()


def test_needs_no_gradient_and_walks_on_where_the_score_stands_still() -> None:
    detector = Detector(Coarse(), nn.Identity())
    x, y = torch.full((2, 3, 16, 16), 0.55), torch.tensor([0, 1])
    start, end = (Square(Linf(0.01), queries=n)(detector, x, y) for n in (2, 50))
    assert torch.equal(start.logits, end.logits)
    assert (start.x != end.x).flatten(1).any(1).all()


def test_pixels_of_all_frames_move_alike(linear_detector: Detector) -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :, 0].flatten(1)

    detector = Detector(First(), linear_detector.head)
    x = torch.rand(2, 3, 4, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    stripes = (Square(Linf(0.1), queries=2)(detector, x, torch.tensor([0, 1])).x - x).sign()
    assert (stripes == stripes[:, :, :1]).all()


@pytest.mark.parametrize(
    "change", [{"queries": 90}, {"p": 0.1}, {"stop_at_flip": True}, {"seed": 1}, {"seed": None}], ids=str
)
def test_every_option_changes_something(change: dict[str, Any], net: Net) -> None:
    detector, x, y = net
    attack = Square(Linf(32 / 255), queries=60)
    assert not torch.equal(attack(detector, x, y).x, replace(attack, **change)(detector, x, y).x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 1}, "queries must be >= 2"),
        ({"p": 0.0}, "p must be in"),
        ({"p": 1.5}, "p must be in"),
        ({"threat": L2(0.5)}, "Square is an attack under norm linf, got l2"),
        ({"threat": Linf(math.inf)}, "eps must be finite"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Square(**{"threat": EPS, **options})


def test_succeeds_as_often_as_torchattacks(peer: Callable[[str], Any], net: Net) -> None:
    """With few samples only roughly; benchmarks/attacks.py compares on many."""
    detector, _, _ = net
    detector = detector.float().eval()
    x = torch.rand(64, 3, 32, 32, generator=torch.Generator().manual_seed(3)) * 0.5 + 0.25
    with torch.no_grad():
        y = (detector(x) > detector(x).median()).long()
    detector.threshold.fill_(detector(x).median().item())
    eps, queries = 8 / 255, 150
    theirs = peer("torchattacks").Square(TwoClasses(detector), eps=eps, n_queries=queries, loss="margin")(x, y)
    with torch.no_grad():
        success = (detector(theirs) > detector.threshold) != (y == 1)
    ours = Square(Linf(eps), queries=queries)(detector, x, y).success
    assert 0.1 < ours.float().mean() < 0.95
    assert (ours.float().mean() - success.float().mean()).abs() < 0.12
