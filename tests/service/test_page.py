"""The page in a real browser, with real uploads: a verdict, no word on the console, no request to anybody else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clients import listening, wish
from fake_scanner import fake

from unfooled.service.settings import Settings

READY = "html[data-ready]"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = Settings(data=tmp_path_factory.mktemp("page"), opener=fake, port=0, reserve=0, max_upload=300_000)
    with listening(settings) as (host, port):
        yield f"http://{host}:{port}/"


@pytest.fixture
def visit(browser: Any, address: str) -> Iterator[Callable[..., Any]]:
    """Open a page of the service; at the end nothing was said on its console and nobody else was asked."""
    contexts, said, asked = [], [], []

    def opened(where: str = "", **options: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(address + where, timeout=60_000)
        if options.get("java_script_enabled", True):
            page.wait_for_selector(READY, state="attached", timeout=60_000)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert said == []
    assert [url for url in asked if not url.startswith((address, f"blob:{address}"))] == []


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds that a browser can play; each frame is of another grey."""
    path = tmp_path_factory.mktemp("talk") / "talk.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for k in range(60):
            picture = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 40 + 3 * k, np.uint8), format="rgb24")
            picture.pts, picture.time_base = k, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


def scanned(page: Any, file: Any) -> Any:
    page.set_input_files("#file", file)
    page.wait_for_selector("#result:not([hidden]), #problem:not(:empty)", timeout=60_000)
    return page


def file(name: str, data: bytes, kind: str = "video/mp4") -> dict[str, Any]:
    return {"name": name, "mimeType": kind, "buffer": data}


def test_a_video_its_verdict_and_its_peaks(visit: Callable[..., Any], talk: Path) -> None:
    page = scanned(visit(), talk)
    assert page.inner_text("#verdict-title") == "Looks fake"
    assert page.inner_text("#status") == "Done: Looks fake"
    assert "raw score of 0.82" in page.inner_text("#verdict-text")
    assert "not calibrated" in page.inner_text("#cautions")
    facts = page.inner_text("#facts")
    for text in ("0.6/255", "Fragile: noise that nobody sees", "96 x 64", "60 frames", "made up for tests"):
        assert text in facts
    assert page.evaluate("[...document.images].every(i => i.complete && i.naturalWidth > 0)")
    page.wait_for_selector("#stage:not([hidden]) video")
    time = "document.querySelector('video').currentTime"
    # It begins at the loudest point, the last.
    page.wait_for_timeout(500)
    assert abs(page.evaluate(time) - 1.8) < 0.05
    assert page.inner_text("#detail h3") == "Face 1 at 0:01.8"
    assert page.locator("#detail img").count() == 2
    drawn = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(v => v)"
    assert page.locator("#stage canvas").evaluate(drawn)

    chart = page.locator(".chart")
    where = chart.bounding_box()
    chart.click(position={"x": 40, "y": where["height"] / 2})
    assert chart.get_attribute("aria-valuenow") == "1"
    assert page.inner_text("#detail h3") == "Face 1 at 0:00.0"
    # No picture was kept there: the face is cut out of the visitor's own file.
    page.wait_for_timeout(500)
    assert page.evaluate(time) < 0.05
    pixel = "[...document.querySelector('#detail canvas').getContext('2d').getImageData(112, 112, 1, 1).data]"
    assert 20 < page.evaluate(pixel)[0] < 70

    with page.expect_download() as download:
        page.click("#download")
    assert download.value.suggested_filename == "talk.mp4.json"
    assert json.loads(Path(download.value.path()).read_text())["verdict"] == "fake"


