"""The files of a bulk scan: JSON lines while it runs; at the end, in order of adding, JSON lines, a table, a page."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from unfooled.files import replacing
from unfooled.scanning.index_page import INDEX, IndexPage
from unfooled.scanning.ledger import Ledger
from unfooled.scanning.sources import key_of
from unfooled.scanning.verdict import About

RESULTS, TABLE = "results.jsonl", "results.parquet"
EVIDENCE = "evidence"
BATCH = 1000
"""Rows of the table that are in memory at once."""

COLUMNS = pa.schema(
    [
        ("file", pa.string()), ("sha256", pa.string()), ("status", pa.string()), ("reason", pa.string()),
        ("verdict", pa.string()), ("probability", pa.float64()), ("logit", pa.float64()),
        ("margin_255", pa.float64()), ("tampering_flagged", pa.bool_()), ("n_tracks", pa.int64()),
        ("width", pa.int64()), ("height", pa.int64()), ("fps", pa.float64()), ("frames", pa.int64()),
        ("seconds", pa.float64()), ("duplicate_of", pa.string()),
    ]
)  # fmt: skip
"""One row a file; ``seconds`` is the length of the file. Null: there is none, or it was not asked for."""


def flat(scan: Mapping[str, Any]) -> dict[str, Any]:
    """The row of a scan's JSON: what stands in it, and what its parts say."""
    media, margin, tampering = (scan[part] or {} for part in ("media", "margin", "tampering"))
    row = {name: scan[name] for name in COLUMNS.names if name in scan}
    row |= {name: media.get(name) for name in ("width", "height", "fps", "frames", "seconds")}
    row |= {"margin_255": margin.get("linf_255"), "tampering_flagged": tampering.get("flagged")}
    return row | {"n_tracks": len(scan["tracks"]), "duplicate_of": scan.get("duplicate_of")}


class Stream:
    """``results.jsonl`` while the scan runs: what the ledger holds, then each file as it is done.

    Args:
        path: of the file; what stood there is written anew, for a kill may have cut its last line.
        ledger: what is done already.

    Raises:
        OSError: it can not be written.
    """

    def __init__(self, path: Path, ledger: Ledger) -> None:
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
            file.writelines(f"{item.scan}\n" for item in ledger.results() if item.scan)
        self._file = path.open("a", encoding="utf-8")

    def add(self, scan_json: str) -> None:
        """A finished file, at once on the way to the disk."""
        try:
            self._file.write(scan_json + "\n")
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, self._file.name) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()


def write(out: Path, ledger: Ledger, about: About, evidence: bool) -> int:
    """Write all three in order of adding, each whole or not at all; memory does not grow with the files.

    Args:
        out: the folder.
        ledger: with what is done.
        about: who answered.
        evidence: link to the pages of the files.

    Returns:
        How many files are copies of another.

    Raises:
        OSError: one can not be written.
    """
    copies, batch = 0, list[dict[str, Any]]()
    with ExitStack() as stack:
        table_path, lines_path, page_path = (stack.enter_context(replacing(out / n)) for n in (TABLE, RESULTS, INDEX))
        lines = stack.enter_context(lines_path.open("w", encoding="utf-8"))
        table = stack.enter_context(pq.ParquetWriter(table_path, COLUMNS))
        page = stack.enter_context(IndexPage(page_path, about, ledger.outcomes()))
        for item in ledger.results():
            if item.scan is None:
                continue
            scan = json.loads(item.scan)
            row = flat(scan)
            copies += row["duplicate_of"] is not None
            lines.write(f"{item.scan}\n")
            fragile = bool(scan["margin"] and scan["margin"]["fragile"])
            # A copy has the evidence of the file that was scanned.
            page.add(row, fragile, key_of(row["duplicate_of"] or item.name) if evidence and row["verdict"] else None)
            batch.append(row)
            if len(batch) == BATCH:
                table.write_table(pa.Table.from_pylist(batch, COLUMNS))
                batch.clear()
        if batch:
            table.write_table(pa.Table.from_pylist(batch, COLUMNS))
    return copies
