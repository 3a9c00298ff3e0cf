"""A user's own network, whatever it gives, keeps the promises of a Detector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import unfooled
from unfooled.errors import ConfigError
from unfooled.models.wrap import wrap


class Net(nn.Module):
    """Two layers and an optional tail."""

    def __init__(self, width: int = 1, tail: nn.Module | None = None, flat: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, width)
        self.tail = tail
        self.flat = flat

    def embed(self, x: Tensor) -> Tensor:
        return self.conv(x).relu().mean((2, 3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.embed(x))
        out = self.tail(out) if self.tail else out
        return out.squeeze(1) if self.flat else out


def net(**options: Any) -> Net:
    torch.manual_seed(0)
    return Net(**options).eval()


X = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def same(detector: nn.Module, z: Tensor) -> None:
    """The detector gives ``z``, as classify(features(x)), with a gradient in x and in every parameter."""
    x = X.clone().requires_grad_()
    got = detector(x)
    assert torch.equal(got, detector.classify(detector.features(x)))
    assert torch.allclose(got, z, atol=1e-5)
    got.sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum() > 0
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in detector.parameters())


def test_it_is_found_at_the_top() -> None:
    assert unfooled.wrap is wrap


@pytest.mark.parametrize("flat", [False, True])
def test_logit_and_probabilities_mean_the_same(flat: bool) -> None:
    z = net()(X)[:, 0].detach()
    same(wrap(net(flat=flat)), z)
    same(wrap(net(tail=nn.Sigmoid(), flat=flat), "p_fake"), z)
    same(wrap(net(tail=nn.Sigmoid(), flat=flat), "p_real"), -z)


def test_of_two_logits_class_1_is_fake() -> None:
    two = net(width=2)(X).detach()
    same(wrap(net(width=2), "two_logits"), two[:, 1] - two[:, 0])


@pytest.mark.parametrize("flat", [False, True])
def test_features_by_the_name_of_the_last_layer(flat: bool) -> None:
    detector = wrap(net(flat=flat), features="fc")
    assert torch.equal(detector.features(X), net().embed(X))
    same(detector, net()(X)[:, 0].detach())


def test_features_by_a_callable_and_what_follows() -> None:
    module = net(width=2)
    two = module(X).detach()
    detector = wrap(nn.Sequential(module.fc, nn.Softmax(1), nn.Flatten()), "two_logits", features=module.embed)
    p = two.softmax(1)
    assert torch.equal(detector.features(X), module.embed(X))
    same(detector, p[:, 1] - p[:, 0])
    assert {id(p) for p in detector.parameters()} == {id(p) for p in module.parameters()}
    conv, fc = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()), nn.Linear(4, 1)
    same(wrap(fc, features=conv), fc(conv(X))[:, 0].detach())


def test_size_and_normalisation_happen_inside() -> None:
    module = net()
    detector = wrap(module, size=16, mean=[0.1, 0.2, 0.3], std=[0.5, 0.6, 0.7])
    mean, std = torch.tensor([0.1, 0.2, 0.3]).view(3, 1, 1), torch.tensor([0.5, 0.6, 0.7]).view(3, 1, 1)
    assert torch.allclose(detector(X), module((X - mean) / std)[:, 0], atol=1e-6)
    assert detector(torch.rand(2, 3, 40, 24)).shape == (2,)


def test_weights_and_modes_stay_the_users() -> None:
    module = net()
    module.conv.train()
    detector = wrap(module)
    assert not detector.training
    assert module.conv.training
    assert next(detector.parameters()) is module.conv.weight


def test_a_network_of_clips_can_say_so() -> None:
    module = nn.Sequential(nn.Conv3d(3, 4, 3), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 1))
    detector = wrap(module, size=8, features="3", clips=True)
    assert detector(torch.rand(2, 3, 5, 16, 16)).shape == (2,)
    with pytest.raises(ConfigError, match=r"takes clips .*, got \(3, 3, 16, 16\)"):
        detector(X)
    with pytest.raises(ConfigError, match=r"takes frames .*, got \(3, 3, 2, 16, 16\)"):
        wrap(net(), clips=False)(X.unsqueeze(2).repeat(1, 1, 2, 1, 1))


class Given(nn.Module):
    """Gives what it got."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :1]


def test_probabilities_become_logits_without_losing_small_ones() -> None:
    p = torch.tensor([0.0, 1e-30, 1e-9, 0.25, 0.5, 0.75, 1 - 2**-20, 1.0]).view(-1, 1)
    z = wrap(Given(), "p_fake")(p)
    assert z.isfinite().all()
    assert (z.diff() > 0).all()
    exact = torch.logit(p.double()[1:-1, 0])
    assert torch.allclose(z[1:-1].double(), exact, rtol=1e-6)
    assert torch.equal(wrap(Given(), "p_real")(p), -z)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "probability"}, "logit, two_logits, p_fake, p_real, got 'probability'"),
        ({"features": "fcc"}, "no submodule 'fcc' .did you mean 'fc'"),
        ({"std": 0.0}, "std must be > 0"),
    ],
)
def test_wrong_settings_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrap(net(), **options)


class Pair(nn.Module):
    """Gives two tensors."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (net(width=2), {}, r"must give \(3, 1\) or \(3,\) for output logit, got \(3, 2\)"),
        (net(), {"output": "two_logits"}, r"must give \(3, 2\) for output two_logits, got \(3, 1\)"),
        (nn.Conv2d(3, 1, 3), {}, r"got \(3, 1, 14, 14\)"),
        (Pair(), {}, "a tensor for output logit, got tuple"),
        (net(), {"output": "p_fake"}, r"probabilities must be in \[0, 1\], got -"),
        (net(tail=nn.Sigmoid()), {"features": "fc"}, "must run once and last"),
        (net(), {"features": "conv"}, "must run once and last"),
        (net(), {"features": lambda x: x}, r"features must be \(3, D\), got \(3, 3, 16, 16\)"),
    ],
)
def test_a_wrong_output_is_said_with_what_came(module: nn.Module, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        wrap(module, **options)(X)
