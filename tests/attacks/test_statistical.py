"""StatAttack: its discrepancy, its three degradations, and what it needs to know first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unfooled import registry
from unfooled.attacks import statistical
from unfooled.attacks.statistical import StatAttack, blur, mmd2, polynomials, warp
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector, LinearHead
from unfooled.threats import L2, Linf

EPS = Linf(60 / 255)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def labelled(rows: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Fakes are darker and have more grain than reals."""
    y = torch.arange(rows) % 2
    fake = y.reshape(-1, *[1] * (len(shape) + 1))
    return 0.5 - 0.1 * fake + (0.1 + 0.2 * fake) * (rand(rows, 3, *shape, seed=seed) - 0.5), y


@pytest.fixture
def detector(tiny_detector: Detector) -> Detector:
    return tiny_detector.double()


@pytest.fixture
def fitted(detector: Detector) -> StatAttack:
    return StatAttack(EPS).fit(detector, [labelled(12, 16, 16, seed=4)])


# mmd2


def naive_mmd2(source: Tensor, target: Tensor) -> float:
    """Pair by pair, as the formula says."""
    rows = [*source.tolist(), *target.tolist()]
    distance = [[sum((p - q) ** 2 for p, q in zip(a, b, strict=True)) for b in rows] for a in rows]
    count = len(rows)
    width = sum(map(sum, distance)) / (count * (count - 1))

    def k(i: int, j: int) -> float:
        return sum(math.exp(-distance[i][j] / (width * by)) for by in (0.25, 0.5, 1, 2, 4))

    n, m = range(len(source)), range(len(source), count)
    within = sum(k(i, j) for i in n for j in n) / len(n) ** 2 + sum(k(i, j) for i in m for j in m) / len(m) ** 2
    return within - 2 * sum(k(i, j) for i in n for j in m) / (len(n) * len(m))


@pytest.mark.parametrize(("n", "m"), [(2, 2), (5, 5), (1, 4), (6, 3), (1, 1)])
def test_mmd_is_the_double_loop(n: int, m: int) -> None:
    source, target = rand(n, 7) * 3, rand(m, 7, seed=1) * 3 + 0.5
    assert mmd2(source, target).item() == pytest.approx(naive_mmd2(source, target), rel=1e-9)


def test_mmd_of_two_points_in_closed_form() -> None:
    # One pair at distance d: the mean over the two ordered pairs is d^2, whatever d.
    expected = 2 * 5 - 2 * sum(math.exp(-1 / by) for by in (0.25, 0.5, 1, 2, 4))
    for d in (0.01, 1.0, 1e3):
        assert mmd2(torch.zeros(1, 1), torch.full((1, 1), d)).item() == pytest.approx(expected, rel=1e-5)


def test_mmd_is_zero_for_equal_sets_grows_with_the_distance_and_is_symmetric() -> None:
    source = rand(6, 4)
    assert mmd2(source, source.flip(0)).item() == pytest.approx(0, abs=1e-12)
    gaps = [mmd2(source, source + by).item() for by in (0.1, 0.5, 2.0)]
    assert 0 < gaps[0] < gaps[1] < gaps[2]
    assert mmd2(source + 1, source).item() == pytest.approx(mmd2(source, source + 1).item())
    # All the same: no width, no discrepancy, no NaN.
    same = torch.ones(3, 4, requires_grad=True)
    value = mmd2(same, torch.ones(3, 4))
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert same.grad is not None
    assert same.grad.isfinite().all()


def test_mmd_gradient_holds_the_width_still() -> None:
    source, target = rand(3, 4).requires_grad_(), rand(3, 4, seed=1) + 0.3
    (slope,) = torch.autograd.grad(mmd2(source, target), source)
    rows = torch.cat([source.detach(), target])
    width = torch.cdist(rows, rows).square().sum() / 30

    def fixed(s: Tensor) -> Tensor:
        def k(a: Tensor, b: Tensor) -> Tensor:
            squared = (a[:, None] - b).square().sum(2)
            return sum((-squared / (width * by)).exp() for by in (0.25, 0.5, 1, 2, 4))  # type: ignore[return-value]

        return k(s, s).mean() + k(target, target).mean() - 2 * k(s, target).mean()

    (expected,) = torch.autograd.grad(fixed(source), source)
    torch.testing.assert_close(slope, expected, rtol=1e-6, atol=1e-9)


