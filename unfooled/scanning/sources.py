"""Which files a bulk scan is about: named ones, folders, glob patterns, lists, standard input."""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from glob import glob, has_magic
from pathlib import Path

from unfooled.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES, walk
from unfooled.errors import DataError

MEDIA = IMAGE_SUFFIXES + VIDEO_SUFFIXES
STDIN = "-"


class Sources:
    """Files in a fixed order, found while they are asked for: no list of them is kept.

    A named file is taken whatever it is. Of folders (with all below them) and patterns the files with the ending of an
    image or a video are; hidden ones are passed over. A list has one path a line, or between zero bytes: a file, which
    need not be there, or a folder. Relative paths in it start where the program was started.

    Args:
        given: paths, glob patterns such as ``inbox/**/*.mp4``, lists such as ``@list.txt``, ``-`` for standard input.
        leave: what lies below it is none of them (the folder of the results).

    Attributes:
        passed_over: files of folders and patterns that are no images or videos, by ending; whole after the last file.

    Raises:
        DataError: a source is not there; a pattern matches nothing.
    """

    def __init__(self, given: Sequence[str | Path], leave: Path) -> None:
        self.given, self.leave = [str(source) for source in given], leave.absolute()
        self.passed_over: Counter[str] = Counter()
        for source in self.given:
            place = source.removeprefix("@")
            if source != STDIN and not Path(place).exists() and not (place == source and _glob(source)):
                kind = "matches nothing" if has_magic(source) else "is not there"
                raise DataError(f"{source} {kind}; name files, folders, patterns, @list.txt or - (standard input)")

    def __iter__(self) -> Iterator[tuple[Path, str]]:
        """Absolute path, and the name that results use: as it was given, without folders above those named."""
        self.passed_over.clear()
        for source in self.given:
            if source == STDIN or source.startswith("@"):
                for line in _lines(source):
                    yield from self._below(line) if Path(line).is_dir() else [(_absolute(line), name_of(line))]
            elif Path(source).is_dir():
                yield from self._below(source)
            elif Path(source).exists():
                yield _absolute(source), name_of(source)
            else:
                yield from self._matching(source)

    def _below(self, folder: str) -> Iterator[tuple[Path, str]]:
        for entry in walk(Path(folder), leave=self.leave, others=self.passed_over):
            below = Path(os.path.relpath(entry.path, folder))
            yield _absolute(entry.path), _text(Path(name_of(folder)) / below)

    def _matching(self, pattern: str) -> Iterator[tuple[Path, str]]:
        for found in _glob(pattern):
            if Path(found).is_dir() or _absolute(found).is_relative_to(self.leave):
                continue
            if found.lower().endswith(MEDIA):
                yield _absolute(found), name_of(found)
            else:
                self.passed_over[Path(found).suffix.lower()] += 1


def name_of(given: str) -> str:
    """``inbox/a.mp4`` of that, of ``../inbox/a.mp4`` and of ``./inbox/a.mp4``; ``a.mp4`` of ``/data/inbox/a.mp4``.

    Bytes that are no UTF-8 stand as ``\\xff``.
    """
    path = Path(os.path.normpath(given))
    parts = path.parts[-1:] if path.is_absolute() else [part for part in path.parts if part != ".."]
    return _text(Path(*parts))


def key_of(name: str) -> str:
    """What the ledger and the folder of the evidence call a file."""
    return hashlib.sha256(name.encode()).hexdigest()[:16]


def names(path: Path, name: str) -> Iterator[str]:
    """Names for a file, the shortest first, should another file have it: ``a.mp4``, ``inbox/a.mp4``, ..."""
    yield name
    parts = path.parts[1:]
    for count in range(len(Path(name).parts) + 1, len(parts) + 1):
        yield _text(Path(*parts[-count:]))


def _text(path: Path) -> str:
    return os.fsencode(path.as_posix()).decode("utf-8", "backslashreplace")


def _glob(pattern: str) -> list[str]:
    return sorted(glob(pattern, recursive=True))  # noqa: PTH207 (a pattern may begin at the root)


def _absolute(path: str) -> Path:
    # Not resolved: a link keeps its own name. ``..`` goes, or the same file would have two paths.
    return Path(os.path.abspath(path))  # noqa: PTH100


def _lines(source: str) -> Iterator[str]:
    with ExitStack() as stack:
        file = sys.stdin.buffer if source == STDIN else stack.enter_context(Path(source.removeprefix("@")).open("rb"))
        for line in file:
            for part in line.removeprefix(b"\xef\xbb\xbf").rstrip(b"\r\n").split(b"\0"):
                if part.strip():
                    yield os.fsdecode(part)
