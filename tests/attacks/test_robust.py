"""Robust white-box and black-box: against naive loops, closed forms, and what each option does."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unfooled import registry
from unfooled.attacks.evasion import Evasion
from unfooled.attacks.robust import RobustBlackBox, RobustWhiteBox, hinge, real_enough
from unfooled.attacks.views import Identity, fixed_views, random_views
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector, LinearHead
from unfooled.randomness import generators, normal_like, seed_of
from unfooled.threats import L2, Linf

EPS = Linf(16 / 255)
BOTH: list[type[Evasion]] = [RobustWhiteBox, RobustBlackBox]


@pytest.fixture
def detector(tiny_detector: Detector) -> Detector:
    """Double precision; the brighter, the more fake: what a blurred and shifted picture shows too."""
    for parameter in tiny_detector.parameters():
        parameter.data.abs_()
    return tiny_detector.double()


@pytest.fixture
def fakes(detector: Detector) -> Tensor:
    """Four pictures with a grain, of logits from 0 to 2; eps is worth about 9."""
    level = torch.tensor([0.6, 0.61, 0.62, 0.63], dtype=torch.float64).reshape(4, 1, 1, 1)
    grain = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = level + 0.02 * (grain - 0.5)
    with torch.no_grad():
        z, darker = detector(x), detector(x - 16 / 255)
        scale = 9 / (z - darker).mean()
        detector.head.weight.data.mul_(scale)
        detector.head.bias.data.mul_(scale)
        detector.head.bias.data.sub_(detector(x).min())
    return x


@pytest.fixture
def rough() -> Detector:
    """Its gradient has either sign, so that small changes of the search show."""
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.Tanh(), nn.Conv2d(8, 16, 3, 2, 1), nn.Tanh(), nn.Flatten())
    detector = Detector(backbone, LinearHead(16 * 16), mean=0.5, std=0.25).double()
    detector.head.weight.data.mul_(4)
    detector.head.bias.data.fill_(0.2)
    return detector


def ones(x: Tensor) -> Tensor:
    return torch.ones(len(x), dtype=torch.int64)


def hinges(detector: Detector, x: Tensor, noise: Tensor) -> Tensor:
    """(B,) mean over the views."""
    with torch.no_grad():
        return torch.stack([(detector(v(x)) + 10).clamp_min(0) for v in fixed_views(noise)]).mean(0)


def naive_white_box(detector: Detector, x: Tensor, steps: int) -> tuple[Tensor, int]:
    """One picture (1, 3, H, W), as the paper tells it; also the steps it took."""
    views = fixed_views(normal_like(x, 0, "view"))
    x_adv = x.clone()
    for step in range(steps):
        leaf = x_adv.clone().requires_grad_()
        logits = [detector(view(leaf)) for view in views]
        if all((1 - torch.sigmoid(z)).item() >= 0.95 for z in logits):
            return x_adv, step
        loss = sum((z + 10).clamp_min(0) for z in logits) / 17
        (gradient,) = torch.autograd.grad(loss.sum(), leaf)  # type: ignore[union-attr]
        x_adv = (x + (x_adv - gradient.sign() / 255 - x).clamp(-16 / 255, 16 / 255)).clamp(0, 1)
    return x_adv, steps


def naive_black_box(detector: Detector, x: Tensor, steps: int, pairs: int) -> tuple[Tensor, int]:
    """One picture, one answer at a time; also the steps it took."""
    x_adv, warm = x.clone(), False
    with torch.no_grad():
        for step in range(steps):
            views = random_views(0, step)
            warm = warm or (1 - torch.sigmoid(detector(x_adv))).item() > 0.9
            if warm and all((1 - torch.sigmoid(detector(v(x_adv)))).item() >= 0.9 for v in views):
                return x_adv, step
            shown = views if warm else [Identity()]
            gradient = torch.zeros_like(x)
            for position, view in enumerate(shown):
                (source,) = generators(x, seed_of(0, step, position), "nes")
                for _ in range(pairs):
                    d = torch.empty(x.shape[1:]).normal_(generator=source).double()
                    up, down = ((x_adv + s * 0.001 * d).clamp(0, 1) for s in (1, -1))
                    gradient += (detector(view(up)) - detector(view(down))) * d
            x_adv = (x + (x_adv - gradient.sign() / 255 - x).clamp(-16 / 255, 16 / 255)).clamp(0, 1)
    return x_adv, steps


def test_white_box_is_the_naive_loop_and_rests_row_by_row(detector: Detector, fakes: Tensor) -> None:
    x_adv = RobustWhiteBox(EPS, steps=20).search(detector, fakes, ones(fakes))
    taken = []
    for i in range(4):
        expected, steps = naive_white_box(detector, fakes[i : i + 1], 20)
        torch.testing.assert_close(x_adv[i], expected[0], rtol=0, atol=1e-9)
        taken.append(steps)
    assert len(set(taken)) > 1, "the rows should need different numbers of steps"
    assert max(taken) < 20


def test_black_box_is_the_naive_loop(detector: Detector, fakes: Tensor) -> None:
    detector.head.weight.data.mul_(5)
    detector.head.bias.data.mul_(5)
    x_adv = RobustBlackBox(EPS, steps=30, pairs=4).search(detector, fakes, ones(fakes))
    taken = []
    for i in range(4):
        expected, steps = naive_black_box(detector, fakes[i : i + 1], 30, 4)
        torch.testing.assert_close(x_adv[i], expected[0], rtol=0, atol=1e-9)
        taken.append(steps)
    assert len(set(taken)) > 1, "the rows should need different numbers of steps"


def test_white_box_rests_only_when_every_view_is_passed(detector: Detector, fakes: Tensor) -> None:
    x_adv = RobustWhiteBox(EPS).search(detector, fakes, ones(fakes))
    noise = normal_like(fakes, 0, "view")
    with torch.no_grad():
        for view in fixed_views(noise):
            assert (torch.sigmoid(-detector(view(x_adv))) >= 0.95).all()
    assert (hinges(detector, x_adv, noise) < hinges(detector, fakes, noise)).all()
    # One step more and it would rest at once: a passed fake is not touched again.
    again = RobustWhiteBox(EPS).search(detector, x_adv, ones(fakes))
    assert (again - x_adv).abs().amax() <= 1 / 255 + 1e-9


def test_more_steps_lower_the_mean_over_the_views(detector: Detector, fakes: Tensor) -> None:
    detector.head.bias.data.add_(20)
    noise = normal_like(fakes, 0, "view")
    means = [
        hinges(detector, RobustWhiteBox(EPS, steps=steps).search(detector, fakes, ones(fakes)), noise).mean().item()
        for steps in (1, 4, 16)
    ]
    assert hinges(detector, fakes, noise).mean().item() > means[0] > means[1] > means[2]


@pytest.mark.parametrize("kind", BOTH)
def test_passed_fakes_and_reals_are_left_alone(kind: type[Evasion], detector: Detector, fakes: Tensor) -> None:
    y = torch.tensor([0, 1, 0, 1])
    attack = replace(kind(EPS), steps=3)
    found = attack(detector, fakes, y)
    assert torch.equal(found.x[y == 0], fakes[y == 0])
    assert (found.distance[y == 0] == 0).all()
    assert (found.distance[y == 1] > 0).all()
    assert torch.equal(attack.search(detector, fakes, torch.zeros_like(y)), fakes)
    detector.head.bias.data.sub_(100)
    assert torch.equal(attack.search(detector, fakes, ones(fakes)), fakes)
    assert kind.fakes_only


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("shape", [(3, 3, 24, 24), (3, 3, 2, 16, 16)])
def test_stays_in_the_ball_and_a_row_is_its_own(kind: type[Evasion], shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    conv, pool = (nn.Conv2d, nn.AdaptiveAvgPool2d) if len(shape) == 4 else (nn.Conv3d, nn.AdaptiveAvgPool3d)
    detector = Detector(
        nn.Sequential(conv(3, 6, 3, padding=1), nn.ReLU(), pool(1), nn.Flatten()), LinearHead(6)
    ).double()
    x = torch.rand(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    x[0].flatten()[:4] = torch.tensor([0.0, 1.0, 0.0, 1.0])
    detector.head.bias.data.add_(3)
    attack = replace(kind(Linf(4 / 255)), steps=6)
    together = attack(detector, x, ones(x))
    assert together.x.min() >= 0
    assert together.x.max() <= 1
    assert (together.distance <= 4 / 255 + 1e-12).all()
    for i in range(3):
        alone = attack(detector, x[i : i + 1], ones(x[:1]))
        torch.testing.assert_close(alone.x[0], together.x[i], rtol=0, atol=1e-9)
    assert torch.equal(attack(detector, x, ones(x)).x, together.x)
    assert torch.equal(replace(attack, threat=Linf(0)).search(detector, x, ones(x)), x)


def test_a_linear_detector_gives_the_closed_form(linear_detector: Detector) -> None:
    detector = linear_detector.double()
    nn.init.constant_(detector.head.bias, 100.0)
    x = torch.rand(3, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.6 + 0.2
    leaf = x.clone().requires_grad_()
    mean = sum(detector(view(leaf)) for view in fixed_views(normal_like(x, 0, "view"))) / 17
    (slope,) = torch.autograd.grad(mean.sum(), leaf)  # type: ignore[union-attr]
    best = x - 16 / 255 * slope.sign()
    torch.testing.assert_close(RobustWhiteBox(EPS).search(detector, x, ones(x)), best, rtol=0, atol=1e-9)
    # Before its warm start the black box sees the picture alone: w decides, as far as the estimate is right.
    w = detector.head.weight.detach().reshape(1, 3, 8, 8)
    x_adv = RobustBlackBox(EPS).search(detector, x, ones(x))
    with torch.no_grad():
        clean, found, goal = (detector(v) for v in (x, x_adv, x - 16 / 255 * w.sign()))
    assert ((found - clean) / (goal - clean) > 0.7).all()


class Shy(nn.Module):
    """Refuses to be differentiated."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.inner = backbone

    def forward(self, x: Tensor) -> Tensor:
        assert not torch.is_grad_enabled()
        features: Tensor = self.inner(x)
        return features.detach()


