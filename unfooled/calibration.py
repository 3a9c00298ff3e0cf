"""What a detector's logits are worth: temperature, the two thresholds of a verdict, and error rates with intervals.

Pure functions of logits of FILES and their labels; the answer is stored beside the weights that it belongs to.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unfooled.errors import ConfigError, DataError
from unfooled.files import replacing
from unfooled.metrics.functions import check, sigmoid
from unfooled.metrics.shares import clopper_pearson

FILE_NAME = "calibration.json"
FORMAT = 1
COLDEST, HOTTEST = 0.02, 50.0
"""Temperatures that are looked at; the likelihood of files that a threshold parts without error rises without end."""


class Record(BaseModel):
    """A part of a calibration; frozen, unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Rate(Record):
    """``count`` of ``of`` files, with the Clopper-Pearson interval of the share at 95 %; 0 to 1 where ``of`` is 0."""

    count: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The share itself; None of no files."""
        return self.count / self.of if self.of else None


class Tampering(Record):
    """The sign of adversarial noise, as it was measured on the files of the calibration."""

    usual: dict[str, float] = Field(
        description="of each mild change: the move of the logit that all but the target share stay below"
    )
    limit: float = Field(description="largest move, in multiples of the usual, beyond which a file is flagged")
    false_alarm: Rate = Field(description="flagged files that nobody attacked")
    detection: dict[str, Rate] = Field(description="flagged files of each attack, saved with 8 bits")


class Calibration(Record):
    """The two thresholds and the temperature of a detector, and on what they stand."""

    format: int = FORMAT
    detector: str = Field(description="digest of weights and threshold; it fits no other")
    rule: str = Field(description="how several faces make a file")
    faces: Literal["given", "found"] = Field(description="crops as the manifest has them, or as a scan finds them")
    samples: int = Field(description="at most so many points of a track")
    data: str
    data_digest: str
    split: str
    made_by: list[str] = Field(description="manipulations of the fakes")
    temperature: float
    target_fpr: float
    real_below: float = Field(description="calibrated probability")
    fake_above: float
    real_below_logit: float
    fake_above_logit: float
    n_real: int
    n_fake: int
    most_tracks: int = Field(description="faces of the file that had most")
    false_positives: Rate = Field(description="real files called fake; the threshold was set on these very files")
    false_positives_crossed: Rate = Field(
        description="real files called fake by the threshold of the other half; people stay in one half"
    )
    false_negatives: Rate = Field(description="fake files called real")
    undecided_real: Rate
    undecided_fake: Rate
    subgroups: dict[str, dict[str, Rate]] = Field(description="column -> value -> real files called fake")
    tampering: Tampering | None = None
    notes: list[str] = Field(default_factory=list)

    @property
    def scale(self) -> Scale:
        """The part that turns a logit into a verdict."""
        return Scale(self.temperature, self.real_below_logit, self.fake_above_logit)

    def sentence(self) -> str:
        """On what it stands, in one sentence."""
        kinds = f" ({', '.join(self.made_by)})" if self.made_by else ""
        return (
            f"on {self.n_real} real and {self.n_fake} fake files{kinds} of {self.data}, split {self.split}, for at "
            f"most {100 * self.target_fpr:g} % of real files called fake"
        )


@dataclass(frozen=True)
class Scale:
    """Logit -> calibrated probability and word.

    Args:
        temperature: > 0; the probability is the sigmoid of logit / temperature.
        lower: logit below which a file is called real.
        upper: logit above which it is called fake, >= ``lower``; between: undecided.
    """

    temperature: float
    lower: float
    upper: float

    def probability(self, logit: float) -> float:
        """Calibrated P(fake) in [0, 1], at as many reals as fakes."""
        return float(sigmoid(logit / self.temperature))

    def word(self, logit: float) -> Literal["fake", "real", "undecided"]:
        """The verdict on a logit."""
        return "fake" if logit > self.upper else "real" if logit < self.lower else "undecided"


def uncalibrated(threshold: float) -> Scale:
    """The scale of a detector that was never calibrated: its own threshold and the plain sigmoid."""
    return Scale(1.0, threshold, threshold)


def temperature(logits: ArrayLike, y: ArrayLike) -> float:
    """The T > 0 that maximises the likelihood of the labels under sigmoid(logit / T), both classes of equal weight.

    The likelihood is concave in 1 / T; its slope is brought to 0 by bisection, T in [``COLDEST``, ``HOTTEST``].
    Files that 0 parts without an error give ``COLDEST``, logits that know nothing ``HOTTEST``.

    Args:
        logits: (N,) of files.
        y: (N,) 0 real, 1 fake; both must occur.

    Source: Guo et al. 2017, arXiv:1706.04599. Deviation: weighted classes, as the share of fakes in a validation set
    is nobody's prior.
    """
    z, labels = check(logits, y, both_classes=True)
    weight = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())

    def slope(log_t: float) -> float:
        return float((weight * z * (labels - sigmoid(z * math.exp(-log_t)))).sum())

    # The slope by 1/T falls with 1/T, so it rises with T.
    low, high = math.log(COLDEST), math.log(HOTTEST)
    if slope(low) >= 0:
        return COLDEST
    if slope(high) <= 0:
        return HOTTEST
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if slope(middle) > 0 else (middle, high)
    return math.exp((low + high) / 2)


def thresholds(logits: ArrayLike, y: ArrayLike, target_fpr: float) -> tuple[float, float]:
    """(lower, upper) logits: at most a share ``target_fpr`` of reals lies above upper, and of fakes below lower.

    Each is the least cautious one that holds on these files. Where the classes lie so far apart that lower would be
    above upper, both are the middle between the two, and nothing is undecided.

    Args:
        logits: (N,) of files.
        y: (N,) 0 real, 1 fake; both must occur.
        target_fpr: in (0, 0.5].
    """
    if not 0 < target_fpr <= 0.5:
        raise ConfigError(f"target_fpr must be in (0, 0.5], got {target_fpr:g}; write 0.01 for 1 %")
    z, labels = check(logits, y, both_classes=True)
    reals, fakes = np.sort(z[labels == 0]), np.sort(z[labels == 1])
    upper = float(reals[len(reals) - 1 - _allowed(target_fpr, len(reals))])
    lower = float(fakes[_allowed(target_fpr, len(fakes))])
    return (lower, upper) if lower <= upper else ((lower + upper) / 2,) * 2


def rate(count: int, of: int) -> Rate:
    """A share with its interval."""
    low, high = clopper_pearson(count, of)
    return Rate(count=count, of=of, low=round(low, 6), high=round(high, 6))


def fit(
    logits: ArrayLike,
    y: ArrayLike,
    *,
    detector: str,
    data: str,
    data_digest: str = "",
    split: str = "validation",
    rule: str = "max",
    faces: Literal["given", "found"] = "given",
    samples: int = 32,
    made_by: Sequence[str] = (),
    target_fpr: float = 0.01,
    most_tracks: int = 1,
    subgroups: Mapping[str, Sequence[str]] | None = None,
    people: Sequence[str] | None = None,
) -> Calibration:
    """Temperature, thresholds and error rates of a detector from the logits of files.

    Args:
        logits: (N,) of files, by ``rule``.
        y: (N,) 0 real, 1 fake; both must occur.
        detector: its digest.
        subgroups: column -> (N,) values.
        people: (N,) who is in each file, so that nobody stands in both halves; None: everybody is another one.

    Raises:
        ConfigError: the split is ``test``, or the target is out of range.
        DataError: one class is missing, or a logit is not finite.
    """
    if split == "test":
        raise ConfigError("thresholds are never fitted on test, whose people are to be unseen; use --split validation")
    z, labels = check(logits, y, both_classes=True)
    t, (lower, upper) = temperature(z, labels), thresholds(z, labels, target_fpr)
    scale, real, fake = Scale(t, lower, upper), labels == 0, labels == 1
    above, below = z > upper, z < lower
    groups = {
        column: {
            value: rate(int((above & of).sum()), int(of.sum()))
            for value in sorted(set(values))
            if (of := real & (np.asarray(values, dtype=object) == value)).any()
        }
        for column, values in (subgroups or {}).items()
    }
    return Calibration(
        detector=detector, rule=rule, faces=faces, samples=samples, data=data, data_digest=data_digest, split=split,
        made_by=sorted(made_by), temperature=t, target_fpr=target_fpr, most_tracks=most_tracks,
        real_below=scale.probability(lower), fake_above=scale.probability(upper), real_below_logit=lower,
        fake_above_logit=upper, n_real=int(real.sum()), n_fake=int(fake.sum()),
        false_positives=_rate(above, real), false_positives_crossed=_crossed(z, labels, people, target_fpr),
        false_negatives=_rate(below, fake),
        undecided_real=_rate(~above & ~below, real), undecided_fake=_rate(~above & ~below, fake),
        subgroups=groups, notes=_notes(t, target_fpr, int(real.sum()), int(fake.sum())),
    )  # fmt: skip


def write(calibration: Calibration, run: Path) -> Path:
    """Store it in a run folder, or beside a checkpoint; the file appears whole or not at all."""
    path = place(run)
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(calibration.model_dump(), indent=1) + "\n", encoding="utf-8")
    return path


def read(run: Path, detector: str) -> Calibration | None:
    """The calibration of a run; None where there is none.

    Args:
        run: a run folder, or a checkpoint in one.
        detector: digest of the weights that it must belong to.

    Raises:
        DataError: it is damaged, of a newer format, or that of other weights.
    """
    path = place(run)
    try:
        found = Calibration.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path} can not be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path} is no calibration ({where}: {first['msg'].lower()}); run unfooled calibrate") from None
    if found.format != FORMAT:
        raise DataError(f"{path} has format {found.format}, this unfooled reads {FORMAT}; run unfooled calibrate")
    if found.detector != detector:
        raise DataError(
            f"{path} belongs to other weights ({found.detector[:8]}, here are {detector[:8]}); run unfooled calibrate"
        )
    return found


def place(run: Path) -> Path:
    """Where the calibration of a run folder or checkpoint lies."""
    return (run if run.is_dir() else run.parent) / FILE_NAME


def quantile_limit(values: ArrayLike, share: float) -> float:
    """The smallest of ``values`` that at most a ``share`` of them lies above."""
    ordered = np.sort(np.asarray(values, np.float64))
    return float(ordered[len(ordered) - 1 - _allowed(share, len(ordered))])


def _allowed(share: float, of: int) -> int:
    # A product such as .01 * 300 may come out a hair below the whole number it is.
    return min(of - 1, math.floor(share * of + 1e-9))


def halves(names: Sequence[str]) -> NDArray[np.bool_]:
    """(N,) which half each name is in; equal names are in one, and other names do not change where a name is."""
    digests = {name: hashlib.blake2b(name.encode(), digest_size=8).digest() for name in set(names)}
    return np.array([digests[name][0] % 2 == 1 for name in names], dtype=bool)


def _crossed(z: NDArray[np.float64], y: NDArray[np.float64], people: Sequence[str] | None, target: float) -> Rate:
    first = halves([str(k) for k in range(len(z))] if people is None else people)
    count = of = 0
    for half in (first, ~first):
        here = half & (y == 0)
        if len(set(y[~half].tolist())) == 2:
            _, upper = thresholds(z[~half], y[~half], target)
            count, of = count + int((z[here] > upper).sum()), of + int(here.sum())
    return rate(count, of)


def _rate(flags: NDArray[np.bool_], among: NDArray[np.bool_]) -> Rate:
    return rate(int((flags & among).sum()), int(among.sum()))


def _notes(t: float, target: float, n_real: int, n_fake: int) -> list[str]:
    notes = []
    if n_real < 1 / target:
        notes.append(
            f"{n_real} real files can not show a false-positive rate of {100 * target:g} %; at least "
            f"{math.ceil(1 / target)} are needed"
        )
    if n_fake < 1 / target:
        notes.append(f"{n_fake} fake files can not show that at most {100 * target:g} % of fakes are called real")
    if t <= COLDEST:
        notes.append(
            "every file is right by a wide margin: probabilities are nearly 0 or 1, and mean no more than that"
        )
    if t >= HOTTEST:
        notes.append("the logits know next to nothing about these files; probabilities stay near one half")
    return notes
