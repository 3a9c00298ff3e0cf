"""What every attack of the registry promises: frames and clips, both norms, one sample or many."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unfooled import registry
from unfooled.attacks import ATTACKS, FGSM, PGD, Attack, Noise, Transfer, create, describe, parse
from unfooled.errors import ConfigError
from unfooled.models.detector import CosineHead, Detector, LinearHead
from unfooled.threats import L2, Linf


def conv(kind: str, seed: int = 0) -> Detector:
    """A small double-precision detector with batch norm that has seen data; for frames or clips."""
    torch.manual_seed(seed)
    layers: tuple[type[nn.Module], ...] = (nn.Conv2d, nn.BatchNorm2d, nn.AdaptiveAvgPool2d)
    if kind == "clips":
        layers = (nn.Conv3d, nn.BatchNorm3d, nn.AdaptiveAvgPool3d)
    convolution, norm, pool = layers
    backbone = nn.Sequential(
        convolution(3, 6, 3, 1, 1), norm(6), nn.ReLU(), convolution(6, 8, 3, 2, 1), nn.ReLU(), pool(2), nn.Flatten(),
        nn.Dropout(0.2),
    )  # fmt: skip
    detector = Detector(backbone, LinearHead(64 if kind == "clips" else 32), mean=0.5, std=0.25)
    return detector.double().train()


def images(kind: str, rows: int) -> tuple[Tensor, Tensor]:
    shape = (rows, 3, 2, 8, 8) if kind == "clips" else (rows, 3, 8, 8)
    x = torch.rand(shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    x[0].flatten()[:6] = torch.tensor([0, 1, 0, 1, 0, 1])  # the edges of the pixel range
    return x, torch.arange(rows) % 2


def make(name: str, norm: str, kind: str, **options: object) -> Attack:
    if name == "transfer":
        options["surrogate"] = conv(kind, seed=3)
    return create(name, norm=norm, eps="8/255" if norm == "linf" else 0.7, **options)


CASES = [(name, norm, kind) for name in ATTACKS for norm in ("linf", "l2") for kind in ("frames", "clips")]


@pytest.fixture(params=CASES, ids="-".join)
def case(request: pytest.FixtureRequest) -> tuple[Attack, Detector, str]:
    name, norm, kind = request.param
    return make(name, norm, kind), conv(kind), kind


@pytest.mark.parametrize("rows", [1, 5])
def test_stays_in_ball_and_pixel_range_and_judges_truly(case: tuple[Attack, Detector, str], rows: int) -> None:
    attack, detector, kind = case
    x, y = images(kind, rows)
    found = attack(detector, x, y)
    assert found.x.shape == x.shape
    assert found.x.dtype == x.dtype
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (attack.threat.distance(found.x - x) <= attack.threat.eps + 1e-12).all()
    assert (found.distance > 0).all()
    torch.testing.assert_close(found.distance, attack.threat.distance(found.x - x))
    with torch.no_grad():
        fresh = detector.eval()(found.x)
    torch.testing.assert_close(found.logits, fresh, rtol=0, atol=0)
    assert torch.equal(found.success, (fresh > detector.threshold) != (y == 1))
    assert found.success.dtype == torch.bool
    assert found.queries.dtype == torch.int64
    assert found.queries.shape == (rows,)
    assert not any(t.requires_grad for t in (found.x, found.logits, found.distance))


def test_leaves_the_detector_as_it_was(case: tuple[Attack, Detector, str]) -> None:
    attack, detector, kind = case
    x, y = images(kind, 3)
    detector(x).sum().backward()
    detector.backbone[1].eval()
    next(detector.parameters()).requires_grad_(False)
    state = {key: value.clone() for key, value in detector.state_dict().items()}
    grads = [None if p.grad is None else p.grad.clone() for p in detector.parameters()]
    flags = [p.requires_grad for p in detector.parameters()]
    modes = [m.training for m in detector.modules()]
    before = x.clone()
    attack(detector, x, y)
    assert torch.equal(x, before)
    assert all(torch.equal(value, state[key]) for key, value in detector.state_dict().items())
    assert [p.requires_grad for p in detector.parameters()] == flags
    assert [m.training for m in detector.modules()] == modes
    for parameter, grad in zip(detector.parameters(), grads, strict=True):
        assert (parameter.grad is None) == (grad is None)
        assert grad is None or torch.equal(parameter.grad, grad)
    assert not detector.backbone._forward_pre_hooks


def test_a_row_does_not_depend_on_its_batch(case: tuple[Attack, Detector, str]) -> None:
    attack, detector, kind = case
    x, y = images(kind, 4)
    together = attack(detector, x, y)
    for i in range(4):
        alone = attack(detector, x[i : i + 1], y[i : i + 1])
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-9)
    backwards = attack(detector, x.flip(0), y.flip(0))
    torch.testing.assert_close(backwards.x.flip(0), together.x, rtol=0, atol=1e-9)


def test_same_seed_same_numbers(case: tuple[Attack, Detector, str]) -> None:
    attack, detector, kind = case
    x, y = images(kind, 2)
    first = attack(detector, x, y).x
    torch.manual_seed(99)
    assert torch.equal(attack(detector, x, y).x, first)


def test_an_unfoolable_detector_gives_no_success_and_a_point_of_the_ball(case: tuple[Attack, Detector, str]) -> None:
    attack, detector, kind = case
    x, _ = images(kind, 3)
    nn.init.zeros_(detector.head.weight)
    for bias, label in ((5.0, 1), (-5.0, 0)):
        nn.init.constant_(detector.head.bias, bias)
        found = attack(detector, x, torch.full((3,), label))
        assert not found.success.any()
        assert found.x.isfinite().all()
        assert (found.distance <= attack.threat.eps + 1e-12).all()


@pytest.mark.parametrize("name", sorted(ATTACKS))
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_no_radius_no_change(name: str, norm: str) -> None:
    x, y = images("frames", 2)
    attack = create(name, eps=0, norm=norm, **({"surrogate": conv("frames", 3)} if name == "transfer" else {}))
    found = attack(conv("frames"), x, y)
    assert torch.equal(found.x, x)
    assert (found.distance == 0).all()


@pytest.mark.parametrize("name", sorted(ATTACKS))
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_the_threshold_decides_success(name: str, head: str) -> None:
    x, y = images("frames", 6)
    detector = conv("frames")
    if head == "cosine":
        detector.head = CosineHead(32).double()
    attack = make(name, "linf", "frames")
    for threshold in (-1e3, 1e3):
        detector.threshold.fill_(threshold)
        says_fake = torch.full((6,), threshold < 0)
        assert torch.equal(attack(detector, x, y).success, says_fake != (y == 1))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_unusual_memory_layouts_give_the_same_numbers(name: str) -> None:
    x, y = images("frames", 3)
    attack, detector = make(name, "linf", "frames"), conv("frames")
    plain = attack(detector, x, y).x
    strided = torch.empty(3, 8, 8, 6, dtype=x.dtype)[..., ::2].permute(0, 3, 1, 2)
    strided.copy_(x)
    for other in (x.contiguous(memory_format=torch.channels_last), strided):
        torch.testing.assert_close(attack(detector, other, y).x, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_works_without_gradients_outside_and_under_autocast(name: str) -> None:
    x, y = images("frames", 4)
    attack, detector = make(name, "linf", "frames"), conv("frames").float()
    if isinstance(attack, Transfer):
        attack.surrogate.float()
    x = x.float()
    plain = attack(detector, x, y)
    with torch.no_grad():
        assert torch.equal(attack(detector, x, y).x, plain.x)
    with torch.inference_mode():
        assert torch.equal(attack(detector, x.clone(), y.clone()).x, plain.x)
    with torch.autocast("cpu", torch.bfloat16):
        rough = attack(detector, x, y)
    assert rough.x.dtype == torch.float32
    assert (rough.distance <= 8 / 255 + 1e-6).all()


# options


def test_the_registry_is_sorted_and_told_in_one_line_each() -> None:
    assert list(ATTACKS) == sorted(ATTACKS)
    assert all(registry.summary(kind) for kind in ATTACKS.values())


def test_parse_makes_values() -> None:
    assert parse("pgd:eps=2/255,steps=10") == PGD(Linf(2 / 255), steps=10)
    assert parse("pgd") == PGD(Linf(2 / 255))
    assert parse("pgd:norm=l2") == PGD(L2(0.5))
    assert parse("fgsm:eps=0.5/255") == FGSM(Linf(0.5 / 255))
    assert parse("noise:draws=3,seed=none") == Noise(Linf(2 / 255), draws=3, seed=None)
    assert create("pgd", eps=0.1, random_start=False) == PGD(Linf(0.1), random_start=False)


@pytest.mark.parametrize(
    "text",
    [
        "pgd:eps=2/255,steps=10",
        "fgsm:eps=0.01",
        "noise:eps=8/255,draws=4",
        "pgd:eps=0.5,norm=l2,steps=7,step_size=0.123456789012345",
        "pgd:eps=1/255,steps=3,random_start=false,seed=none",
        "pgd:eps=1/255,steps=3,loss=margin+features,weight=2.5,keep=last,start=gaussian",
        "fgsm:eps=0",
    ],
)
def test_describe_is_read_back(text: str) -> None:
    assert describe(parse(text)) == text
    assert parse(describe(parse(text))) == parse(text)


def test_describe_transfer() -> None:
    surrogate = conv("frames")
    surrogate.spec = {"name": "meso4"}
    attack = parse("transfer:steps=3,eps=4/255", surrogate=surrogate)
    assert re.fullmatch(r"transfer:attack=pgd,surrogate=meso4@[0-9a-f]{8},eps=4/255,steps=3", describe(attack))
    # Two surrogates of one kind are two attacks: their rows must not be taken for a pair.
    other = copy.deepcopy(surrogate)
    nn.init.ones_(other.head.weight)
    assert describe(replace(attack, surrogate=other)) != describe(attack)
    assert parse(describe(attack), surrogate=surrogate) == attack
    assert "Conv2d" not in repr(attack)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("pdg", "no attack named 'pdg' (did you mean 'pgd'?)"),
        ("pgd:step=3", "attack 'pgd' has no option 'step' (did you mean 'steps'?)"),
        ("pgd:epsilon=3", "has no option 'epsilon' (did you mean 'eps'?)"),
        ("pgd:threat=linf", "has no option 'threat'"),
        ("pgd:eps=8", "eps must be <= 1 in pixel units, got 8; write 8/255"),
        ("pgd:eps=-1", "eps must be >= 0"),
        ("pgd:eps=nan", "eps must be >= 0"),
        ("pgd:eps=inf", "eps must be finite"),
        ("fgsm:eps=inf", "eps must be finite"),
        ("noise:eps=inf", "eps must be finite"),
        ("pgd:eps=lots", "eps must be a number"),
        ("pgd:norm=l3", "no norm named 'l3'; known: l2, linf"),
        ("pgd:steps=0", "steps must be >= 1"),
        ("pgd:steps=2.5", "whole number"),
        ("pgd:steps=inf", "whole number"),
        ("pgd:step_size=0", "step_size must be > 0"),
        ("pgd:restarts=0", "restarts must be >= 1"),
        ("pgd:restarts=2,keep=last", "keep=worst"),
        ("pgd:restarts=2,random_start=false", "random_start=true"),
        ("pgd:loss=kl,random_start=false", "no gradient at x itself"),
        ("pgd:loss=features,random_start=no", "no gradient at x itself"),
        ("pgd:start=gaussian,random_start=no", "start=gaussian needs random_start"),
        ("pgd:loss=bce", "loss must be one of margin, features, margin+features, kl, got 'bce'"),
        ("pgd:weight=inf", "weight must be finite"),
        ("pgd:keep=best", "keep must be one of worst, last"),
        ("noise:draws=0", "draws must be >= 1"),
        ("transfer", "needs the option 'surrogate'"),
        ("transfer:surrogate=runs/a", "surrogate must be a Detector"),
        ("transfer:surrogate=runs/a,step=2", "attack 'pgd' has no option 'step'"),
        ("pgd:steps", "is not KEY=VALUE"),
    ],
)
def test_wrong_options_are_refused_with_the_fix(text: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert message in str(error.value)


@pytest.mark.parametrize("option", ["loss", "keep", "start"])
def test_wrong_words_are_refused_in_python_too(option: str) -> None:
    with pytest.raises(ConfigError, match=f"{option} must be one of .*, got 'other'"):
        PGD(Linf(0.1), **{option: "other"})  # type: ignore[arg-type]


def test_an_inner_attack_must_be_an_attack() -> None:
    with pytest.raises(ConfigError, match="attack must be an Attack"):
        Transfer(Linf(0.1), "pgd", conv("frames"))  # type: ignore[arg-type]


BASE = {"eps": "8/255", "steps": 4, "random_start": True, "seed": 1}
CHANGES: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("pgd", {}, {"eps": "4/255"}),
    ("pgd", {}, {"norm": "l2"}),
    ("pgd", {}, {"steps": 5}),
    ("pgd", {}, {"step_size": "1/255"}),
    ("pgd", {}, {"random_start": False}),
    ("pgd", {"steps": 1, "step_size": 0.001}, {"restarts": 5}),
    *(("pgd", {}, {"loss": loss}) for loss in ("features", "margin+features", "kl")),
    ("pgd", {"loss": "margin+features"}, {"weight": 500.0}),
    ("pgd", {"loss": "features"}, {"keep": "last"}),
    ("pgd", {}, {"start": "gaussian"}),
    ("pgd", {}, {"seed": 2}),
    ("pgd", {}, {"seed": None}),
]


@pytest.mark.parametrize(("name", "common", "change"), CHANGES, ids=lambda v: str(v))
def test_every_option_changes_something(name: str, common: dict[str, object], change: dict[str, object]) -> None:
    x, y = images("frames", 6)
    detector = conv("frames")
    options = {**BASE, **common}
    usual, other = (create(name, **o)(detector, x, y).x for o in (options, {**options, **change}))
    assert not torch.equal(usual, other)


def test_noise_options_change_something() -> None:
    x, y = images("frames", 6)
    detector = conv("frames")
    usual = create("noise")(detector, x, y)
    for change in ({"draws": 5}, {"seed": 1}, {"seed": None}, {"norm": "l2"}, {"eps": 0.1}):
        assert not torch.equal(create("noise", **change)(detector, x, y).x, usual.x)
    many = create("noise", draws=5)(detector, x, y)
    assert (((1 - 2 * y) * many.logits) >= ((1 - 2 * y) * usual.logits)).all()
    assert many.queries.tolist() == [5] * 6
