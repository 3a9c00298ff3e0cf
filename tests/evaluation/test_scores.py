"""Anybody's scores: the column decides what a number means; every fault is named with its row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unfooled.attacks import PGD
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import DataError
from unfooled.evaluation import Condition, compare, evaluate, evaluate_scores
from unfooled.metrics import sigmoid
from unfooled.models.detector import Detector
from unfooled.threats import Linf

Write = Callable[[str], Path]


def table(manifest: Manifest, header: str = "id,logit", values: list[str] | None = None, key: str = "id") -> list[str]:
    numbers = values or [f"{0.5 * i - 3}" for i in range(len(manifest))]
    return [header, *(f"{k},{v}" for k, v in zip(manifest.column(key), numbers, strict=True))]


def test_our_own_logits_as_a_csv_give_our_own_evaluation(
    trained: Detector, frames: Frames, manifest: Manifest, write_csv: Write
) -> None:
    ours = evaluate(trained, frames, [Condition(PGD(Linf(2 / 255)), name="attack")], checks=False)
    clean, attacked = (c.logits for c in ours.conditions)
    rows = [f"{p},{a!r},x,{b!r}" for p, a, b in zip(manifest.column("path"), clean, attacked, strict=True)]
    text = "\n".join(["path,logit,comment,logit_adv", *reversed(rows), ""])
    theirs = evaluate_scores(write_csv(text), manifest)
    assert theirs.name == "scores"
    assert theirs.samples == ours.samples
    for one, two in zip(ours.conditions, theirs.conditions, strict=True):
        assert one.logits == two.logits
        assert {k: v for k, v in one.metrics.items() if "png" not in k} == two.metrics
    assert compare(ours, theirs, "clean").differences["frame/auc"].value == 0


def test_the_column_decides_and_not_the_values(manifest: Manifest, write_csv: Write) -> None:
    values = [f"{v:.4f}" for v in np.linspace(0.01, 0.99, len(manifest))]
    score = evaluate_scores(write_csv("\n".join(table(manifest, "id,score", values))), manifest, replicates=0)
    logit = evaluate_scores(write_csv("\n".join(table(manifest, "id,logit", values))), manifest, replicates=0)
    np.testing.assert_allclose(sigmoid(score.conditions[0].logits), np.array(values, float))
    np.testing.assert_allclose(logit.conditions[0].logits, np.array(values, float))
    found = [e.conditions[0].metrics["accuracy"].value for e in (score, logit)]
    assert found[0] != found[1]
    assert logit.conditions[0].metrics["recall"].value == 1


def test_scores_of_zero_and_one_stay_finite_and_in_order(manifest: Manifest, write_csv: Write) -> None:
    values = ["0", "1e-300", "0.5", "0.9999999999999999", "1", *["0.2"] * (len(manifest) - 5)]
    found = evaluate_scores(write_csv("\n".join(table(manifest, "id,score", values))), manifest, replicates=0)
    z = found.conditions[0].logits[:5]
    assert np.isfinite(z).all()
    assert z == sorted(z)


def test_threshold_is_a_logit(manifest: Manifest, write_csv: Write) -> None:
    path = write_csv("\n".join(table(manifest)))
    found = evaluate_scores(path, manifest, threshold=1e9, replicates=0).conditions[0].metrics
    assert found["accuracy"].value == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda t: [*t[:3], t[3].split(",")[0] + ",nan", *t[4:]], "row 4: logit must be finite, got 'nan'"),
        (lambda t: [*t[:3], t[3].split(",")[0] + ",", *t[4:]], "row 4: logit must be a number, got ''"),
        (lambda t: [*t, t[5]], r"row 26: id .* was already in row 6"),
        (lambda t: [*t, "nobody,1.0"], "row 26: id 'nobody' is not among the 24"),
        (lambda t: t[:-2], "lacks 2 of 24 samples"),
        (lambda t: [*t[:2], t[2] + ",7", *t[3:]], "row 3 has 3 cells, the header has 2"),
        (lambda t: ["id,p", *t[1:]], "has none of the columns logit and score"),
        (lambda t: ["name,logit", *t[1:]], "has none of the columns id and path"),
        (lambda t: [t[0] + ",score", *(row + ",0.5" for row in t[1:])], "must have only one of the columns logit"),
        (lambda t: ["id,score", *t[1:]], r"row 2: score must be in \[0, 1\], got -3"),
        (lambda t: [], "has none of the columns"),
        (lambda t: [*t[:2], '"open', *t[3:]], "is not a CSV"),
    ],
)
def test_faults_are_named_with_their_row(
    manifest: Manifest, write_csv: Write, change: Callable[[list[str]], list[str]], match: str
) -> None:
    with pytest.raises(DataError, match=match) as error:
        evaluate_scores(write_csv("\n".join(change(table(manifest)))), manifest)
    assert "\n" not in str(error.value)


def test_blank_lines_and_a_byte_order_mark_are_no_fault(manifest: Manifest, write_csv: Write) -> None:
    text = "\ufeff" + "\n\n".join(table(manifest)) + "\n\n"
    assert len(evaluate_scores(write_csv(text), manifest, replicates=0).samples.id) == 24


def test_missing_and_binary_files(manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        evaluate_scores(tmp_path / "none.csv", manifest)
    (tmp_path / "b.csv").write_bytes(b"id,logit\n\xff\xfe,1")
    with pytest.raises(DataError, match="not a CSV"):
        evaluate_scores(tmp_path / "b.csv", manifest)


def test_only_readable_rows_must_be_scored(manifest: Manifest, write_csv: Write) -> None:
    status = ["ok"] * 23 + ["unreadable"]
    path = write_csv("\n".join(table(manifest)[:-1]))
    found = evaluate_scores(path, manifest.with_column("status", status), replicates=0)
    assert len(found.samples.id) == 23
