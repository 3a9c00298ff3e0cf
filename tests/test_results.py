"""A result is the same after a journey through a file, and a wrong file is named in one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from unfooled.errors import DataError
from unfooled.results import (
    SCHEMA_VERSION,
    Comparison,
    ConditionResult,
    Difference,
    Evaluation,
    Metric,
    Projection,
    Samples,
    write_text,
)


def make(**changes: Any) -> Evaluation:
    samples = Samples(
        id=["a", "b"],
        label=[0, 1],
        video=["v", "w"],
        identity=["p", ""],
        manipulation=["Real", "FaceSwap"],
        collection=["gpo", "gpo"],
    )
    metric = Metric(value=float("nan"), low=0.25, high=float("inf"), n_real=1, n_fake=1, note="n/a: why")
    condition = ConditionResult(name="clean", eps=float("inf"), logits=[0.1, -1e300], metrics={"frame/auc": metric})
    return Evaluation(**{"name": "é ✓", "samples": samples, "conditions": [condition], **changes})


def test_roundtrip(tmp_path: Path) -> None:
    evaluation = make(provenance={"seed": 1, "nested": {"x": [1.5, None]}}, warnings=["w"])
    path = evaluation.write(tmp_path / "new" / "eval.json")
    assert Evaluation.read(path) == evaluation
    assert [p.name for p in path.parent.iterdir()] == ["eval.json"]
    assert "NaN" not in path.read_text()
    found = Evaluation.read(path).condition("clean")
    assert found.logits == [0.1, -1e300]
    assert found.eps is None
    assert (found.metrics["frame/auc"].value, found.metrics["frame/auc"].high) == (None, None)
    with pytest.raises(DataError, match="it has clean"):
        evaluation.condition("pgd")


def test_a_file_from_before_distortions_still_loads(tmp_path: Path) -> None:
    path = make().write(tmp_path / "eval.json")
    content = json.loads(path.read_text())
    del content["level_means"]
    for condition in content["conditions"]:
        del condition["distortion"], condition["applied_to"]
    path.write_text(json.dumps(content))
    found = Evaluation.read(path)
    assert found == make()
    assert (found.conditions[0].distortion, found.conditions[0].series, found.level_means) == (None, None, {})


@pytest.mark.parametrize(
    ("name", "distortion", "level", "series"),
    [
        ("clean", None, None, None),
        ("blur:level=3", "blur:level=3", 3, "blur"),
        ("blur:kernel=9", "blur:kernel=9", None, None),
        ("noise:level=5,seed=1", "noise:level=5,seed=1", 5, "noise:seed=1"),
        ("pgd:eps=2/255 > blur:level=1", "blur:level=1", 1, "pgd:eps=2/255 > blur"),
        ("mine", "blur:level=1", 1, None),
    ],
)
def test_level_and_series(name: str, distortion: str | None, level: int | None, series: str | None) -> None:
    condition = ConditionResult(name=name, distortion=distortion, logits=[], metrics={})
    assert (condition.level, condition.series) == (level, series)


def test_comparison_roundtrip(tmp_path: Path) -> None:
    difference = Difference(value=0.1, low=0.0, high=0.2, a=0.9, b=0.8, n_real=3, n_fake=4)
    comparison = Comparison(a="a", b="b", condition="clean", n_people=2, differences={"frame/auc": difference})
    assert Comparison.read(comparison.write(tmp_path / "c.json")) == comparison
    with pytest.raises(DataError, match="not a whole Evaluation"):
        Evaluation.read(tmp_path / "c.json")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ("[1]", "no schema_version"),
        ('{"name": "x"}', "no schema_version"),
        (json.dumps({"schema_version": SCHEMA_VERSION + 1}), "update unfooled"),
        (json.dumps({"schema_version": 0}), "evaluate' again"),
        (json.dumps({"schema_version": SCHEMA_VERSION, "name": "x"}), "samples: Field required"),
        ("[" * 100000, "is not JSON"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path: Path, text: str, match: str) -> None:
    path = tmp_path / "eval.json"
    path.write_text(text)
    with pytest.raises(DataError, match=match) as error:
        Evaluation.read(path)
    assert "\n" not in str(error.value)
    assert "eval.json" in str(error.value)


def test_missing_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        Evaluation.read(tmp_path / "none.json")
    with pytest.raises(DataError, match="directory"):
        Evaluation.read(tmp_path)
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match="not JSON text"):
        Evaluation.read(tmp_path / "b.json")


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match="1 logits for 2 samples"):
        make(conditions=[ConditionResult(name="clean", logits=[0.0], metrics={})])
    with pytest.raises(ValueError, match="equally long"):
        Samples(id=["a"], label=[], video=[], identity=[], manipulation=[], collection=[])
    with pytest.raises(ValueError, match="finite"):
        ConditionResult(name="clean", logits=[float("nan")], metrics={})
    with pytest.raises(ValueError, match="Extra inputs"):
        make(warning=["misspelt"])
    with pytest.raises(ValueError, match="equally long"):
        Projection(rows=[0], clean=[], attacked=[])
    outside = Projection(rows=[2], clean=[(0, 0)], attacked=[(0, 0)])
    with pytest.raises(ValueError, match="projection rows"):
        make(conditions=[ConditionResult(name="clean", logits=[0, 1], metrics={}, projection=outside)])


def test_nan_is_never_written_and_what_json_can_not_hold_keeps_the_old_file(tmp_path: Path) -> None:
    path = make(provenance={"loss": float("nan"), "curve": [float("inf")]}).write(tmp_path / "eval.json")
    assert Evaluation.read(path).provenance == {"loss": None, "curve": [None]}
    before = path.read_bytes()
    with pytest.raises(DataError, match="plain JSON"):
        make(provenance={"model": object()}).write(path)
    assert path.read_bytes() == before


def test_a_file_that_can_not_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(DataError, match="can not be written"):
        write_text(tmp_path / "taken", "text")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="can not be written"):
        write_text(tmp_path / "file" / "below", "text")


def test_the_file_has_the_usual_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        assert write_text(tmp_path / "a.txt", "x").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)


def test_reading_a_result_needs_neither_numpy_nor_torch() -> None:
    code = "import sys, unfooled.results; sys.exit(bool({'numpy', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
