"""The ledger of a bulk scan, brought up to date with the files that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from unfooled.scanning.ledger import Ledger
from unfooled.scanning.sources import Sources, key_of, names

TOGETHER = 1000
"""Files that are added in one step."""


def take_in(ledger: Ledger, sources: Sources, retry: bool = False) -> None:
    """Add what is new, and queue again what has changed since it was scanned; the rest keeps its result.

    Args:
        ledger: its files are called by the shortest name that no file before has.
        sources: gone through once; a thousand are in memory.
        retry: queue again what was unreadable.
    """
    files = iter(sources)
    more = True
    while more:
        more = False
        with ledger.together():
            for _, (path, name) in zip(range(TOGETHER), files, strict=False):
                more = True
                _one(ledger, path, name, retry)


def _one(ledger: Ledger, path: Path, given: str, retry: bool) -> None:
    facts = _facts(path)
    for name in names(path, given):
        if ledger.add(key_of(name), path, name, **facts):
            return
        item = ledger.get(key_of(name))
        if item is not None and item.path == path:
            if item.state == "done" and (item.facts != facts or (retry and item.outcome == "unreadable")):
                # Those of equal bytes have their result from one of them.
                for key in {item.key, *(ledger.alike(item.sha256) if item.sha256 else ())}:
                    ledger.requeue(key, **(facts if key == item.key else {}))
            return


def _facts(path: Path) -> dict[str, Any]:
    try:
        state = path.stat()
    except OSError:
        return {}
    return {"size": state.st_size, "mtime_ns": state.st_mtime_ns}