def test_all_of_it_by_keyboard(visit: Callable[..., Any], talk: Path) -> None:
    page = visit()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "file"
    scanned(page, talk)
    assert page.evaluate("document.activeElement.id") == "verdict-title"
    seen = []
    for _ in range(14):
        page.keyboard.press("Tab")
        seen.append(page.evaluate("document.activeElement.id || document.activeElement.tagName.toLowerCase()"))
        if seen[-1] == "svg":
            break
    assert seen[:2] == ["download", "remove"]
    assert seen[-1] == "svg"
    chart = page.locator(".chart")
    assert chart.get_attribute("aria-valuetext") == "0:01.8, P(fake) 0.82, point 10 of 10"
    for key, point in (("ArrowLeft", 9), ("ArrowDown", 8), ("PageDown", 3), ("Home", 1), ("ArrowLeft", 1),
                       ("ArrowRight", 2), ("ArrowUp", 3), ("PageUp", 8), ("End", 10), ("ArrowRight", 10)):  # fmt: skip
        page.keyboard.press(key)
        assert chart.get_attribute("aria-valuenow") == str(point), key
    page.keyboard.press("Home")
    page.keyboard.press("Enter")
    page.wait_for_timeout(500)
    assert page.evaluate("!document.querySelector('video').paused || document.querySelector('video').currentTime > 0.1")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.locator("#timeline tbody tr").first.is_visible()
    assert page.locator("#timeline tbody tr").count() == 10


def test_for_screen_readers(visit: Callable[..., Any], talk: Path) -> None:
    page = scanned(visit(), talk)
    assert page.locator("#status").get_attribute("aria-live") == "polite"
    assert page.locator("#problem").get_attribute("role") == "alert"
    for landmark in ("header", "main", "footer"):
        assert page.locator(f"body > {landmark}").count() == 1
    assert page.evaluate("[...document.images].every(i => i.hasAttribute('alt'))")
    assert page.evaluate(
        "[...document.querySelectorAll('button, input, video, [role=slider], [role=region], [role=img]')].every(e => "
        "e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length))"
    )
    titled = "s => s.every(e => document.getElementById(e.getAttribute('aria-labelledby')))"
    assert page.locator("section").evaluate_all(titled)
    levels = page.evaluate("[...document.querySelectorAll('h1, h2, h3')].map(h => Number(h.tagName[1]))")
    assert levels[0] == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 360, 1280])
def test_small_and_dark_screens(visit: Callable[..., Any], talk: Path, width: int, scheme: str) -> None:
    page = visit(viewport={"width": width, "height": 740}, color_scheme=scheme, reduced_motion="reduce")
    scanned(page, talk)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    card = page.evaluate("getComputedStyle(document.querySelector('section')).backgroundColor")
    assert card == ("rgb(255, 255, 255)" if scheme == "light" else "rgb(24, 31, 39)")
    assert page.evaluate("getComputedStyle(document.documentElement).scrollBehavior") == "auto"
    found = contrasts(page)
    assert len(found) > 40
    assert [words for ratio, words in found if ratio < 4.5] == []


CONTRAST = """elements => {
  const parts = c => (c.match(/[\\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
  const linear = v => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = c => parts(c).slice(0, 3).map(v => linear(v / 255))
    .reduce((a, v, k) => a + v * [.2126, .7152, .0722][k], 0);
  const clear = e => parts(getComputedStyle(e).backgroundColor)[3] === 0;
  const back = e => !e ? document.body : clear(e) ? back(e.parentElement) : e;
  const said = e => [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
  return elements.filter(e => said(e) && e.checkVisibility() && e.className !== 'skip').map(e => {
    const pair = [light(getComputedStyle(e).color), light(getComputedStyle(back(e)).backgroundColor)];
    return [(Math.max(...pair) + .05) / (Math.min(...pair) + .05), e.textContent.slice(0, 40)];
  });
}"""
TEXTS = "p, h1, h2, h3, li, dt, dd, span, a, b, summary, figcaption, caption, button"


def contrasts(page: Any) -> list[list[Any]]:
    """The contrast of each text on its background, after WCAG 2, with its words."""
    return list(page.locator(TEXTS).evaluate_all(CONTRAST))


