"""Planted gradient masking is warned of; honest detectors are not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unfooled import checks
from unfooled.attacks import FGSM, PGD, Noise
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import CosineHead, Detector, LinearHead
from unfooled.threats import L2, Linf

ATTACK = PGD(Linf(4 / 255))


class Trace(nn.Module):
    """Fakes carry a faint checkerboard; each feature is its strength in one block of 8 x 8 pixels."""

    def __init__(self, distort: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.distort = distort

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.distort is None else self.distort(x)
        return 100 * nn.functional.avg_pool2d(x * checkerboard(x), 8).sum(1).flatten(1)


def checkerboard(x: Tensor) -> Tensor:
    rows, columns = torch.arange(x.shape[-2]), torch.arange(x.shape[-1])
    return (1 - 2 * ((rows[:, None] + columns) % 2)).to(x)


def trace(distort: Callable[[Tensor], Tensor] | None = None, head: nn.Module | None = None) -> Detector:
    if head is None:
        head = LinearHead(16)
        nn.init.constant_(head.weight, 0.05)
        nn.init.constant_(head.bias, -1.2)
    return Detector(Trace(distort), head).eval()


class Saturated(nn.Module):
    """A head whose probability is rounded to 0 or 1 and turned into a logit again."""

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        p = torch.sigmoid(1e4 * self.head(features))
        return torch.logit(p, eps=1e-6)


@pytest.fixture
def faces() -> tuple[Tensor, Tensor]:
    x = torch.rand(24, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.2 + 0.4
    y = torch.arange(24) % 2
    return x + 0.03 * y.reshape(-1, 1, 1, 1) * checkerboard(x), y


def warned(detector: Detector, faces: tuple[Tensor, Tensor], attack: PGD = ATTACK) -> set[str]:
    return {f.name for f in checks.gradient_masking(detector, *faces, attack) if f.warning}


@pytest.mark.parametrize("attack", [ATTACK, PGD(L2(1.0)), PGD(Linf(1 / 255)), PGD(Linf(0)), FGSM(Linf(4 / 255))])
def test_an_honest_detector_is_not_suspected(attack: PGD, faces: tuple[Tensor, Tensor]) -> None:
    findings = checks.gradient_masking(trace(), *faces, attack)
    assert [f.warning for f in findings] == [None] * 5
    sweep = next(f for f in findings if f.name == "eps sweep").values
    assert sweep["0/255"] > 0.95
    assert sweep["64/255"] == 0


def test_an_honest_network_is_not_suspected(tiny_detector: Detector, faces: tuple[Tensor, Tensor]) -> None:
    assert warned(tiny_detector, faces) == set()


def quantise(x: Tensor) -> Tensor:
    """Rounding has slope 0 wherever it has one."""
    return (x * 50).round() / 50


def shatter(x: Tensor) -> Tensor:
    """Hardly changes a pixel, but its slope swings between -60 and +62."""
    return x + 0.01 * torch.sin(6000 * x)


def test_a_quantising_layer_is_found(faces: tuple[Tensor, Tensor]) -> None:
    found = {f.name: f for f in checks.gradient_masking(trace(quantise), *faces, ATTACK)}
    assert found["zero gradients"].values == {"entries": 1.0, "samples": 1.0}
    assert "no input gradient at all" in str(found["zero gradients"].warning)
    assert found["eps sweep"].warning
    assert found["random noise"].warning


def test_a_saturated_probability_is_found(faces: tuple[Tensor, Tensor]) -> None:
    names = warned(trace(head=Saturated(trace().head)), faces)
    assert {"zero gradients", "eps sweep"} <= names


def test_shattered_gradients_are_found(faces: tuple[Tensor, Tensor]) -> None:
    detector = trace(shatter)
    assert {"eps sweep", "random noise"} <= warned(detector, faces)
    # Its gradients are anything but zero: only an attack's failure gives it away.
    assert checks.zero_gradients(detector, *faces).warning is None
    transfer = checks.transfer_as_strong(detector, *faces, ATTACK, trace())
    assert "another detector" in str(transfer.warning)
    assert transfer.values["auc"] < transfer.values["auc_white_box"]


def test_transfer_between_honest_detectors_is_weaker(faces: tuple[Tensor, Tensor]) -> None:
    torch.manual_seed(3)
    other = Detector(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()), LinearHead(8))
    findings = checks.gradient_masking(trace(), *faces, ATTACK, surrogate=other)
    assert findings[-1].name == "transfer"
    assert findings[-1].warning is None
    assert findings[-1].values["share"] < 0.9


def test_too_few_steps_are_found(faces: tuple[Tensor, Tensor]) -> None:
    hasty = PGD(Linf(16 / 255), steps=2, step_size=0.5 / 255)
    finding = checks.effort_helps(trace(), *faces, hasty)
    assert finding.values["more"] < finding.values["usual"] - 0.05
    assert "has not converged" in str(finding.warning)
    patient = checks.effort_helps(trace(), *faces, PGD(Linf(16 / 255), random_start=False))
    assert patient.warning is None


@pytest.mark.parametrize(("bias", "share"), [(0.0, 0.0), (20.0, 0.5), (-20.0, 0.0), (-200.0, 0.5)])
def test_bce_underflows_early_on_the_fake_side(bias: float, share: float, faces: tuple[Tensor, Tensor]) -> None:
    detector = trace()
    nn.init.zeros_(detector.head.weight)
    nn.init.constant_(detector.head.bias, bias)
    finding = checks.bce_underflow(detector, *faces)
    assert finding.values == {"samples": share, "largest_logit": abs(bias)}
    assert finding.warning is None, "a few confident samples are no sign of anything"
    assert (checks.bce_underflow(detector, *faces, limit=0.4).warning is None) == (share == 0)


def test_a_cosine_head_of_scale_64_saturates(faces: tuple[Tensor, Tensor]) -> None:
    head = CosineHead(16)
    nn.init.ones_(head.weight)
    assert checks.bce_underflow(trace(head=head), *faces).values["samples"] > 0


def test_an_auc_that_rises_with_eps_is_found(faces: tuple[Tensor, Tensor]) -> None:
    finding = checks.eps_sweep(trace(), *faces, ATTACK, radii=(8, 0, 64))
    assert finding.values == {"8/255": 0.0, "0/255": 1.0, "64/255": 0.0}
    assert "rises by 1.00" in str(finding.warning)


def test_limits_are_options(faces: tuple[Tensor, Tensor]) -> None:
    detector = trace()
    assert checks.noise_as_strong(detector, *faces, ATTACK, limit=0.0).warning
    assert checks.noise_as_strong(detector, *faces, ATTACK, draws=1).values != (
        checks.noise_as_strong(detector, *faces, ATTACK, draws=20).values
    )
    assert checks.eps_sweep(detector, *faces, ATTACK, limit=-1.0).warning
    assert checks.zero_gradients(detector, *faces, limit=-1.0).warning
    assert checks.effort_helps(detector, *faces, ATTACK, limit=-2.0).warning


def test_the_detector_is_left_alone(tiny_detector: Detector, faces: tuple[Tensor, Tensor]) -> None:
    tiny_detector.train()
    state = {k: v.clone() for k, v in tiny_detector.state_dict().items()}
    warned(tiny_detector, faces)
    assert tiny_detector.training
    assert all(torch.equal(v, state[k]) for k, v in tiny_detector.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in tiny_detector.parameters())


def test_what_can_not_be_checked_is_refused(faces: tuple[Tensor, Tensor]) -> None:
    x, y = faces
    with pytest.raises(ConfigError, match="needs a detector with gradients"):
        checks.gradient_masking(trace(lambda t: t.detach()), x, y, ATTACK)
    with pytest.raises(DataError):
        checks.gradient_masking(trace(), x, torch.ones_like(y), ATTACK)
    with pytest.raises(DataError, match=r"x must lie in \[0, 1\]"):
        checks.gradient_masking(trace(), x * 255, y, Noise(Linf(4 / 255)))
