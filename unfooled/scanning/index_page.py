"""The page of a bulk scan: counts, and a table of all files to sort and filter; one file, nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jinja2
from markupsafe import Markup

from unfooled.scanning.verdict import About

INDEX = "index.html"
MOST = 50_000
"""Rows of the page; a browser takes no more with ease. The other files have all of them."""

_HERE = Path(__file__).parent
_MARK = "@@ROWS@@"
_ORDER = ("fake", "undecided", "real", "no_face", "too_short", "no_score", "refused", "unreadable")


class IndexPage:
    """Written row by row, so that memory does not grow with them.

    Args:
        path: of the file.
        about: who answered.
        counts: of verdicts, and of statuses without one.

    Raises:
        OSError: it can not be written.
    """

    def __init__(self, path: Path, about: About, counts: Counter[str]) -> None:
        self._rows, total = 0, counts.total()
        css, script = ((_HERE / f"index.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
        known = [*(name for name in _ORDER if name in counts), *sorted(counts.keys() - set(_ORDER))]
        environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
        )
        page = environment.get_template("index.html").render(
            title=f"{total:,} files scanned" if total != 1 else "1 file scanned",
            about=about, counts=[(name, counts[name]) for name in known], total=total, most=MOST, css=Markup(css),
            script=Markup(script), style_hash=Markup(_hash(css)), script_hash=Markup(_hash(script)),
        )  # fmt: skip
        head, _, self._tail = page.rpartition(_MARK)
        self._file = path.open("w", encoding="utf-8")
        self._file.write(head.rstrip("\n"))

    def add(self, row: Mapping[str, Any], fragile: bool, folder: str | None) -> None:
        """A file.

        Args:
            row: as ``outputs.flat`` gives it.
            fragile: its margin is.
            folder: of its evidence, below ``evidence``; None: there is no page to link to.
        """
        self._rows += 1
        if self._rows > MOST:
            return
        short = {"probability": 4, "margin_255": 3, "seconds": 2}
        rounded = {name: None if row[name] is None else round(row[name], digits) for name, digits in short.items()}
        outcome = row["verdict"] if row["status"] == "ok" else row["status"]
        values = (
            row["file"], outcome, rounded["probability"], rounded["margin_255"], fragile,
            bool(row["tampering_flagged"]), row["n_tracks"], rounded["seconds"], row["reason"], row["duplicate_of"],
            folder,
        )  # fmt: skip
        # Whatever a file is called, it can not end the script element that it stands in.
        text = json.dumps(values, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")
        self._file.write(("\n" if self._rows == 1 else ",\n") + text)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if kind is None:
            self._file.write(self._tail)
        self._file.close()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
