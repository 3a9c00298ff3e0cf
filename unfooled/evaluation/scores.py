"""Evaluate a CSV of scores from anybody's detector; the column's name says what its numbers are."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Container, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unfooled.data.manifest import Manifest
from unfooled.errors import DataError
from unfooled.evaluation.provenance import provenance as facts_of
from unfooled.evaluation.samples import distorted_before, samples_of
from unfooled.evaluation.tables import Tables
from unfooled.results import ConditionResult, Evaluation

Array = NDArray[np.float64]
KEYS = ("id", "path")
COLUMNS = "id or path; logit or score; and, if there was an attack, logit_adv or score_adv"


def evaluate_scores(
    path: Path | str,
    manifest: Manifest,
    *,
    name: str = "",
    passed_over: Container[str] = (),
    threshold: float = 0.0,
    attack_name: str = "attack",
    video_rule: str = "mean_logit",
    replicates: int = 1000,
    seed: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> Evaluation:
    """Metrics of a CSV with one row for each readable row of ``manifest``.

    Args:
        path: columns ``id`` or ``path`` (as in the manifest); ``logit`` (any number, above the threshold means fake) or
            ``score`` (probability of fake, in [0, 1]); optional ``logit_adv`` or ``score_adv`` of attacked samples.
            The column's name decides how a number is read, never its value. Other columns are ignored.
        manifest: the samples that were scored.
        passed_over: ids or paths that the file may name besides, such as the rows of other splits.
        name: of the detector in tables; empty means the file's name.
        threshold: a logit; fake if logit > threshold.
        attack_name: of the condition behind ``*_adv``.
        video_rule, replicates, seed, provenance: as in ``evaluate``.

    Raises:
        DataError: a column is missing or given twice, a value is no number, a row is double, unknown or missing; with
            the line of the file.
    """
    path = Path(path)
    rows = np.flatnonzero(manifest.column("status") == "ok")
    columns = _read(path, manifest.take(rows), passed_over)
    samples = samples_of(manifest, rows)
    tables = Tables(samples, threshold, video_rule, replicates, seed)
    clean = columns["clean"]
    conditions = [ConditionResult(name="clean", logits=clean.tolist(), metrics=tables.clean(clean))]
    if "adv" in columns:
        adv = columns["adv"]
        found = tables.attacked(clean, adv)
        conditions.append(ConditionResult(name=attack_name, attack="as given", logits=adv.tolist(), metrics=found))
    facts = facts_of(None, "cpu", seed)
    return Evaluation(
        name=name or path.stem,
        provenance={**facts, "scores": path.name, "data_digest": manifest.digest(), **(provenance or {})},
        threshold=threshold,
        video_rule=video_rule,
        samples=samples,
        distortion=distorted_before(manifest),
        conditions=conditions,
    )


def _read(path: Path, manifest: Manifest, passed_over: Container[str]) -> dict[str, Array]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = csv.reader(file, strict=True)
            header = [column.strip() for column in next(lines, [])]
            return _columns(path.name, header, _numbered(path.name, header, lines), manifest, passed_over)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}; give a CSV with the columns {COLUMNS}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} is not a CSV in UTF-8: {error}") from None


def _numbered(file: str, header: list[str], lines: Any) -> Iterator[tuple[int, list[str]]]:
    for cells in lines:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(header):
            raise DataError(f"{file} row {lines.line_num} has {len(cells)} cells, the header has {len(header)}")
        yield lines.line_num, [cell.strip() for cell in cells]


def _columns(
    file: str,
    header: list[str],
    lines: Iterator[tuple[int, list[str]]],
    manifest: Manifest,
    passed_over: Container[str],
) -> dict[str, Array]:
    key = _only(file, header, KEYS)
    readers: dict[str, tuple[int, str]] = {}
    for part, suffix in (("clean", ""), ("adv", "_adv")):
        names = (f"logit{suffix}", f"score{suffix}")
        if part == "clean" or set(names) & set(header):
            column = _only(file, header, names)
            readers[part] = header.index(column), column
    keys = manifest.column(key).tolist()
    place = {value: number for number, value in enumerate(keys)}
    found = {part: np.full(len(keys), np.nan) for part in readers}
    seen: dict[str, int] = {}
    for line, cells in lines:
        value = cells[header.index(key)]
        if value not in place and value in passed_over:
            continue
        if value not in place:
            raise DataError(f"{file} row {line}: {key} {value!r} is not among the {len(keys)} readable samples")
        if value in seen:
            raise DataError(f"{file} row {line}: {key} {value!r} was already in row {seen[value]}; keep one of them")
        seen[value] = line
        for part, (position, column) in readers.items():
            found[part][place[value]] = _logit(file, line, column, cells[position])
    if missing := [value for value in keys if value not in seen]:
        raise DataError(
            f"{file} lacks {len(missing)} of {len(keys)} samples, such as {missing[0]!r}; score every sample, or select"
            " fewer in the manifest"
        )
    return found


def _only(file: str, header: list[str], names: tuple[str, ...]) -> str:
    present = [column for column in header if column in names]
    if len(present) != 1:
        state = "has none of" if not present else "must have only one of"
        raise DataError(f"{file} {state} the columns {' and '.join(names)}; needed are {COLUMNS}")
    return present[0]


def _logit(file: str, line: int, column: str, text: str) -> float:
    try:
        value = float(text if "_" not in text else "no number")
    except ValueError:
        raise DataError(f"{file} row {line}: {column} must be a number, got {text!r}") from None
    if not math.isfinite(value):
        raise DataError(f"{file} row {line}: {column} must be finite, got {text!r}; leave no sample without a score")
    return _READ[column.removesuffix("_adv")](file, line, column, value)


def _from_score(file: str, line: int, column: str, score: float) -> float:
    if not 0 <= score <= 1:
        raise DataError(f"{file} row {line}: {column} must be in [0, 1], got {score:g}; a logit belongs in 'logit'")
    # Symmetric: with an outermost logit of -744 for 0 but 37 for 1, one rounded-off 0 would outvote a whole video.
    score = min(max(score, 2**-53), 1 - 2**-53)
    return math.log(score) - math.log1p(-score)


_READ: Mapping[str, Callable[[str, int, str, float], float]] = {
    "logit": lambda file, line, column, value: value,
    "score": _from_score,
}
