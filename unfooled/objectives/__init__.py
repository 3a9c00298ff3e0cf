"""What training minimises: named, already weighted terms of a batch; the loop sums and logs them."""

from __future__ import annotations

from dataclasses import fields, replace

from unfooled.attacks.gradient import PGD
from unfooled.errors import ConfigError, suggest
from unfooled.objectives.afsl import ADVERSARIES, AFSL, AFSLPlus
from unfooled.objectives.base import Objective, Robust, Terms
from unfooled.objectives.baselines import AdversarialTraining, Standard, Trades
from unfooled.registry import build, lookup, number
from unfooled.threats import L2, Linf

__all__ = [
    "ADVERSARIES", "AFSL", "OBJECTIVES", "AFSLPlus", "AdversarialTraining", "Objective", "Robust", "Standard", "Terms",
    "Trades", "create", "defaults",
]  # fmt: skip

ADVERSARY: dict[str, object] = {"eps": "2/255", "norm": "linf", "step_size": None, "steps": 5}

OBJECTIVES: dict[str, type[Objective]] = {
    "afsl": AFSL,
    "afsl-plus": AFSLPlus,
    "at": AdversarialTraining,
    "standard": Standard,
    "trades": Trades,
}


def create(name: str, **options: object) -> Objective:
    """An objective by name.

    Args:
        name: a key of ``OBJECTIVES``.
        options: its fields, and for the adversary ``eps`` (2/255), ``norm`` (linf | l2), ``steps`` (5) and
            ``step_size`` (none: 2.5 * eps / steps). ``fake_share`` may be ``delivered``: the sampler's own; in a
            recipe also ``data``: that of the training rows.

    Raises:
        ConfigError: the name or an option is unknown, or a value is not allowed.
    """
    known = defaults(name)
    for key in options:
        if key not in known:
            raise ConfigError(f"objective {name!r} has no option {key!r}{suggest(key, known)}")
    own = {key: value for key, value in options.items() if key not in ADVERSARY}
    if own.get("fake_share") == "delivered":
        del own["fake_share"]
    for key in ("beta", "beta1", "beta2", "beta3", "noise"):
        if key in own and not number(f"objective {name}: {key}", own[key]) >= 0:
            raise ConfigError(f"objective {name}: {key} must be >= 0, got {own[key]}")
    objective: Objective = build("objective", name, OBJECTIVES[name], own)
    if isinstance(objective, Robust):
        return replace(objective, attack=_adversary(**{k: options.get(k, v) for k, v in ADVERSARY.items()}))
    return objective


def defaults(name: str) -> dict[str, object]:
    """Every option of an objective with its default; ``create`` takes no others."""
    kind = lookup("objective", OBJECTIVES, name)
    own: dict[str, object] = {f.name: f.default for f in fields(kind) if f.name != "attack"}
    return own | {"fake_share": "delivered"} | (ADVERSARY if issubclass(kind, Robust) else {})


def _adversary(norm: object, eps: object, **options: object) -> PGD:
    threat = lookup("norm", {"l2": L2, "linf": Linf}, str(norm))(number("eps", eps))
    return build("attack", "pgd", PGD, {**options, "threat": threat, "keep": "last", "seed": None})
