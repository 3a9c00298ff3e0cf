from __future__ import annotations

import base64
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from html.parser import HTMLParser

import pytest

from unfooled.errors import DataError
from unfooled.reports import render
from unfooled.results import Comparison, Evaluation

EVIL = '</script><script>alert(1)</script><img src=x onerror="alert(2)"> & ]]> \u2028'


class Page(HTMLParser):
    """Tags with attributes, texts by tag, and whether every element is closed."""

    VOID = ("meta", "link", "img", "br", "path", "line", "input")

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, list[str]] = {}
        self.stack: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.stack:
            self.text.setdefault(self.stack[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


@pytest.fixture(scope="module")
def html(evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]) -> str:
    return render(evaluations, comparisons)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


def test_no_evaluation_is_an_error() -> None:
    with pytest.raises(DataError, match="at least one evaluation"):
        render([])


def test_the_page_is_well_formed_small_and_the_same_each_time(
    html: str, page: Page, evaluations: Sequence[Evaluation], comparisons: Sequence[Comparison]
) -> None:
    assert page.stack == []
    assert len(html.encode()) < 5_000_000
    assert render(evaluations, comparisons) == html


def test_nothing_is_fetched_and_only_the_own_scripts_may_run(page: Page) -> None:
    addresses = [a[key] for _, a in page.tags for key in ("src", "href", "action", "data") if a.get(key)]
    assert all(str(address).startswith(("data:", "#")) for address in addresses)
    policy = next(a["content"] or "" for a in page.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    scripts = page.text["script"]
    run = [s for s in ("".join(scripts[i : i + 1]) for i in range(len(scripts))) if not s.startswith('{"config"')]
    for script in run:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert len(run) == 2


def test_every_chart_has_words_and_numbers(html: str, page: Page) -> None:
    charts = [a for a in page.all("div") if "data-chart" in a]
    specs = json.loads(next(s for s in page.text["script"] if s.startswith('{"config"')))["charts"]
    assert sorted(str(a["data-chart"]) for a in charts) == sorted(specs)
    assert all(a["role"] == "img" and len(a["aria-label"] or "") > 40 for a in charts)
    figures = re.findall(r"<figure>.*?</figure>", html, re.DOTALL)
    assert len(figures) == len(charts) > 20
    assert all("<table" in figure for figure in figures)


def test_every_section_says_what_it_means(html: str) -> None:
    sections = re.findall(r'<section id="(\w+)".*?</section>', html, re.DOTALL)
    assert sections == [
        "summary", "warnings", "comparison", "differences", "roc", "eps", "manipulation", "collection", "transfer",
        "checks", "faces", "features", "training", "provenance", "words",
    ]  # fmt: skip
    assert html.count("What this means.") == len(sections) - 1


def test_text_of_users_stays_text(make: Callable[..., Evaluation]) -> None:
    evil = make("afsl", full=True).model_copy(deep=True)
    evil.name = EVIL
    evil.warnings = [EVIL]
    evil.provenance = {EVIL: {"recipe": EVIL}, "recipe": EVIL}
    evil.samples.manipulation = [EVIL for _ in evil.samples.id]
    for condition in evil.conditions[1:]:
        condition.name = f"{EVIL}:{condition.name}"
        condition.metrics = {k.replace("FaceSwap", EVIL): m for k, m in condition.metrics.items()}
    page = Page(render([evil]))
    assert page.stack == []
    assert not any("onerror" in a for _, a in page.tags)
    assert len(page.all("script")) == 3
    specs = json.loads(next(s for s in page.text["script"] if s.startswith('{"config"')))
    assert EVIL.strip() in json.dumps(specs, ensure_ascii=False).replace('\\"', '"')


def test_a_picture_must_be_a_picture(make: Callable[..., Evaluation]) -> None:
    evil = make("at", full=True).model_copy(deep=True)
    good = evil.conditions[1].examples[0]
    evil.conditions[1].examples = [good, good.model_copy(update={"x": "https://example.org/x.png"})]
    html = render([evil])
    assert "example.org" not in html
    assert "1 more examples are left out" in html


def test_pictures_never_make_the_page_too_large(make: Callable[..., Evaluation]) -> None:
    large = "data:image/png;base64," + "A" * 400_000
    heavy = make("at", full=True).model_copy(deep=True)
    example = heavy.conditions[1].examples[0].model_copy(update={"x": large, "x_adv": large, "difference": large})
    heavy.conditions[1].examples = [example] * 8
    html = render([heavy])
    assert len(html.encode()) < 5_000_000
    assert "6 more examples are left out" in html


def test_runs_on_different_data_get_a_note(make: Callable[..., Evaluation]) -> None:
    a, b = make("at"), make("afsl").model_copy(deep=True)
    assert "must not be compared" not in render([a, b])
    b.samples.id[0] = "another"
    assert "must not be compared" in render([a, b])
    c = make("afsl").model_copy(deep=True)
    c.provenance["data_digest"] = "other"
    assert "the digests of their data differ" in render([a, c])


def test_a_clean_evaluation_alone_is_a_report(make: Callable[..., Evaluation]) -> None:
    full = make("at")
    bare = full.model_copy(update={"conditions": full.conditions[:1], "training": None, "checks": [], "warnings": []})
    html = render([bare])
    assert "No attack was run" in html
    assert 'id="eps"' not in html
    assert 'id="warnings"' not in html
    assert len(re.findall(r"<section ", html)) == 7


def test_values_that_do_not_exist_do_not_break_it(make: Callable[..., Evaluation]) -> None:
    e = make("at").model_copy(deep=True)
    nothing = {"value": None, "low": None, "high": None, "note": "n/a: one class"}
    for condition in e.conditions:
        for name, found in condition.metrics.items():
            condition.metrics[name] = found.model_copy(update=nothing)
    html = render([e])
    assert 'title="n/a: one class"' in html
    assert "NaN" not in next(s for s in Page(html).text["script"] if s.startswith('{"config"'))


def test_equal_names_stay_apart(make: Callable[..., Evaluation]) -> None:
    html = render([make("at"), make("at")])
    assert "at (2)" in html


def test_a_warning_that_all_runs_share_is_told_once(html: str) -> None:
    part = re.search(r'<section id="warnings".*?</section>', html, re.DOTALL)
    assert part is not None
    assert part.group().count("12 people only") == 1
    assert "All runs:" in part.group()


def test_one_class_attacked_is_said(make: Callable[..., Evaluation]) -> None:
    e = make("at").model_copy(deep=True)
    for condition in e.conditions[1:]:
        condition.metrics = {k: m for k, m in condition.metrics.items() if "both" not in k and "reals_only" not in k}
    assert "attacked one class only" in render([e])


def test_the_report_loads_without_torch() -> None:
    code = (
        "import sys, unfooled.reports; sys.exit(any(m in sys.modules for m in ('torch', 'cv2', 'pandas', 'pyarrow')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_clips_are_shown_as_strips_of_frames(make: Callable[..., Evaluation]) -> None:
    clips = make("at", full=True).model_copy(deep=True)
    face = clips.conditions[1].examples[0]
    clips.conditions[1].examples = [face.model_copy(update={"clip": 25, "shown": 5})]
    page = render([clips])
    assert page.count('<div class="strips">') == 1
    assert 'class="triple"' not in page
    assert f"5 of 25 frames of the {'fake' if face.label else 'real'} clip before the attack" in page
    assert "above as they are" in page
    assert "Left, the face as it is" not in page
    both = render([clips, make("standard", full=True)])
    assert "Left, the face as it is; in the middle" in both
    assert "above as they are" in both