def test_mmd_keeps_its_digits_far_from_the_origin_and_under_autocast() -> None:
    source, target = torch.randn(8, 64, generator=torch.Generator().manual_seed(0)), torch.zeros(8, 64)
    exact = mmd2(source.double(), target.double()).item()
    assert mmd2(source + 1000, target + 1000).item() == pytest.approx(exact, rel=1e-3)
    with torch.autocast("cpu", torch.bfloat16):
        assert mmd2(source, target).item() == pytest.approx(exact, rel=1e-4)


# degradations


def test_the_polynomials() -> None:
    basis = polynomials(11, rand(1, 3, 5, 9))
    assert basis.shape == (78, 5, 9)
    x, y = torch.linspace(-1, 1, 9).double(), torch.linspace(-1, 1, 5).double()
    powers = [(i, j) for i in range(12) for j in range(12 - i)]
    for plane, (i, j) in zip(basis, powers, strict=True):
        torch.testing.assert_close(plane, torch.outer(y**j, x**i))


def test_the_field_is_smooth(fitted: StatAttack, detector: Detector) -> None:
    """Its bends are those of a polynomial: between neighbours it changes far less than noise of its spread would."""
    x, y = labelled(8, 64, 64)
    only = replace(fitted, blur_step=0, noise_step=0)
    x_adv = only.search(detector, x, y)
    fakes = y == 1
    inside = ((x_adv - x)[fakes].abs() < 59 / 255) & (x_adv[fakes] > 0) & (x_adv[fakes] < 1)
    plane = ((x_adv + 1e-6) / (x + 1e-6)).log()[fakes]
    assert plane.std() > 0.02
    # One field for all channels.
    channels = inside.all(1)
    torch.testing.assert_close(plane[:, 0][channels], plane[:, 1][channels], rtol=0, atol=1e-3)
    step = plane.diff(dim=-1)[..., 8:-8][(inside[..., 1:] & inside[..., :-1])[..., 8:-8]]
    assert step.abs().mean() < 0.2 * plane.std()


def test_a_field_of_known_coefficients_brightens_by_its_exponential(detector: Detector) -> None:
    attack = StatAttack(Linf(1.0), blur_step=0)
    x = rand(2, 3, 6, 6) * 0.3
    knobs = attack._neutral(x)
    basis = polynomials(attack.degree, x)
    torch.testing.assert_close(attack._degrade(x, knobs, basis)[0], x, rtol=0, atol=2e-6)
    knobs["coefficients"][:, 0] = math.log(2)  # x^0 y^0
    torch.testing.assert_close(attack._degrade(x, knobs, basis)[0], 2 * x, rtol=0, atol=4e-6)
    knobs["coefficients"][:, 1] = 0.1  # x^0 y^1
    expected = 2 * x * (0.1 * torch.linspace(-1, 1, 6).double()[:, None]).exp()
    torch.testing.assert_close(attack._degrade(x, knobs, basis)[0], expected, rtol=0, atol=4e-6)


@pytest.mark.parametrize("kind", ["black", "white"])
def test_black_and_white_pixels_stay_finite(kind: str, fitted: StatAttack, detector: Detector) -> None:
    x = torch.full((3, 3, 16, 16), 0.0 if kind == "black" else 1.0, dtype=torch.float64)
    for attack in (fitted, replace(fitted, field_step=1.0, steps=30)):
        x_adv = attack.search(detector, x, torch.ones(3, dtype=torch.int64))
        assert x_adv.isfinite().all()
        single = attack.search(detector.float(), x.float(), torch.ones(3, dtype=torch.int64))
        assert single.isfinite().all()
        detector.double()


def test_no_flow_is_no_warp_and_a_flow_looks_up_elsewhere() -> None:
    plane = rand(2, 1, 9, 17)
    torch.testing.assert_close(warp(plane, torch.zeros(2, 2, 1, 2).double()), plane, rtol=0, atol=1e-9)
    # 2 is the whole width: 2 / 16 of it is one pixel of 17.
    flow = torch.zeros(2, 2, 2, 3).double()
    flow[:, 0] = 2 / 16
    moved = warp(plane, flow)
    torch.testing.assert_close(moved[..., :-1], plane[..., 1:], rtol=0, atol=1e-9)
    torch.testing.assert_close(moved[..., -1], plane[..., -1], rtol=0, atol=1e-9)


