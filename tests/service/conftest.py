"""Services on a scanner that needs no detector."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="pip install 'unfooled[serve]'")
from fastapi.testclient import TestClient

from unfooled.service.app import create_app
from unfooled.service.settings import Settings

# By these names the tests find the helpers, and the worker process the scanner.
sys.path.insert(0, str(Path(__file__).parent))
from clients import BASE, Start, listening
from fake_scanner import fake


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """``start(**settings)``: a client of a running service; ``client.data`` is its folder."""
    with ExitStack() as stack:

        def started(**settings: Any) -> TestClient:
            data = settings.pop("data", None) or tmp_path_factory.mktemp("serve")
            app = create_app(Settings(**{"data": data, "opener": fake, "timeout": 20, "reserve": 0, **settings}))
            client = stack.enter_context(TestClient(app, base_url=BASE, raise_server_exceptions=True))
            client.data = data  # type: ignore[attr-defined]
            return client

        yield started


@pytest.fixture(scope="module")
def client(start: Start, tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    """A service with small limits and a root of one folder."""
    root = tmp_path_factory.mktemp("root")
    (root / "sub").mkdir()
    (root / "sub" / "talk.mp4").write_bytes(b"talk")
    (root.parent / "secret.mp4").write_bytes(b"secret")
    (root / "link.mp4").symlink_to(root.parent / "secret.mp4")
    return start(root=root, max_upload=200_000, memory=300 * 10**6, timeout=3)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[tuple[str, int], Path]]:
    """A service on a real socket: its address and its folder."""
    data = tmp_path_factory.mktemp("served")
    settings = Settings(data=data, opener=fake, patience=1.0, port=0, reserve=0)
    with listening(settings) as address:
        yield address, data
