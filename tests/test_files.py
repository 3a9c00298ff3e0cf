"""A file that is replaced is replaced whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfooled.files import replacing


def test_the_new_content_takes_the_place_of_the_old(tmp_path: Path) -> None:
    path = tmp_path / "deep/file.txt"
    for text in ("one", "two"):
        with replacing(path) as temporary:
            temporary.write_text(text)
            assert temporary.parent == path.parent
        assert path.read_text() == text
    assert list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
