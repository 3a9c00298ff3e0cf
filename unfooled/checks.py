"""Is the robustness real? Signs of gradient masking, each with its number and a warning in plain words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from unfooled.attacks import PGD, Adversarial, Attack, Noise, Transfer, describe, frozen
from unfooled.attacks.base import check_batch, wrong_way
from unfooled.attacks.gradient import autograd, margin
from unfooled.metrics import auc
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf, Threat

RADII = (0, 1, 2, 4, 8, 16, 32, 64)
"""In /255: from nothing to a change that no honest detector can see through."""


@dataclass(frozen=True)
class Finding:
    """What one check measured.

    Args:
        name: of the check.
        values: numbers by name.
        warning: what they mean if they are suspicious, else None.
    """

    name: str
    values: dict[str, float]
    warning: str | None = None


def gradient_masking(
    detector: Detector, x: Tensor, y: Tensor, attack: Attack, *, surrogate: Detector | None = None
) -> list[Finding]:
    """All checks of this file on one batch; costs about 20 times an attack of 10 steps.

    Args:
        x: (B, 3, H, W) or (B, 3, T, H, W) in [0, 1]; 32 to 128 samples tell enough.
        y: (B,) int64 with both classes.
        attack: the attack whose result is in doubt; where it is not PGD, PGD with its defaults stands in under the
            same threat, or at Linf 2/255 where PGD is not defined for that.
        surrogate: another detector, to see whether attacks made on it do more harm than the white-box attack.

    Raises:
        ConfigError: the detector has no gradient at all: white-box numbers would mean nothing.
        DataError: ``x`` or ``y`` is not as above.
    """
    check_batch(x, y)
    threat = attack.threat if isinstance(attack.threat, PGD.threats) else Linf(2 / 255)
    white_box = attack if isinstance(attack, PGD) else PGD(threat)
    findings = [
        zero_gradients(detector, x, y),
        bce_underflow(detector, x, y),
        eps_sweep(detector, x, y, white_box),
        noise_as_strong(detector, x, y, white_box),
        effort_helps(detector, x, y, white_box),
    ]
    if surrogate is not None:
        findings.append(transfer_as_strong(detector, x, y, white_box, surrogate))
    return findings


def zero_gradients(detector: Detector, x: Tensor, y: Tensor, *, limit: float = 0.5) -> Finding:
    """Share of input gradients of the logit that are exactly 0, and of samples where all of them are.

    Args:
        limit: a larger share of zero entries, or more than 1 % of samples without any gradient, is suspicious.

    Raises:
        ConfigError: the detector can not be differentiated.
    """
    with torch.inference_mode(False), torch.enable_grad(), frozen(detector):
        _, gradient = autograd(detector, margin(y))(x)
    zero = (gradient == 0).flatten(1).double()
    entries, samples = zero.mean().item(), (zero.mean(1) == 1).double().mean().item()
    warning = None
    if samples > 0.01 or entries > limit:
        warning = (
            f"{samples:.0%} of the samples have no input gradient at all and {entries:.0%} of all input gradients are"
            " exactly 0: gradient attacks can not see this detector; trust black-box and transfer attacks only"
        )
    return Finding("zero gradients", {"entries": entries, "samples": samples}, warning)


def bce_underflow(detector: Detector, x: Tensor, y: Tensor, *, limit: float = 0.5) -> Finding:
    """Share of samples whose logit is so large that the gradient of cross-entropy, sigmoid(z) - y, is exactly 0.

    Args:
        limit: share above which to warn; a few confident samples are no sign of anything.
    """
    with frozen(detector), torch.no_grad():
        logits = detector(x)
    share = (torch.sigmoid(logits.float()) == y).double().mean().item()
    warning = None
    if share > limit:
        warning = (
            f"on {share:.0%} of the samples the gradient of cross-entropy underflows to 0 (largest |logit|"
            f" {logits.abs().max().item():.3g}): attacks that ascend it see nothing there; ours ascend the logit itself"
        )
    return Finding("bce underflow", {"samples": share, "largest_logit": logits.abs().max().item()}, warning)


def eps_sweep(
    detector: Detector, x: Tensor, y: Tensor, attack: PGD, *, radii: Sequence[float] = RADII, limit: float = 0.05
) -> Finding:
    """Robust AUC over a growing eps, both classes attacked: it must fall to 0, and never rise on the way.

    Args:
        attack: ascends the margin here, in at least 10 steps, and its step size follows eps. Under L2, a radius
            of r/255 a pixel is r/255 * sqrt(number of values).
        radii: rising, in /255.
        limit: an AUC above it at the last radius, or a rise by more than it, is suspicious.
    """
    pixels = x[0].numel() ** 0.5
    steps = max(10, attack.steps)
    sharp = replace(attack, loss="margin", weight=1.0, keep="worst", steps=steps, step_size=None)
    curve = {}
    for radius in radii:
        threat: Threat = L2(radius / 255 * pixels) if isinstance(attack.threat, L2) else Linf(radius / 255)
        curve[f"{radius:g}/255"] = _auc(replace(sharp, threat=threat)(detector, x, y), y)
    values = list(curve.values())
    rise = max((b - min(values[: i + 1]) for i, b in enumerate(values[1:])), default=0.0)
    warning = None
    if values[-1] > limit:
        warning = (
            f"the AUC is still {values[-1]:.2f} at eps {radii[-1]:g}/255, where it must be 0 because nothing of the"
            " image is left to trust: the attack fails, not the adversary"
        )
    elif rise > limit:
        warning = f"the AUC rises by {rise:.2f} as eps grows, but a larger ball holds the smaller: the attack fails"
    return Finding("eps sweep", curve, warning)


def noise_as_strong(
    detector: Detector, x: Tensor, y: Tensor, attack: Attack, *, draws: int = 10, limit: float = 0.5
) -> Finding:
    """How far the worst of some random points moves the logit, as a share of what the attack does.

    Args:
        draws: random points for each sample.
        limit: a larger share is suspicious: in thousands of pixels an honest gradient beats chance by far.
    """
    noise = Noise(attack.threat, draws=draws)
    return _compare(detector, x, y, attack, noise, limit, "random noise", f"the worst of {draws} random points")


def transfer_as_strong(
    detector: Detector, x: Tensor, y: Tensor, attack: Attack, surrogate: Detector, *, limit: float = 1.0
) -> Finding:
    """How far the same attack made on ``surrogate`` moves the logit, as a share of the white-box attack.

    Args:
        limit: a share of at least this is suspicious: nobody knows a detector better than its own gradient.
    """
    other = Transfer(attack.threat, attack, surrogate)
    return _compare(detector, x, y, attack, other, limit, "transfer", "an attack made on another detector")


def effort_helps(
    detector: Detector, x: Tensor, y: Tensor, attack: PGD, *, times: int = 5, limit: float = 0.05
) -> Finding:
    """How much lower the AUC falls with ``times`` as many steps and one more restart.

    Args:
        limit: a larger fall means that the attack had not converged, so its robust AUC flatters.
    """
    starts = {"restarts": attack.restarts + 1, "keep": "worst"} if attack.random_start else {"keep": "worst"}
    harder = replace(attack, steps=times * attack.steps, step_size=None, **starts)
    usual, more = (_auc(a(detector, x, y), y) for a in (attack, harder))
    warning = None
    if usual - more > limit:
        warning = (
            f"the AUC falls from {usual:.2f} to {more:.2f} with {describe(harder)}: {describe(attack)} has not"
            " converged; raise its steps until the AUC stays"
        )
    return Finding("more effort", {"usual": usual, "more": more}, warning)


def _auc(found: Adversarial, y: Tensor) -> float:
    return float(auc(found.logits.double().cpu().numpy(), y.cpu().numpy()))


def _compare(
    detector: Detector, x: Tensor, y: Tensor, attack: Attack, other: Attack, limit: float, name: str, what: str
) -> Finding:
    """Mean harm in logits, not AUC: at a small eps all AUCs are near the clean one and would look alike."""
    with frozen(detector), torch.no_grad():
        clean = detector(x)
    sign = wrong_way(y, clean)
    ours, theirs = (found(detector, x, y) for found in (attack, other))
    harms = [(sign * (found.logits - clean)).mean().item() for found in (ours, theirs)]
    share = harms[1] / harms[0] if harms[0] > 0 else float(harms[1] > 0)
    values = {"share": share, "auc_white_box": _auc(ours, y), "auc": _auc(theirs, y)}
    warning = None
    if share >= limit:
        warning = (
            f"{what} moves the logit by {harms[1]:.3g} in the mean, the white-box attack by {harms[0]:.3g} (AUC"
            f" {values['auc']:.2f} and {values['auc_white_box']:.2f}): the white-box attack is blind here, so its"
            " robust AUC proves nothing"
        )
    return Finding(name, values, warning)
