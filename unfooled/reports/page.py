"""Words, faces, warnings and provenance of the report, and the page as one file."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from markupsafe import Markup

from unfooled.reports.charts import CONFIG
from unfooled.reports.parts import Section

HERE = Path(__file__).parent
TITLE = "Detector robustness report"
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#005a8e"/>'
    '<circle cx="16" cy="16" r="8" fill="none" stroke="#fff" stroke-width="3"/>'
    '<circle cx="16" cy="16" r="3" fill="#e69f00"/></svg>'
)


@lru_cache(maxsize=1)
def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script, from the installed vl-convert package."""
    return _script(vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;"))


def _script(text: str) -> str:
    """JavaScript that can stand between script tags; line ends as a browser reads them, so that its hash holds."""
    return re.sub(r"<(?=/script|!--)", r"\\x3c", text.replace("\r\n", "\n"), flags=re.IGNORECASE)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """JSON that can stand between script tags, whatever the names in it are."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def build(sections: Sequence[Section], lead: str, title: str = TITLE) -> str:
    """The HTML of the whole page; only the page's own two scripts may run, and nothing may be fetched."""
    script = _script((HERE / "report.js").read_text(encoding="utf-8"))
    specs = {f.key: f.spec for s in sections for g in s.groups for f in g.figures}
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    return environment.get_template("report.html").render(
        title=title,
        lead=lead,
        sections=sections,
        icon="data:image/svg+xml;base64," + base64.b64encode(ICON.encode()).decode(),
        css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        hashes=Markup(f"{_hash(bundle())} {_hash(script)}"),
        charts=Markup(_json({"config": CONFIG, "charts": specs})),
        bundle=Markup(bundle()),
        script=Markup(script),
    )


def flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """``{"versions": {"torch": "2"}}`` -> ``("versions torch", "2")``; lists and scalars as text."""
    for key, item in value.items():
        name = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(item, Mapping):
            yield from flat(item, name)
        elif isinstance(item, list | tuple):
            yield name, ", ".join(map(str, item)) or "none"
        else:
            yield name, "none" if item is None else f"{item:.6g}" if isinstance(item, float) else str(item)
