"""One process at a time: a lock that ends with its holder, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from unfooled.errors import ConfigError


def hold(path: Path) -> int:
    """The open lock file of ``path``, ``.<name>.lock`` beside it; closing it, or the end of the process, lets go.

    Raises:
        ConfigError: another holds it, or this process does already.
        OSError: the lock file can not be made.
    """
    place = _place(path)
    while True:
        held = os.open(place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = os.read(held, 32).decode(errors="replace").strip()
            os.close(held)
            by = f"process {who}" if who.isdigit() else "another process"
            raise ConfigError(f"{path} is in use by {by}; wait for it, end it, or choose another place") from None
        # Whoever held it may have removed the file after it was opened here: then it locks nothing.
        if place.exists() and os.fstat(held).st_ino == place.stat().st_ino:
            break
        os.close(held)
    os.truncate(held, 0)
    os.write(held, f"{os.getpid()}\n".encode())
    return held


def let_go(path: Path, held: int) -> None:
    """End what ``hold`` gave, and remove its file."""
    _place(path).unlink(missing_ok=True)
    os.close(held)


def _place(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")
