"""Detectors by name."""

from __future__ import annotations

from collections.abc import Callable

from unfooled.models.convnet import convnet
from unfooled.models.csn import csn_r50, csn_r101, csn_small
from unfooled.models.detector import Detector
from unfooled.models.mesonet import meso4, mesoinception4
from unfooled.models.resnet import resnet
from unfooled.models.xception import xception
from unfooled.registry import build, lookup

__all__ = ["DETECTORS", "Detector", "create"]

DETECTORS: dict[str, Callable[..., Detector]] = {
    "convnet": convnet,
    "csn-r101": csn_r101,
    "csn-r50": csn_r50,
    "csn-small": csn_small,
    "meso4": meso4,
    "mesoinception4": mesoinception4,
    "resnet": resnet,
    "xception": xception,
}


def create(name: str, **options: object) -> Detector:
    """A fresh detector; ``detector.spec`` holds what is needed to create it again.

    Args:
        name: a key of ``DETECTORS``.
        options: of its builder; text such as ``"none"`` or ``"0.5"`` is read as the option's type.

    Raises:
        ConfigError: the name or an option is unknown (with the nearest known one), or a value is not allowed.
    """
    detector = build("detector", name, lookup("detector", DETECTORS, name), options)
    detector.spec = {"name": name, **options}
    return detector
