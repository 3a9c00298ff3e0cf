"""The index: every file, counts of all, nothing from outside, and no name that can end its script."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from unfooled.scanning import index_page
from unfooled.scanning.index_page import IndexPage
from unfooled.scanning.verdict import About

ABOUT = About(
    name="small <b>", digest="0123456789abcdef", calibrated=False, calibration="Not calibrated.", note="A demo."
)


def row(file: str = "a.mp4", verdict: str | None = "fake", status: str = "ok", **more: Any) -> dict[str, Any]:
    none = {"reason": "", "probability": 0.98765432, "margin_255": 0.5, "tampering_flagged": None, "n_tracks": 1}
    return {"file": file, "verdict": verdict, "status": status, "seconds": 2.345, "duplicate_of": None, **none, **more}


def made(path: Path, rows: list[dict[str, Any]], folder: str | None = None) -> str:
    counts = Counter(r["verdict"] or r["status"] for r in rows)
    with IndexPage(path, ABOUT, counts) as page:
        for one in rows:
            page.add(one, False, folder)
    return path.read_text(encoding="utf-8")


def data(page: str) -> list[list[Any]]:
    (text,) = re.findall(r'<script type="application/json" id="rows">(.*?)</script>', page, re.DOTALL)
    return json.loads(text)


def test_rows_hold_what_the_table_shows(tmp_path: Path) -> None:
    page = made(tmp_path / "i.html", [row(), row("b.mp4", None, "no_face", probability=None, margin_255=None)], "k1")
    assert data(page) == [
        ["a.mp4", "fake", 0.9877, 0.5, False, False, 1, round(2.345, 2), "", None, "k1"],
        ["b.mp4", "no_face", None, None, False, False, 1, round(2.345, 2), "", None, "k1"],
    ]
    assert "2 files scanned" in page
    assert re.findall(r'data-outcome="(\w*)"', page) == ["", "fake", "no_face"]


@pytest.mark.parametrize(
    "name", ["</script><script>alert(1)</script>", "<!--<script>", "a&amp;b", '"; alert(1); "', "é\u2028"]
)
def test_a_name_can_not_end_the_script(tmp_path: Path, name: str) -> None:
    page = made(tmp_path / "i.html", [row(name, reason=name, duplicate_of=name)])
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
    assert data(page)[0][0] == data(page)[0][8] == name
    assert "small &lt;b&gt;" in page


def test_nothing_comes_from_outside_and_only_its_own_script_runs(tmp_path: Path) -> None:
    page = made(tmp_path / "i.html", [row()])
    assert not re.search(r"(src|href)=\"?(https?:)?//", page)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_many_rows_are_cut_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_page, "MOST", 3)
    page = made(tmp_path / "i.html", [row(str(n)) for n in range(5)])
    assert [r[0] for r in data(page)] == ["0", "1", "2"]
    assert "The first 3 of 5 files" in page
    assert "The first" not in made(tmp_path / "j.html", [row()] * 3)


def test_ten_thousand_rows_are_a_page_of_moderate_size(tmp_path: Path) -> None:
    made(tmp_path / "i.html", [row(f"inbox/some/folder/{n:05}.mp4") for n in range(10_000)], "0123456789abcdef")
    assert (tmp_path / "i.html").stat().st_size < 1.5e6


def test_no_rows_are_a_page_too(tmp_path: Path) -> None:
    assert data(made(tmp_path / "i.html", [])) == []