def test_the_black_box_needs_no_gradient_and_the_white_box_says_so(detector: Detector, fakes: Tensor) -> None:
    seen = RobustBlackBox(EPS, steps=5, pairs=3).search(detector, fakes, ones(fakes))
    detector.backbone = Shy(detector.backbone)
    assert torch.equal(RobustBlackBox(EPS, steps=5, pairs=3).search(detector, fakes, ones(fakes)), seen)
    detector.backbone.forward = lambda x: detector.backbone.inner(x).detach()  # type: ignore[method-assign]
    detector.head.requires_grad_(False)
    with pytest.raises(ConfigError, match="needs a detector with gradients"):
        RobustWhiteBox(EPS).search(detector, fakes, ones(fakes))


def test_queries_are_what_was_asked(detector: Detector, fakes: Tensor) -> None:
    detector.head.bias.data.add_(100)
    assert RobustWhiteBox(EPS, steps=3)(detector, fakes, ones(fakes)).queries.tolist() == [3 * 17] * 4
    # Never warm: one look and one pair of answers for each draw.
    assert RobustBlackBox(EPS, steps=3, pairs=5)(detector, fakes, ones(fakes)).queries.tolist() == [3 * 11] * 4
    detector.head.bias.data.sub_(1000)
    assert RobustWhiteBox(EPS)(detector, fakes, ones(fakes)).queries.tolist() == [17] * 4
    assert RobustBlackBox(EPS)(detector, fakes, ones(fakes)).queries.tolist() == [1 + 4] * 4


