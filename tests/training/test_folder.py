"""The run folder: whole files or none."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unfooled.errors import CheckpointError, ConfigError, TrainingError
from unfooled.training import RunFolder


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = RunFolder(tmp_path)
    folder.save_state({"done": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(TrainingError, match="No space left on device; make room, then go on with --resume"):
        folder.save_state({"done": 2})
    assert folder.load_state() == {"done": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["state.pt"], "no half-written file stays behind"


def test_a_state_that_would_run_code_is_refused(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.load_state() is None
    torch.save({"done": Path("x")}, folder.state)
    with pytest.raises(CheckpointError, match="can not be resumed from"):
        folder.load_state()


def test_claim_refuses_a_run_unless_it_goes_on(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "a" / "b")
    folder.claim(resume=False)
    folder.claim(resume=False)
    folder.write_history([{"epoch": 1}])
    with pytest.raises(ConfigError, match="--resume"):
        folder.claim(resume=False)
    folder.claim(resume=True)
