"""What an evaluation found, as JSON with a schema version; reads and writes without numpy and torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, FiniteFloat, ValidationError, model_validator

from unfooled.errors import DataError
from unfooled.files import replacing

SCHEMA_VERSION = 2


def _none_unless_finite(value: object) -> object:
    return None if isinstance(value, float) and not math.isfinite(value) else value


# JSON has no NaN: a number that does not exist is null, and a note says why.
Maybe = Annotated[float | None, BeforeValidator(_none_unless_finite)]


class Record(BaseModel):
    """A part of a result; unknown fields are refused, so a misspelt one can not vanish."""

    model_config = ConfigDict(extra="forbid")


class Metric(Record):
    """A number with its 95 % interval and what it stands on; ``value`` is None where ``note`` says why."""

    value: Maybe
    low: Maybe = None
    high: Maybe = None
    n_real: int
    n_fake: int
    note: str = ""


class Difference(Metric):
    """``value`` = ``a`` - ``b`` on the same samples; the interval is that of the difference."""

    a: Maybe
    b: Maybe


class Example(Record):
    """A face before and after an attack; the pictures are PNG data URIs, the scores lie in [0, 1].

    Of a clip of ``clip`` frames the pictures show ``shown`` ones, evenly spread, side by side.
    """

    id: str
    label: int
    manipulation: str
    x: str
    x_adv: str
    difference: str
    amplification: FiniteFloat
    score: FiniteFloat
    score_adv: FiniteFloat
    clip: int | None = None
    shown: int = 1


class Check(Record):
    """What one gradient-masking check measured on a subset; ``warning`` where that is suspicious."""

    name: str
    attack: str
    values: dict[str, Maybe]
    warning: str | None = None


class Projection(Record):
    """Features of some samples in two dimensions, clean and attacked, in one and the same projection.

    ``rows`` are numbers of samples; ``clean`` and ``attacked`` are their (x, y) places; ``explained`` is the share of
    the variance that the two directions carry, in [0, 1].
    """

    rows: list[int]
    clean: list[tuple[FiniteFloat, FiniteFloat]]
    attacked: list[tuple[FiniteFloat, FiniteFloat]]
    method: str = "pca"
    explained: Maybe = None

    @model_validator(mode="after")
    def _equal_lengths(self) -> Projection:
        lengths = len(self.rows), len(self.clean), len(self.attacked)
        if len(set(lengths)) > 1:
            raise ValueError(f"rows, clean and attacked must be equally long, got {lengths}")
        return self


class Samples(Record):
    """The evaluated rows as columns, in manifest order."""

    id: list[str]
    label: list[int]
    video: list[str]
    identity: list[str]
    manipulation: list[str]
    collection: list[str]

    @model_validator(mode="after")
    def _equal_lengths(self) -> Samples:
        lengths = {name: len(column) for name, column in self}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"columns of samples must be equally long, got {lengths}")
        return self


class ConditionResult(Record):
    """One column of an evaluation: the scores of every sample under a condition, and what follows from them.

    ``logits`` are those of x_adv (of x in the clean condition), both classes attacked; ``logits_png`` those of x_adv
    after rounding to 8 bits. ``eps`` is in units of [0, 1], None for no limit. ``distance`` and ``queries`` are those
    of every sample, 0 where the attack left it alone; ``distance_*``, ``l2_median`` and ``queries_mean`` speak of the
    attacked ones. Distances are in the threat's norm, ``seconds`` is the time the condition took.

    ``distortion`` is what happened to the samples (after the attack, where there is one) before they were scored, such
    as ``blur:level=3``, and ``applied_to`` says to what: ``crops``. The metrics of an attacked and distorted condition
    compare with equally distorted samples that nobody attacked.

    ``defense`` is what answered in place of the plain detector, such as ``jpeg:quality=75``; ``adaptive`` says that the
    attack was made through it, else it was made on the plain detector. A defended condition compares with the same
    defense of samples that nobody attacked.
    """

    name: str
    attack: str | None = None
    distortion: str | None = None
    applied_to: str | None = None
    defense: str | None = None
    adaptive: bool = False
    eps: Maybe = None
    norm: str | None = None
    steps: int | None = None
    seed: int | None = None
    logits: list[FiniteFloat]
    logits_png: list[FiniteFloat] | None = None
    distance: list[FiniteFloat] | None = None
    queries: list[FiniteFloat] | None = None
    success_share: Maybe = None
    distance_median: Maybe = None
    distance_max: Maybe = None
    l2_median: Maybe = None
    queries_mean: Maybe = None
    seconds: Maybe = None
    metrics: dict[str, Metric]
    examples: list[Example] = []
    projection: Projection | None = None

    @property
    def level(self) -> int | None:
        """Of the distortion, 1 to 5; None where there is none, or one of a strength of its own."""
        options = (self.distortion or "").partition(":")[2].split(",")
        return next((int(o.removeprefix("level=")) for o in options if o.startswith("level=")), None)

    @property
    def series(self) -> str | None:
        """The name without the level, which the five levels have in common; None where there is no level."""
        if self.distortion is None or self.level is None or not self.name.endswith(self.distortion):
            return None
        kind, _, rest = self.distortion.partition(":")
        others = ",".join(o for o in rest.split(",") if not o.startswith("level="))
        return self.name.removesuffix(self.distortion) + (f"{kind}:{others}" if others else kind)


class Result(Record):
    """A record that is a file of its own."""

    schema_version: int = SCHEMA_VERSION

    def write(self, path: Path | str) -> Path:
        """Write JSON; the file appears whole or not at all, and holds no NaN.

        Raises:
            DataError: the file can not be written.
        """
        try:
            text = json.dumps(self.model_dump(mode="json"), allow_nan=False, ensure_ascii=False)
        except ValueError as error:
            raise DataError(f"{path} must hold plain JSON numbers and text: {error}") from None
        return write_text(path, text + "\n")

    @classmethod
    def read(cls, path: Path | str) -> Self:
        """Read what ``write`` wrote.

        Raises:
            DataError: the file is missing, empty, no JSON, not a result, or of another schema version.
        """
        content = _json(Path(path))
        version = content.get("schema_version") if isinstance(content, dict) else None
        if not isinstance(version, int):
            raise DataError(f"{path} has no schema_version, so it is no result; give a JSON of 'unfooled evaluate'")
        if version != SCHEMA_VERSION:
            fix = "update unfooled" if version > SCHEMA_VERSION else "run 'unfooled evaluate' again"
            raise DataError(f"{path} has schema version {version}, this unfooled reads {SCHEMA_VERSION}; {fix}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or cls.__name__
            raise DataError(f"{path} is not a whole {cls.__name__}: {place}: {first['msg']}") from None


class Evaluation(Result):
    """All conditions of one detector on one set of samples, with provenance and plain-words warnings.

    ``level_means`` holds the mean metrics over the five levels of a distortion by its name (``blur``, behind an attack
    ``pgd:eps=2/255,steps=10 > blur``), and over every type and level by the name ``all``. ``distortion`` is what was
    done to the full frames before the faces of all samples were cut out of them (``data prepare --distortion``).
    """

    name: str
    provenance: dict[str, Any] = {}
    threshold: FiniteFloat = 0.0
    video_rule: str = "mean_logit"
    samples: Samples
    conditions: list[ConditionResult]
    level_means: dict[str, dict[str, Metric]] = {}
    distortion: str | None = None
    unreadable: list[str] = []
    missing: list[str] = []
    checks: list[Check] = []
    warnings: list[str] = []
    training: list[dict[str, Any]] | None = None

    @model_validator(mode="after")
    def _a_logit_for_every_sample(self) -> Evaluation:
        for condition in self.conditions:
            for column in ("logits", "logits_png", "distance", "queries"):
                values = getattr(condition, column)
                if values is not None and len(values) != len(self.samples.id):
                    raise ValueError(f"{condition.name}: {len(values)} {column} for {len(self.samples.id)} samples")
            rows = condition.projection.rows if condition.projection else []
            if any(not 0 <= row < len(self.samples.id) for row in rows):
                raise ValueError(f"{condition.name}: projection rows must be in [0, {len(self.samples.id)})")
        return self

    def condition(self, name: str) -> ConditionResult:
        """The condition called ``name``.

        Raises:
            DataError: there is none of that name.
        """
        for condition in self.conditions:
            if condition.name == name:
                return condition
        names = ", ".join(c.name for c in self.conditions)
        raise DataError(f"{self.name} has no condition {name!r}; it has {names}")


class Comparison(Result):
    """Two detectors under one condition, by paired differences a - b on the samples they share."""

    a: str
    b: str
    condition: str
    n_people: int
    differences: dict[str, Difference]


def write_text(path: Path | str, text: str) -> Path:
    """Write a text file that appears whole or not at all; missing folders are made.

    Raises:
        DataError: it can not be written (a full disk); a file that stood there before is kept.
    """
    path = Path(path)
    try:
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path} can not be written: {error.strerror or error}") from None
    return path


def _json(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a JSON of 'unfooled evaluate'") from None
    except UnicodeDecodeError:
        raise DataError(f"{path} is not JSON text; give a JSON of 'unfooled evaluate'") from None
    if not text.strip():
        raise DataError(f"{path} is empty; run 'unfooled evaluate' again")
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path} is not JSON ({error}); run 'unfooled evaluate' again") from None