def test_the_threshold_is_where_real_and_fake_are_equally_likely(detector: Detector, fakes: Tensor) -> None:
    assert real_enough(detector, 0.95) == pytest.approx(-math.log(19))
    plain = [replace(kind(EPS), steps=12).search(detector, fakes, ones(fakes)) for kind in BOTH]
    detector.head.bias.data.sub_(3)
    detector.threshold.fill_(-3.0)
    for kind, x_adv in zip(BOTH, plain, strict=True):
        torch.testing.assert_close(
            replace(kind(EPS), steps=12).search(detector, fakes, ones(fakes)), x_adv, rtol=0, atol=1e-9
        )


def test_the_hinge() -> None:
    detector = Detector(nn.Identity(), nn.Identity())
    z = torch.tensor([-12.0, -10.0, -4.0, 3.0])
    assert (-hinge(detector, 10.0)(z, z)).tolist() == [0, 0, 6, 13]
    detector.threshold.fill_(-5.0)
    assert (-hinge(detector, 10.0)(z, z)).tolist() == [3, 5, 11, 18]


CHANGES: list[tuple[Evasion, dict[str, object]]] = [
    *(
        (RobustWhiteBox(EPS, steps=6), change)
        for change in ({"steps": 2}, {"step_size": 2 / 255}, {"confidence": 0.0}, {"seed": 1}, {"seed": None})
    ),
    (RobustWhiteBox(EPS), {"p_real": 0.6}),
    *(
        (RobustBlackBox(EPS, steps=6, pairs=3), change)
        for change in (
            {"steps": 2}, {"step_size": 2 / 255}, {"pairs": 4}, {"sigma": 0.05}, {"seed": 1}, {"seed": None},
        )
    ),
    (RobustBlackBox(EPS, steps=40, pairs=3), {"p_real": 0.6}),
]  # fmt: skip


