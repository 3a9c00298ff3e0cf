"""A user's own network becomes a Detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from unfooled.errors import ConfigError, suggest
from unfooled.models.detector import Detector

Output = Literal["logit", "two_logits", "p_fake", "p_real"]


def wrap(
    module: nn.Module,
    output: Output = "logit",
    size: int | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    features: Callable[[Tensor], Tensor] | str | None = None,
    clips: bool | None = None,
) -> Detector:
    """A Detector around ``module``; its weights and mode are shared, not copied, and gradients flow through it.

    Args:
        module: takes float RGB (B,3,H,W), or clips (B,3,T,H,W), resized and normalised by ``size``, ``mean`` and
            ``std``.
        output: what it gives: ``logit`` (B,) or (B,1), above 0 is fake; ``two_logits`` (B,2), class 1 is fake;
            ``p_fake`` or ``p_real`` (B,) or (B,1), probabilities. A probability that has rounded to exactly 0 or 1
            has no gradient any more: give the logit where you can.
        size: pixels per side that the network sees; None keeps the crop's own.
        mean, std: per channel or one number, in units of [0, 1]; std > 0.
        features: None: the logit itself is the one feature (feature losses and attacks need more). A name such as
            ``"fc"``: the input of that submodule, which must be the last that the network does. A callable: maps the
            normalised input to (B, D), and ``module`` is then only what follows it, so features -> ``output``.
        clips: True refuses frames, False refuses clips, in one line; None leaves it to ``module``.

    Raises:
        ConfigError: an unknown output or submodule at once; a wrong shape at the first call, with what came.
    """
    if output not in get_args(Output):
        raise ConfigError(f"output must be one of {', '.join(get_args(Output))}, got {output!r}")
    if not bool((torch.as_tensor(std) > 0).all()):
        raise ConfigError(f"std must be > 0, got {std!r}; pixels are in [0, 1], so write 0.5 rather than 127.5")
    backbone: nn.Module
    head: nn.Module
    if features is None:
        backbone, head = Logit(module, output), nn.Identity()
    elif isinstance(features, str):
        backbone = BeforeLast(module, features)
        head = Logit(module.get_submodule(features), output)
    else:
        backbone, head = Features(features), Logit(module, output)
    detector = Detector(backbone, head, size=size, mean=mean, std=std, clips=clips)
    for part in (detector, backbone, head):
        part.training = module.training
    return detector


class Logit(nn.Module):
    """The output of a network, whatever it means, as logits (B, 1)."""

    def __init__(self, module: nn.Module, output: Output) -> None:
        super().__init__()
        self.module = module
        self.output = output

    def forward(self, x: Tensor) -> Tensor:
        out = self.module(x)
        width = 2 if self.output == "two_logits" else 1
        if not isinstance(out, Tensor):
            raise ConfigError(f"the network must give a tensor for output {self.output}, got {type(out).__name__}")
        if out.dim() == 1 and width == 1:
            out = out.unsqueeze(1)
        if out.shape != (len(x), width):
            allowed = f"({len(x)}, {width})" + (f" or ({len(x)},)" if width == 1 else "")
            raise ConfigError(f"the network must give {allowed} for output {self.output}, got {tuple(out.shape)}")
        if self.output == "two_logits":
            return out[:, 1:] - out[:, :1]
        if self.output == "logit":
            return out
        z = _logit(out)
        return z if self.output == "p_fake" else -z


class BeforeLast(nn.Module):
    """The input of a network's last layer."""

    def __init__(self, module: nn.Module, name: str) -> None:
        super().__init__()
        names = [n for n, _ in module.named_modules() if n]
        if name not in names:
            raise ConfigError(f"the network has no submodule {name!r}{suggest(name, names)}")
        self.module = module
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        calls: list[tuple[Tensor, Tensor]] = []
        layer = self.module.get_submodule(self.name)
        hook = layer.register_forward_hook(lambda _, inputs, out: calls.append((inputs[0], out)))
        try:
            final = self.module(x)
        finally:
            hook.remove()
        if (
            len(calls) != 1
            or final.numel() != calls[0][1].numel()
            or not torch.equal(final.flatten(), calls[0][1].flatten())
        ):
            raise ConfigError(
                f"{self.name!r} must run once and last in the network, but it ran {len(calls)} times or its output is "
                "changed after it; give features as a callable and module as what follows it"
            )
        return _checked_features(calls[0][0], len(x))


class Features(nn.Module):
    """A callable that gives features; the weights behind it are registered where they can be found."""

    def __init__(self, call: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        owner = getattr(call, "__self__", None)
        self.owner = owner if isinstance(owner, nn.Module) else None
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return _checked_features(self.call(x), len(x))


def _checked_features(features: Tensor, rows: int) -> Tensor:
    if features.dim() != 2 or len(features) != rows:
        raise ConfigError(f"features must be ({rows}, D), got {tuple(features.shape)}; flatten them before")
    return features


def _logit(p: Tensor) -> Tensor:
    """log p - log(1 - p), each from the side where it is exact; finite at 0 and at 1."""
    if not bool(((p >= 0) & (p <= 1)).all()):
        low, high = p.min().item(), p.max().item()
        raise ConfigError(f"probabilities must be in [0, 1], got {low:g} to {high:g}; is the output a logit?")
    limits = torch.finfo(p.dtype)
    return p.clamp_min(limits.tiny).log() - torch.log1p(-p.clamp_max(1 - limits.eps / 2))
