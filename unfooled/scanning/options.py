"""How a file is scanned: where faces are looked for, how often the detector is asked, what a file may cost."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from unfooled.data.containers import MAX_PIXELS
from unfooled.errors import ConfigError
from unfooled.scanning.verdict import Rule

WHOLE = "whole"
"""In place of a face detector: the central square of every frame is the face."""
MOST_CLIPS = 8
"""Clips of a track that a detector of clips is asked about."""
MarginSearch = Literal["apgd", "off"]


@dataclass(frozen=True)
class ScanOptions:
    """What a scan depends on beside the file and the run.

    Args:
        face_detector: see ``data.faces.face_detector``; ``whole`` takes the central square of every frame as the face,
            for files that are face crops already.
        every: the face detector looks at every so manieth frame; between, a face is followed on a line.
        crop_margin: side of a crop over the height of the face; 1.3 = as ``data prepare`` cuts.
        samples: at most so many points of a track, evenly spread, are asked about; of clips at most ``MOST_CLIPS``.
        rule: what speaks for a file with several faces: ``max``, the one that looks most fake, or the ``largest``.
        margin: ``apgd`` searches the smallest change that turns the verdict; ``off`` is faster.
        tampering: ask again after mild changes, for signs of adversarial noise.
        max_pixels: of a picture or frame; a larger file is refused. At most 8K.
        max_seconds: of a video; a longer file is refused.

    Raises:
        ConfigError: a value is not among the allowed ones.
    """

    face_detector: str = "haar"
    every: int = 3
    crop_margin: float = 1.3
    samples: int = 32
    rule: Rule = "max"
    margin: MarginSearch = "apgd"
    tampering: bool = True
    max_pixels: int = MAX_PIXELS
    max_seconds: float = 4 * 3600.0

    def __post_init__(self) -> None:
        for name, allowed in (("rule", get_args(Rule)), ("margin", get_args(MarginSearch))):
            if getattr(self, name) not in allowed:
                raise ConfigError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name, least, most in (("every", 1, 1000), ("samples", 1, 1000), ("max_pixels", 256, MAX_PIXELS)):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"{name} must be {least} to {most}, got {getattr(self, name)}")
        if not 0.5 <= self.crop_margin < 10:
            raise ConfigError(f"crop_margin must be in [0.5, 10), got {self.crop_margin:g}; the usual is 1.3")
        if not 0 < self.max_seconds < math.inf:
            raise ConfigError(f"max_seconds must be > 0 and finite, got {self.max_seconds:g}; write 3600")

    def facts(self) -> dict[str, Any]:
        """All of them, as JSON can hold them."""
        return {f.name: getattr(self, f.name) for f in fields(self)}