@pytest.mark.parametrize(("attack", "change"), CHANGES, ids=lambda v: str(v))
def test_every_option_changes_something(
    attack: Evasion, change: dict[str, object], rough: Detector, detector: Detector, fakes: Tensor
) -> None:
    attacked = detector if "p_real" in change else rough
    usual, other = (a.search(attacked, fakes, ones(fakes)) for a in (attack, replace(attack, **change)))
    assert not torch.equal(usual, other)


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threat": L2(0.5)}, "is an attack under norm linf, got l2"),
        ({"threat": Linf(math.inf)}, "eps must be finite"),
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"step_size": 0.0}, "step_size must be > 0 and <= 1"),
        ({"step_size": 2.0}, "step_size must be > 0 and <= 1, got 2; in pixel units write 2/255"),
        ({"step_size": math.nan}, "step_size must be > 0"),
        ({"p_real": 1.0}, "p_real must be in (0, 1), got 1"),
        ({"p_real": 95.0}, "p_real must be in (0, 1)"),
    ],
)
def test_wrong_options_are_refused(kind: Callable[..., Evasion], options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**{"threat": EPS, **options})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RobustWhiteBox(EPS, confidence=-1.0), "confidence must be >= 0"),
        (lambda: RobustWhiteBox(EPS, confidence=math.inf), "confidence must be >= 0 and finite"),
        (lambda: RobustBlackBox(EPS, pairs=0), "pairs must be >= 1, got 0"),
        (lambda: RobustBlackBox(EPS, sigma=0.0), "sigma must be > 0"),
    ],
)
def test_wrong_own_options_are_refused(make: Callable[[], Evasion], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("kind", BOTH)
def test_options_can_be_text(kind: type[Evasion]) -> None:
    options = {"threat": EPS, "steps": "7", "step_size": "2/255", "p_real": "0.8", "seed": "none"}
    built = registry.build("attack", "robust", kind, options)
    assert built == replace(kind(EPS), steps=7, step_size=2 / 255, p_real=0.8, seed=None)
    assert registry.summary(kind).startswith("Robust ")


@pytest.mark.parametrize("kind", BOTH)
def test_under_autocast_and_without_gradients_outside(kind: type[Evasion], detector: Detector, fakes: Tensor) -> None:
    detector, x = detector.float(), fakes.float()
    attack = replace(kind(EPS), steps=3)
    plain = attack(detector, x, ones(x)).x
    with torch.inference_mode():
        assert torch.equal(attack(detector, x.clone(), ones(x)).x, plain)
    with torch.autocast("cpu", torch.bfloat16):
        rough = attack(detector, x, ones(x))
    assert rough.x.dtype == torch.float32
    assert (rough.distance <= 16 / 255 + 1e-6).all()
