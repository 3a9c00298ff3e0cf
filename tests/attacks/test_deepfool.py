"""DeepFool: golden numbers, the closed form on a plane, peers, and the rows that need no more work."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unfooled.attacks import DeepFool, create
from unfooled.attacks.external import TwoClasses
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

FREE = L2(math.inf)
Net = tuple[Detector, Tensor, Tensor]


def test_golden(net: Net, numbers: dict[str, np.ndarray]) -> None:
    detector, x, y = net
    found = DeepFool(FREE)(detector, x, y)
    np.testing.assert_allclose(found.x.numpy(), numbers["torchattacks_deepfool"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(found.logits.numpy(), numbers["torchattacks_deepfool__z"], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.distance.numpy(), numbers["torchattacks_deepfool__l2"], rtol=1e-3, atol=1e-6)
    assert found.success.all()
    assert (found.distance == 0).tolist() == [False, False, False, True, False, False, True, False]


@pytest.mark.parametrize("threshold", [0.0, 0.7])
@pytest.mark.parametrize("overshoot", [0.02, 0.5])
def test_on_a_plane_one_step_lands_just_beyond_the_threshold(
    threshold: float, overshoot: float, linear_detector: Detector
) -> None:
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    linear_detector.threshold.fill_(threshold)
    with torch.no_grad():
        away = linear_detector(x) - threshold
    y = (away > 0).long()
    found = DeepFool(FREE, overshoot=overshoot)(linear_detector, x, y)
    w = linear_detector.head.weight.detach().norm()
    torch.testing.assert_close(found.distance, (1 + overshoot) * away.abs() / w, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.logits - threshold, -overshoot * away, rtol=1e-3, atol=1e-5)
    assert found.queries.tolist() == [2] * 6


def test_what_is_finished_is_not_asked_again(net: Net) -> None:
    detector, x, y = net
    seen: list[int] = []
    hook = detector.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    found = DeepFool(FREE)(detector, x, y)
    hook.remove()
    assert found.queries.tolist() == [2, 2, 2, 1, 2, 2, 1, 3]
    assert seen == [8, 6, 1, 8]  # three steps and the judge


def test_a_finite_radius_cuts_and_judges(net: Net) -> None:
    detector, x, y = net
    free, cut = DeepFool(FREE)(detector, x, y), DeepFool(L2(0.1))(detector, x, y)
    within = free.distance <= 0.1
    assert torch.equal(cut.success, within)
    torch.testing.assert_close(cut.x[within], free.x[within], rtol=0, atol=1e-6)
    assert (cut.distance <= 0.1 + 1e-6).all()


def test_where_it_fails_the_picture_stays(net: Net) -> None:
    detector, x, y = net
    found = DeepFool(FREE, steps=1)(detector, x, y)
    assert found.success.sum() == 7  # the last row needs two steps
    assert found.distance[~found.success].tolist() == [0.0]
    assert torch.equal(found.x[~found.success], x[~found.success])


def test_a_tiny_gradient_does_not_underflow(linear_detector: Detector) -> None:
    linear_detector.head.weight.data.mul_(1e-24)
    linear_detector.head.bias.data.fill_(1e-26)
    found = DeepFool(FREE)(linear_detector, torch.full((2, 3, 8, 8), 0.5), torch.tensor([1, 0]))
    assert found.x.isfinite().all()
    assert (found.distance < 28).all()


def test_peers_find_the_same_distance(peer: Callable[[str], Any], net: Net) -> None:
    foolbox, torchattacks = peer("foolbox"), peer("torchattacks")
    detector, x, y = net
    detector.eval()
    ours = DeepFool(FREE)(detector, x, y)
    model = TwoClasses(detector)
    _, x_adv, success = foolbox.attacks.L2DeepFoolAttack(steps=50, overshoot=0.02, candidates=2)(
        foolbox.PyTorchModel(model, (0, 1), device="cpu"), x, y, epsilons=None
    )
    assert torch.equal(success, ours.success)
    assert (ours.distance <= 1.02 * FREE.distance(x_adv - x) + 1e-6).all()
    theirs = torchattacks.DeepFool(model.float(), steps=50, overshoot=0.02)(x.float(), y).to(x)
    torch.testing.assert_close(ours.x, theirs, rtol=0, atol=1e-4)


def test_its_own_threat() -> None:
    assert create("deepfool") == DeepFool(FREE)
    assert create("deepfool", eps=0.5) == DeepFool(L2(0.5))
    with pytest.raises(ConfigError, match="DeepFool is an attack under norm l2, got linf; write norm=l2"):
        create("deepfool", norm="linf")
    with pytest.raises(ConfigError, match="norm l2"):
        DeepFool(Linf(0.1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be >= 1"),
        ({"overshoot": -0.1}, "overshoot must be >= 0"),
        ({"overshoot": math.nan}, "overshoot"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        DeepFool(FREE, **options)
