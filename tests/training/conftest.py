"""The toy set and the module that makes and trains on it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """``toy.py``: a made-up data set and short runs on it."""
    path = Path(__file__).with_name("toy.py")
    spec = importlib.util.spec_from_file_location("toy", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def manifest(toy: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """64 pictures in each split."""
    path: Path = toy.write(tmp_path_factory.mktemp("toy"))
    return path
