"""StatAttack: natural degradations that make the features of fakes look like those of reals."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor

from unfooled.attacks.base import check_batch, per_row
from unfooled.attacks.evasion import Evasion, need_count, need_step
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector

KERNELS = 5
SHARPNESS = 0.2255
"""Where the blur starts: 100 / ||1|| of a 3 x 256 x 256 picture, as published; nearly a box of 3 x 3."""


def mmd2(source: Tensor, target: Tensor) -> Tensor:
    """Squared maximum mean discrepancy of two sets of features; >= 0, 0 for equal sets.

    Mean of k within either set minus twice the mean of k between them, each pair counted, a row with itself too. k is
    the sum of five Gaussian kernels exp(-d^2 / w): w is the mean squared distance of all pairs, times 1/4 to 4; it has
    no gradient.

    Args:
        source: (N, D), N >= 1.
        target: (M, D), M >= 1; N + M rows that are all the same give 0.

    Source: StatAttack, arXiv:2304.11670. Deviation: N and M may differ.
    """
    rows = torch.cat([source, target])
    # Distances by one matrix product, for all differences would be (N + M)^2 x D; around the mean it loses no digits.
    rows = rows - rows.detach().mean(0)
    norms = rows.square().sum(1)
    with torch.autocast(rows.device.type, enabled=False):
        squared = (norms[:, None] + norms - 2 * rows @ rows.t()).clamp_min(0)
    width = squared.detach().sum() / max(len(rows) ** 2 - len(rows), 1)
    width = width.clamp_min(torch.finfo(width.dtype).tiny) / 2 ** (KERNELS // 2)
    k = torch.stack([(-squared / (width * 2**i)).exp() for i in range(KERNELS)]).sum(0)
    n = len(source)
    return k[:n, :n].mean() + k[n:, n:].mean() - 2 * k[:n, n:].mean()


def polynomials(degree: int, like: Tensor) -> Tensor:
    """(K, H, W) all x^i y^j with i + j <= ``degree``; K = (degree + 1)(degree + 2) / 2.

    Args:
        degree: >= 0.
        like: (..., H, W); x and y run from -1 to 1 over its width and height.
    """
    height, width = like.shape[-2:]
    x = torch.linspace(-1, 1, width).to(like)
    y = torch.linspace(-1, 1, height).to(like)[:, None]
    return torch.stack([x**i * y**j for i in range(degree + 1) for j in range(degree + 1 - i)])


def warp(plane: Tensor, flow: Tensor) -> Tensor:
    """(N, 1, H, W) looked up at its own places moved by ``flow`` (N, 2, h, w), upsampled; 2 is the whole width.

    Places beyond the edge give the edge.
    """
    height, width = plane.shape[-2:]
    x, y = (torch.linspace(-1, 1, side).to(plane) for side in (width, height))
    places = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)])
    moved = places + F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
    return F.grid_sample(plane, moved.clamp(-1, 1).permute(0, 2, 3, 1), align_corners=True)


def blur(x: Tensor, sharpness: Tensor) -> Tensor:
    """``x`` (N, 3, ..., H, W) under a 3 x 3 Gaussian exp(-s^2 r^2 / 2) of its own s at every pixel and channel.

    s = 0 is the mean of nine, a large s leaves the pixel as it is. The picture is mirrored at its edge.
    """
    frames = x.reshape(-1, 1, *x.shape[-2:])
    padded = F.pad(frames, (1, 1, 1, 1), mode="reflect" if min(x.shape[-2:]) > 1 else "replicate")
    up, mid, down = padded[..., :-2, :], padded[..., 1:-1, :], padded[..., 2:, :]
    side = up + down
    beside = (side[..., 1:-1] + mid[..., :-2] + mid[..., 2:]).reshape(x.shape)
    across = (side[..., :-2] + side[..., 2:]).reshape(x.shape)
    near = (-sharpness.square() / 2).exp()
    far = near.square()
    return (x + near * beside + far * across) / (1 + 4 * near + 4 * far)


@dataclass(frozen=True)
class StatAttack(Evasion):
    """Exposure, blur and noise that draw the features of a batch of fakes to those of reals.

    x_adv = blur(x * exp(field)) + noise, within eps of x. field is a polynomial of the place, bent by a coarse flow,
    one for all frames of a clip; blur and noise have their own value at every pixel. All follow the sign of
    L1-normalised gradients with momentum, down ``weight_mmd`` * mmd2 + ``weight_field`` * field^2 (mean over a row's
    pixels, sum over rows) + ``weight_flow`` / ``flow_scale``^2 * squared differences of neighbours in the flow (sum).

    It compares sets: the result of a row depends on the other fakes of its batch. A lone fake is drawn to where the
    guides lie densest.

    Args:
        steps: >= 1.
        field_step, flow_step, blur_step, noise_step: length of a step, in [0, 1]; 0 leaves that degradation out.
        noise_eps: largest noise in pixel units.
        degree: >= 1 of the polynomial.
        flow_scale: >= 1; the flow has one value for so many pixels of either side.
        momentum: >= 0; 0 is none.
        weight_mmd, weight_field, weight_flow: >= 0.
        guide_count: >= 2 reals that ``fit`` keeps. A batch of N fakes is compared with the first N of them, at least
            2, or with all where there are fewer.
        guides: (M, 3, ...) what ``fit`` has kept; None before.

    Raises:
        ConfigError: an option is out of range, the threat is not Linf, the detector has no gradient, or the attack is
            used without guides.
        DataError: ``fit`` found fewer than 2 reals.

    Source: StatAttack, CVPR 2023, arXiv:2304.11670, Linf 60/255. Deviations: x + 1e-6 in place of x under the
    exposure, whose logarithm the authors take; the exponent stays within 20; the blur starts at the same sharpness at
    every size of picture.
    """

    learns: ClassVar[bool] = True

    steps: int = 10
    field_step: float = 0.1
    flow_step: float = 0.001
    blur_step: float = 0.1
    noise_step: float = 1 / 255
    noise_eps: float = 4 / 255
    degree: int = 11
    flow_scale: int = 8
    momentum: float = 1.0
    weight_mmd: float = 10.0
    weight_field: float = 10.0
    weight_flow: float = 10.0
    guide_count: int = 32
    guides: Tensor | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("steps", 1), ("degree", 1), ("flow_scale", 1), ("guide_count", 2)):
            need_count(name, getattr(self, name), least)
        for name in ("field_step", "flow_step", "blur_step", "noise_step", "noise_eps"):
            need_step(name, getattr(self, name), zero=True)
        for name in ("momentum", "weight_mmd", "weight_field", "weight_flow"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ConfigError(f"{name} must be >= 0 and finite, got {getattr(self, name):g}")
        if self.guides is not None and not isinstance(self.guides, Tensor):
            raise ConfigError(f"guides are kept by fit, got {self.guides!r}; leave them out")

    def fit(self, detector: Detector, batches: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """The attack with the first ``guide_count`` reals of labelled batches (x, y), which it goes no further than.

        Raises:
            DataError: there are fewer than 2 reals, or of several sizes.
        """
        kept: list[Tensor] = []
        for x, y in batches:
            check_batch(x, y)
            kept.extend(x.detach()[y == 0].clone())
            if len(kept) >= self.guide_count:
                break
        if len(kept) < 2:
            raise DataError(f"stat compares sets, so it needs at least 2 real guides, the batches held {len(kept)}")
        if len({guide.shape for guide in kept}) > 1:
            raise DataError("stat needs real guides of one size, the batches held several")
        return replace(self, guides=torch.stack(kept[: self.guide_count]))

    def evade(self, detector: Detector, x: Tensor) -> Tensor:
        if self.guides is None:
            raise ConfigError("stat has to see reals first; call attack = attack.fit(detector, training_batches)")
        with torch.no_grad():
            target = detector.features(self.guides[: max(2, len(x))].to(x)).to(x)
        knobs = self._neutral(x)
        length = dict(zip(knobs, (self.field_step, self.flow_step, self.blur_step, self.noise_step), strict=True))
        speed = {name: torch.zeros_like(knob) for name, knob in knobs.items()}
        basis = polynomials(self.degree, x)
        for _ in range(self.steps):
            knobs = {name: knob.detach().requires_grad_() for name, knob in knobs.items()}
            x_adv, plane = self._degrade(x, knobs, basis)
            features = detector.features(x_adv)
            if not features.requires_grad:
                raise ConfigError("a white-box attack needs a detector with gradients, this one has none; use noise")
            loss = self.weight_mmd * mmd2(features.to(x), target) + self._price(plane, knobs["flow"])
            slopes = torch.autograd.grad(loss, list(knobs.values()), allow_unused=True, materialize_grads=True)
            for (name, knob), slope in zip(list(knobs.items()), slopes, strict=True):
                speed[name] = self.momentum * speed[name] + _unit(slope.nan_to_num(nan=0.0))
                knobs[name] = knob.detach() - length[name] * speed[name].sign()
            knobs["noise"] = knobs["noise"].clamp(-self.noise_eps, self.noise_eps)
        with torch.no_grad():
            return self._degrade(x, knobs, basis)[0]

    def _neutral(self, x: Tensor) -> dict[str, Tensor]:
        """What is searched, where it starts: no exposure, no bend, the published blur, no noise."""
        height, width = (max(1, side // self.flow_scale) for side in x.shape[-2:])
        return {
            "coefficients": x.new_zeros(len(x), (self.degree + 1) * (self.degree + 2) // 2),
            "flow": x.new_zeros(len(x), 2, height, width),
            "sharpness": torch.full_like(x, SHARPNESS),
            "noise": torch.zeros_like(x),
        }

    def _degrade(self, x: Tensor, knobs: dict[str, Tensor], basis: Tensor) -> tuple[Tensor, Tensor]:
        """The degraded picture, inside the ball and [0, 1], and the exposure field (N, 1, H, W)."""
        # In bfloat16 the smooth field would come out in visible bands.
        with torch.autocast(x.device.type, enabled=False):
            plane = torch.einsum("nk,khw->nhw", knobs["coefficients"], basis).unsqueeze(1)
            plane = warp(plane, knobs["flow"])
            exposure = plane.clamp(-20, 20).exp()
            x_adv = (x + 1e-6) * (exposure if x.dim() == 4 else exposure.unsqueeze(2)) if self.field_step else x
            x_adv = blur(x_adv, knobs["sharpness"]) if self.blur_step else x_adv
            return self.threat.project(x, x_adv + knobs["noise"]), plane

    def _price(self, plane: Tensor, flow: Tensor) -> Tensor:
        """What strong or uneven exposure costs."""
        uneven = flow.diff(dim=2).square().sum() + flow.diff(dim=3).square().sum()
        strong = plane.square().mean((1, 2, 3)).sum()
        return self.weight_field * strong + self.weight_flow / self.flow_scale**2 * uneven


def _unit(slope: Tensor) -> Tensor:
    """Each row divided by the sum of its absolute values; a zero row stays."""
    total = slope.flatten(1).abs().sum(1)
    return slope / per_row(torch.where(total > 0, total, torch.ones_like(total)), slope)
