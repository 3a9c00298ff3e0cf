"""The page of a scan: offline, the same bytes again, everything said, nothing run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unfooled.calibration import fit
from unfooled.scanning import meaning
from unfooled.scanning.page import number, percent, render
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.timeline import clock, timeline
from unfooled.scanning.verdict import Margin, Scan, Tampering

pytestmark = pytest.mark.usefixtures("bright")


@pytest.fixture
def scan(scanner: Callable[..., Scanner], film: Callable[..., Path], tmp_path: Path) -> Scan:
    judge = scanner(margin="off")
    z = np.concatenate([np.linspace(-6, 2, 100), np.linspace(-2, 6, 100)])
    known = fit(z, np.repeat([0, 1], 100), detector=judge.detector.digest(), data="toys", made_by=["Toy"])
    path = film([[60 + 4 * t, 20] for t in range(12)])
    return replace(judge, calibration=known)(path, name="<b>talk</b>.mkv", evidence=tmp_path / "e")


def test_the_page_needs_nothing_from_outside_and_runs_nothing(scan: Scan, tmp_path: Path) -> None:
    page = render([scan], [tmp_path / "e"])
    assert page == render([scan], [tmp_path / "e"])
    assert not re.search(r"<script|https?://(?!www\.w3\.org/2000/svg)|url\(", page)
    assert "default-src 'none'" in page
    assert page.count('src="data:image/png;base64,') == 12
    assert "<b>talk</b>" not in page
    assert "&lt;b&gt;talk&lt;/b&gt;.mkv" in page
    assert str(tmp_path) not in page


def test_the_page_says_what_the_scan_says(scan: Scan, tmp_path: Path) -> None:
    page = render([scan], [None])
    assert "<img" not in page
    for text in (*scan.cautions, scan.sha256 or "", scan.detector.digest, meaning.title(scan)):
        assert text in page.replace("&#39;", "'")
    # Every point is in the table for those who do not see the drawing, and in the drawing.
    points = sum(len(t.points) for t in scan.tracks)
    assert page.count('<tr><th scope="row">') == page.count("<circle") - 0 == points
    assert 'lang="en"' in page
    assert all("alt=" in tag for tag in re.findall("<img[^>]*>", render([scan], [tmp_path / "e"])))


@pytest.mark.parametrize("status", ["no_face", "unreadable", "too_short", "refused", "no_score"])
def test_a_file_without_a_verdict_has_a_page_too(status: str, scan: Scan) -> None:
    none = scan.model_copy(
        update={"status": status, "reason": "a.mp4 is empty (0 bytes)", "verdict": None, "logit": None,
                "probability": None, "tracks": [], "margin": None, "tampering": None, "media": None}
    )  # fmt: skip
    page = render([none], [None])
    assert "There is no verdict: a.mp4 is empty (0 bytes)." in page
    assert "neither real nor fake" in page
    assert "Scores over time" not in page
    both = render([none, scan], [None, None])
    assert "2 files" in both


def margin(linf: float | None, **changes: object) -> Margin:
    found = {"linf_255": linf, "attack": "apgd", "searched_255": 16.0, "fragile": linf is not None and linf < 1,
             "survives_rounding": linf is None or linf >= 0.5}  # fmt: skip
    return Margin.model_validate(found | changes)


def test_words_for_every_margin(scan: Scan) -> None:
    def said(m: Margin | None) -> str:
        return meaning.margin(scan.model_copy(update={"margin": m}))

    assert "fragile" in said(margin(0.3))
    assert "lost when a file is saved" in said(margin(0.3))
    assert "fragile" in said(margin(0.8))
    assert "lost" not in said(margin(0.8))
    assert "a smaller change may exist" in said(margin(3.0))
    assert "No change of up to 16/255 was found" in said(margin(None))
    assert said(margin(None, searched_255=0.0, attack="not searched: 99 faces")).startswith("Not searched: 99")
    assert said(None) == "Not asked for."


def test_words_for_every_sign_of_tampering(scan: Scan) -> None:
    def said(**facts: object) -> str:
        base = {"logits": {"as_is": 0.0}, "jump": 2.0, "limit": 1.0, "flagged": True, "detection_rate": 0.8,
                "false_alarm_rate": 0.01}  # fmt: skip
        return meaning.tampering(scan.model_copy(update={"tampering": Tampering.model_validate(base | facts)}))

    assert said().startswith("Flagged.")
    assert "at least 80 % of attacked files were flagged, and 1.0 %" in said()
    assert said(flagged=False, limit=3.0).startswith("No sign.")
    assert "nobody knows what is usual" in said(limit=None, flagged=False)
    assert "Measured" not in said(detection_rate=None)


@pytest.mark.parametrize("word", ["fake", "real", "undecided"])
def test_every_verdict_says_what_it_does_not_mean(word: str, scan: Scan) -> None:
    found = scan.model_copy(update={"verdict": word})
    assert "at most 1 % of the real ones" in meaning.does_mean(found)
    assert "not" in meaning.does_not_mean(found)
    assert meaning.summary(found).endswith(".")


def test_numbers_for_people() -> None:
    assert [percent(p) for p in (0, 0.004, 0.5, 0.99, 0.999, 1)] == [
        "below 1 %", "below 1 %", "50 %", "99 %", "above 99 %", "above 99 %",
    ]  # fmt: skip
    assert [number(v) for v in (0, 0.034, 0.5, 12)] == ["0.00", "0.034", "0.50", "12.00"]
    assert [clock(s) for s in (0, 62.53, 3599.97)] == ["0:00.0", "1:02.5", "60:00.0"]


def test_the_timeline_holds_its_lines(scan: Scan) -> None:
    drawing = timeline(scan)
    assert drawing.count("<polyline") == 2
    places = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawing)]
    logits = [p.logit for t in scan.tracks for p in t.points]
    # Higher scores stand higher.
    assert np.all(np.diff(np.array(places)[np.argsort(logits)]) <= 0)
