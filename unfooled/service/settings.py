"""What a service is started with."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from unfooled.errors import ConfigError
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.verdict import About, Scan

UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


class Scans(Protocol):
    """What a worker needs of a scanner."""

    @property
    def about(self) -> About:
        """Who answers."""
        ...

    def __call__(
        self,
        path: Path,
        *,
        name: str | None = None,
        evidence: Path | None = None,
        progress: Callable[[str, float], None] | None = None,
    ) -> Scan:
        """The verdict on one file."""
        ...


def open_scanner(run: Path | None, options: ScanOptions) -> Scans:
    """The real scanner; imported only in the worker, so that the listening process holds no model."""
    from unfooled.scanning.scanner import Scanner

    return Scanner.open(run, options)


@dataclass(frozen=True)
class Settings:
    """Everything about a service; sizes in bytes, times in seconds.

    Attributes:
        detector: a run folder or checkpoint; None: the small detector of the package.
        data: folder of the ledger, the evidence and the uploads.
        host: address to listen on.
        port: 0 takes a free one.
        root: folder whose files may be scanned by path; None: uploads only.
        options: of the scan.
        max_upload: of one file.
        queue: files that wait or arrive at once; beyond it 429.
        timeout: for one file, then its worker is killed.
        memory: for one file, beyond what the model takes; 0: no limit.
        workers: files scanned at once, each in a process with its own model.
        keep_uploads: leave uploads in ``data/uploads`` after the result.
        allow_remote: listen on an address that other machines reach.
        allow_hosts: names under which it may be asked, beside those of this machine.
        patience: that an upload may stall.
        reserve: room on the disk that uploads leave free.
        opener: makes the scanner inside a worker.
    """

    detector: Path | None = None
    data: Path = Path("unfooled-serve")
    host: str = "127.0.0.1"
    port: int = 8000
    root: Path | None = None
    options: ScanOptions = field(default_factory=ScanOptions)
    max_upload: int = 500 * 10**6
    queue: int = 100
    timeout: float = 900.0
    memory: int = 4 * 10**9
    workers: int = 1
    keep_uploads: bool = False
    allow_remote: bool = False
    allow_hosts: tuple[str, ...] = ()
    patience: float = 30.0
    reserve: int = 50 * 10**6
    opener: Callable[[Path | None, ScanOptions], Scans] = open_scanner

    def __post_init__(self) -> None:
        for name, least in (("max_upload", 1), ("queue", 1), ("workers", 1), ("memory", 0), ("reserve", 0)):
            if (value := getattr(self, name)) < least:
                raise ConfigError(f"{name} must be at least {least}, got {value}")
        for name in ("timeout", "patience"):
            if not (value := getattr(self, name)) > 0:
                raise ConfigError(f"{name} must be > 0 seconds, got {value}")
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port must be 0 to 65535, got {self.port}")
        if not is_loopback(self.host) and not self.allow_remote:
            raise ConfigError(
                f"host {self.host} lets other machines in, and this service asks nobody for a password; "
                "add --allow-remote if that is meant, or leave --host out"
            )
        if self.root is not None and not self.root.is_dir():
            raise ConfigError(f"root {self.root} is no folder; name the folder whose files may be scanned")
        if self.data.exists() and not self.data.is_dir():
            raise ConfigError(f"data {self.data} is no folder; choose another --data")


def to_bytes(text: str) -> int:
    """Bytes of a size such as ``500MB``, ``2GiB`` or ``1000``; at least 0.

    Raises:
        ConfigError: it is no such text.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    unit = {"k": "kb", "m": "mb", "g": "gb", "b": ""}.get(match[2], match[2]) if match else None
    if match is None or unit not in UNITS:
        raise ConfigError(f"a size is a number with B, KB, MB, GB, KiB, MiB or GiB, such as 500MB; got {text!r}")
    return round(float(match[1]) * UNITS[unit])


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
