"""The table at the end."""

from __future__ import annotations

from pathlib import Path

from unfooled.attack_files import Outcome, attack_files
from unfooled.attack_files.outcome import STAGES
from unfooled.models.detector import Detector


def test_the_summary_counts_only_what_was_right_before(folder: Path, brightness: Detector, tmp_path: Path) -> None:
    result = attack_files(folder, brightness, "fgsm:eps=16/255", tmp_path / "out")
    right = [r for r in result.rows if r["right_before"]]
    assert 0 < len(right) < 4
    for stage in STAGES:
        rate, count = result.success_rate(stage)
        assert count == len(right)
        assert rate == sum(r["success"][stage] for r in right) / count
    assert result.median("linf_255", "saved") == 16
    assert result.median("queries") == 1
    assert result.median("l2", "jpeg75") is None
    nothing = Outcome(tmp_path, [])
    assert nothing.success_rate("after") == (None, 0)
    assert nothing.median("queries") is None
