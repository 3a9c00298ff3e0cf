"""Starting, a second start, stopping and being killed: with processes as a keeper starts them."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from clients import wish

from unfooled.errors import ConfigError
from unfooled.service.serving import bind

PROGRAM = """
import sys
sys.path.insert(0, {here!r})
from dataclasses import replace
from fake_scanner import fake
if __name__ == "__main__":
    from unfooled.cli import main
    from unfooled.service import serving
    real = serving.serve
    serving.serve = lambda settings, *say: real(replace(settings, opener=fake, reserve=0), *say)
    main(["serve", *sys.argv[1:]])
"""


pytestmark = pytest.mark.slow


class Keeper:
    """Starts services and ends them."""

    def __init__(self, folder: Path) -> None:
        self.program = folder / "program.py"
        self.program.write_text(PROGRAM.format(here=str(Path(__file__).parent)))
        self.running: list[subprocess.Popen[str]] = []

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, str(self.program), *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        self.running.append(process)
        return process

    def ready(self, *arguments: object) -> tuple[subprocess.Popen[str], str]:
        """A service that says where it is."""
        process = self.start("--port", 0, *arguments)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.endswith("is ready, Ctrl-C stops it\n"), line + (process.stderr.read() if process.stderr else "")
        return process, line.split()[0]


@pytest.fixture
def keeper(tmp_path: Path) -> Iterator[Keeper]:
    made = Keeper(tmp_path)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()


def done(address: str, key: str) -> Any:
    end = time.monotonic() + 20
    while (job := httpx.get(f"{address}/v1/scan/{key}").json())["state"] != "done":
        assert time.monotonic() < end
        time.sleep(0.05)
    return job


def give(address: str, data: bytes) -> str:
    answer = httpx.post(f"{address}/v1/scan", files={"file": ("a.mp4", data)})
    assert answer.status_code == 202
    return str(answer.json()["id"])


def test_a_second_start_is_one_line_and_status_2(keeper: Keeper, tmp_path: Path) -> None:
    _, address = keeper.ready("--data", tmp_path / "data")
    port = address.rpartition(":")[2]
    for arguments, text in (
        (("--port", port, "--data", tmp_path / "other"), f"port {port} is in use"),
        (("--port", 0, "--data", tmp_path / "data"), "is in use by process"),
    ):
        second = keeper.start(*arguments)
        said = second.communicate(timeout=60)
        assert second.returncode == 2
        assert said[0] == ""
        assert said[1].count("\n") == 1
        assert said[1].startswith("error: ")
        assert text in said[1]
    assert not (tmp_path / "other").exists()
    assert httpx.get(f"{address}/v1/health").status_code == 200


def test_ctrl_c_and_kill_lose_no_file(keeper: Keeper, tmp_path: Path) -> None:
    process, address = keeper.ready("--data", tmp_path / "data")
    keys = [give(address, wish(do="sleep", seconds=2, k=0)), *(give(address, wish(k=k)) for k in range(1, 4))]
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped; what was queued goes on with the same command" in said[0]
    assert "Traceback" not in said[1]

    process, address = keeper.ready("--data", tmp_path / "data")
    keys.append(give(address, wish(k=9)))
    process.kill()
    process.communicate()

    process, address = keeper.ready("--data", tmp_path / "data")
    assert [done(address, key)["scan"]["verdict"] for key in keys] == ["fake"] * 5
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)


def test_the_worker_dies_with_a_killed_service(keeper: Keeper, tmp_path: Path) -> None:
    process, address = keeper.ready("--data", tmp_path / "data")
    give(address, wish(do="sleep", seconds=60))
    time.sleep(0.5)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert children
    process.kill()
    process.communicate()
    end = time.monotonic() + 10
    while any(_lives(int(child)) for child in children):
        assert time.monotonic() < end
        time.sleep(0.1)


def _lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def test_remote_is_warned_of(keeper: Keeper, tmp_path: Path) -> None:
    process, address = keeper.ready("--data", tmp_path / "data", "--host", "0.0.0.0", "--allow-remote")
    assert httpx.get(address.replace("0.0.0.0", "127.0.0.1") + "/v1/health").status_code == 200
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=30)[1]
    assert "warning: 0.0.0.0 lets other machines in, without a password" in said
    assert "--allow-host" in said


def test_another_detector_or_option_needs_another_folder(keeper: Keeper, tmp_path: Path) -> None:
    process, _ = keeper.ready("--data", tmp_path / "data")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    second = keeper.start("--port", 0, "--data", tmp_path / "data", "--margin", "off")
    said = second.communicate(timeout=60)[1]
    assert second.returncode == 2
    assert "holds another job (options" in said
    assert "choose another place" in said


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_addresses(host: str) -> None:
    try:
        bound = bind(host, 0)
    except ConfigError:
        pytest.skip("no such address here")
    with bound, pytest.raises(ConfigError, match=f"port {bound.getsockname()[1]} is in use"):
        bind(host, bound.getsockname()[1])


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_foreign_addresses(host: str) -> None:
    with pytest.raises(ConfigError, match="no address of this machine"):
        bind(host, 0)


def test_a_port_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(ConfigError, match="1024 to 65535"):
        bind("127.0.0.1", 80)
