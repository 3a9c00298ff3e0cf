"""Settings that can not be, and sizes in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfooled.errors import ConfigError
from unfooled.service.guard import hosts_for
from unfooled.service.settings import Settings, is_loopback, to_bytes


@pytest.mark.parametrize(
    ("text", "size"),
    [("500MB", 5 * 10**8), ("1.5 GiB", 1610612736), ("1000", 1000), ("2k", 2000), ("0", 0), ("7 b", 7), ("1g", 10**9)],
)
def test_sizes(text: str, size: int) -> None:
    assert to_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1MB", "5 TBs", "1e9", "5MB5", "1,5GB"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(ConfigError, match="500MB"):
        to_bytes(text)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"host": "0.0.0.0"}, "--allow-remote"),
        ({"host": "example.org"}, "--allow-remote"),
        ({"port": 70000}, "port must be 0 to 65535"),
        ({"queue": 0}, "queue must be at least 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"timeout": 0}, "timeout must be > 0"),
        ({"timeout": float("nan")}, "timeout must be > 0"),
        ({"max_upload": 0}, "max_upload must be at least 1"),
        ({"root": Path("gone")}, "root gone is no folder"),
        ({"data": Path(__file__)}, "is no folder; choose another --data"),
    ],
)
def test_settings_that_can_not_be(given: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        Settings(**given)  # type: ignore[arg-type]


def test_remote_is_possible_when_meant() -> None:
    assert Settings(host="0.0.0.0", allow_remote=True).host == "0.0.0.0"


def test_names_that_are_answered() -> None:
    assert set(hosts_for("127.0.0.1", ["a"])) == {"localhost", "127.0.0.1", "::1", "a"}
    assert hosts_for("0.0.0.0", []) == []
    assert hosts_for("0.0.0.0", ["a"]) == ["a"]
    assert [is_loopback(h) for h in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "LocalHost", "10.0.0.1", "a.b")] == [
        True, True, True, True, True, False, False,
    ]  # fmt: skip
