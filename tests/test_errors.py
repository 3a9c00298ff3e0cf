"""Errors are one family, and a wrong name is answered with the nearest right one."""

from __future__ import annotations

import pytest

from unfooled import errors
from unfooled.errors import UnfooledError, suggest


@pytest.mark.parametrize("name", ["ConfigError", "DataError", "CheckpointError", "TrainingError"])
def test_the_command_line_can_catch_them_all(name: str) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, UnfooledError)
    assert str(kind("eps must be > 0")) == "eps must be > 0"
    assert kind.__doc__


def test_suggest() -> None:
    assert suggest("deepfol", ["pgd", "deepfool"]) == " (did you mean 'deepfool'?)"
    assert suggest("zzz", ["pgd", "deepfool"]) == "; known: deepfool, pgd"
    assert suggest("pdg", iter(["pgd"])) == " (did you mean 'pgd'?)"
    assert suggest("x", []) == "; known: "
