"""Real faces come back from their files as they were made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unfooled.synthesis import writing
from unfooled.synthesis.casting import Person
from unfooled.synthesis.photographs import Portrait
from unfooled.synthesis.writing import Reals


class Still:
    """A shot that is already made."""

    identity, collection = "ada", "one"

    def __init__(self, made: Portrait) -> None:
        self.made = made

    def portrait(self, size: int) -> Portrait:
        return self.made


@pytest.mark.parametrize("kept", [2**20, 1])
def test_reals_are_read_back_as_they_were_written(
    tmp_path: Path, portrait: Callable, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    monkeypatch.setattr(writing, "KEPT", kept)
    made = [portrait(k, 48) for k in range(4)]
    reals = Reals(tmp_path, 48)
    ada = Person("007", "ada", "one", "train", 0, tuple(Still(m) for m in made))
    assert reals.write(ada) == 4
    folder = tmp_path / "original_sequences/one/raw/images/007"
    assert sorted(p.name for p in folder.iterdir()) == [f"{k:04}.png" for k in range(4)]
    for frame in (3, 0, 1, 2, 3):
        np.testing.assert_array_equal(reals["007", frame].image, made[frame].image)
        np.testing.assert_array_equal(reals["007", frame].shape, made[frame].shape)


def test_what_memory_does_not_hold_comes_from_the_file(
    tmp_path: Path, portrait: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "KEPT", 3 * 48 * 48 * 2)
    monkeypatch.setattr(writing, "RECENT", 1)
    reals = Reals(tmp_path, 48)
    reals.write(Person("007", "ada", "one", "train", 0, tuple(Still(portrait(k, 48)) for k in range(4))))
    for path in tmp_path.rglob("*.png"):
        path.unlink()
    for frame in (0, 1):
        assert reals["007", frame].image.shape == (48, 48, 3)
    with pytest.raises(FileNotFoundError):
        reals["007", 2]
