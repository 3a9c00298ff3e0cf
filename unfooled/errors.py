"""What goes wrong, said in one clear line; the command line turns it into exit status 2."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UnfooledError(Exception):
    """A mistake that the user can mend; its text names the value, what is allowed, and the fix."""


class ConfigError(UnfooledError):
    """A setting, name or option is wrong."""


class DataError(UnfooledError):
    """A file, table or tensor is not what it must be."""


class CheckpointError(UnfooledError):
    """A checkpoint can not be loaded or does not fit."""


class TrainingError(UnfooledError):
    """Training had to stop; what was done before is kept."""


def suggest(name: str, known: Iterable[str]) -> str:
    """`` (did you mean 'deepfool'?)`` for the nearest known name, else the sorted list of all."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]!r}?)" if near else f"; known: {', '.join(known)}"
