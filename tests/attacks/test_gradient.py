"""FGSM and PGD: golden numbers, closed forms, peers."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import FGSM, PGD, Attack, frozen
from unfooled.attacks.external import TwoClasses
from unfooled.attacks.gradient import ascend, autograd, divergence, feature_distance
from unfooled.errors import ConfigError
from unfooled.losses import binary_kl
from unfooled.models.detector import Detector, LinearHead
from unfooled.threats import L2, Linf

Golden = Callable[[str], Path]


def assert_golden(x_adv: Tensor, logits: Tensor, numbers: dict[str, np.ndarray], name: str) -> None:
    """The README's tolerance for sign attacks: 1e-5 on 99.9 % of the pixels, 1e-3 relative on z."""
    off = np.abs(x_adv.numpy() - numbers[name]) > 1e-5
    assert off.mean() <= 1e-3
    np.testing.assert_allclose(logits.numpy(), numbers[f"{name}__z"], rtol=1e-3)
    l2 = np.linalg.norm((x_adv.numpy() - numbers["x"]).reshape(8, -1), axis=1)
    np.testing.assert_allclose(l2, numbers[f"{name}__l2"], rtol=1e-3)


PLAIN_PGD = PGD(Linf(8 / 255), steps=10, step_size=2 / 255, random_start=False, keep="last")


@pytest.mark.parametrize(
    ("name", "attack"),
    [
        ("foolbox_linfpgd10", PLAIN_PGD),
        ("foolbox_linfpgd10_rel025", replace(PLAIN_PGD, step_size=None)),
        ("torchattacks_pgd10", PLAIN_PGD),
        ("foolbox_fgsm", FGSM(Linf(8 / 255))),
        ("torchattacks_fgsm", FGSM(Linf(8 / 255))),
    ],
)
def test_golden_pgd_and_fgsm(
    name: str, attack: Attack, net: tuple[Detector, Tensor, Tensor], numbers: dict[str, np.ndarray], golden: Golden
) -> None:
    detector, x, y = net
    found = attack(detector, x, y)
    assert_golden(found.x, found.logits, numbers, name)
    expected = json.loads(golden("attacks.json").read_text())["attacks"][name]
    assert found.success.tolist() == expected["misclassified_after"]
    np.testing.assert_allclose(found.distance.numpy(), expected["linf"], rtol=1e-5)


@pytest.mark.parametrize(("name", "step"), [("trades_fixed_noise", 0.007), ("trades_fixed_noise_step003", 0.003)])
def test_golden_trades(
    name: str,
    step: float,
    net: tuple[Detector, Tensor, Tensor],
    numbers: dict[str, np.ndarray],
    golden: Golden,
) -> None:
    detector, x, _ = net
    kl = []
    with frozen(detector), torch.no_grad():
        clean = detector(x)
        with torch.enable_grad():
            x_adv = ascend(
                Linf(0.031),
                x,
                x + torch.tensor(numbers["trades_noise"]).to(x),
                autograd(detector, divergence(clean)),
                steps=10,
                step_size=step,
                see=lambda _, logits: kl.append(8 * binary_kl(clean, logits).item()),
            )
        assert_golden(x_adv, detector(x_adv), numbers, name)
    expected = json.loads(golden("attacks.json").read_text())["kl_per_step"][name]
    np.testing.assert_allclose(kl, expected, rtol=1e-9 if x.dtype == torch.float64 else 2e-2)


def test_climbing_the_distance_of_logits_is_climbing_the_kl(net: tuple[Detector, Tensor, Tensor]) -> None:
    detector, x, _ = net
    detector, x = detector.double(), x.double()
    start = x + 0.01 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    clean = detector(x).detach()
    _, ours = autograd(detector, divergence(clean))(start)
    _, theirs = autograd(detector, lambda f, z: binary_kl(clean, z).expand(1))(start)
    for threat in (Linf(0.1), L2(1.0)):
        torch.testing.assert_close(threat.direction(ours), threat.direction(theirs), rtol=1e-8, atol=1e-8)


def test_at_the_clean_logit_the_divergence_still_has_a_way_out() -> None:
    logits = torch.zeros(3, requires_grad=True)
    divergence(torch.zeros(3))(torch.empty(3, 1), logits).sum().backward()
    assert logits.grad is not None
    assert (logits.grad == 1).all()