def test_a_file_that_no_browser_plays(visit: Callable[..., Any]) -> None:
    page = scanned(visit(), file("old.avi", wish(a="no video"), "video/x-msvideo"))
    page.locator("#stage-note", has_text="This browser can not show this kind of file").wait_for()
    assert page.locator("#stage").is_hidden()
    assert page.locator("#detail img").count() == 2
    page.locator(".chart").focus()
    page.keyboard.press("Home")
    assert "nearest telling one" in page.inner_text("#detail")


def test_no_verdict_and_a_refusal(visit: Callable[..., Any]) -> None:
    page = scanned(visit(), file("bad.mp4", wish(do="broken")))
    assert page.inner_text("#verdict-title") == "The file can not be read"
    assert page.inner_text("#verdict-text") == "There is no verdict: the file is no video."
    assert page.locator("#seen").is_hidden()
    scanned(page, file("die.mp4", wish(do="die")))
    page.wait_for_selector("#problem:not(:empty)", timeout=30_000)
    assert "crash" in page.inner_text("#problem")
    scanned(page, file("large.mp4", bytes(400_000)))
    assert "this service takes files up to 300 kB" in page.inner_text("#problem")


def test_names_are_never_read_as_html(visit: Callable[..., Any]) -> None:
    page = scanned(visit(), file("<img src=x onerror=alert(1)>.mp4", wish(a="html")))
    assert page.inner_text("#file-name") == "<img src=x onerror=alert(1)>.mp4"


def test_progress_stopping_and_coming_back(visit: Callable[..., Any], address: str) -> None:
    page = visit()
    page.set_input_files("#file", file("slow.mp4", wish(do="sleep", seconds=60)))
    page.locator("#status", has_text="Looking for faces").wait_for(timeout=20_000)
    assert page.locator("#file").is_disabled()
    assert page.inner_text("#upload-share") == "100 %"
    key = page.evaluate("location.hash")
    page.click("#cancel")
    page.locator("#status", has_text="Removed from the service.").wait_for()
    assert page.evaluate("document.activeElement.id") == "file"
    assert page.evaluate("location.hash") == ""

    scanned(page, file("quick.mp4", wish(quick=1)))
    key = page.evaluate("location.hash")
    again = visit(key)
    again.wait_for_selector("#result:not([hidden])")
    assert again.inner_text("#file-name") == "quick.mp4"
    assert "Choose the same file again" in again.inner_text("#stage-note")
    again.click("#remove")
    again.locator("#status", has_text="Removed").wait_for()


def test_a_dropped_file(visit: Callable[..., Any]) -> None:
    page = visit()
    drop = """many => {
      const data = new DataTransfer();
      for (let k = 0; k < many; k++) data.items.add(new File(['{}'], `d${k}.mp4`));
      const facts = {bubbles: true, cancelable: true, dataTransfer: data};
      for (const name of ['dragenter', 'dragover', 'drop']) {
        document.getElementById('drop').dispatchEvent(new DragEvent(name, facts));
      }
    }"""
    page.evaluate(drop, 2)
    assert "One file at a time" in page.inner_text("#problem")
    page.evaluate(drop, 1)
    page.wait_for_selector("#result:not([hidden])", timeout=20_000)
    assert page.inner_text("#file-name") == "d0.mp4"


def test_without_scripts_there_is_a_way(visit: Callable[..., Any]) -> None:
    assert "curl" in visit(java_script_enabled=False).inner_text("noscript")


def test_the_interface_is_described(visit: Callable[..., Any]) -> None:
    page = visit("docs.html")
    text = page.inner_text("main")
    for part in ("POST /v1/scan", "GET /v1/scan/{id}", "DELETE /v1/scan/{id}", "probability", "Retry-After", "curl -F"):
        assert part in text
    page.set_viewport_size({"width": 360, "height": 700})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert "undefined" not in text


def test_everything_the_page_needs_is_in_the_package() -> None:
    static = Path(__file__).parents[2] / "unfooled/service/static"
    for path in static.iterdir():
        text = path.read_text(encoding="utf-8")
        assert "https://" not in text, path.name
        assert "http://" not in text.replace("http://www.w3.org/2000/svg", ""), path.name
