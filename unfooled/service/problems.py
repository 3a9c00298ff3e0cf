"""What goes wrong in the service: a status and one clear line, as JSON."""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Mapping

from pydantic import BaseModel, Field


class Problem(BaseModel):
    """The body of every answer that is no success."""

    error: str = Field(description="one line: what was wrong, what is allowed, what to do")


class Refused(Exception):
    """A request that gets no result.

    Args:
        status: of HTTP.
        text: one line.
        headers: that go with it, such as Retry-After.
    """

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


DISK_FULL = "the disk of the service is full; nothing was kept of this request, try again later"


def is_disk_full(error: BaseException) -> bool:
    """Whether an error of a file or of the ledger means that the disk has no room left."""
    if isinstance(error, sqlite3.OperationalError):
        return "full" in str(error) or "disk I/O" in str(error)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