def test_blur_is_a_gaussian_of_its_own_at_every_pixel() -> None:
    x, s = rand(1, 3, 5, 4), rand(1, 3, 5, 4, seed=1) * 2
    expected = torch.zeros_like(x)
    for c in range(3):
        for row in range(5):
            for column in range(4):
                total = weight = 0.0
                for i in (-1, 0, 1):
                    for j in (-1, 0, 1):
                        r, k = row + i, column + j
                        r, k = (-r if r < 0 else 8 - r if r > 4 else r), (-k if k < 0 else 6 - k if k > 3 else k)
                        w = math.exp(-(s[0, c, row, column].item() ** 2) * (i * i + j * j) / 2)
                        total, weight = total + w * x[0, c, r, k].item(), weight + w
                expected[0, c, row, column] = total / weight
    torch.testing.assert_close(blur(x, s), expected, rtol=0, atol=1e-9)
    torch.testing.assert_close(blur(x, torch.full_like(x, 30.0)), x, rtol=0, atol=1e-9)
    clip = rand(2, 3, 4, 5, 6)
    sharp = rand(2, 3, 4, 5, 6, seed=2)
    torch.testing.assert_close(blur(clip, sharp)[:, :, 2], blur(clip[:, :, 2], sharp[:, :, 2]), rtol=0, atol=1e-12)
    assert blur(rand(1, 3, 1, 1), torch.ones(1, 3, 1, 1).double()).shape == (1, 3, 1, 1)


def test_noise_stays_within_its_own_bound(fitted: StatAttack, detector: Detector) -> None:
    x, y = labelled(6, 16, 16)
    only = replace(fitted, field_step=0, blur_step=0)
    for bound in (4 / 255, 2 / 255):
        found = replace(only, noise_eps=bound)(detector, x, y)
        torch.testing.assert_close(found.distance[y == 1], torch.full((3,), bound).double(), rtol=0, atol=1e-9)


# the attack


def test_it_draws_the_features_of_fakes_to_those_of_reals(fitted: StatAttack, detector: Detector) -> None:
    x, y = labelled(12, 16, 16, seed=8)
    found = fitted(detector, x, y)
    assert fitted.guides is not None
    with torch.no_grad():
        target = detector.features(fitted.guides)
        gap = [mmd2(detector.features(v[y == 1]), target).item() for v in (x, found.x)]
    assert gap[1] < 0.5 * gap[0]
    assert torch.equal(found.x[y == 0], x[y == 0])
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (found.distance <= 60 / 255 + 1e-12).all()
    assert (found.distance[y == 1] > 0).all()
    assert torch.equal(fitted(detector, x, y).x, found.x)
    assert StatAttack.fakes_only


