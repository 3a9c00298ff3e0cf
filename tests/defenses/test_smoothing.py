"""Randomised smoothing on a plane, where the certificate has a closed form."""

from __future__ import annotations

import copy
import math
from statistics import NormalDist

import pytest
import torch
from torch import Tensor, nn

from unfooled.defenses import ABSTAIN, Smoothing
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector, LinearHead


class Flat(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.fixture
def plane() -> Detector:
    """z = first pixel - 0.5: the distance to the threshold is |z|, and a far-off clamp changes no vote."""
    detector = Detector(Flat(), LinearHead(3 * 4 * 4)).eval()
    with torch.no_grad():
        detector.head.weight.zero_()
        detector.head.weight[0, 0] = 1
        detector.head.bias.fill_(-0.5)
    return detector


def at(*values: float) -> Tensor:
    x = torch.full((len(values), 3, 4, 4), 0.5)
    x[:, 0, 0, 0] = torch.tensor(values)
    return x


def test_the_radius_is_the_distance_of_a_plane(plane: Detector) -> None:
    x, sigma = at(0.62, 0.35, 0.5003, 0.58), 0.1
    found = Smoothing(sigma).certify(plane, x, n0=50, n=2000, alpha=0.01)
    assert found.y.tolist() == [1, 0, ABSTAIN, 1]
    distance = (x[:, 0, 0, 0] - 0.5).abs().double()
    assert (found.radius[[0, 1, 3]] > 0.75 * distance[[0, 1, 3]]).all()
    assert (found.radius <= distance).all()
    assert found.radius[2] == 0


def test_it_holds_for_any_n_and_never_exceeds_what_n_can_say(plane: Detector) -> None:
    found = Smoothing(0.05).certify(plane, at(1.0), n0=10, n=100, alpha=0.001)
    assert found.radius.item() == pytest.approx(0.05 * NormalDist().inv_cdf(0.001 ** (1 / 100)), rel=1e-6)


def test_certificates_fail_as_often_as_alpha_says(plane: Detector) -> None:
    """On 300 points as near the threshold as the noise is wide, too large a radius is rare."""
    x = at(*torch.linspace(0.45, 0.55, 300).tolist())
    found = Smoothing(0.05).certify(plane, x, n0=20, n=60, alpha=0.05)
    wrong = found.radius > (x[:, 0, 0, 0] - 0.5).abs().double() + 1e-9
    assert wrong.double().mean() < 0.08


def test_predict_abstains_where_chance_decides(plane: Detector) -> None:
    smoothing = Smoothing(0.1)
    assert smoothing.predict(plane, at(0.7, 0.3, 0.5001), n=200).tolist() == [1, 0, ABSTAIN]
    assert smoothing.predict(plane, at(0.52), n=20, alpha=0.001).tolist() == [ABSTAIN]
    assert smoothing.predict(plane, at(0.52), n=2000, alpha=0.05).tolist() == [1]
    plane.threshold.fill_(1.0)
    assert smoothing.predict(plane, at(0.7), n=200).tolist() == [0]


def test_the_logit_is_the_mean_over_the_same_noise(plane: Detector) -> None:
    x = at(0.6, 0.4)
    logits = Smoothing(0.02, n=400)(plane, x)
    torch.testing.assert_close(logits, torch.tensor([0.1, -0.1]), rtol=0, atol=0.005)
    few = Smoothing(0.02, n=3)
    assert torch.equal(few(plane, x), few(plane, x))
    for other in (Smoothing(0.02, n=4), Smoothing(0.03, n=3), Smoothing(0.02, n=3, seed=1)):
        assert not torch.equal(few(plane, x), other(plane, x))
    many = Smoothing(0.02, n=130)
    torch.testing.assert_close(many(plane, x[:1]), many(plane, x.repeat(20, 1, 1, 1))[:1])


def test_bad_options(plane: Detector) -> None:
    for options in ({"sigma": 0.0}, {"sigma": math.inf}, {"n": 0}):
        with pytest.raises(ConfigError, match="smoothing"):
            Smoothing(**options)  # type: ignore[arg-type]
    for more in ({"n": 0}, {"alpha": 0.0}, {"n0": 0}):
        with pytest.raises(ConfigError, match="smoothing needs"):
            Smoothing().certify(plane, at(0.6), **more)
    with pytest.raises(ConfigError, match=r"alpha of a certificate must be < 0.5, got 0.6"):
        Smoothing().certify(plane, at(0.6), alpha=0.6)


def test_what_can_not_be_certified_is_refused(plane: Detector) -> None:
    for ask in (Smoothing().certify, Smoothing().predict):
        for x, match in (
            (255 * at(0.6), r"pixels in \[0, 1\], got .*; divide 8-bit values by 255"),
            ((255 * at(0.6)).byte(), "x must be float"),
            (at(0.6)[:0], "got none"),
            (at(0.6)[0], "x must be float"),
        ):
            with pytest.raises(DataError, match=match):
                ask(plane, x)
        broken = copy.deepcopy(plane)
        with torch.no_grad():
            next(broken.parameters()).fill_(math.nan)
        with pytest.raises(DataError, match="NaN under noise"):
            ask(broken, at(0.6))
