"""What a user may name as a source, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from unfooled.errors import ConfigError, DataError
from unfooled.synthesis.animate import AnimatedFrame
from unfooled.synthesis.photographs import Photograph
from unfooled.synthesis.sources import FRAMES, PEOPLE, PORTRAITS, find

Album = Callable[..., Path]


def test_the_word_gives_drawn_people_by_person_and_frame() -> None:
    source = find(PORTRAITS, 9, 3, 0)
    assert (source.name, source.frames) == ("portraits", 3)
    assert [s.identity for s in source.shots] == [f"person_{k // 3:04}" for k in range(27)]
    assert {s.collection for s in source.shots} == {"portraits"}
    usual = find(PORTRAITS, None, None, 0)
    assert set(Counter(s.identity for s in usual.shots).values()) == {FRAMES}
    assert len(usual.shots) == PEOPLE * FRAMES


def test_a_folder_gives_photographs_as_they_are_or_clips(tmp_path: Path, album: Album) -> None:
    folder = album(tmp_path / "friends", {"one": 9}, shots=2)
    plain = find(folder, None, None, 0)
    assert (plain.name, plain.frames, len(plain.shots)) == ("friends", None, 18)
    assert all(isinstance(s, Photograph) for s in plain.shots)
    clips = find(str(folder), None, 4, 0)
    assert (clips.frames, len(clips.shots)) == (4, 72)
    assert all(isinstance(s, AnimatedFrame) for s in clips.shots)
    for shot, photograph in zip(clips.shots[::4], plain.shots, strict=True):
        assert (shot.identity, shot.photograph.path) == (photograph.identity, photograph.path)  # type: ignore[attr-defined]


def test_a_path_is_always_a_folder(tmp_path: Path, album: Album, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    # A folder of that name that is no photographs, such as the set of last time, is nobody's wish.
    Path(PORTRAITS).mkdir()
    assert find(PORTRAITS, 9, 1, 0).frames == 1
    album(tmp_path / PORTRAITS, {"one": 9})
    with pytest.raises(ConfigError, match=r"write \./portraits for the folder"):
        find(PORTRAITS, None, None, 0)
    assert find(Path(PORTRAITS), None, None, 0).frames is None
    assert find("./portraits", None, None, 0).frames is None


@pytest.mark.parametrize(
    ("people", "frames", "message"),
    [(8, None, "people must be >= 9 .* got 8; write 60"), (None, 0, "frames must be >= 1, got 0"), (9, -1, "frames")],
)
def test_numbers_of_drawn_people_are_checked(people: int | None, frames: int | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find(PORTRAITS, people, frames, 0)


def test_photographs_bring_their_own_people(tmp_path: Path, album: Album) -> None:
    folder = album(tmp_path / "friends", {"one": 9})
    with pytest.raises(ConfigError, match="people is an option of portraits"):
        find(folder, 9, None, 0)
    with pytest.raises(ConfigError, match="frames must be >= 1"):
        find(folder, None, 0, 0)
    with pytest.raises(DataError, match="or write portraits"):
        find(tmp_path / "portrait", None, None, 0)


def test_a_margin_is_of_photographs_alone(tmp_path: Path, album: Album) -> None:
    folder = album(tmp_path / "friends", {"one": 9})
    assert {s.margin for s in find(folder, None, None, 0, 1.3).shots} == {1.3}  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="margin is an option of photographs"):
        find(PORTRAITS, 9, 1, 0, 1.3)
    with pytest.raises(ConfigError, match=r"margin must be in \[0.5, 5\] .* got 130; write 1.3"):
        find(folder, None, None, 0, 130)