def test_ten_steps_are_the_naive_loop(fitted: StatAttack, detector: Detector) -> None:
    """Written anew from the paper's description, one parameter after the other, for a batch as large as the guides."""
    x, _ = labelled(6, 16, 24, seed=2)
    guides = fitted.guides
    assert guides is not None
    n, (h, w) = 6, (16, 24)
    gx, gy = torch.linspace(-1, 1, w).double(), torch.linspace(-1, 1, h).double()
    basis = torch.stack([gx[None] ** i * gy[:, None] ** j for i in range(12) for j in range(12 - i)])
    a, f = torch.zeros(n, 78).double(), torch.zeros(n, 2, 2, 3).double()
    s, e = torch.full_like(x, statistical.SHARPNESS), torch.zeros_like(x)
    speeds = [torch.zeros_like(p) for p in (a, f, s, e)]

    def make(a: Tensor, f: Tensor, s: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        plane = warp((a[:, :, None, None] * basis).sum(1, keepdim=True), f)
        lit = ((x + 1e-6).log() + plane).exp()
        soft = blur(lit, s) + e
        return (x + (soft - x).clamp(-60 / 255, 60 / 255)).clamp(0, 1), plane

    for _ in range(10):
        leaves = [p.clone().requires_grad_() for p in (a, f, s, e)]
        x_adv, plane = make(*leaves)
        loss = 10 * mmd2(detector.features(x_adv), detector.features(guides).detach())
        loss = loss + 10 * sum(p.square().mean() for p in plane)
        bend = leaves[1]
        tv = (bend[:, :, 1:] - bend[:, :, :-1]).square().sum() + (bend[..., 1:] - bend[..., :-1]).square().sum()
        slopes = torch.autograd.grad(loss + 10 / 64 * tv, leaves)
        for i, slope in enumerate(slopes):
            for row in range(n):
                size = slope[row].abs().sum()
                speeds[i][row] += slope[row] / size if size > 0 else slope[row]
        a, f = a - 0.1 * speeds[0].sign(), f - 0.001 * speeds[1].sign()
        s, e = s - 0.1 * speeds[2].sign(), (e - speeds[3].sign() / 255).clamp(-4 / 255, 4 / 255)
    # A sign near 0 may fall either way; the pictures agree where it matters.
    x_adv = fitted.search(detector, x, torch.ones(n, dtype=torch.int64))
    assert ((x_adv - make(a, f, s, e)[0]).abs() > 1e-6).double().mean() < 0.02


def test_the_frames_of_a_clip_share_the_field() -> None:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv3d(3, 6, (1, 3, 3), 2), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten())
    detector = Detector(backbone, LinearHead(6)).double().eval()
    attack = StatAttack(EPS).fit(detector, [labelled(8, 4, 16, 16, seed=1)])
    x, y = labelled(6, 4, 16, 16)
    assert (attack(detector, x, y).distance[y == 1] > 0).all()
    x_adv = replace(attack, blur_step=0, noise_step=0).search(detector, x, y)
    inside = ((x_adv - x).abs() < 59 / 255) & (x_adv > 0) & (x_adv < 1)
    inside &= (y == 1).reshape(-1, 1, 1, 1, 1)
    plane = ((x_adv + 1e-6) / (x + 1e-6)).log()
    both = inside[:, :, 0] & inside[:, :, 3]
    assert both.double().mean() > 0.2
    torch.testing.assert_close(plane[:, :, 0][both], plane[:, :, 3][both], rtol=0, atol=1e-3)
    assert plane[inside].std() > 0.02


def test_a_row_depends_on_its_batch_but_not_on_the_reals_in_it(fitted: StatAttack, detector: Detector) -> None:
    x, y = labelled(8, 16, 16, seed=3)
    x_adv = fitted.search(detector, x, y)
    fakes = y == 1
    torch.testing.assert_close(fitted.search(detector, x[fakes], y[fakes]), x_adv[fakes], rtol=0, atol=1e-9)
    some = fitted.search(detector, x[fakes][:2], y[fakes][:2])
    assert not torch.allclose(some, x_adv[fakes][:2], rtol=0, atol=1e-3)
    assert torch.equal(fitted.search(detector, x[~fakes], y[~fakes]), x[~fakes])
    lone = fitted(detector, x[1:2], y[1:2])
    assert lone.x.isfinite().all()
    assert lone.distance.item() > 0


def test_small_radius_no_radius_and_odd_sizes(fitted: StatAttack, detector: Detector) -> None:
    x, y = labelled(4, 13, 7)
    assert torch.equal(replace(fitted, threat=Linf(0)).search(detector, x, y), x)
    found = replace(fitted, threat=Linf(1 / 255))(detector, x, y)
    assert (found.distance <= 1 / 255 + 1e-12).all()


# guides


def test_guides_are_the_first_reals_and_no_batch_is_read_in_vain(detector: Detector) -> None:
    read = []

    def loader() -> Iterator[tuple[Tensor, Tensor]]:
        for seed in range(10):
            read.append(seed)
            yield labelled(6, 8, 8, seed=seed)

    attack = StatAttack(EPS, guide_count=5)
    fitted = attack.fit(detector, loader())
    assert read == [0, 1]
    assert attack.guides is None
    expected = torch.cat([x[y == 0] for x, y in (labelled(6, 8, 8, seed=seed) for seed in (0, 1))])[:5]
    assert fitted.guides is not None
    assert torch.equal(fitted.guides, expected)
    assert fitted == attack
    assert "guides=" not in repr(fitted)


