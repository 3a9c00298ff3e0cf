"""The part that every attack shares: checks, freezing, counting, keeping the worst."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import PGD, Attack, frozen
from unfooled.attacks.base import Worst, counted, only
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf

GOOD = torch.full((2, 3, 8, 8), 0.5)
LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (GOOD.mul(255).byte(), LABELS, "got torch.uint8; bytes become that by x.float() / 255"),
        (GOOD.numpy(), LABELS, "got ndarray"),
        (GOOD[0], LABELS, "(B, 3, H, W) frames"),
        (GOOD[:, :1], LABELS, "got (2, 1, 8, 8)"),
        (GOOD[:0], LABELS[:0], "got (0, 3, 8, 8)"),
        (GOOD * 255, LABELS, "x must lie in [0, 1], got [127.5, 127.5]"),
        (GOOD - 1, LABELS, "x must lie in [0, 1]"),
        (GOOD * torch.nan, LABELS, "x must lie in [0, 1], got [nan, nan]"),
        (GOOD.index_fill(0, torch.tensor([1]), torch.inf), LABELS, "x must lie in [0, 1]"),
        (GOOD, LABELS.float(), "y must be an int64 tensor, got torch.float32"),
        (GOOD, [0, 1], "got list"),
        (GOOD, LABELS[:1], "one label for each of the 2 rows"),
        (GOOD, LABELS[:, None], "got shape (2, 1)"),
        (GOOD, LABELS + 1, "y must be 0 (real) or 1 (fake), got [1, 2]"),
    ],
)
def test_bad_batches_are_refused_in_one_line(x: Tensor, y: Tensor, message: str, tiny_detector: Detector) -> None:
    with pytest.raises(DataError) as error:
        PGD(Linf(0.1))(tiny_detector, x, y)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :4] * torch.nan


def test_a_detector_that_answers_nan_is_an_error() -> None:
    with pytest.raises(DataError, match="NaN for 2 of 2"):
        PGD(Linf(0.1))(Detector(Broken(), nn.Linear(4, 1)), GOOD, LABELS)


@dataclass(frozen=True)
class Careless(Attack):
    """Leaves the ball, runs an ordinary backward, then fails if told to."""

    fails: bool = False

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        leaf = x.clone().requires_grad_()
        detector.train()
        detector.eval()
        detector(leaf).sum().backward()
        if self.fails:
            raise RuntimeError("the search broke")
        return x + 5 * leaf.grad.sign()


def test_the_base_projects_whatever_the_author_returns(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    found = Careless(Linf(0.05))(tiny_detector, *batch)
    assert found.distance.max() <= 0.05 + 1e-6
    assert found.queries.tolist() == [1] * 8
    assert all(p.grad is None for p in tiny_detector.parameters())


def test_a_failing_search_leaves_the_detector_as_it_was(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    tiny_detector.train()
    tiny_detector.backbone[1].eval()
    modes = [m.training for m in tiny_detector.modules()]
    with pytest.raises(RuntimeError, match="the search broke"):
        Careless(Linf(0.05), fails=True)(tiny_detector, *batch)
    assert [m.training for m in tiny_detector.modules()] == modes
    assert all(p.requires_grad for p in tiny_detector.parameters())
    assert not tiny_detector.backbone._forward_pre_hooks


def test_frozen_is_frozen_inside(tiny_detector: Detector) -> None:
    tiny_detector.train()
    with frozen(tiny_detector):
        assert not any(m.training for m in tiny_detector.modules())
        assert not any(p.requires_grad for p in tiny_detector.parameters())
    assert all(m.training for m in tiny_detector.modules())


def test_an_attack_between_forward_and_backward_does_not_disturb_training(
    tiny_detector: Detector, batch: tuple[Tensor, Tensor]
) -> None:
    x, y = batch
    grads = []
    for attack in (None, PGD(Linf(0.05), steps=2)):
        tiny_detector.zero_grad()
        loss = tiny_detector(x).sum()
        if attack:
            attack.search(tiny_detector, x, y)
        loss.backward()
        grads.append([p.grad.clone() for p in tiny_detector.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*grads, strict=True))


def test_search_is_the_call_without_its_judge(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    attack = PGD(Linf(0.05), steps=3, keep="last")
    with counted(tiny_detector) as rows:
        x_adv = attack.search(tiny_detector, *batch)
        assert rows() == 3 * 8
        found = attack(tiny_detector, *batch)
        assert rows() == (3 + 3 + 1) * 8
    assert torch.equal(found.x, x_adv)
    assert not x_adv.requires_grad


def test_worst_keeps_the_most_harmful_logit_of_each_row() -> None:
    x = torch.zeros(3, 3, 1, 1)
    worst = Worst(x, torch.tensor([0, 1, 1]))
    for value, logits in ((1.0, [1.0, 1.0, torch.nan]), (2.0, [2.0, 2.0, torch.nan]), (3.0, [1.5, -3.0, torch.nan])):
        worst.see(torch.full_like(x, value), torch.tensor(logits))
    assert worst.x[:, 0, 0, 0].tolist() == [2.0, 3.0, 0.0]


def test_most_attacks_have_nothing_to_learn(tiny_detector: Detector) -> None:
    attack = PGD(Linf(0.05))
    assert attack.fit(tiny_detector, []) is attack


@dataclass(frozen=True)
class Sparing(Attack):
    """Asks for the later rows only, and for views of them."""

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        detector(x)
        rows = torch.arange(2, len(x))
        with only(rows):
            detector(x[rows].repeat(5, 1, 1, 1))
            with only(torch.tensor([1, 3])):
                detector(x[[3, 5]])
        detector(x)
        return x


def test_queries_are_counted_row_by_row(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    found = Sparing(Linf(0.1))(tiny_detector, *batch)
    assert found.queries.tolist() == [2, 2, 7, 8, 7, 8, 7, 7]


@dataclass(frozen=True)
class Spy(Attack):
    """Remembers how the batch lies in memory and in which precision the detector answers."""

    seen: list[object] = field(default_factory=list, compare=False)

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        channels_last = torch.channels_last if x.dim() == 4 else torch.channels_last_3d
        self.seen.append(x.is_contiguous(memory_format=channels_last))
        if x.dim() == 4:
            self.seen.append(detector(x).dtype)
        return x


@pytest.mark.parametrize("shape", [(2, 3, 8, 8), (2, 3, 2, 8, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_single_precision_has_its_channels_last(
    shape: tuple[int, ...], dtype: torch.dtype, tiny_detector: Detector
) -> None:
    spy = Spy(Linf(0.1))
    x = torch.full(shape, 0.5, dtype=dtype)
    spy.search(tiny_detector.to(dtype), x, LABELS)
    assert spy.seen[0] is (dtype == torch.float32)


def test_precision_is_of_the_search_alone(tiny_detector: Detector, batch: tuple[Tensor, Tensor]) -> None:
    usual, coarse = Spy(Linf(0.1)), Spy(Linf(0.1), precision="bfloat16")
    assert usual(tiny_detector, *batch).logits.dtype == coarse(tiny_detector, *batch).logits.dtype == torch.float32
    assert usual.seen[1] == torch.float32
    assert coarse.seen[1] == torch.bfloat16
    assert not torch.is_autocast_enabled("cpu")
    with torch.autocast("cpu", torch.bfloat16):
        usual.search(tiny_detector, *batch)
    assert usual.seen[-1] == torch.bfloat16  # the caller's own
    with pytest.raises(ConfigError, match="precision must be one of float32, bfloat16, got 'half'"):
        PGD(Linf(0.1), precision="half")(tiny_detector, *batch)  # type: ignore[arg-type]


def test_an_attack_is_for_its_threats() -> None:
    @dataclass(frozen=True)
    class OnlyL2(Sparing):
        threats = (L2,)

    with pytest.raises(ConfigError, match="OnlyL2 is an attack under norm l2, got linf; write norm=l2"):
        OnlyL2(Linf(0.1))
    OnlyL2(L2(0.1))
