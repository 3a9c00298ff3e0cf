"""Universal: one perturbation, learned on fakes, worn by all."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from unfooled import registry
from unfooled.attacks import Transfer
from unfooled.attacks.universal import Universal
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector, LinearHead
from unfooled.threats import L2, Linf

EPS = Linf(8 / 255)


def labelled(rows: int, *shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x = torch.rand((rows, 3, *shape), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return x * 0.6 + 0.2, torch.arange(rows) % 2


def batches(*shape: int, count: int = 3) -> list[tuple[Tensor, Tensor]]:
    return [labelled(6, *shape, seed=seed) for seed in range(count)]


@pytest.fixture
def clips() -> Detector:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv3d(3, 6, (1, 3, 3), 1, 1), nn.Tanh(), nn.AdaptiveAvgPool3d((1, 4, 4)), nn.Flatten())
    return Detector(backbone, LinearHead(96), mean=0.5, std=0.25).double().eval()


def test_on_a_linear_detector_it_learns_eps_times_the_sign(linear_detector: Detector) -> None:
    detector = linear_detector.double()
    w = detector.head.weight.detach().reshape(3, 8, 8)
    fitted = Universal(EPS).fit(detector, batches(8, 8))
    assert fitted.delta is not None
    torch.testing.assert_close(fitted.delta, -8 / 255 * w.sign(), rtol=0, atol=1e-12)
    one = Universal(EPS, epochs=1).fit(detector, batches(8, 8))
    assert one.delta is not None
    torch.testing.assert_close(one.delta, -3 / 255 * w.sign(), rtol=0, atol=1e-12)


def test_it_is_the_naive_loop(tiny_detector: Detector) -> None:
    detector = tiny_detector.double()
    train = batches(12, 12)
    train[0][0][:, :, :3] = 0.001  # where delta leaves [0, 1] it has no slope
    delta = torch.zeros(3, 12, 12, dtype=torch.float64)
    for _ in range(2):
        for x, y in train:
            leaf = delta.clone().requires_grad_()
            loss = sum(detector((fake + leaf).clamp(0, 1)[None]).squeeze() for fake in x[y == 1])
            (slope,) = torch.autograd.grad(loss, leaf)  # type: ignore[arg-type]
            delta = (delta - slope.sign() / 255).clamp(-8 / 255, 8 / 255)
    fitted = Universal(EPS, epochs=2).fit(detector, train)
    assert fitted.delta is not None
    torch.testing.assert_close(fitted.delta, delta, rtol=0, atol=1e-12)
    assert not fitted.delta.requires_grad


def test_it_lowers_the_logits_of_fakes_it_has_not_seen(tiny_detector: Detector) -> None:
    detector = tiny_detector.double()
    fitted = Universal(EPS).fit(detector, batches(16, 16))
    x, y = labelled(40, 16, 16, seed=99)
    found = fitted(detector, x, y)
    with torch.no_grad():
        clean = detector(x)
    assert (found.logits < clean)[y == 1].all()
    assert found.queries.tolist() == [0] * 40


def test_all_fakes_wear_the_same_and_reals_nothing(tiny_detector: Detector) -> None:
    detector = tiny_detector.double()
    fitted = Universal(EPS).fit(detector, batches(12, 12))
    assert fitted.delta is not None
    x, y = labelled(6, 12, 12, seed=5)
    found = fitted(detector, x, y)
    for i in range(6):
        worn = fitted.delta if y[i] else torch.zeros_like(fitted.delta)
        torch.testing.assert_close(found.x[i] - x[i], worn, rtol=0, atol=1e-12)
    assert torch.equal(found.x[y == 0], x[y == 0])
    alone = fitted(detector, x[1:2], y[1:2])
    torch.testing.assert_close(alone.x[0], found.x[1], rtol=0, atol=0)
    assert Universal.fakes_only


def test_at_the_edge_of_the_pixel_range_it_stays_inside(tiny_detector: Detector) -> None:
    detector = tiny_detector.double()
    fitted = Universal(EPS).fit(detector, batches(8, 8))
    x = torch.rand(4, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).round()
    found = fitted(detector, x, torch.ones(4, dtype=torch.int64))
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    assert (found.distance <= 8 / 255 + 1e-12).all()


def test_frames_of_a_clip_share_it(clips: Detector) -> None:
    fitted = Universal(EPS, epochs=3).fit(clips, batches(4, 10, 10))
    assert fitted.delta is not None
    assert fitted.delta.shape == (3, 10, 10)
    x, y = labelled(4, 5, 10, 10, seed=7)
    change = fitted(clips, x, y).x - x
    torch.testing.assert_close(change, change[:, :, :1].expand_as(change), rtol=0, atol=1e-12)
    assert (change[y == 1] != 0).any()
    # The slope of the shared perturbation is the sum over the frames.
    train = [labelled(6, 4, 10, 10)]
    leaf = torch.zeros(3, 10, 10, dtype=torch.float64, requires_grad=True)
    fakes = train[0][0][train[0][1] == 1]
    (slope,) = torch.autograd.grad(clips(fakes + leaf[None, :, None]).sum(), leaf)
    one = Universal(EPS, epochs=1).fit(clips, train)
    assert one.delta is not None
    torch.testing.assert_close(one.delta, -slope.sign() / 255, rtol=0, atol=1e-12)


def test_used_before_it_has_learned(tiny_detector: Detector) -> None:
    x, y = labelled(2, 8, 8)
    with pytest.raises(ConfigError, match=r"universal has to learn first; call attack = attack.fit\("):
        Universal(EPS)(tiny_detector.double(), x, y)
    # Nothing to hide, nothing to wear.
    assert torch.equal(Universal(EPS).search(tiny_detector, x, torch.zeros_like(y)), x)


def test_learning_leaves_the_attack_the_detector_and_the_batches_alone(tiny_detector: Detector) -> None:
    detector, attack, train = tiny_detector.double().train(), Universal(EPS, epochs=1), batches(8, 8)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    copies = [x.clone() for x, _ in train]
    with torch.inference_mode():
        fitted = attack.fit(detector, train)
    assert attack.delta is None
    assert fitted == attack
    assert "delta" not in repr(fitted)
    assert detector.training
    assert all(p.requires_grad and p.grad is None for p in detector.parameters())
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())
    assert all(torch.equal(x, copy) for (x, _), copy in zip(train, copies, strict=True))


def test_transfer_learns_on_the_surrogate(tiny_detector: Detector, linear_detector: Detector) -> None:
    target, surrogate = tiny_detector.double(), linear_detector.double()
    fitted = Transfer(Linf(4 / 255), Universal(EPS), surrogate).fit(target, batches(8, 8))
    x, y = labelled(4, 8, 8, seed=9)
    w = surrogate.head.weight.detach().reshape(3, 8, 8)
    change = fitted(target, x, y).x - x
    torch.testing.assert_close(change[1], -4 / 255 * w.sign(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("change", [{"epochs": 2}, {"step_size": 0.5 / 255}, {"threat": Linf(2 / 255)}])
def test_every_option_changes_something(change: dict[str, object], tiny_detector: Detector) -> None:
    x, y = labelled(4, 12, 12, seed=3)
    usual, other = (
        a.fit(tiny_detector.double(), batches(12, 12, count=1)).search(tiny_detector, x, y)
        for a in (Universal(EPS, epochs=5), replace(Universal(EPS, epochs=5), **change))
    )
    assert not torch.equal(usual, other)


def test_what_it_can_not_learn_from(tiny_detector: Detector) -> None:
    detector, train = tiny_detector.double(), batches(8, 8)

    def once() -> Iterator[tuple[Tensor, Tensor]]:
        yield from train

    with pytest.raises(ConfigError, match="goes through the batches 10 times, an iterator ends after one"):
        Universal(EPS).fit(detector, once())
    assert Universal(EPS, epochs=1).fit(detector, once()).delta is not None
    for none in ([], [(x, torch.zeros_like(y)) for x, y in train]):
        with pytest.raises(DataError, match="universal learns from fakes, the batches held none"):
            Universal(EPS).fit(detector, none)
    with pytest.raises(DataError, match=r"x must lie in \[0, 1\]"):
        Universal(EPS).fit(detector, [(train[0][0] * 255, train[0][1])])
    with pytest.raises(DataError, match="learned on 8 x 8 pixels, got 9 x 7; fit it on that size"):
        Universal(EPS).fit(detector, [*train, labelled(2, 9, 7)])
    with pytest.raises(DataError, match="learned on 8 x 8 pixels, got 12 x 12"):
        Universal(EPS).fit(detector, train)(detector, *labelled(2, 12, 12))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"threat": L2(0.5)}, "Universal is an attack under norm linf, got l2"),
        ({"epochs": 0}, "epochs must be >= 1, got 0"),
        ({"step_size": 1.5}, "write 1.5/255"),
        ({"delta": "delta.pt"}, "delta is learned by fit"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        Universal(**{"threat": EPS, **options})  # type: ignore[arg-type]
    assert message in str(error.value)


def test_options_can_be_text() -> None:
    built = registry.build("attack", "universal", Universal, {"threat": EPS, "epochs": "3", "step_size": "2/255"})
    assert built == Universal(EPS, epochs=3, step_size=2 / 255)
