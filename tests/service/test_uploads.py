"""Files on their way in: what arrives whole is kept, nothing else leaves a trace."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import shutil
import socket
import time
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from clients import Start, give, no_uploads, soon, wait, wish
from fastapi.testclient import TestClient

from unfooled.service import jobs as jobs_module
from unfooled.service.uploads import shown_name, suffix_of

BOUNDARY = "limit"
HEAD = (
    f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a.mp4"\r\nContent-Type: video/mp4\r\n\r\n'
).encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()
FORM = f"multipart/form-data; boundary={BOUNDARY}"


def post(client: TestClient, body: bytes, kind: str = FORM) -> Any:
    return client.post("/v1/scan", content=body, headers={"content-type": kind})


@pytest.mark.parametrize(
    ("body", "kind", "status", "text"),
    [
        (HEAD + b"half", FORM, 400, "cut short"),
        (HEAD + b"x" + TAIL[:-4], FORM, 400, "cut short"),
        (b"", FORM, 400, "cut short"),
        (TAIL[2:], FORM, 400, "no part named 'file'"),
        (HEAD.replace(b'"file"', b'"other"') + b"x" + TAIL, FORM, 400, "no part named 'file'"),
        (HEAD + b"a\r\n" + HEAD + b"b" + TAIL, FORM, 400, "several parts"),
        (b"no form at all", FORM, 400, "no form"),
        (HEAD + b"x" + TAIL, "multipart/form-data", 400, "no boundary"),
        (HEAD + b"x" + TAIL, "multipart/form-data; boundary=" + "b" * 300, 400, ""),
        (HEAD + b"x" * 210_000 + TAIL, FORM, 413, "larger than the 0.2 MB"),
        (HEAD + b"x" * 400_000, FORM, 413, "larger than the 0.2 MB"),
        (b"x" * 70_000, "application/octet-stream", 415, "multipart/form-data"),
        (b"x", "text/plain; charset=utf-8", 415, "multipart/form-data"),
        (b"path=/etc/passwd", "application/x-www-form-urlencoded", 415, "multipart/form-data"),
    ],
)
def test_broken_and_foreign_bodies(client: TestClient, body: bytes, kind: str, status: int, text: str) -> None:
    answer = post(client, body, kind)
    assert answer.status_code == status
    assert text in answer.json()["error"]
    assert "\n" not in answer.json()["error"]
    no_uploads(client)


def test_a_form_with_fields_around_the_file(client: TestClient) -> None:
    other = HEAD.replace(b'name="file"; filename="a.mp4"', b'name="note"')
    data = b"\r\n--limi\r\n\0"
    answer = post(client, other + b"hello\r\n" + HEAD + data + b"\r\n" + other + b"x" + TAIL)
    assert answer.status_code == 202
    assert wait(client, answer.json()["id"])["scan"]["sha256"] == hashlib.sha256(data).hexdigest()


def test_a_limit_is_of_the_file_to_the_byte(client: TestClient) -> None:
    assert give(client, b"x" * 200_000).status_code == 202
    refused = give(client, b"y" * 200_001)
    assert refused.status_code == 413


def test_no_bytes_a_zip_and_a_playlist_go_to_the_scanner_like_any_file(client: TestClient) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("a.mp4", "no video")
    for data in (b"", archive.getvalue(), b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", b"ffconcat version 1.0\n"):
        assert wait(client, give(client, data).json()["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("name", "shown", "suffix"),
    [("a/b.MP4", "b.MP4", ".mp4"), ("x.php", "x.php", ""), ("", "upload", ""), ("...", "upload", ""),
     ("a\x00b\n.png", "ab.png", ".png"), ("\ud800.mkv", ".mkv", ""), ("ü ö.webm", "ü ö.webm", ".webm")],
)  # fmt: skip
def test_names(name: str, shown: str, suffix: str) -> None:
    assert shown_name(name) == shown
    assert suffix_of(shown) == suffix


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_a_full_disk_is_507_and_the_service_stays_up(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client = start(reserve=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10, 10, 9_000))
    answer = give(client, b"x")
    assert answer.status_code == 507
    assert "no room" in answer.json()["error"]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10**9, 0, 10**9))

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        answer = give(client, b"y")
        assert answer.status_code == 507
        assert "full" in answer.json()["error"]
    with monkeypatch.context() as patch:
        patch.setattr(jobs_module.Ledger, "add", full)
        assert give(client, b"z").status_code == 507
    no_uploads(client)
    assert wait(client, give(client, b"x").json()["id"])["state"] == "done"


def test_no_room_for_evidence_is_tried_again(start: Start, tmp_path: Path) -> None:
    client = start()
    key = give(client, wish(do="disk", flag=str(tmp_path / "room"))).json()["id"]
    end = time.monotonic() + 10
    while (said := client.get("/v1/health").json()["status"]) == "ok":
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "disk is full" in said
    assert client.get(f"/v1/scan/{key}").json()["state"] in ("queued", "running")
    (tmp_path / "room").touch()
    assert wait(client, key)["state"] == "done"


def test_a_broken_off_and_a_stalled_upload_leave_nothing(served: Any) -> None:
    address, data = served
    for body, shut in ((HEAD + b"x" * 100_000, True), (HEAD + b"x" * 100, False)):
        with socket.create_connection(address) as link:
            head = (
                f"POST /v1/scan HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {FORM}\r\nContent-Length: 900000\r\n\r\n"
            )
            link.sendall(head.encode() + body)
            soon(lambda: len(list((data / "uploads").iterdir())) == 1)
            if not shut:
                link.settimeout(10)
                assert link.recv(1000).startswith(b"HTTP/1.1 408")
        soon(lambda: not list((data / "uploads").iterdir()))
