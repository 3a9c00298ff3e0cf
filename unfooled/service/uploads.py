"""A file on its way in: from the network to the disk piece by piece, with every limit kept on the way."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from unfooled.data.images import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from unfooled.service.problems import Refused

FIELD = "file"
FRAME = 64 * 1024
"""Bytes that the form around a file may take: boundaries, headers, small fields."""

PIECE = 1 << 20
"""Bytes that are handed to the disk together."""


@dataclass(frozen=True)
class Upload:
    """A whole file on the disk.

    Attributes:
        path: where it lies; the name is ours, never the visitor's.
        name: as the visitor calls it, fit for showing: no folders, no control characters.
        sha256: of its bytes.
        size: in bytes.
    """

    path: Path
    name: str
    sha256: str
    size: int


def shown_name(name: str) -> str:
    """A visitor's file name without folders, control and direction characters, at most 120 characters."""
    name = re.split(r"[/\\]", name)[-1]
    name = re.sub(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]", "", name).strip()
    return name[-120:] if name.strip(".") else "upload"


def suffix_of(name: str) -> str:
    """The ending that says how to read a file, where it is a known one; else none."""
    suffix = Path(name).suffix.lower()
    return suffix if suffix in (*IMAGE_SUFFIXES, *VIDEO_SUFFIXES) else ""


class _File:
    """The part ``file`` of a form as the parser finds it, written to a file that is named when it is whole."""

    def __init__(self, path: Path, limit: int) -> None:
        self.path, self.limit = path, limit
        self.name: str | None = None
        self.size = 0
        self.ended = False
        self._digest = hashlib.sha256()
        self._field = self._value = b""
        self._here = False
        self._disk = path.open("xb")

    def callbacks(self) -> Any:
        return {
            "on_header_field": self._on_field, "on_header_value": self._on_value, "on_header_end": self._on_header,
            "on_part_data": self._on_data, "on_part_end": self._on_part_end, "on_end": self._on_end,
        }  # fmt: skip

    def close(self) -> str:
        self._disk.flush()
        os.fsync(self._disk.fileno())
        self._disk.close()
        return self._digest.hexdigest()

    def drop(self) -> None:
        self._disk.close()
        self.path.unlink(missing_ok=True)

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header(self) -> None:
        field, value = self._field.lower(), self._value
        self._field = self._value = b""
        if field != b"content-disposition":
            return
        _, options = parse_options_header(value)
        if options.get(b"name") != FIELD.encode():
            return
        if self.name is not None:
            raise Refused(400, f"one file a request; the form holds several parts named {FIELD!r}")
        self.name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._here = True

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if not self._here:
            return
        self.size += end - start
        if self.size > self.limit:
            raise too_large(self.limit)
        piece = data[start:end]
        self._digest.update(piece)
        self._disk.write(piece)

    def _on_part_end(self) -> None:
        self._here = False

    def _on_end(self) -> None:
        self.ended = True


async def receive(request: Request, path: Path, limit: int, patience: float, reserve: int) -> Upload:
    """The part ``file`` of a form, written to ``path``; on any refusal there is no such file.

    Args:
        request: with a multipart body.
        path: to write; must not exist.
        limit: bytes of the file at most.
        patience: seconds between two pieces of the body before it is given up.
        reserve: bytes that must stay free on the disk, so that verdicts can still be written down.

    Raises:
        Refused: 400 no form, no file, or cut short; 408 stalled; 413 too large; 507 the disk is full.
        OSError: the disk is full in spite of that.
    """
    _, options = parse_options_header(request.headers.get("content-type"))
    if not (boundary := options.get(b"boundary")):
        raise Refused(400, "the form has no boundary; let the client make its Content-Type itself")
    stated = request.headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit + FRAME:
        raise too_large(limit)
    if shutil.disk_usage(path.parent).free < reserve + (int(stated) if stated.isdigit() else 0):
        raise Refused(507, "the disk of the service has no room for this file; try again later or ask its keeper")
    file = _File(path, limit)
    try:
        parser = MultipartParser(boundary, file.callbacks())
        total = 0
        async for piece in _pieces(request, patience):
            total += len(piece)
            if total > limit + FRAME:
                raise too_large(limit)
            await run_in_threadpool(parser.write, piece)
        if not file.ended:
            raise Refused(400, "the upload is cut short: the form does not end; send it again")
        if file.name is None:
            raise Refused(400, f"the form holds no part named {FIELD!r}")
        digest = await run_in_threadpool(file.close)
    except FormParserError:
        file.drop()
        raise Refused(400, "the body is no form as its Content-Type says; send multipart/form-data") from None
    except ClientDisconnect:
        file.drop()
        raise Refused(400, "the upload was broken off") from None
    except BaseException:
        file.drop()
        raise
    return Upload(path, shown_name(file.name), digest, file.size)


def too_large(limit: int) -> Refused:
    """The refusal of a body that is larger than allowed."""
    return Refused(413, f"the file is larger than the {limit / 1e6:g} MB that this service takes")


async def small_body(request: Request, limit: int = FRAME, patience: float = 30.0) -> bytes:
    """A whole body that must be small.

    Raises:
        Refused: 413 beyond ``limit`` bytes, 408 stalled, 400 broken off.
    """
    body = b""
    try:
        async for piece in _pieces(request, patience):
            body += piece
            if len(body) > limit:
                raise Refused(413, f"the request is larger than {limit} bytes")
    except ClientDisconnect:
        raise Refused(400, "the request was broken off") from None
    return body


async def _pieces(request: Request, patience: float) -> AsyncIterator[bytes]:
    """The body in pieces of about a megabyte."""
    stream, held = request.stream(), bytearray()
    try:
        while True:
            async with asyncio.timeout(patience):
                piece = await anext(stream, None)
            if piece is None:
                break
            held += piece
            if len(held) >= PIECE:
                yield bytes(held)
                held.clear()
    except TimeoutError:
        raise Refused(408, f"nothing arrived for {patience:g} s; send the file again") from None
    if held:
        yield bytes(held)
