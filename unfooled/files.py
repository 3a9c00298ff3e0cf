"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from unfooled.errors import ConfigError


def check_target(path: Path) -> None:
    """Refuse a file that can not be written, before the work that would fill it.

    Raises:
        ConfigError: it is a folder, or its folder can not be made or written to.
    """
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; name a file in it, such as {path / 'out'}")
    above = next(p for p in path.absolute().parents if p.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise ConfigError(f"{path} can not be written: {above} is no folder that takes files; choose another place")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary file beside ``path``, to be written to, that takes its place at the end.

    On an error or a kill nothing has changed at ``path``; missing folders are made. OSError (a full disk, no
    permission) goes through: the caller knows what the file was for.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
