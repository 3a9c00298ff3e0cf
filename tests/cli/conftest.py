"""How tests type a command."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from unfooled.cli import main


def _run(*arguments: object) -> int:
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.fixture(scope="session")
def run() -> Callable[..., int]:
    """``run("data", "check", path)``: the exit status of a command."""
    return _run
