"""The page in a real browser; nothing else can tell whether its charts appear and its scripts may run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from unfooled.reports import render
from unfooled.results import Comparison, Evaluation


@pytest.fixture(scope="module")
def address(
    evaluations: Sequence[Evaluation],
    comparisons: Sequence[Comparison],
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    path: Path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(render(evaluations, comparisons), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open the page; at the end there must have been no message, no error and no request but for the file itself."""
    contexts, said, asked = [], [], []

    def opened(**options: Any) -> Any:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address, timeout=120_000)
        if options.get("java_script_enabled", True):
            page.wait_for_function("document.documentElement.dataset.drawn !== undefined", timeout=120_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:") and url != address] == []


def test_all_charts_are_drawn_and_tables_sort(visit: Callable[..., Any]) -> None:
    page = visit(viewport={"width": 1280, "height": 900})
    charts = page.locator("[data-chart]").count()
    assert charts > 20
    assert page.locator("[data-chart] svg").count() == charts
    assert page.evaluate("document.documentElement.dataset.drawn") == str(charts)
    marks = "[...document.querySelectorAll('[data-chart] svg')].map(s => s.querySelectorAll('path, line').length)"
    assert min(page.evaluate(marks)) > 5
    assert page.evaluate("[...document.images].every(i => i.alt)")

    table = page.locator("#comparison table").first
    heading = table.locator("th", has_text="Attack success rate")
    names = "table => [...table.tBodies[0].rows].map(row => row.cells[0].dataset.value)"
    before = table.evaluate(names)
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    assert table.evaluate(names)[0] == "standard"
    heading.locator("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    assert table.evaluate(names)[-1] == "standard"
    assert sorted(table.evaluate(names)) == sorted(before)

    page.locator("#roc summary").first.click()
    assert page.locator("#roc figure table").first.is_visible()
    page.locator("[data-chart=overview] svg .mark-symbol path").first.hover(force=True)
    assert "clean AUC" in page.locator("#vg-tooltip-element.visible").inner_text()
    page.locator("#overview-title").scroll_into_view_if_needed()
    page.locator("[data-chart=overview] svg path[aria-label], [data-chart=overview] svg .mark-symbol path").first.hover(
        force=True
    )


@pytest.mark.parametrize("width", [320, 1280])
def test_nothing_overflows(visit: Callable[..., Any], width: int) -> None:
    page = visit(viewport={"width": width, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    charts = page.evaluate("[...document.querySelectorAll('[data-chart]')].map(c => [c.scrollWidth, c.clientWidth])")
    assert all(inside <= outside + 1 for inside, outside in charts)


def test_dark_screens_and_white_paper(visit: Callable[..., Any]) -> None:
    page = visit(viewport={"width": 1280, "height": 900}, color_scheme="dark")
    ink = "getComputedStyle(document.querySelector('[data-chart] svg text')).fill"
    card = "getComputedStyle(document.querySelector('section')).backgroundColor"
    dark = page.evaluate(ink), page.evaluate(card)
    page.emulate_media(media="print", color_scheme="dark")
    paper = page.evaluate(ink), page.evaluate(card)
    assert dark == ("rgb(163, 176, 189)", "rgb(24, 31, 39)")
    assert paper == ("rgb(86, 99, 115)", "rgb(255, 255, 255)")
    assert len(page.pdf(format="A4")) > 50_000


def test_without_scripts_the_numbers_are_still_there(visit: Callable[..., Any]) -> None:
    page = visit(java_script_enabled=False)
    assert page.locator("noscript").count() == 1
    page.locator("#summary summary").click()
    assert page.locator("#summary figure table").is_visible()
