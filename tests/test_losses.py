"""The losses against golden numbers, finite differences and their limits."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unfooled.errors import ConfigError, DataError
from unfooled.losses import (
    adversarial_similarity,
    binary_kl,
    cosine,
    logit_adjusted_bce,
    pairwise_ranking,
    similarity_regularization,
)
from unfooled.metrics import auc

EXACT: dict[str, float] = {"rtol": 1e-12, "atol": 1e-15}


def double(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def numbers(golden: Callable[[str], Path]) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(golden("losses.json").read_text())
    return loaded


def test_logit_adjusted_bce_is_golden(numbers: dict[str, Any]) -> None:
    for case in numbers["lbce"]:
        z, y = double(case["z"]).requires_grad_(), torch.tensor(case["y"])
        loss = logit_adjusted_bce(z, y, case["prior_fake"])
        torch.testing.assert_close(loss.item(), case["loss"], **EXACT)
        torch.testing.assert_close(torch.autograd.grad(loss, z)[0], double(case["grad_z"]), **EXACT)


def test_binary_kl_is_golden(numbers: dict[str, Any]) -> None:
    for case in numbers["trades_kl"]:
        z, z_adv = (double(case[k]).requires_grad_() for k in ("z_clean", "z_adv"))
        loss = binary_kl(z, z_adv)
        torch.testing.assert_close(loss.item(), case["kl_mean"], **EXACT)
        grads = torch.autograd.grad(loss, (z, z_adv))
        torch.testing.assert_close(grads[0], double(case["grad_mean_z_clean"]), rtol=1e-12, atol=1e-15)
        torch.testing.assert_close(grads[1], double(case["grad_mean_z_adv"]), rtol=1e-12, atol=1e-15)


def test_afsl_terms_are_golden(numbers: dict[str, Any]) -> None:
    for case in numbers["afsl"]:
        f, f_adv, y = double(case["f_clean"]), double(case["f_adv"]), torch.tensor(case["y"])
        torch.testing.assert_close(adversarial_similarity(f, f_adv).item(), case["asl"], **EXACT)
        for pairs, key in (("all", "srl_all"), ("relu", "srl_relu"), ("matched", "srl_paired")):
            torch.testing.assert_close(similarity_regularization(f, y, pairs=pairs).item(), case[key], **EXACT)


def test_gradients_agree_with_finite_differences() -> None:
    g = torch.Generator().manual_seed(0)
    z, z_adv = (torch.randn(6, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    f, f_adv = (torch.randn(6, 5, generator=g, dtype=torch.float64, requires_grad=True) for _ in range(2))
    y = torch.tensor([0, 1, 1, 0, 1, 0])
    assert torch.autograd.gradcheck(lambda z: logit_adjusted_bce(z, y, 0.8), z)
    assert torch.autograd.gradcheck(binary_kl, (z, z_adv))
    assert torch.autograd.gradcheck(adversarial_similarity, (f, f_adv))
    for pairs in ("all", "matched", "relu"):
        assert torch.autograd.gradcheck(lambda f, p=pairs: similarity_regularization(f, y, pairs=p), f)
    assert torch.autograd.gradcheck(lambda f: similarity_regularization(f, 0 * y), f)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_extreme_logits_stay_finite(dtype: torch.dtype) -> None:
    z = torch.tensor([100.0, -100.0], dtype=dtype, requires_grad=True)
    wrong = logit_adjusted_bce(z, torch.tensor([0, 1]))
    assert wrong.item() == pytest.approx(100)
    assert logit_adjusted_bce(z, torch.tensor([1, 0])).item() == pytest.approx(0, abs=1e-30)
    apart = binary_kl(z, -z)
    assert apart.item() == pytest.approx(100)
    assert torch.isfinite(torch.autograd.grad(wrong + apart, z)[0]).all()


def test_limits() -> None:
    f = torch.randn(4, 3)
    zero = torch.zeros(4, 3)
    y = torch.tensor([0, 0, 1, 1])
    assert adversarial_similarity(f, 5 * f).item() == pytest.approx(0, abs=1e-6)
    assert adversarial_similarity(f, -f).item() == pytest.approx(2)
    assert adversarial_similarity(f, zero).item() == 1
    assert cosine(zero, f).tolist() == [0] * 4
    assert similarity_regularization(zero, y).item() == 0
    assert similarity_regularization(f, torch.ones(4)).item() == 0
    assert binary_kl(f[0], f[0]).item() == 0
    assert logit_adjusted_bce(torch.zeros(1), torch.ones(1), 0.25).item() == pytest.approx(math.log(4))


def test_bad_input_is_named() -> None:
    z = torch.zeros(3)
    for share in (0.0, 1.0, -1.0, math.nan):
        with pytest.raises(ConfigError, match="fake_share"):
            logit_adjusted_bce(z, z, share)
    with pytest.raises(DataError, match="shape"):
        binary_kl(z, z[:2])
    with pytest.raises(DataError, match="shape"):
        adversarial_similarity(torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(DataError, match="row"):
        similarity_regularization(torch.zeros(2, 3), z)


def test_ranking_bounds_what_the_auc_misses() -> None:
    torch.manual_seed(0)
    y = torch.arange(40) % 2
    for spread in (0.0, 0.5, 2.0, 8.0):
        z = torch.randn(40, dtype=torch.float64) + spread * (y - 0.5)
        loss = pairwise_ranking(z, y)
        pairs = [float(torch.log1p(torch.exp(r - f))) for r in z[y == 0] for f in z[y == 1]]
        assert loss.item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-12)
        assert loss.item() / math.log(2) >= 1 - auc(z.numpy(), y.numpy())
    assert pairwise_ranking(torch.zeros(4), torch.tensor([0, 1, 1, 1])).item() == pytest.approx(math.log(2))
    assert pairwise_ranking(torch.tensor([-100.0, 100.0]), torch.tensor([0, 1])).item() == 0
    assert pairwise_ranking(torch.tensor([100.0, -100.0]), torch.tensor([0, 1])).item() == pytest.approx(200)
    alone = torch.randn(4, requires_grad=True)
    absent = pairwise_ranking(alone, torch.ones(4, dtype=torch.int64))
    assert absent.item() == 0
    assert torch.autograd.grad(absent, alone)[0].abs().sum() == 0
    z = torch.randn(7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: pairwise_ranking(z, torch.tensor([0, 1, 0, 1, 1, 0, 0])), z)
    with pytest.raises(DataError, match="must have one shape"):
        pairwise_ranking(torch.zeros(3), torch.zeros(2))
