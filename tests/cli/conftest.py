"""How tests type a command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from unfooled import checkpoints, models
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


@pytest.fixture(scope="session")
def untaught(
    tmp_path_factory: pytest.TempPathFactory, album: Callable[..., Path], run: Callable[..., int]
) -> Callable[[int], Path]:
    """``untaught(people)``: a folder with a forged set of drawn people and a network that has learnt nothing."""

    def make(people: int) -> Path:
        home = tmp_path_factory.mktemp("untaught")
        album(home / "photos", {"london": people})
        forged = ("--size", 32, "--manipulation", "FaceSwap")
        assert run("data", "forge", home / "photos", "--out", home / "set", *forged) == 0
        assert run("data", "index", "ffpp", home / "set", "--out", home / "set/manifest.parquet") == 0
        torch.manual_seed(0)
        checkpoints.save(models.create("resnet", width=4), home / "net.safetensors")
        return home

    return make
