"""``unfooled serve``: options reach the settings, and every slip is one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unfooled.scanning.options import ScanOptions

pytest.importorskip("fastapi", reason="pip install 'unfooled[serve]'")
from unfooled.service import serving
from unfooled.service.settings import Settings

Run = Callable[..., int]


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that ``serve`` would have been started with."""
    seen: list[Settings] = []
    monkeypatch.setattr(serving, "serve", lambda settings, *_: seen.append(settings))
    return seen


def test_without_options(run: Run, served: list[Settings]) -> None:
    assert run("serve") == 0
    assert served == [Settings()]
    assert (served[0].host, served[0].port, served[0].root, served[0].keep_uploads) == ("127.0.0.1", 8000, None, False)
    assert served[0].options == ScanOptions()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--detector", "runs/a"), {"detector": Path("runs/a")}),
        (("--host", "0.0.0.0", "--allow-remote"), {"host": "0.0.0.0", "allow_remote": True}),
        (("--port", 9000), {"port": 9000}),
        (("--data", "d"), {"data": Path("d")}),
        (("--root", "."), {"root": Path()}),
        (("--max-upload", "2GB"), {"max_upload": 2 * 10**9}),
        (("--queue", 7), {"queue": 7}),
        (("--timeout", 9), {"timeout": 9.0}),
        (("--memory", "1GiB"), {"memory": 2**30}),
        (("--workers", 2), {"workers": 2}),
        (("--keep-uploads",), {"keep_uploads": True}),
        (("--allow-host", "a", "--allow-host", "b"), {"allow_hosts": ("a", "b")}),
        (("--max-seconds", 60), {"options": ScanOptions(max_seconds=60)}),
        (("--max-pixels", 10_000), {"options": ScanOptions(max_pixels=10_000)}),
        (("--margin", "off"), {"options": ScanOptions(margin="off")}),
        (("--rule", "largest"), {"options": ScanOptions(rule="largest")}),
        (("--every", 5), {"options": ScanOptions(every=5)}),
        (("--face-detector", "whole"), {"options": ScanOptions(face_detector="whole")}),
    ],
)
def test_every_option_counts(run: Run, served: list[Settings], arguments: Any, expected: dict[str, Any]) -> None:
    assert run("serve", *arguments) == 0
    assert served == [Settings(**expected)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--host 0.0.0.0", "add --allow-remote"),
        ("--max-upload 5QB", "such as 500MB"),
        ("--max-upload 0", "max_upload must be at least 1"),
        ("--queue 0", "queue must be at least 1"),
        ("--timeout -1", "timeout must be > 0"),
        ("--port 70000", "port must be 0 to 65535"),
        ("--root gone", "gone is no folder"),
        ("--margin maybe", "margin must be one of apgd, off"),
        ("--max-pixels 3", "max_pixels must be"),
        ("--detector gone --port 0 --data d", "gone"),
        ("--host 192.0.2.1 --allow-remote", "no address of this machine"),
    ],
)
def test_slips(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], arguments: str,
    message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert run("serve", *arguments.split()) == 2
    said = capfd.readouterr().err.strip().splitlines()
    assert len(said) == 1
    assert said[0].startswith("error: ")
    assert message in said[0]
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("unfooled.service.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert run("serve") == 2
    assert "the service needs uvicorn; pip install 'unfooled[serve]'" in capsys.readouterr().err
