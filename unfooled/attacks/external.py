"""Attacks of torchattacks, foolbox and ART, and anybody's function: they search, we project and judge."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unfooled.attacks.base import Attack
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import seed_of
from unfooled.threats import L2, Threat

LIBRARIES = ("art", "foolbox", "torchattacks")


class TwoClasses(nn.Module):
    """A detector as others expect one: (B, 2) logits ``[-z/2, z/2]`` of real and fake.

    z counts from the detector's threshold, so that the larger of the two is its verdict; their softmax is
    sigmoid(z), and their cross-entropy the binary one.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector
        self.training = detector.training
        # Others look for the device of a model among its parameters, of which a black box has none.
        self.place = nn.Parameter(detector.threshold.detach().clone(), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        half = (self.detector(x) - self.detector.threshold) / 2
        return torch.stack([-half, half], dim=1)


@dataclass(frozen=True, eq=False, repr=False)
class Peer:
    """Somebody's attack before it knows its detector.

    Args:
        attack: a class of one of the libraries, one of its objects, or a function that takes the two-class module
            and returns either such an object or a function (x, y) -> x_adv.
        options: of the class.
    """

    attack: Any
    options: Mapping[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        kind = self.attack if inspect.isclass(self.attack) or inspect.isroutine(self.attack) else type(self.attack)
        told = ",".join(f"{key}={value}" for key, value in self.options.items())
        return f"{_library(self.attack) or kind.__module__}.{kind.__qualname__}({told})"

    def search(self, view: TwoClasses, threat: Threat, x: Tensor, y: Tensor) -> Tensor:
        """What the attack finds on the two-class view of a detector."""
        if _library(self.attack) == "torchattacks" and not inspect.isclass(self.attack):
            return _rebound(self.attack, view, x, y)
        attack = self._made(view, threat, x)
        kind = _library(attack)
        if kind == "foolbox":
            return _by_foolbox(attack, view, threat, x, y)
        if kind == "art":
            return torch.from_numpy(np.asarray(attack.generate(x=x.cpu().numpy(), y=y.cpu().numpy())))
        found: Tensor = attack(x, y)
        return found

    def _made(self, view: TwoClasses, threat: Threat, x: Tensor) -> Any:
        kind = _library(self.attack)
        if kind == "foolbox" and not inspect.isclass(self.attack):
            return self.attack
        if kind is None:
            return self.attack(view)
        if inspect.isclass(self.attack):
            options = {**_radius(self.attack, threat), **self.options}
        else:
            # ART binds an object to its estimator, but says of what it is made.
            options, inner = {}, getattr(self.attack, "_attack", None)
            known = set(inspect.signature(type(self.attack)).parameters) - {"summary_writer"}
            for name in known & set(self.attack.attack_params):
                options[name] = getattr(self.attack if hasattr(self.attack, name) else inner, name)
        model = () if kind == "foolbox" else (_classifier(view, x) if kind == "art" else view,)
        cls = self.attack if inspect.isclass(self.attack) else type(self.attack)
        try:
            return cls(*model, **options)
        except (TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"{self!r} can not be made: {' '.join(str(error).split())}") from None


@dataclass(frozen=True)
class External(Attack):
    """An attack of another library; ``external`` makes it.

    Projection into the threat, the clamp to [0, 1], queries and success are ours. A row that it returns as NaN counts
    as left unchanged. Deviation from our own attacks: the draws belong to the batch, not to the sample.

    Args:
        peer: the attack.
        seed: of torch's and numpy's global generators while it runs; None leaves them alone.
    """

    peer: Peer
    seed: int | None = 0

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        view = TwoClasses(detector)
        with _seeded(self.seed, x.device):
            found = self.peer.search(view, self.threat, x, y)
        if not isinstance(found, Tensor) or found.shape != x.shape:
            what = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
            raise ConfigError(f"{self.peer!r} must return a tensor {tuple(x.shape)}, got {what}")
        found = found.to(x)
        whole = found.isfinite().flatten(1).all(1).reshape(-1, *[1] * (x.dim() - 1))
        return torch.where(whole, found, x)


def external(attack: Any, threat: Threat, *, seed: int | None = 0, **options: Any) -> External:
    """An attack of torchattacks, foolbox or ART as one of ours: a condition of any evaluation.

    Args:
        attack: a class (with ``options``; ``eps`` and ART's ``norm`` come from the threat where they are not given),
            an object (its own settings; only foolbox's take the radius of ``threat``), or a function that takes a
            two-class module (B, 2) and returns such an object or a function (x, y) -> x_adv.
        threat: what its result is projected into and measured by; eps = inf keeps minimum-norm results as they are.
        seed: of its random draws.

    Raises:
        ConfigError: options beside an object or function, or an unknown one at the first call.
    """
    if not callable(attack) and _library(attack) is None:
        raise ConfigError(f"attack must be a class or object of {', '.join(LIBRARIES)} or a function, got {attack!r}")
    if options and not (inspect.isclass(attack) and _library(attack)):
        raise ConfigError(f"options {', '.join(options)} need a class of {', '.join(LIBRARIES)}; an object has its own")
    return External(threat, Peer(attack, options), seed)


def _library(attack: Any) -> str | None:
    kinds = inspect.getmro(attack if inspect.isclass(attack) else type(attack))
    return next((root for kind in kinds if (root := kind.__module__.partition(".")[0]) in LIBRARIES), None)


def _radius(kind: type, threat: Threat) -> dict[str, Any]:
    """The options of a class that the threat decides, and silence."""
    known = inspect.signature(kind).parameters
    options: dict[str, Any] = {"verbose": False} if "verbose" in known and _library(kind) == "art" else {}
    if "eps" in known and math.isfinite(threat.eps):
        options["eps"] = threat.eps
    if "norm" in known and _library(kind) == "art":
        options["norm"] = 2 if isinstance(threat, L2) else np.inf
    return options


def _rebound(attack: Any, view: TwoClasses, x: Tensor, y: Tensor) -> Tensor:
    home, device = attack.model, attack.device
    attack.set_model(view)
    attack.set_device(x.device)
    try:
        found: Tensor = attack(x, y)
        return found
    finally:
        attack.set_model(home)
        attack.set_device(device)


def _by_foolbox(attack: Any, view: TwoClasses, threat: Threat, x: Tensor, y: Tensor) -> Tensor:
    foolbox = import_module("foolbox")
    if math.isinf(threat.eps) and not isinstance(attack, foolbox.attacks.base.MinimizationAttack):
        raise ConfigError(f"eps must be finite for foolbox.{type(attack).__name__}, got inf; write 8/255")
    model = foolbox.PyTorchModel(view, bounds=(0, 1), device=x.device)
    found: Tensor = attack(model, x, y, epsilons=None if math.isinf(threat.eps) else threat.eps)[1]
    return found


def _classifier(view: TwoClasses, x: Tensor) -> Any:
    kind = import_module("art.estimators.classification").PyTorchClassifier
    place = "cpu" if x.device.type == "cpu" else "gpu"
    limits = {"clip_values": (0.0, 1.0), "nb_classes": 2, "input_shape": tuple(x.shape[1:])}
    return kind(view, loss=nn.CrossEntropyLoss(), device_type=place, **limits)


@contextmanager
def _seeded(seed: int | None, device: torch.device) -> Iterator[None]:
    if seed is None:
        yield
        return
    state = np.random.get_state()
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed_of(seed, "external"))
        np.random.seed(seed_of(seed, "external") % 2**32)
        try:
            yield
        finally:
            np.random.set_state(state)