def test_what_it_can_not_work_with(detector: Detector, fitted: StatAttack) -> None:
    x, y = labelled(4, 8, 8)
    with pytest.raises(ConfigError, match=r"stat has to see reals first; call attack = attack.fit\("):
        StatAttack(EPS)(detector, x, y)
    for few, count in (([], 0), ([(x, torch.ones_like(y))], 0), ([(x[:2], y[:2])], 1)):
        with pytest.raises(DataError, match=f"at least 2 real guides, the batches held {count}"):
            StatAttack(EPS).fit(detector, few)
    with pytest.raises(DataError, match="real guides of one size"):
        StatAttack(EPS).fit(detector, [(x, y), labelled(4, 9, 9)])
    with pytest.raises(DataError, match=r"x must lie in \[0, 1\]"):
        StatAttack(EPS).fit(detector, [(x * 255, y)])
    blind = Detector(nn.Sequential(nn.Flatten()), LinearHead(192)).double()
    blind.backbone.forward = lambda v: v.flatten(1).detach()  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="needs a detector with gradients"):
        StatAttack(EPS).fit(blind, [labelled(8, 8, 8)])(blind, x, y)


def test_under_autocast_and_without_gradients_outside(fitted: StatAttack, detector: Detector) -> None:
    x, y = labelled(6, 16, 16)
    detector, x = detector.float(), x.float()
    plain = fitted(detector, x, y).x
    with torch.inference_mode():
        assert torch.equal(fitted(detector, x.clone(), y.clone()).x, plain)
    with torch.autocast("cpu", torch.bfloat16):
        rough = fitted(detector, x, y)
    assert rough.x.dtype == torch.float32
    assert (rough.distance <= 60 / 255 + 1e-6).all()


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 4}, {"field_step": 0.05}, {"field_step": 0.0}, {"flow_step": 0.05}, {"blur_step": 0.5},
        {"blur_step": 0.0}, {"noise_step": 0.0}, {"noise_eps": 1 / 255}, {"degree": 2}, {"flow_scale": 4},
        {"momentum": 0.0}, {"weight_mmd": 0.0}, {"weight_field": 0.0}, {"weight_flow": 1e6}, {"guide_count": 2},
        {"threat": Linf(8 / 255)},
    ],
    ids=str,
)  # fmt: skip
def test_every_option_changes_something(change: dict[str, object], detector: Detector) -> None:
    x, y = labelled(8, 32, 32)
    common = StatAttack(EPS, flow_step=0.01)
    usual, other = (
        a.fit(detector, [labelled(12, 16, 16, seed=4)]).search(detector, x, y)
        for a in (common, replace(common, **change))
    )
    assert not torch.equal(usual, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threat": L2(0.5)}, "StatAttack is an attack under norm linf, got l2"),
        ({"threat": Linf(math.inf)}, "eps must be finite"),
        ({"steps": 0}, "steps must be >= 1"),
        ({"degree": 0}, "degree must be >= 1"),
        ({"flow_scale": 0}, "flow_scale must be >= 1"),
        ({"guide_count": 1}, "guide_count must be >= 2, got 1"),
        ({"field_step": -0.1}, "field_step must be in [0, 1], got -0.1; write 1/255"),
        ({"noise_step": 2.0}, "noise_step must be in [0, 1], got 2; in pixel units write 2/255"),
        ({"noise_eps": math.nan}, "noise_eps must be in [0, 1]"),
        ({"momentum": -1.0}, "momentum must be >= 0 and finite, got -1"),
        ({"weight_mmd": math.inf}, "weight_mmd must be >= 0 and finite"),
        ({"guides": "reals/"}, "guides are kept by fit"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        StatAttack(**{"threat": EPS, **options})  # type: ignore[arg-type]
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_options_can_be_text() -> None:
    options = {"threat": EPS, "steps": "5", "noise_eps": "2/255", "momentum": "0.9"}
    built = registry.build("attack", "stat", StatAttack, options)
    assert built == StatAttack(EPS, steps=5, noise_eps=2 / 255, momentum=0.9)
