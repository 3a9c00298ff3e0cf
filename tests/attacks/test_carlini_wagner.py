"""Carlini and Wagner: golden numbers, the shortest way on a plane, peers, and what each option does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unfooled.attacks import CarliniWagner, create
from unfooled.attacks.external import TwoClasses
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2

FREE = L2(math.inf)
Net = tuple[Detector, Tensor, Tensor]


def test_golden(net: Net, numbers: dict[str, np.ndarray]) -> None:
    """c = 0.5: torchattacks' margin of the two logits [-z/2, z/2] is z/2, for it compares them with 0."""
    detector, x, y = net
    found = CarliniWagner(FREE, c=0.5, early_stop=True)(detector, x, y)
    np.testing.assert_allclose(found.x.numpy(), numbers["torchattacks_cw_batch1"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.logits.numpy(), numbers["torchattacks_cw_batch1__z"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.distance.numpy(), numbers["torchattacks_cw_batch1__l2"], rtol=1e-3, atol=1e-5)
    assert found.success.all()


def test_on_a_plane_it_nears_the_threshold(linear_detector: Detector) -> None:
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    with torch.no_grad():
        z = linear_detector(x)
    found = CarliniWagner(FREE, steps=200, binary_search=6)(linear_detector, x, (z > 0).long())
    least = z.abs() / linear_detector.head.weight.detach().norm()
    assert found.success.all()
    assert (found.distance >= least * (1 - 1e-5)).all()
    assert (found.distance <= 1.1 * least + 1e-3).all()


def test_searching_c_shortens_the_way_and_finds_one_where_c_is_too_small(net: Net) -> None:
    detector, x, y = net
    attack = CarliniWagner(FREE)
    constant, searched = attack(detector, x, y), replace(attack, binary_search=5)(detector, x, y)
    assert (searched.distance <= constant.distance + 1e-6).all()
    assert searched.distance.sum() < 0.9 * constant.distance.sum()
    weak = replace(attack, c=1e-5, lr=1e-3)
    assert weak(detector, x, y).success.tolist() == [False, False, False, True, False, False, True, False]
    assert replace(weak, binary_search=6)(detector, x, y).success.all()


def test_a_failure_is_the_picture_itself_and_not_black(net: Net) -> None:
    detector, x, y = net
    found = CarliniWagner(FREE, c=1e-5, lr=1e-3)(detector, x, y)
    assert torch.equal(found.x, x)


def test_kappa_goes_beyond_the_threshold(net: Net) -> None:
    detector, x, y = net
    for kappa in (0.0, 1.5):
        found = CarliniWagner(FREE, c=5.0, kappa=kappa)(detector, x, y)
        assert ((1 - 2 * y) * found.logits >= kappa - 1e-4).all()
        assert (found.distance == 0).sum() == (2 if kappa == 0 else 0)


def test_the_threshold_is_the_detectors(net: Net) -> None:
    detector, x, y = net
    detector.threshold.fill_(0.4)
    found = CarliniWagner(FREE, c=2.0)(detector, x, y)
    assert found.success.all()
    assert ((found.logits - 0.4).abs() < 0.3)[found.distance > 0].all()


def test_pixels_at_the_edge_move_inwards(linear_detector: Detector) -> None:
    x = torch.zeros(2, 3, 8, 8)
    x[1] = 1
    with torch.no_grad():
        y = (linear_detector(x) > 0).long()
    linear_detector.head.bias.data.fill_(-0.3 if y[0] else 0.3)
    y = (linear_detector(x).detach() > 0).long()
    found = CarliniWagner(FREE, c=50.0, lr=0.5)(linear_detector, x, y)
    assert found.x.isfinite().all()
    assert found.distance.max() > 0


def test_what_rests_is_not_asked_again(net: Net) -> None:
    detector, x, y = net
    patient = CarliniWagner(FREE)(detector, x, y)
    assert patient.queries.tolist() == [50, 50, 50, 1, 50, 50, 1, 50]
    early = CarliniWagner(FREE, early_stop=True)(detector, x, y)
    assert (early.queries < 50).all()
    assert (early.distance >= patient.distance - 1e-6).all()


@pytest.mark.parametrize(
    "change",
    [{"c": 3.0}, {"kappa": 0.5}, {"steps": 9}, {"lr": 0.02}, {"binary_search": 1}, {"early_stop": True}],
    ids=str,
)
def test_every_option_changes_something(change: dict[str, Any], net: Net) -> None:
    detector, x, y = net
    attack = CarliniWagner(FREE)
    assert not torch.equal(attack(detector, x, y).x, replace(attack, **change)(detector, x, y).x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"c": 0.0}, "c must be > 0"),
        ({"lr": math.inf}, "lr must be > 0"),
        ({"kappa": -1.0}, "kappa must be >= 0"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"binary_search": -1}, "binary_search must be >= 0"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CarliniWagner(FREE, **options)


def test_its_own_threat() -> None:
    assert create("cw") == CarliniWagner(FREE)
    assert create("cw", eps=0.5, binary_search=3) == CarliniWagner(L2(0.5), binary_search=3)


def test_no_longer_than_the_peers_at_equal_success(peer: Callable[[str], Any], net: Net) -> None:
    foolbox, torchattacks = peer("foolbox"), peer("torchattacks")
    detector, x, y = net
    detector, x = detector.float().eval(), x.float()
    model = TwoClasses(detector)
    searched = CarliniWagner(FREE, c=1.0, binary_search=4)(detector, x, y)
    _, x_adv, success = foolbox.attacks.L2CarliniWagnerAttack(
        binary_search_steps=5, steps=50, stepsize=0.01, initial_const=1.0, abort_early=False
    )(foolbox.PyTorchModel(model, (0, 1), device="cpu"), x, y, epsilons=None)
    assert torch.equal(searched.success, success)
    assert searched.distance.mean() <= 1.02 * FREE.distance(x_adv - x).mean()
    theirs = torchattacks.CW(model, c=1, steps=50, lr=0.01)(x, y)
    ours = CarliniWagner(FREE, c=0.5)(detector, x, y)
    assert ours.success.all()
    assert ours.distance.mean() <= 1.02 * FREE.distance(theirs - x).mean()
