"""Unfooled: train, attack, defend and audit deepfake detectors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unfooled import attacks, losses, models
    from unfooled.checkpoints import load
    from unfooled.evaluation import evaluate
    from unfooled.models.wrap import wrap
    from unfooled.threats import L0, L2, Linf

__version__ = "0.1.0"
__all__ = ["L0", "L2", "Linf", "attacks", "evaluate", "load", "losses", "models", "wrap"]

_HOMES = {
    "L0": "unfooled.threats",
    "L2": "unfooled.threats",
    "Linf": "unfooled.threats",
    "evaluate": "unfooled.evaluation",
    "load": "unfooled.checkpoints",
    "wrap": "unfooled.models.wrap",
}


def __getattr__(name: str) -> Any:
    # Importing torch takes seconds; the command line's --help must not wait for it.
    if name in ("attacks", "losses", "models"):
        return import_module(f"unfooled.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'unfooled' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
