"""The HTTP interface: what it promises to visitors, and what nobody can do with it."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path

import pytest
from clients import BASE, Start, give, no_uploads, soon, wait, wish
from fastapi.testclient import TestClient

from unfooled.scanning.verdict import Scan
from unfooled.service.app import create_app
from unfooled.service.settings import Settings


def test_an_upload_gets_its_verdict_and_leaves(client: TestClient) -> None:
    data = wish(say="hello")
    answer = give(client, data, "talk.mp4")
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/scan/{job['id']}"
    assert len(job["id"]) == 24
    done = wait(client, job["id"])
    scan = Scan.model_validate(done["scan"])
    assert (scan.file, scan.sha256, scan.verdict) == ("talk.mp4", hashlib.sha256(data).hexdigest(), "fake")
    assert done["reason"] is None
    no_uploads(client)
    for name in ("a.png", "a-saliency.png"):
        picture = client.get(done["evidence"] + name)
        assert picture.status_code == 200
        assert picture.headers["content-type"] == "image/png"
        assert picture.content.startswith(b"\x89PNG")


def test_the_same_bytes_are_answered_at_once_under_the_new_name(client: TestClient) -> None:
    data = wish(say="twice")
    first = wait(client, give(client, data, "mine.mp4").json()["id"])
    answer = give(client, data, "yours.mp4")
    second = answer.json()
    assert answer.status_code == 200
    assert second["state"] == "done"
    assert second["id"] != first["id"]
    assert second["scan"] == {**first["scan"], "file": "yours.mp4"}
    assert client.get(second["evidence"] + "a.png").status_code == 200

    # Who removes a result takes only his own.
    assert client.delete(f"/v1/scan/{first['id']}").status_code == 204
    assert client.get(f"/v1/scan/{first['id']}").status_code == 404
    assert client.get(second["evidence"] + "a.png").status_code == 200
    folder = client.data / "evidence" / second["scan"]["sha256"]
    assert folder.exists()
    assert client.delete(f"/v1/scan/{second['id']}").status_code == 204
    assert not folder.exists()
    assert give(client, data).status_code == 202


def test_progress_is_told_and_a_removed_scan_is_broken_off(client: TestClient) -> None:
    key = give(client, wish(do="sleep", seconds=2.5)).json()["id"]
    waiting = give(client, wish(do="sleep", seconds=0)).json()
    assert waiting["ahead"] == 0 or waiting["state"] == "queued"
    assert wait(client, key, states=("running",))["state"] == "running"
    end = time.monotonic() + 5
    while (job := client.get(f"/v1/scan/{key}").json())["share"] != 0.5:
        assert time.monotonic() < end
    assert job["stage"] == "faces"
    assert client.get("/v1/health").json()["running"] == 1
    assert client.delete(f"/v1/scan/{key}").status_code == 204
    assert wait(client, waiting["id"])["state"] == "done"
    assert client.get(f"/v1/scan/{key}").status_code == 404
    no_uploads(client)
    soon(lambda: not [p for p in (client.data / "evidence").iterdir() if p.suffix])


@pytest.mark.parametrize(
    ("doing", "reason"),
    [
        ({"do": "die"}, "this file made the scanning process crash"),
        ({"do": "eat", "megabytes": 3000}, "needs more memory than the 0.3 GB allowed"),
        ({"do": "sleep", "seconds": 60}, "took longer than the 3 s allowed for a file"),
        ({"do": "raise"}, "a fault of unfooled (ValueError); report it with the file"),
    ],
)
def test_whatever_a_file_does_the_next_one_is_scanned(
    client: TestClient, doing: dict[str, object], reason: str
) -> None:
    bad = give(client, wish(**doing)).json()["id"]
    good = give(client, wish(after=doing)).json()["id"]
    job = wait(client, bad)
    assert (job["state"], job["reason"], job["scan"]) == ("failed", reason, None)
    assert wait(client, good)["state"] == "done"
    no_uploads(client)


def test_a_status_is_a_result_too(client: TestClient) -> None:
    job = wait(client, give(client, wish(do="broken")).json()["id"])
    assert (job["state"], job["scan"]["status"], job["scan"]["verdict"]) == ("done", "unreadable", None)
    assert job["reason"] == "is no video"


def test_a_full_queue_says_when_to_come_again(start: Start) -> None:
    client = start(queue=2)
    running = give(client, wish(do="sleep", seconds=30)).json()["id"]
    wait(client, running, states=("running",))
    for k in range(2):
        assert give(client, wish(k=k)).status_code == 202
    refused = give(client, wish(k=3))
    assert refused.status_code == 429
    assert refused.headers["retry-after"] == "5"
    assert refused.json() == {"error": "2 files wait already; try again in some seconds"}
    assert client.get("/v1/health").json()["queued"] == 2
    assert len(list((client.data / "uploads").iterdir())) == 3
    client.delete(f"/v1/scan/{running}")


def test_a_path_below_the_root(client: TestClient) -> None:
    job = client.post("/v1/scan", json={"path": "sub/talk.mp4"})
    assert job.status_code == 202
    done = wait(client, job.json()["id"])
    assert done["scan"]["file"] == "talk.mp4"
    assert client.post("/v1/scan", json={"path": "sub/../sub/talk.mp4"}).status_code == 200
    client.delete(f"/v1/scan/{done['id']}")
    assert wait(client, client.post("/v1/scan", json={"path": "sub/talk.mp4"}).json()["id"])["state"] == "done"


@pytest.mark.parametrize(
    "path",
    [
        "../secret.mp4",
        "/etc/passwd",
        "link.mp4",
        "sub",
        "absent.mp4",
        "a\0b",
        "x" * 4000,
        "sub/talk.mp4/..",
        "~/x",
        ".",
    ],
)
def test_nothing_outside_the_root_and_no_word_about_it(client: TestClient, path: str) -> None:
    answer = client.post("/v1/scan", json={"path": path})
    assert answer.status_code == 404
    assert answer.json() == {"error": "there is no such file below the root"}


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"", 422), (b"[]", 422), (b'{"path": 3}', 422), (b'{"path": ""}', 422), (b'{"path": "a", "b": 1}', 422),
     (b"\xff", 422), (b" " * 70_000, 413), (b'{"path": "\\ud800"}', 422)],
)  # fmt: skip
def test_json_that_names_no_path(client: TestClient, body: bytes, status: int) -> None:
    answer = client.post("/v1/scan", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert "\n" not in answer.json()["error"]


def test_paths_are_off_unless_enabled(start: Start) -> None:
    client = start()
    answer = client.post("/v1/scan", json={"path": "sub/talk.mp4"})
    assert answer.status_code == 403
    assert "not enabled" in answer.json()["error"]
    assert client.get("/v1/health").json()["limits"]["paths"] is False


@pytest.mark.parametrize(
    "name",
    ["..%2Fa.png", "%2e%2e%2f%2e%2e%2fledger.sqlite", "b.png", ".hidden", "a.png%00", "%2Fetc%2Fpasswd", "A.PNG"],
)
def test_evidence_gives_only_what_the_scan_names(client: TestClient, name: str) -> None:
    job = wait(client, give(client, wish(say="evidence")).json()["id"])
    (client.data / "evidence" / job["scan"]["sha256"] / "b.png").write_bytes(b"not named")
    answer = client.get(job["evidence"] + name)
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


@pytest.mark.parametrize("way", ["/v1/scan/{}", "/v1/scan/{}/evidence/a.png"])
@pytest.mark.parametrize("key", ["unknown", "%27%20OR%201%3D1", "..", "x" * 5000, "%00", "%F0%9F%98%80", "%ff"])
def test_unknown_ids(client: TestClient, way: str, key: str) -> None:
    answer = client.get(way.format(key))
    assert answer.status_code == 404
    assert set(answer.json()) == {"error"}


def test_other_methods(client: TestClient) -> None:
    for method, way, allow in (
        ("GET", "/v1/scan", "POST"), ("PUT", "/v1/scan/x", "DELETE, GET"), ("OPTIONS", "/v1/health", "GET"),
        ("POST", "/", "GET, HEAD"), ("POST", "/app.js", "GET, HEAD"),
    ):  # fmt: skip
        answer = client.request(method, way)
        assert (answer.status_code, answer.headers["allow"]) == (405, allow)
        assert answer.json() == {"error": "method not allowed"}


def test_no_list_of_ids(client: TestClient) -> None:
    give(client, wish(say="secret"))
    for way in ("/v1/scan", "/v1/scan/", "/v1/", "/uploads/", "/ledger.sqlite", "/evidence/", "/../ledger.sqlite"):
        assert client.get(way).status_code in (404, 405), way


def test_names_are_shown_without_folders_and_control_characters(client: TestClient) -> None:
    for k, (name, shown) in enumerate(
        [("../../etc/passwd", "passwd"), ("C:\\x\\y.mp4", "y.mp4"), ("a\u202egpj.exe", "agpj.exe"), ("..", "upload"),
         ("n" * 500 + ".mp4", "n" * 116 + ".mp4"), ("<b>ü</b>.mp4", "b>.mp4")]
    ):  # fmt: skip
        answer = give(client, wish(name=k), name)
        assert answer.json()["name"] == shown
        wait(client, answer.json()["id"])
    assert {p.name for p in client.data.iterdir()} <= {
        "evidence", "uploads", "ledger.sqlite", "ledger.sqlite-wal", "ledger.sqlite-shm", ".ledger.sqlite.lock"
    }  # fmt: skip


def test_every_answer_is_guarded(client: TestClient) -> None:
    for way in ("/", "/v1/health", "/v1/scan/unknown", "/nowhere", "/openapi.json"):
        answer = client.get(way)
        assert "default-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers
        assert answer.headers["cache-control"] == ("no-store" if way.startswith("/v1/") else "no-cache")


def test_foreign_names_and_foreign_pages_are_refused(client: TestClient) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[::2]:8000", "localhost.evil:80"):
        answer = client.get("/v1/health", headers={"host": host})
        assert answer.status_code == 400, host
        assert "--allow-host" in answer.json()["error"]
    for host in ("127.0.0.1:8000", "localhost", "LOCALHOST:1", "[::1]:8000"):
        assert client.get("/v1/health", headers={"host": host}).status_code == 200
    for origin in ("http://evil.example", "null", "http://127.0.0.1:9999", "http://evil.example#http://127.0.0.1"):
        answer = client.post("/v1/scan", files={"file": ("a", b"x")}, headers={"origin": origin})
        assert answer.status_code == 403
    answer = client.post("/v1/scan", files={"file": ("a", b"x")}, headers={"origin": BASE})
    assert answer.status_code == 202


def test_a_name_behind_a_proxy(start: Start) -> None:
    client = start(allow_hosts=("scan.example",))
    assert client.get("/v1/health", headers={"host": "scan.example"}).status_code == 200
    assert client.get("/v1/health", headers={"host": "other.example"}).status_code == 400


def test_health_and_description(client: TestClient) -> None:
    health = client.get("/v1/health").json()
    assert health["status"] == "ok"
    assert health["detector"]["note"] == "made up for tests; no detector"
    assert health["limits"] == {"max_upload": 200_000, "timeout": 3.0, "queue": 100, "paths": True}
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/scan", "/v1/scan/{id}", "/v1/scan/{id}/evidence/{name}", "/v1/health"
    }  # fmt: skip
    assert "Scan" in described["components"]["schemas"]
    assert client.get("/docs").status_code == 404
    assert client.get("/redoc").status_code == 404


def test_a_restart_goes_on_with_queued_and_interrupted_files(tmp_path: Path, start: Start) -> None:
    from fake_scanner import fake

    settings = Settings(data=tmp_path, opener=fake, reserve=0)
    with TestClient(create_app(settings), base_url=BASE) as client:
        busy = give(client, wish(do="sleep", seconds=4), "busy.mp4").json()["id"]
        wait(client, busy, states=("running",))
        others = [give(client, wish(k=k), f"{k}.mp4").json()["id"] for k in range(3)]
    (tmp_path / "uploads" / "half.part").write_bytes(b"half an upload")
    (tmp_path / "uploads" / "nobody.mp4").write_bytes(b"whose upload?")
    (tmp_path / "evidence" / "old.part").mkdir()
    assert len(list((tmp_path / "uploads").iterdir())) == 6
    client = start(data=tmp_path)
    assert [wait(client, key)["state"] for key in (busy, *others)] == ["done"] * 4
    assert wait(client, others[2])["scan"]["file"] == "2.mp4"
    no_uploads(client)
    soon(lambda: all(len(p.name) == 64 for p in (tmp_path / "evidence").iterdir()))


def test_uploads_are_kept_where_that_is_asked_for(start: Start, tmp_path: Path) -> None:
    client = start(keep_uploads=True, data=tmp_path)
    job = wait(client, give(client, b"keep me", "talk.MKV").json()["id"])
    kept = tmp_path / "uploads" / f"{job['id']}.mkv"
    assert kept.read_bytes() == b"keep me"
    client.delete(f"/v1/scan/{job['id']}")
    assert not kept.exists()


def test_several_workers_scan_at_once(start: Start) -> None:
    client = start(workers=2)
    slow = give(client, wish(do="sleep", seconds=20)).json()["id"]
    wait(client, slow, states=("running",))
    assert wait(client, give(client, wish(quick=1)).json()["id"])["state"] == "done"
    assert client.get(f"/v1/scan/{slow}").json()["state"] == "running"
    client.delete(f"/v1/scan/{slow}")
