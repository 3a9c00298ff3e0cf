"""A journal loses at most the item in work; a folder belongs to one job."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfooled.errors import ConfigError, DataError
from unfooled.journal import Journal, check_folder, claimed


def test_lines_come_back_and_the_file_is_made_with_the_first(tmp_path: Path) -> None:
    path = tmp_path / "deep/done.jsonl"
    journal = Journal(path)
    assert not path.parent.exists()
    rows = [{"path": "a", "score": 0.5}, {"path": "ü", "score": None}]
    for row in rows:
        journal.add(row)
    assert journal.rows == rows == Journal(path).rows
    assert len(path.read_text().splitlines()) == 2


@pytest.mark.parametrize("cut", range(1, 9))
def test_a_last_line_cut_short_is_dropped_wherever_it_was_cut(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    journal = Journal(path)
    journal.add({"a": 1})
    journal.add({"b": 2})
    path.write_bytes(path.read_bytes()[:-cut])
    again = Journal(path)
    assert again.rows == [{"a": 1}]
    again.add({"c": 3})
    assert Journal(path).rows == [{"a": 1}, {"c": 3}]


@pytest.mark.parametrize("text", ["{}\nnonsense\n{}\n", "[1]\n", "{}\nhalf\n"])
def test_a_damaged_line_is_named(text: str, tmp_path: Path) -> None:
    path = tmp_path / "done.jsonl"
    path.write_text(text)
    with pytest.raises(DataError, match=r"done\.jsonl is damaged at line \d"):
        Journal(path)
    assert path.read_text() == text


def test_a_folder_belongs_to_one_job(tmp_path: Path) -> None:
    folder, job = tmp_path / "out", {"attack": "pgd", "label": "fake"}
    assert not check_folder(folder, job)
    assert not folder.exists()
    for _ in range(2):
        with claimed(folder, job):
            assert check_folder(folder, job)
            (folder / "done.jsonl").touch()
    other = r"another job \(attack pgd, now fgsm\); choose another --out"
    with pytest.raises(ConfigError, match=other), claimed(folder, job | {"attack": "fgsm"}):
        pytest.fail("claimed")
    with pytest.raises(ConfigError, match=r"another job \(label fake, now unknown\)"):
        check_folder(folder, {"attack": "pgd"})


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    for place in (tmp_path, tmp_path / "mine.txt"):
        with pytest.raises(ConfigError, match="choose another --out"), claimed(place, {}):
            pytest.fail("claimed")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "mine.txt").rename(tmp_path / ".job.json.12.part")
    assert not check_folder(tmp_path, {})


def test_a_job_that_is_refused_at_once_leaves_no_trace(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        with pytest.raises(ConfigError, match="no"), claimed(folder, {"a": 1}):
            raise ConfigError("no")

    refuse(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    (tmp_path / "empty").mkdir()
    refuse(tmp_path / "empty")
    assert not list((tmp_path / "empty").iterdir())
    with claimed(tmp_path / "begun", {"a": 1}):
        (tmp_path / "begun/done.jsonl").touch()
    refuse(tmp_path / "begun")
    assert check_folder(tmp_path / "begun", {"a": 1})
