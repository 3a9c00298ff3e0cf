"""How tests talk to a service."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn
from fastapi.testclient import TestClient

from unfooled.service.app import create_app
from unfooled.service.serving import bind
from unfooled.service.settings import Settings

Start = Callable[..., TestClient]
BASE = "http://127.0.0.1"


def wish(**facts: Any) -> bytes:
    """A file that tells the fake scanner what to do."""
    return json.dumps(facts).encode()


def wait(client: TestClient, key: str, seconds: float = 20.0, states: tuple[str, ...] = ("done", "failed")) -> Any:
    """The answer about a file as soon as it is in one of ``states``."""
    end = time.monotonic() + seconds
    while (job := client.get(f"/v1/scan/{key}").json())["state"] not in states:
        assert time.monotonic() < end, f"still {job['state']} after {seconds} s"
        time.sleep(0.03)
    return job


def soon(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    """What is cleared up after an answer is a moment behind it."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def no_uploads(client: TestClient) -> None:
    """No upload is left on the disk, whole or half."""
    soon(lambda: not list((client.data / "uploads").iterdir()))  # type: ignore[attr-defined]


def give(client: TestClient, data: bytes, name: str = "a.mp4") -> Any:
    """Upload bytes; the answer."""
    return client.post("/v1/scan", files={"file": (name, data)})


@contextmanager
def listening(settings: Settings) -> Iterator[tuple[str, int]]:
    """The service on a real socket of this machine, in a thread; its address."""
    bound = bind(settings.host, settings.port)
    config = uvicorn.Config(create_app(settings), log_level="warning", access_log=False, timeout_graceful_shutdown=2)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]}, daemon=True)
    thread.start()
    try:
        yield bound.getsockname()
    finally:
        server.should_exit = True
        thread.join(20)
        bound.close()
