"""What every attack of the registry promises: frames and clips, both norms, one sample or many."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unfooled import registry
from unfooled.attacks import (
    APGD,
    ATTACKS,
    FGSM,
    PGD,
    Attack,
    CarliniWagner,
    DeepFool,
    Ensemble,
    Noise,
    RobustWhiteBox,
    Square,
    Transfer,
    create,
    default_threat,
    describe,
    parse,
)  # fmt: skip
from unfooled.errors import ConfigError
from unfooled.models.detector import CosineHead, Detector, LinearHead
from unfooled.threats import L0, L2, Linf


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


QUICK: dict[str, dict[str, object]] = {
    "apgd": {"steps": 6, "restarts": 2},
    "cw": {"steps": 40, "lr": 0.05, "c": 100.0},
    "ensemble": {"steps": 3, "restarts": 1, "weights": (1.0,), "queries": 8},
    "rbb": {"steps": 2, "pairs": 2},
    "rwa": {"steps": 2},
    "square": {"queries": 40},
    "stat": {"steps": 2},
    "universal": {"epochs": 2},
}
RADII = {"linf": "8/255", "l2": 0.7, "l0": 5}


def make(name: str, norm: str, kind: str, **options: object) -> Attack:
    """Any attack of the registry, small, with what it learns first."""
    if name in ("ensemble", "transfer"):
        options["surrogate"] = conv(kind, seed=3)
    attack = create(name, **{"norm": norm, "eps": RADII[norm], **QUICK.get(name, {}), **options})
    return attack.fit(conv(kind), [images(kind, 6)]) if attack.learns else attack


def norms(name: str) -> list[str]:
    return [norm for norm, threat in (("linf", Linf), ("l2", L2), ("l0", L0)) if threat in ATTACKS[name].threats]


THREATS = [(name, norm, RADII[norm]) for name in ATTACKS for norm in norms(name)]
THREATS += [(name, "l2", "inf") for name, kind in ATTACKS.items() if kind.least_norm]
CASES = [(name, norm, eps, kind) for name, norm, eps in THREATS for kind in ("frames", "clips")]


@pytest.fixture(params=CASES, ids=lambda case: "-".join(map(str, case)).replace("/", "_"))
def case(request: pytest.FixtureRequest) -> tuple[Attack, Detector, str]:
    name, norm, eps, kind = request.param
    return make(name, norm, kind, eps=eps), conv(kind), kind


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
    with torch.no_grad():
        clean, fresh = detector.eval()(x), detector.eval()(found.x)
    attacked = (y == 1) | (not attack.fakes_only)
    wrong = (clean > detector.threshold) != (y == 1)
    moved = attacked & found.success & ~wrong if attack.least_norm else attacked
    assert (found.distance[moved] > 0).all()
    assert (found.distance[~attacked] == 0).all()
    if attack.least_norm:
        assert (found.distance[wrong] == 0).all()
        assert found.success.all() or attack.threat.eps < float("inf")
    torch.testing.assert_close(found.distance, attack.threat.distance(found.x - x))
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
    if type(attack) is ATTACKS["stat"]:
        pytest.skip("compares sets: its rows depend on each other by design")
    x, y = images(kind, 4)
    together = attack(detector, x, y)
    for i in range(4):
        alone = attack(detector, x[i : i + 1], y[i : i + 1])
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-9)
        assert alone.queries[0] == together.queries[i]
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
        if attack.least_norm:
            assert torch.equal(found.x, x)


@pytest.mark.parametrize(("name", "norm"), sorted({(name, norm) for name, norm, _ in THREATS}))
def test_no_radius_no_change(name: str, norm: str) -> None:
    x, y = images("frames", 2)
    found = make(name, norm, "frames", eps=0)(conv("frames"), x, y)
    assert torch.equal(found.x, x)
    assert (found.distance == 0).all()


@pytest.mark.parametrize("name", sorted(ATTACKS))
@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_the_threshold_decides_success(name: str, head: str) -> None:
    x, y = images("frames", 6)
    detector = conv("frames")
    if head == "cosine":
        detector.head = CosineHead(32).double()
    attack = make(name, norms(name)[0], "frames")
    for threshold in (-1e3, 1e3):
        detector.threshold.fill_(threshold)
        says_fake = torch.full((6,), threshold < 0)
        assert torch.equal(attack(detector, x, y).success, says_fake != (y == 1))


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_unusual_memory_layouts_give_the_same_numbers(name: str) -> None:
    x, y = images("frames", 3)
    attack, detector = make(name, norms(name)[0], "frames"), conv("frames")
    plain = attack(detector, x, y).x
    strided = torch.empty(3, 8, 8, 6, dtype=x.dtype)[..., ::2].permute(0, 3, 1, 2)
    strided.copy_(x)
    for other in (x.contiguous(memory_format=torch.channels_last), strided):
        torch.testing.assert_close(attack(detector, other, y).x, plain, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["frames", "clips"])
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_a_fresh_forward_gives_the_very_same_logits_in_single_precision(name: str, kind: str) -> None:
    """Inside, channels are last in memory, which changes the last digits of a convolution."""
    x, y = images(kind, 2)
    attack, detector = make(name, norms(name)[0], kind), conv(kind).float().eval()
    if isinstance(attack, (Ensemble, Transfer)):
        attack.surrogate.float()
    found = attack(detector, x.float(), y)
    with torch.no_grad():
        assert torch.equal(detector(found.x), found.logits)


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_works_without_gradients_outside_and_under_autocast(name: str) -> None:
    x, y = images("frames", 4)
    attack, detector = make(name, norms(name)[0], "frames"), conv("frames").float()
    if isinstance(attack, (Ensemble, Transfer)):
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
    assert (rough.distance <= attack.threat.eps + 1e-6).all()
    coarse = replace(attack, precision="bfloat16")(detector, x, y)
    assert coarse.x.dtype == coarse.logits.dtype == torch.float32
    assert (coarse.distance <= attack.threat.eps + 1e-6).all()
    # Whatever the search did, the judgement is in single precision.
    with torch.no_grad():
        torch.testing.assert_close(coarse.logits, detector.eval()(coarse.x), rtol=0, atol=0)


# options


def test_the_registry_is_sorted_and_told_in_one_line_each() -> None:
    assert list(ATTACKS) == sorted(ATTACKS)
    assert all(registry.summary(kind) for kind in ATTACKS.values())


def test_parse_makes_values() -> None:
    assert parse("pgd:eps=2/255,steps=10") == PGD(Linf(2 / 255), steps=10)
    assert parse("pgd") == PGD(Linf(2 / 255))
    assert parse("pgd:norm=l2") == PGD(L2(0.5))
    assert parse("fgsm:eps=0.5/255") == FGSM(Linf(0.5 / 255))
    assert parse("apgd:restarts=2") == APGD(Linf(2 / 255), restarts=2)
    assert parse("cw") == CarliniWagner(L2(float("inf")))
    assert parse("deepfool:eps=0.5") == DeepFool(L2(0.5))
    assert parse("square:queries=1000,stop_at_flip=yes") == Square(Linf(2 / 255), queries=1000, stop_at_flip=True)
    assert parse("rwa") == RobustWhiteBox(Linf(16 / 255))
    assert parse("stat").threat == Linf(60 / 255)
    assert parse("pgd:precision=bfloat16") == PGD(Linf(2 / 255), precision="bfloat16")
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
        "pgd:eps=1/255,precision=bfloat16,steps=3,loss=margin+features,weight=10",
        "apgd:eps=0.5,norm=l2,steps=100,restarts=2",
        "cw:eps=inf,steps=50,binary_search=4",
        "cw:eps=0.5,c=2,steps=50,early_stop=true",
        "deepfool:eps=inf,steps=20",
        "rwa:eps=16/255,steps=100",
        "square:eps=8/255,queries=1000,stop_at_flip=true",
        "stat:eps=60/255,steps=10",
        "universal:eps=8/255,epochs=3",
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
        ("pgd:norm=l3", "no norm named 'l3'; known: l0, l2, linf"),
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
        ("apgd:eps=inf", "eps must be finite"),
        ("cw:norm=linf", "CarliniWagner is an attack under norm l2, got linf; write norm=l2"),
        ("deepfool:norm=linf", "norm=l2"),
        ("deepfol", "no attack named 'deepfol' (did you mean 'deepfool'?)"),
        ("rwa:norm=l2", "norm=linf"),
        ("square:norm=l2", "Square is an attack under norm linf, got l2; write norm=linf"),
        ("square:query=5", "has no option 'query' (did you mean 'queries'?)"),
        ("pgd:precision=half", "precision must be one of float32, bfloat16, got 'half'"),
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


@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_every_attack_has_a_threat_of_its_own_and_its_description_is_read_back(name: str) -> None:
    surrogate = {"surrogate": conv("frames")} if name in ("ensemble", "transfer") else {}
    attack = create(name, **surrogate)
    if name != "transfer":
        assert attack.threat == default_threat(name)
        assert (attack.threat.eps == float("inf")) == attack.least_norm
    other = 8 if isinstance(attack.threat, L0) else 0.25
    assert create(name, eps=other, **surrogate).threat == replace(attack.threat, eps=other)
    assert parse(describe(attack), **surrogate) == attack
    assert default_threat("pgd", "l2") == L2(0.5)


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