def test_saturated_logits_do_not_blind_any_loss(net: tuple[Detector, Tensor, Tensor]) -> None:
    detector, x, y = net
    detector.head.weight.data.mul_(50)
    detector.head.bias.data.mul_(50)
    for loss in ("margin", "kl"):
        found = PGD(Linf(8 / 255), steps=5, loss=loss, keep="last")(detector, x, y)  # type: ignore[arg-type]
        assert (found.distance > 7.9 / 255).all()
        if loss == "margin":
            assert found.success.all()


# closed forms


def linear(detector: Detector, x: Tensor, y: Tensor, threat: Linf | L2) -> Tensor:
    """The best point of the ball on z = w.x + b, while no pixel meets the edge of [0, 1]."""
    w = detector.head.weight.detach().reshape(1, 3, 8, 8)
    way = (1 - 2 * y).reshape(-1, 1, 1, 1)
    unit = w.sign() if isinstance(threat, Linf) else w / w.norm()
    return x + threat.eps * way * unit


@pytest.mark.parametrize("threat", [Linf(8 / 255), L2(0.5)], ids=str)
@pytest.mark.parametrize(
    "make",
    [
        FGSM,
        PGD,
        lambda t: PGD(t, random_start=False),
        lambda t: PGD(t, keep="last"),
        lambda t: PGD(t, restarts=2),
        lambda t: PGD(t, start="gaussian"),
        lambda t: PGD(t, steps=30, loss="margin+features", weight=1e-3),
    ],
)
def test_a_linear_detector_gives_the_closed_form(
    threat: Linf | L2, make: Callable[[Linf | L2], Attack], linear_detector: Detector
) -> None:
    x = torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 0.6 + 0.2
    y = torch.arange(6) % 2
    best = linear(linear_detector, x, y, threat)
    found_by = make(threat)
    found = found_by(linear_detector, x, y)
    with torch.no_grad():
        clean, goal = linear_detector(x), linear_detector(best)
    gain = (found.logits - clean) / (goal - clean)
    # On the sphere a random start only creeps towards the pole.
    exact = isinstance(threat, Linf) or not getattr(found_by, "random_start", False)
    assert (gain <= 1 + 1e-4).all()
    assert (gain >= (0.999 if exact else 0.97)).all()
    if exact:
        torch.testing.assert_close(found.x, best, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.distance, torch.full((6,), threat.eps), rtol=1e-3, atol=0)


