"""The part that every attack shares: checks, freezing, counting, keeping the worst."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from unfooled.attacks import PGD, Attack, frozen
from unfooled.attacks.base import Worst, counted
from unfooled.errors import DataError
from unfooled.models.detector import Detector
from unfooled.threats import Linf

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
