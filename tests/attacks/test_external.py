"""Attacks of other libraries: they search, we judge."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import PGD, Adversarial, Attack, describe
from unfooled.attacks.external import External, TwoClasses, external
from unfooled.errors import ConfigError
from unfooled.evaluation import Condition
from unfooled.models.detector import Detector
from unfooled.models.remote import remote
from unfooled.threats import L2, Linf

EPS = 8 / 255
Batch = tuple[Tensor, Tensor]


def torchattacks(name: str, **options: Any) -> Any:
    return lambda threat: external(getattr(pytest.importorskip("torchattacks"), name), threat, **options)


def foolbox(name: str, **options: Any) -> Any:
    return lambda threat: external(getattr(pytest.importorskip("foolbox").attacks, name)(**options), threat)


def art(name: str, **options: Any) -> Any:
    return lambda threat: external(getattr(pytest.importorskip("art.attacks.evasion"), name), threat, **options)


PEERS = {
    "torchattacks.PGD": torchattacks("PGD", alpha=2 / 255, steps=5),
    "torchattacks.FGSM": torchattacks("FGSM"),
    "foolbox.LinfPGD": foolbox("LinfPGD", steps=5),
    "foolbox.LinfFastGradientAttack": foolbox("LinfFastGradientAttack"),
    "art.ProjectedGradientDescent": art("ProjectedGradientDescent", eps_step=2 / 255, max_iter=5),
    "art.FastGradientMethod": art("FastGradientMethod"),
}


@pytest.mark.parametrize("name", PEERS)
def test_a_peers_attack_is_an_attack_like_any_other(name: str, tiny_detector: Detector, batch: Batch) -> None:
    """Harm, ball, judgement by a fresh forward, an untouched detector, untouched generators."""
    x, y = batch
    attack: Attack = PEERS[name](Linf(EPS))
    tiny_detector.train()
    tiny_detector.head.weight.requires_grad_(False)
    state = {k: v.clone() for k, v in tiny_detector.state_dict().items()}
    torch.manual_seed(7)
    np.random.seed(7)
    drawn = (torch.rand(1).item(), np.random.rand())
    torch.manual_seed(7)
    np.random.seed(7)
    found = attack(tiny_detector, x, y)
    assert (torch.rand(1).item(), np.random.rand()) == drawn
    assert tiny_detector.training
    assert tiny_detector.backbone[1].training
    assert not tiny_detector.head.weight.requires_grad
    assert all(torch.equal(v, state[k]) for k, v in tiny_detector.state_dict().items())
    tiny_detector.eval()
    with torch.no_grad():
        clean = tiny_detector(x)
        torch.testing.assert_close(found.logits, tiny_detector(found.x))
    assert ((found.logits - clean) * (1 - 2 * y) > 0).all()
    assert found.distance.max() <= EPS + 1e-6
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (found.queries > 0).all()
    assert torch.equal(attack(tiny_detector, x, y).x, found.x)


def test_pgd_of_torchattacks_and_foolbox_is_our_pgd(linear_detector: Detector) -> None:
    x, y = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 0, 1])
    ours = PGD(Linf(EPS), steps=4, step_size=1 / 255, random_start=False, keep="last")(linear_detector, x, y)
    theirs = [
        torchattacks("PGD", alpha=1 / 255, steps=4, random_start=False)(Linf(EPS)),
        foolbox("LinfPGD", abs_stepsize=1 / 255, steps=4, random_start=False)(Linf(EPS)),
    ]
    for attack in theirs:
        assert torch.allclose(attack(linear_detector, x, y).x, ours.x, atol=1e-6)


def test_a_ready_object_of_torchattacks_attacks_our_detector_and_goes_home(
    linear_detector: Detector, batch: Batch
) -> None:
    library = pytest.importorskip("torchattacks")
    x, y = batch[0][:, :, :8, :8], batch[1]
    home = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    ready = library.PGD(home, eps=EPS, alpha=2 / 255, steps=3, random_start=False)
    found = external(ready, Linf(EPS))(linear_detector, x, y)
    fresh = external(library.PGD, Linf(EPS), alpha=2 / 255, steps=3, random_start=False)(linear_detector, x, y)
    assert torch.equal(found.x, fresh.x)
    assert ready.model is home


def test_a_ready_object_of_art_is_made_anew_for_our_detector(linear_detector: Detector, batch: Batch) -> None:
    library = pytest.importorskip("art.attacks.evasion")
    classifier = pytest.importorskip("art.estimators.classification").PyTorchClassifier
    x, y = batch[0][:, :, :8, :8].contiguous(), batch[1]
    home = nn.Sequential(nn.Flatten(), nn.Linear(192, 2))
    estimator = classifier(home, loss=nn.CrossEntropyLoss(), input_shape=(3, 8, 8), nb_classes=2)
    for name, options in (
        ("ProjectedGradientDescent", {"eps": EPS, "eps_step": 2 / 255, "max_iter": 3, "verbose": False}),
        ("FastGradientMethod", {"eps": EPS}),
    ):
        ready = getattr(library, name)(estimator, **options)
        found = external(ready, Linf(EPS))(linear_detector, x, y)
        assert torch.equal(found.x, external(getattr(library, name), Linf(EPS), **options)(linear_detector, x, y).x)
        assert ready.estimator is estimator


@pytest.mark.parametrize("name", ["L2DeepFoolAttack", "L2CarliniWagnerAttack"])
def test_minimum_norm_attacks_keep_their_distance(name: str, linear_detector: Detector) -> None:
    """On a linear detector the nearest point lies at |z| / |w|."""
    options = {"overshoot": 0.02} if "Deep" in name else {"steps": 300, "binary_search_steps": 5, "stepsize": 2e-3}
    attack = foolbox(name, **options)(L2(math.inf))
    x = 0.4 + 0.2 * torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        z = linear_detector(x)
    y = (z > 0).long()
    found = attack(linear_detector, x, y)
    nearest = z.abs() / linear_detector.head.weight.norm()
    assert found.success.all()
    assert (found.distance >= nearest * 0.999).all()
    assert (found.distance <= nearest * 1.1).all()


def test_the_result_is_projected_into_our_threat(linear_detector: Detector) -> None:
    x, y = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1])
    found = external(lambda _: lambda x, y: torch.ones_like(x), Linf(EPS))(linear_detector, x, y)
    assert torch.allclose(found.x, x + EPS)
    assert found.queries.tolist() == [0, 0]


def test_rows_of_nan_count_as_left_alone(linear_detector: Detector) -> None:
    x, y = torch.full((2, 3, 8, 8), 0.5), torch.tensor([0, 1])

    def half(x: Tensor, y: Tensor) -> Tensor:
        x = x + 0.01
        x[1, 0, 0, 0] = math.nan
        return x

    found: Adversarial = external(lambda _: half, Linf(EPS))(linear_detector, x, y)
    assert torch.equal(found.x[1], x[1])
    assert torch.allclose(found.x[0], x[0] + 0.01)


def test_the_two_classes_agree_with_the_verdict(linear_detector: Detector) -> None:
    linear_detector.threshold.fill_(0.3)
    x = torch.rand(64, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z, two = linear_detector(x), TwoClasses(linear_detector)(x)
    assert torch.equal(two.argmax(1) == 1, z > 0.3)
    torch.testing.assert_close(two.softmax(1)[:, 1], torch.sigmoid(z - 0.3))


def test_it_is_a_condition_with_a_name_that_says_what_it_is() -> None:
    name = Condition(PEERS["torchattacks.PGD"](Linf(2 / 255))).name
    assert "torchattacks.PGD(alpha=" in name
    assert "eps=2/255" in name
    assert "foolbox.LinfProjectedGradientDescentAttack()" in describe(PEERS["foolbox.LinfPGD"](Linf(2 / 255)))


def test_a_white_box_peer_on_a_black_box_is_a_clear_error(batch: Batch) -> None:
    target = remote(lambda pixels: 0.3)
    for attack in (PEERS["torchattacks.PGD"], PEERS["foolbox.LinfPGD"], PEERS["art.FastGradientMethod"]):
        with pytest.raises(ConfigError, match="only be called"):
            attack(Linf(EPS))(target, *batch)


def test_a_black_box_peer_works_on_a_black_box(batch: Batch) -> None:
    target = remote(lambda pixels: 1 - pixels.mean() / 255)
    attack = torchattacks("Square", n_queries=300)(Linf(EPS))
    x, y = batch[0][:2], torch.ones(2, dtype=torch.int64)
    assert (attack(target, x, y).logits < target(x)).all()


def test_wrong_use_is_one_clear_line(tiny_detector: Detector, batch: Batch) -> None:
    library = pytest.importorskip("foolbox").attacks
    with pytest.raises(ConfigError, match="attack must be a class or object of art, foolbox, torchattacks"):
        external("pgd", Linf(EPS))
    with pytest.raises(ConfigError, match="options steps need a class"):
        external(library.LinfPGD(), Linf(EPS), steps=3)
    with pytest.raises(ConfigError, match=r"foolbox.LinfProjected.*\(stpes=3\) can not be made.*stpes"):
        external(library.LinfPGD, Linf(EPS), stpes=3)(tiny_detector, *batch)
    with pytest.raises(ConfigError, match="eps must be finite"):
        external(library.LinfPGD, Linf(math.inf))(tiny_detector, *batch)
    with pytest.raises(ConfigError, match=r"must return a tensor \(8, 3, 32, 32\), got \(8,\)"):
        external(lambda _: lambda x, y: y, Linf(EPS))(tiny_detector, *batch)


def test_the_seed_decides_the_draws(tiny_detector: Detector, batch: Batch) -> None:
    pytest.importorskip("torchattacks")
    first, second = (External(Linf(EPS), PEERS["torchattacks.PGD"](Linf(EPS)).peer, seed) for seed in (0, 1))
    assert not torch.equal(first(tiny_detector, *batch).x, second(tiny_detector, *batch).x)
