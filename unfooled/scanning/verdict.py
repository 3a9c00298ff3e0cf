"""What a scan says of one file: the documented, versioned JSON that every surface shows."""

from __future__ import annotations

import json
import sys
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA_VERSION = 1
"""Grows when a field changes its meaning or goes; a new field alone does not raise it."""

Status = Literal["ok", "no_face", "too_short", "unreadable", "refused", "no_score"]
"""``refused``: beyond the limits of the scan; ``no_score``: the detector answered no number."""
Word = Literal["fake", "real", "undecided"]
Rule = Literal["max", "largest"]


class Part(BaseModel):
    """A table of the JSON; frozen, and nothing unknown in it."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Media(Part):
    """The file as it was decoded."""

    width: int = Field(description="pixels, as shown (after rotation)")
    height: int
    fps: float | None = Field(description="frames a second, average; null for a picture")
    frames: int = Field(description="decoded frames")
    seconds: float | None = Field(description="time of the last decoded frame; null for a picture")


class Point(Part):
    """The score of one place in a track: a frame, or a clip from its first frame on."""

    time: float = Field(description="seconds from the start of the file")
    frame: int = Field(description="number of the frame in the file, from 0")
    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in pixels of the shown frame")
    logit: float = Field(description="raw answer of the detector, not calibrated")
    probability: float = Field(description="calibrated P(fake); the plain sigmoid where there is no calibration")


class Telling(Part):
    """One of the frames that spoke loudest for the verdict of its track."""

    time: float
    frame: int
    logit: float
    crop: str | None = Field(description="PNG of the face, relative to the evidence folder; null without evidence")
    saliency: str | None = Field(description="PNG of the same face, with the places that moved the score marked")


class Track(Part):
    """One face, followed through one shot."""

    id: str
    start: float = Field(description="seconds")
    stop: float = Field(description="seconds")
    frames: int = Field(description="frames in which the face was followed")
    verdict: Word
    logit: float = Field(description="mean of the logits of its points")
    probability: float
    points: list[Point] = Field(description="in order of time; at most as many as the option `samples`")
    telling: list[Telling] = Field(description="strongest first")


class Margin(Part):
    """How small a change turns the verdict: the smallest FOUND, an upper bound of the true one."""

    linf_255: float | None = Field(description="largest change of a pixel of the face crops, /255; null: none found")
    attack: str = Field(description="what searched, with steps and seed")
    searched_255: float = Field(description="largest radius that was tried, /255")
    fragile: bool = Field(description="below 1/255: noise that no one sees turns it")
    survives_rounding: bool = Field(description="False below .5/255: that change is lost when a file has 8 bits")


class Tampering(Part):
    """The score before and after mild changes that leave an honest picture alone."""

    logits: dict[str, float] = Field(description="file logit as it is, and after each mild change")
    jump: float = Field(
        description="largest move of the logit; if calibrated in multiples of what is usual for each change"
    )
    limit: float | None = Field(description="jumps beyond it are flagged; null: not calibrated, nothing is flagged")
    flagged: bool = Field(description="possible adversarial noise")
    detection_rate: float | None = Field(
        description="share of attacked files flagged, as measured, at the attack that is flagged least; null: unknown"
    )
    false_alarm_rate: float | None = Field(description="share of files that nobody attacked flagged, as measured")


class Thresholds(Part):
    """Calibrated probabilities: fake above the upper, real below the lower, undecided between."""

    real_below: float
    fake_above: float
    target_fpr: float | None = Field(description="share of real files that may be called fake; null: not calibrated")


class About(Part):
    """Who answered."""

    name: str
    digest: str = Field(description="of weights and threshold")
    calibrated: bool
    calibration: str = Field(description="on what, in one sentence; or that it was not")
    note: str = Field(description="what the detector is and is not")


class Scan(Part):
    """The verdict on one file with its evidence, or the reason why there is none."""

    schema_version: int = SCHEMA_VERSION
    file: str = Field(description="name as given, without folders of the machine")
    sha256: str | None = Field(description="of the file's bytes; null if it could not be read")
    status: Status
    reason: str = Field(description="one line that begins with the file's name; empty if the status is ok")
    verdict: Word | None = Field(description="null unless the status is ok")
    logit: float | None = Field(description="of the file, by the rule")
    probability: float | None = Field(description="calibrated P(fake) of the file")
    rule: Rule = Field(description="max: the face that looks most fake speaks for the file; largest: the largest face")
    thresholds: Thresholds
    media: Media | None
    tracks: list[Track]
    margin: Margin | None = Field(description="null: not asked for, or no verdict to turn")
    tampering: Tampering | None
    cautions: list[str] = Field(description="plain sentences that belong to this verdict")
    detector: About
    unfooled: str = Field(description="version that scanned")
    duplicate_of: str | None = Field(
        default=None, description="name of the file of the same bytes that was scanned; null: this file was"
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(Scan.model_json_schema(), indent=1) + "\n")
