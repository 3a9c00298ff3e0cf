"""The objectives: golden totals, their limits, their cost, and that every switch does something."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfooled import models, objectives
from unfooled.attacks import PGD
from unfooled.errors import ConfigError
from unfooled.losses import adversarial_similarity, binary_kl, logit_adjusted_bce, pairwise_ranking
from unfooled.models import Detector
from unfooled.objectives import AFSL, OBJECTIVES, AdversarialTraining, AFSLPlus, Objective, Robust, Standard, Trades
from unfooled.registry import summary
from unfooled.threats import L2, Linf

ROBUST = ["afsl", "at", "trades"]
Batch = tuple[Tensor, Tensor]


def total(terms: dict[str, Tensor]) -> Tensor:
    return torch.stack([term for name, term in terms.items() if not name.startswith("cos_")]).sum()


@pytest.fixture
def detector() -> Detector:
    torch.manual_seed(0)
    return models.create("resnet", width=4, stem_stride=2, features="linear").train()


class Table(nn.Module):
    """Row i gives ``clean[i]`` where its pixels are 0 and ``adv[i]`` where they are 1."""

    def __init__(self, clean: Tensor, adv: Tensor) -> None:
        super().__init__()
        self.clean, self.adv = nn.Parameter(clean), nn.Parameter(adv)

    def forward(self, x: Tensor) -> Tensor:
        rows = torch.arange(len(x)) % len(self.clean)
        return torch.where(x.flatten(1)[:, :1] > 0.5, self.adv[rows], self.clean[rows])


class Given(nn.Module):
    def __init__(self, z: Tensor) -> None:
        super().__init__()
        self.z = nn.Parameter(z)

    def forward(self, features: Tensor) -> Tensor:
        return self.z[:, None]


@dataclass(frozen=True)
class Flip(PGD):
    """The strongest attack there is: every pixel becomes 1."""

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        return torch.ones_like(x)


@pytest.mark.parametrize(("pairs", "name"), [("all", "all"), ("relu", "relu"), ("matched", "paired")])
def test_afsl_is_golden_in_value_and_gradient(golden: Callable[[str], Path], pairs: Any, name: str) -> None:
    for case in json.loads(golden("losses.json").read_text())["afsl"]:
        f, f_adv, z = (torch.tensor(case[k], dtype=torch.float64) for k in ("f_clean", "f_adv", "z"))
        table, head, y = Table(f, f_adv), Given(z), torch.tensor(case["y"])
        assert (AFSL().beta1, AFSL().beta2) == (case["beta1"], case["beta2"])
        objective = AFSL(case["prior_fake"], Flip(Linf(1.0)), pairs=pairs)
        terms = objective(Detector(table, head), torch.zeros(len(y), 3, 1, 1), y)
        assert total(terms).item() == pytest.approx(case[f"total_{name}"], rel=1e-12, abs=1e-15)
        assert terms["cos_adv"].item() == pytest.approx(1 - case["asl"], abs=1e-12)
        if case["grads"]:
            found = torch.autograd.grad(total(terms), (table.clean, table.adv, head.z))
            for grad, key in zip(found, ("f_clean", "f_adv", "z"), strict=True):
                expected = torch.tensor(case["grads"][name][key], dtype=torch.float64)
                torch.testing.assert_close(grad, expected, rtol=1e-10, atol=1e-14)


def test_afsl_plus_is_afsl_and_a_ranking_of_perturbed_pairs(golden: Callable[[str], Path]) -> None:
    case = json.loads(golden("losses.json").read_text())["afsl"][0]
    f, f_adv, z = (torch.tensor(case[k], dtype=torch.float64) for k in ("f_clean", "f_adv", "z"))
    detector, y = Detector(Table(f, f_adv), Both(z, f)), torch.tensor(case["y"])
    x = torch.zeros(len(y), 3, 1, 1)
    plain, plus = (kind(0.3, Flip(Linf(1.0)))(detector, x, y) for kind in (AFSL, AFSLPlus))
    assert {k: v for k, v in plus.items() if k != "rank"} == plain
    assert plus["rank"].item() == pytest.approx(2 * pairwise_ranking(-z, y).item())


class Both(nn.Module):
    """The logits z for clean rows, -z for perturbed ones."""

    def __init__(self, z: Tensor, clean: Tensor) -> None:
        super().__init__()
        self.z, self.clean = z, clean

    def forward(self, features: Tensor) -> Tensor:
        z = torch.cat([self.z, -self.z])[: len(features)]
        return z[:, None]


def test_defaults_are_those_of_the_papers() -> None:
    afsl, trades = objectives.create("afsl"), objectives.create("trades")
    assert isinstance(afsl, AFSL)
    assert isinstance(trades, Trades)
    assert (afsl.beta1, afsl.beta2, afsl.eps, trades.beta) == (1.0, 0.1, 2 / 255, 6.0)
    assert afsl == AFSL()
    assert afsl.attack is not None
    assert (afsl.attack.steps, afsl.attack.keep, afsl.attack.seed) == (5, "last", None)
    assert list(OBJECTIVES) == sorted(OBJECTIVES)
    assert all(summary(kind) for kind in OBJECTIVES.values())


CHANGES: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("standard", {}, {"fake_share": 0.8}),
    ("at", {}, {"fake_share": 0.8}),
    ("at", {}, {"half": True}),
    ("at", {"half": True}, {"batch_norm": "separate"}),
    ("at", {}, {"eps": "8/255"}),
    ("at", {}, {"norm": "l2", "eps": 0.5}),
    ("at", {}, {"steps": 2}),
    ("at", {}, {"step_size": "0.5/255"}),
    ("at", {}, {"noise": 2}),
    ("afsl", {"steps": 1}, {"noise": 1}),
    ("trades", {}, {"beta": 3}),
    ("trades", {}, {"batch_norm": "separate"}),
    ("afsl", {}, {"beta1": 16}),
    ("afsl", {}, {"beta2": 1}),
    ("afsl", {}, {"stop_gradient": True}),
    ("afsl", {}, {"pairs": "matched"}),
    ("afsl", {}, {"pairs": "relu"}),
    ("afsl", {}, {"adversary": "features"}),
    ("afsl", {}, {"adversary": "both"}),
    ("afsl", {}, {"batch_norm": "separate"}),
    ("afsl-plus", {}, {"beta1": 16}),
    ("afsl-plus", {}, {"beta2": 1}),
    ("afsl-plus", {}, {"beta3": 1}),
]


@pytest.mark.parametrize(("name", "base", "change"), CHANGES, ids=lambda v: str(v))
def test_every_switch_changes_the_gradient(
    detector: Detector, batch: Batch, name: str, base: dict[str, object], change: dict[str, object]
) -> None:
    x, y = batch

    def gradient(options: dict[str, object]) -> Tensor:
        torch.manual_seed(0)
        fresh = copy.deepcopy(detector)
        total(objectives.create(name, **options)(fresh, x, y)).backward()
        return torch.cat([p.grad.flatten() for p in fresh.parameters() if p.grad is not None])

    assert torch.equal(gradient(base), gradient(base))
    assert not torch.allclose(gradient(base), gradient({**base, **change}), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", ROBUST)
def test_no_adversary_is_the_clean_limit_at_the_price_of_one_forward(
    detector: Detector, batch: Batch, name: str
) -> None:
    x, y = batch
    rows: list[int] = []
    detector.backbone.register_forward_pre_hook(lambda _, inputs: rows.append(len(inputs[0])))
    objective = objectives.create(name, fake_share=0.7)
    clean = objective.scaled(0)
    assert objective.needs_attack
    assert not clean.needs_attack
    assert clean.eps == 0
    terms = clean(detector, x, y)
    assert rows == [len(x)]
    expected = logit_adjusted_bce(detector(x), y, 0.7)
    torch.testing.assert_close(total(terms), expected)


@pytest.mark.parametrize("name", ROBUST)
def test_scaled_shrinks_radius_and_step(name: str) -> None:
    objective = objectives.create(name, eps="8/255", step_size="2/255")
    assert isinstance(objective, Robust)
    half = objective.scaled(0.5)
    assert half.attack is not None
    assert half.eps == pytest.approx(4 / 255)
    assert half.attack.step_size == pytest.approx(1 / 255)
    assert objective.scaled(1) == objective
    assert Standard().scaled(0.5) == Standard()
    assert replace(objective, attack=None).scaled(1) == replace(objective, attack=None)


def test_the_dissimilarity_of_afsl_grows_with_eps() -> None:
    objective = AFSL(beta1=16, beta2=2)
    assert objective.scaled(0.25) == replace(objective.scaled(0.25), beta1=16, beta2=0.5)
    assert AFSL(beta2=2).scaled(0).beta2 == 0


@pytest.mark.parametrize("name", ROBUST)
def test_a_step_costs_k_gradients_and_one_joint_forward_and_leaves_the_detector_as_it_was(
    detector: Detector, batch: Batch, name: str
) -> None:
    x, y = batch
    seen: list[tuple[int, bool]] = []
    detector.backbone.register_forward_pre_hook(lambda m, inputs: seen.append((len(inputs[0]), m.training)))
    total(objectives.create(name, steps=3)(detector, x, y)).backward()
    clean_look = [(8, False)] if name == "trades" else []
    update = (8, True) if name == "at" else (16, True)
    assert seen == [*clean_look, *[(8, False)] * 3, update]
    assert all(m.training for m in detector.modules())
    assert all(p.requires_grad and p.grad is not None for p in detector.parameters())
    counts = [b for n, b in detector.named_buffers() if n.endswith("num_batches_tracked")]
    assert all(count == 1 for count in counts), "only the update moves batch-norm statistics"


def test_terms_are_the_formulas(linear_detector: Detector) -> None:
    g = torch.Generator().manual_seed(3)
    x, y = torch.rand(8, 3, 8, 8, generator=g), torch.arange(8) % 2
    attack = Flip(Linf(1.0))
    x_adv = torch.ones_like(x)
    f, f_adv, z, z_adv = x.flatten(1), x_adv.flatten(1), linear_detector(x), linear_detector(x_adv)
    bce = nn.functional.binary_cross_entropy_with_logits
    at = AdversarialTraining(attack=attack)(linear_detector, x, y)
    torch.testing.assert_close(total(at), bce(z_adv, y.float()))
    half = AdversarialTraining(attack=attack, half=True)(linear_detector, x, y)
    torch.testing.assert_close(total(half), (bce(z, y.float()) + bce(z_adv, y.float())) / 2)
    trades = Trades(attack=attack, beta=2.0)(linear_detector, x, y)
    torch.testing.assert_close(trades["kl"], 2 * binary_kl(z, z_adv))
    torch.testing.assert_close(trades["bce"], bce(z, y.float()))
    afsl = AFSL(attack=attack, beta1=3.0)(linear_detector, x, y)
    torch.testing.assert_close(afsl["asl"], 3 * adversarial_similarity(f, f_adv))
    weight = linear_detector.head.weight
    assert isinstance(weight, Tensor)
    cosines = nn.functional.cosine_similarity(f, weight.expand_as(f)).abs().mean()
    torch.testing.assert_close(afsl["cos_weight"], cosines.detach())
    assert not afsl["cos_real_fake"].requires_grad


def test_stop_gradient_holds_the_clean_branch() -> None:
    f, f_adv = torch.randn(4, 5), torch.randn(4, 5)
    for stop in (False, True):
        table = Table(f, f_adv)
        terms = AFSL(attack=Flip(Linf(1.0)), stop_gradient=stop)(
            Detector(table, Given(torch.zeros(4))), torch.zeros(4, 3, 1, 1), torch.arange(4) % 2
        )
        clean, adv = torch.autograd.grad(
            terms["asl"], (table.clean, table.adv), allow_unused=True, materialize_grads=True
        )
        assert (clean.abs().sum() == 0) == stop
        assert adv.abs().sum() > 0


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
@pytest.mark.parametrize("labels", [[0, 0, 0, 0], [1, 1, 1, 1]])
def test_a_batch_of_one_class_is_finite(detector: Detector, batch: Batch, name: str, labels: list[int]) -> None:
    terms = objectives.create(name, **({} if name == "standard" else {"steps": 1}))(
        detector, batch[0][:4], torch.tensor(labels)
    )
    assert all(torch.isfinite(term) for term in terms.values())


def test_losses_are_wide_under_autocast(detector: Detector, batch: Batch) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        terms = objectives.create("afsl", steps=1)(detector, *batch)
    assert {term.dtype for term in terms.values()} == {torch.float32}
    total(terms).backward()


def test_create_reads_text_and_refuses_what_it_does_not_know() -> None:
    assert objectives.create("at", eps="4/255").eps == 4 / 255
    threat_of = objectives.create("at", eps=0.5, norm="l2")
    assert isinstance(threat_of, Robust)
    assert threat_of.attack is not None
    assert threat_of.attack.threat == L2(0.5)
    assert objectives.create("standard", fake_share="delivered").fake_share is None
    bad: list[tuple[str, dict[str, object], str]] = [
        ("afsll", {}, "did you mean 'afsl'"),
        ("afsl", {"beta3": 1}, "did you mean 'beta"),
        ("standard", {"eps": "2/255"}, "no option 'eps'"),
        ("at", {"eps": 8}, "write 8/255"),
        ("at", {"norm": "l1"}, "norm"),
        ("at", {"attack": "pgd"}, "attack"),
        ("at", {"steps": 0}, "steps"),
        ("afsl", {"pairs": "some"}, "all, matched, relu"),
        ("afsl", {"beta1": -1}, ">= 0"),
        ("afsl", {"beta2": math.nan}, ">= 0"),
        ("trades", {"beta": "x"}, "number"),
    ]
    for name, options, words in bad:
        with pytest.raises(ConfigError, match=words):
            objectives.create(name, **options)


def test_every_default_is_told() -> None:
    for name in OBJECTIVES:
        told = objectives.defaults(name)
        assert objectives.create(name, **told) == objectives.create(name)
        assert isinstance(objectives.create(name), Objective)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_noise_stays_and_the_step_goes_up_to_eps_further(detector: Detector, norm: str) -> None:
    objective = objectives.create("at", norm=norm, eps="8/255", noise=2, steps=1)
    assert isinstance(objective, Robust)
    assert objective.attack
    x, y = torch.full((4, 3, 16, 16), 0.5), torch.tensor([0, 1, 0, 1])
    distance = objective.attack.threat.distance
    found = [distance(objective.perturbed(detector, x, y) - x) * 255 / 8 for _ in range(8)]
    assert torch.cat(found).max() <= 3 + 1e-4
    assert torch.cat(found).max() > (2.5 if norm == "linf" else 1.5)


def test_n_fgsm_is_noise_and_one_signed_step_from_there(detector: Detector) -> None:
    objective = objectives.create("at", eps="4/255", noise=2, steps=1)
    assert isinstance(objective, Robust)
    x, y = torch.rand(4, 3, 16, 16), torch.tensor([0, 1, 0, 1])
    torch.manual_seed(5)
    found = objective.perturbed(detector, x, y, loss="margin")
    torch.manual_seed(5)
    noisy = Linf(8 / 255).sample(x, None).clamp(0, 1).requires_grad_()
    detector.eval()
    logits = detector(noisy)
    (slope,) = torch.autograd.grad((logits * (1 - 2 * y)).sum(), noisy)
    torch.testing.assert_close(found, (noisy.detach() + 4 / 255 * slope.sign()).clamp(0, 1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "options"), [("trades", {}), ("afsl", {"adversary": "features"})])
def test_noise_is_refused_where_the_search_has_no_gradient_at_its_start(name: str, options: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=r"noise needs an adversary that ascends the margin.*leave noise out"):
        objectives.create(name, noise=2, **options)
