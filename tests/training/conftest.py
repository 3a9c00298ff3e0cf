"""The toy set that runs are trained on."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def manifest(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures in each split."""
    path: Path = toy.write(tmp_path_factory.mktemp("toy"))
    return path
