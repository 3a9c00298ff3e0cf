"""What the answer of a target means, as a logit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

from unfooled.errors import ConfigError
from unfooled.models.targets import TargetError

Output = Literal["p_fake", "p_real", "logit", "label"]
CLAMP = 1e-7
"""Probabilities nearer to 0 or 1 than this count as this: a service that says exactly 1 does not mean infinity."""
LABELS = {"fake": 1.0, "true": 1.0, "1": 1.0, "real": -1.0, "false": -1.0, "0": -1.0}


def to_logit(answer: object, output: Output, name: str) -> float:
    """The logit that an answer of target ``name`` means; finite.

    Raises:
        TargetError: it is no number or label, not finite, or a probability outside [0, 1].
    """
    said = repr(answer)[:80]
    if isinstance(answer, (Mapping, list, tuple)):
        raise TargetError(f"{name} answered {said}; name the field of it that holds the score")
    if output == "label":
        word = str(int(answer) if isinstance(answer, float) and answer in (0, 1) else answer).strip().lower()
        if word not in LABELS:
            raise TargetError(f"{name} answered {said} for a label; it must be fake or real, 1 or 0, true or false")
        return LABELS[word]
    try:
        value = math.nan if isinstance(answer, bool) or not isinstance(answer, (int, float, str)) else float(answer)
    except ValueError:
        raise TargetError(f"{name} answered {said} where a score must stand") from None
    if not math.isfinite(value):
        raise TargetError(f"{name} answered {said}, which is no finite score")
    if output == "logit":
        return value
    if not 0 <= value <= 1:
        raise TargetError(f"{name} answered {value:g}, a probability must be in [0, 1]; is the output a logit?")
    p = min(max(value, CLAMP), 1 - CLAMP)
    z = math.log(p) - math.log1p(-p)
    return z if output == "p_fake" else -z


def to_threshold(value: float | None, output: Output) -> float:
    """The logit above which a target says fake: ``value`` is its P(fake), or a logit where it answers logits.

    Raises:
        ConfigError: it is out of range, or the target gives labels.
    """
    if value is None:
        return 0.0
    if output == "label":
        raise ConfigError("threshold belongs to a score; a target that gives labels has its own")
    if output != "logit" and not 0 < value < 1:
        raise ConfigError(f"threshold must be a P(fake) in (0, 1), got {value:g}")
    return value if output == "logit" else math.log(value) - math.log1p(-value)


def plain(answer: Any) -> object:
    """An answer with a number of numpy or torch as one of Python; anything else as it is."""
    try:
        return answer.item()
    except (AttributeError, ValueError, RuntimeError):
        return answer
