"""Published folder layouts, each read into a manifest."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unfooled.data.celebdf import read_celebdf
from unfooled.data.deeperforensics import read_deeperforensics
from unfooled.data.deepfakebench import read_deepfakebench
from unfooled.data.dfdc import read_dfdc
from unfooled.data.ffpp import read_ffpp
from unfooled.data.folder import read_folder
from unfooled.data.images import VIDEO_SUFFIXES, statuses
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError
from unfooled.registry import lookup

__all__ = ["LAYOUTS", "index", "read_ffpp", "read_folder", "verify"]

LAYOUTS: dict[str, Callable[..., Manifest]] = {
    "celebdf": read_celebdf,
    "deeperforensics": read_deeperforensics,
    "deepfakebench": read_deepfakebench,
    "dfdc": read_dfdc,
    "ffpp": read_ffpp,
    "folder": read_folder,
}


def index(layout: str, root: Path, *, decode: bool = False, **options: object) -> tuple[Manifest, list[str]]:
    """The manifest of a folder in a named layout, and what its reader found odd.

    Args:
        layout: one of ``LAYOUTS``.
        root: the folder.
        decode: open every image too and mark those that do not decode.
        options: of the layout; None and 0 mean "not given", so that a layout without the option can pass over it.

    Raises:
        ConfigError: an unknown layout, or an option that it does not have.
        DataError: the folder is not in that layout.
    """
    read = lookup("layout", LAYOUTS, layout)
    known = inspect.signature(read).parameters
    given = {key: value for key, value in options.items() if value or key in known}
    if foreign := sorted(set(given) - set(known)):
        raise ConfigError(f"the layout {layout} has no option {foreign[0]!r}; leave it out")
    manifest = read(root, **{k: v for k, v in given.items() if v is not None})
    manifest = verify(manifest) if decode else manifest
    return manifest, list(manifest.notes)


def verify(manifest: Manifest) -> Manifest:
    """The manifest with every image decoded once: ``missing`` and ``unreadable`` rows are marked and noted."""
    is_image = np.array(
        [not p.lower().endswith(VIDEO_SUFFIXES) for p in manifest.table["path"].to_pylist()], dtype=bool
    )
    rows = np.flatnonzero(is_image)
    found = statuses(manifest.take(rows).paths())
    status = manifest.column("status")
    status[rows] = [s for s, _ in found]
    bad = [reason for s, reason in found if s != "ok"]
    notes = (f"{len(bad)} images do not decode, such as {bad[0]}",) if bad else ()
    return Manifest(
        manifest.with_column("status", status).table, manifest.root, manifest.notes + notes, manifest.published
    )
