"""Sources: what is a file of them and what is not, in which order, and what they are called."""

from __future__ import annotations

import io
import os
from pathlib import Path

import pytest

from unfooled.errors import DataError
from unfooled.scanning.sources import Sources, key_of, name_of, names


@pytest.fixture
def inbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("inbox/b.mp4", "inbox/a.PNG", "inbox/deep/c.mkv", "inbox/notes.txt", "inbox/README", "inbox/.d.mp4",
                 "inbox/.cache/e.mp4", "inbox/[1].mp4", "out/evidence/f.png"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path / "inbox"


def found(*sources: str | Path) -> list[str]:
    return [name for _, name in Sources(sources, Path("out"))]


def test_a_folder_gives_its_media_in_sorted_order_and_counts_the_rest(inbox: Path) -> None:
    sources = Sources(["inbox"], Path("out"))
    assert [name for _, name in sources] == ["inbox/[1].mp4", "inbox/a.PNG", "inbox/b.mp4", "inbox/deep/c.mkv"]
    assert [path for path, _ in sources] == [inbox / n for n in ("[1].mp4", "a.PNG", "b.mp4", "deep/c.mkv")]
    assert sources.passed_over == {".txt": 1, "": 1}


@pytest.mark.parametrize("source", ["inbox/notes.txt", "inbox/b.mp4", "inbox/[1].mp4", "inbox/.d.mp4"])
def test_a_named_file_is_taken_whatever_it_is(inbox: Path, source: str) -> None:
    assert found(source) == [source]


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("inbox/*", ["inbox/[1].mp4", "inbox/a.PNG", "inbox/b.mp4"]),
        ("inbox/**/*.m??", ["inbox/[1].mp4", "inbox/b.mp4", "inbox/deep/c.mkv"]),
        ("inbox/[ab].*", ["inbox/a.PNG", "inbox/b.mp4"]),
        ("**/*.png", []),
    ],
)
def test_a_pattern_gives_media_outside_of_the_results(inbox: Path, pattern: str, names: list[str]) -> None:
    assert found(pattern) == names


def test_results_below_a_folder_are_no_sources(inbox: Path) -> None:
    assert found(".") == ["inbox/[1].mp4", "inbox/a.PNG", "inbox/b.mp4", "inbox/deep/c.mkv"]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
@pytest.mark.parametrize("way", ["list", "stdin"])
def test_lists_name_files_and_folders(inbox: Path, monkeypatch: pytest.MonkeyPatch, way: str, end: bytes) -> None:
    lines = b"\xef\xbb\xbf" + end.join([b"inbox/b.mp4", b"", b"gone.mp4", b"inbox/deep", b"inbox/odd \xff.mp4"])
    Path("list.txt").write_bytes(lines)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines)))
    given = found("@list.txt" if way == "list" else "-")
    assert given == ["inbox/b.mp4", "gone.mp4", "inbox/deep/c.mkv", "inbox/odd \\xff.mp4"]


def test_a_list_keeps_paths_that_are_no_text(inbox: Path) -> None:
    Path("list.txt").write_bytes(b"odd\xff.mp4\n")
    ((path, _),) = Sources(["@list.txt"], Path("out"))
    assert os.fsencode(path) == os.fsencode(inbox.parent) + b"/odd\xff.mp4"


@pytest.mark.parametrize(
    ("source", "message"),
    [("gone.mp4", "gone.mp4 is not there"), ("gone/*.mp4", "matches nothing"), ("@gone.txt", "@gone.txt is not there")],
)
def test_what_is_not_there_is_said_at_once(inbox: Path, source: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Sources(["inbox", source], Path("out"))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("inbox/a.mp4", "inbox/a.mp4"), ("./inbox/a.mp4", "inbox/a.mp4"), ("../../inbox/a.mp4", "inbox/a.mp4"),
        ("/data/inbox/a.mp4", "a.mp4"), ("/", "/"), (".", "."),
    ],
)  # fmt: skip
def test_names_hold_no_folders_above_those_that_were_given(given: str, name: str) -> None:
    assert name_of(given) == name


def test_a_folder_is_named_as_given(inbox: Path) -> None:
    assert found(inbox)[0] == "inbox/[1].mp4"
    assert found("inbox/deep") == ["inbox/deep/c.mkv"]
    assert found("inbox/../inbox/deep/") == ["inbox/deep/c.mkv"]
    os.chdir(inbox)
    assert found("../inbox/deep") == ["inbox/deep/c.mkv"]
    assert found(".")[0] == "[1].mp4"


def test_a_taken_name_grows_from_its_path() -> None:
    assert list(names(Path("/data/inbox/a.mp4"), "a.mp4")) == ["a.mp4", "inbox/a.mp4", "data/inbox/a.mp4"]
    assert list(names(Path("/data/inbox/a.mp4"), "inbox/a.mp4")) == ["inbox/a.mp4", "data/inbox/a.mp4"]


def test_keys_are_short_and_fit_for_a_folder() -> None:
    assert key_of("a/../../b.mp4").isalnum()
    assert len({key_of(str(n)) for n in range(1000)}) == 1000