def test_the_feature_attack_turns_the_features_away(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    cosines = []
    for loss in ("margin", "features"):
        x_adv = PGD(Linf(0.1), loss=loss, keep="last").search(tiny_detector, x, y)  # type: ignore[arg-type]
        with torch.no_grad():
            away = feature_distance(tiny_detector.features(x))(tiny_detector.features(x_adv), x.new_zeros(8))
        cosines.append(away.mean().item())
    assert cosines[1] > cosines[0]


def test_labels_do_not_matter_to_kl_and_features(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    x, y = batch
    for loss in ("kl", "features"):
        attack = PGD(Linf(0.05), loss=loss, keep="last")  # type: ignore[arg-type]
        assert torch.equal(attack.search(tiny_detector, x, y), attack.search(tiny_detector, x, 1 - y))


# keep, restarts, steps


def test_worst_is_never_weaker_than_last_and_restarts_never_weaken(
    tiny_detector: Detector, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    way = 1 - 2 * y
    attack = PGD(Linf(0.3), steps=3, loss="features")
    last, worst, restarted = (
        way * a(tiny_detector, x, y).logits for a in (replace(attack, keep="last"), attack, replace(attack, restarts=3))
    )
    assert (worst >= last - 1e-6).all()
    assert (worst > last + 1e-6).any()
    assert (restarted >= worst - 1e-6).all()


@pytest.mark.parametrize(
    ("attack", "queries"),
    [
        (FGSM(Linf(0.1)), 1),
        (PGD(Linf(0.1), steps=7, keep="last"), 7),
        (PGD(Linf(0.1), steps=7), 9),
        (PGD(Linf(0.1), steps=7, restarts=3), 25),
        (PGD(Linf(0.1), steps=7, loss="kl", keep="last"), 8),
    ],
)
def test_one_forward_a_step(
    attack: Attack, queries: int, tiny_detector: Detector, batch: tuple[Tensor, Tensor]
) -> None:
    assert attack(tiny_detector, *batch).queries.tolist() == [queries] * 8


# awkward detectors


class Odd(nn.Module):
    """Features with a slope that is undefined, 0, missing, or one value shared in memory by all pixels."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)[:, :16]
        if self.kind == "root":
            return (flat - flat.detach()).square().sum(1, keepdim=True).sqrt().expand(-1, 16) + flat
        if self.kind == "detached":
            return flat.detach()
        return flat.round() if self.kind == "steps" else x.sum((1, 2, 3)).unsqueeze(1).expand(-1, 16)


@pytest.mark.parametrize("kind", ["root", "steps", "shared"])
@pytest.mark.parametrize("threat", [Linf(0.1), L2(1.0)], ids=str)
def test_zero_and_undefined_gradients_do_not_crash(kind: str, threat: Linf | L2, batch: tuple[Tensor, Tensor]) -> None:
    detector = Detector(Odd(kind), LinearHead(16))
    for attack in (PGD(threat), FGSM(threat), PGD(threat, loss="kl"), PGD(threat, loss="features")):
        found = attack(detector, *batch)
        assert found.x.isfinite().all()
        assert (found.distance <= threat.eps + 1e-5).all()


def test_a_detector_without_gradient_is_a_clear_error(batch: tuple[Tensor, Tensor]) -> None:
    with pytest.raises(ConfigError, match="white-box attack needs a detector with gradients"):
        PGD(Linf(0.1))(Detector(Odd("detached"), LinearHead(16)), *batch)


# peers


def test_foolbox_agrees(peer: Callable[[str], Any], tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    foolbox = peer("foolbox")
    x, y = (t.double() if t.is_floating_point() else t for t in batch)
    model = foolbox.PyTorchModel(TwoClasses(tiny_detector.double()).eval(), bounds=(0, 1), device="cpu")
    for threat, theirs, fgsm in (
        (Linf(8 / 255), foolbox.attacks.LinfPGD, foolbox.attacks.LinfFastGradientAttack),
        (L2(0.5), foolbox.attacks.L2PGD, foolbox.attacks.L2FastGradientAttack),
    ):
        step = threat.eps / 4
        ours = PGD(threat, steps=6, step_size=step, random_start=False, keep="last")(tiny_detector, x, y)
        _, x_adv, success = theirs(abs_stepsize=step, steps=6, random_start=False)(model, x, y, epsilons=threat.eps)
        torch.testing.assert_close(ours.x, x_adv, rtol=0, atol=1e-6)
        assert torch.equal(ours.success, success)
        _, x_adv, _ = fgsm(random_start=False)(model, x, y, epsilons=threat.eps)
        torch.testing.assert_close(FGSM(threat)(tiny_detector, x, y).x, x_adv, rtol=0, atol=1e-6)


def test_torchattacks_agrees(peer: Callable[[str], Any], tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    torchattacks = peer("torchattacks")
    x, y = batch
    model = TwoClasses(tiny_detector).eval()
    theirs = torchattacks.PGD(model, eps=8 / 255, alpha=2 / 255, steps=6, random_start=False)(x, y)
    ours = PGD(Linf(8 / 255), steps=6, step_size=2 / 255, random_start=False, keep="last")(tiny_detector, x, y).x
    assert ((ours - theirs).abs() > 1e-5).double().mean() <= 1e-3
    theirs = torchattacks.FGSM(model, eps=8 / 255)(x, y)
    assert ((FGSM(Linf(8 / 255))(tiny_detector, x, y).x - theirs).abs() > 1e-5).double().mean() <= 1e-3


@pytest.mark.parametrize("threat", [Linf(2 / 255), L2(0.5)])
def test_the_worst_is_never_better_for_the_detector_than_x_itself(
    tiny_detector: Detector, batch: tuple[Tensor, Tensor], threat: Linf | L2
) -> None:
    x, y = batch
    # Moving the features away from the clean ones moves the logit either way.
    attack = PGD(threat, steps=2, loss="features")
    harm = (1 - 2 * y) * (attack(tiny_detector, x, y).logits - tiny_detector(x))
    assert (harm >= -1e-6).all()


def test_a_step_across_the_ball_is_a_slip_of_the_unit() -> None:
    with pytest.raises(ConfigError, match="step_size must be <= 2"):
        PGD(Linf(8 / 255), step_size=1.0)
    PGD(Linf(8 / 255), step_size=16 / 255)
