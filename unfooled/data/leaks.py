"""What can be wrong with a manifest: leaks between splits, files that are not there, one-sided splits."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from unfooled.data.schema import FAKE, SPLITS
from unfooled.errors import DataError

if TYPE_CHECKING:
    from unfooled.data.manifest import Manifest


def leak(manifest: Manifest, kind: str, columns: Sequence[str]) -> str | None:
    """One line about the videos or people (``kind``, named in ``columns``) that occur in two splits, or None."""
    split, names = manifest.codes("split")
    of_split = np.array([n != "" for n in names] + [False])[split]
    found: dict[str, set[str]] = {}
    for column in columns:
        codes, values = manifest.codes(column)
        valid = of_split & (codes >= 0)
        for pair in np.unique(codes[valid] * len(names) + split[valid]):
            found.setdefault(values[pair // len(names)], set()).add(names[pair % len(names)])
    leaks = sorted(value for value, where in found.items() if len(where) > 1)
    if not leaks:
        return None
    examples = ", ".join(f"{v!r} in {' and '.join(sorted(found[v], key=SPLITS.index))}" for v in leaks[:3])
    many = {"video": "videos", "person": "people"}[kind]
    return f"leak: {len(leaks)} {kind if len(leaks) == 1 else many} in two splits, such as {examples}"


def divided(manifest: Manifest) -> str | None:
    """One line about the fakes whose original lies in another split, or None."""
    split, names = manifest.codes("split")
    ids, parents = (manifest.table[c].combine_chunks() for c in ("id", "parent"))
    place = pc.index_in(parents, value_set=ids)
    rows = np.flatnonzero(place.is_valid().to_numpy(zero_copy_only=False))
    own, other = split[rows], split[place.drop_null().to_numpy()]
    assigned = np.array([n != "" for n in names], dtype=bool)
    apart = np.flatnonzero(assigned[own] & assigned[other] & (own != other))
    if not len(apart):
        return None
    first = apart[0]
    example = f"{ids[int(rows[first])].as_py()!r} in {names[own[first]]}, its original in {names[other[first]]}"
    return f"leak: {len(apart)} fakes in another split than their original, such as {example}"


def shared_people(one: Manifest, other: Manifest) -> list[str]:
    """The people (targets and donors) that occur in both, sorted; videos that name nobody count by their name."""
    return sorted(_people(one) & _people(other))


def _people(manifest: Manifest) -> set[str]:
    found: set[str] = set()
    for column in ("identity", "source_identity"):
        codes, values = manifest.codes(column)
        found |= {values[code] for code in np.unique(codes[codes >= 0])}
    nobody = manifest.codes("identity")[0] < 0
    codes, values = manifest.codes("video")
    return found | {values[code] for code in np.unique(codes[nobody])}


def check_files(manifest: Manifest) -> None:
    """Look for every file of a row that is not known to be missing; one listing a folder, so millions take seconds.

    Raises:
        DataError: a file is absent; with their number and the first.
    """
    wanted = manifest.table["path"].filter(pc.not_equal(manifest.table["status"].cast(pa.string()), "missing"))
    folders = pc.unique(pc.replace_substring_regex(wanted, r"/?[^/]*$", "")).to_pylist()
    there = [pa.array([], pa.string())]
    for folder in folders:
        try:
            names = os.listdir(manifest.root / folder)  # noqa: PTH208 (a Path for every file would double the time)
        except OSError:
            continue
        there.append(pa.array([f"{folder}/{n}" if folder else n for n in names], pa.string()))
    missing = wanted.filter(pc.invert(pc.is_in(wanted, pa.chunked_array(there))))
    if len(missing):
        first = manifest.root / missing[0].as_py()
        raise DataError(f"{len(missing)} of {len(wanted)} files are missing, the first is {first}; index again")


def oddities(manifest: Manifest) -> list[str]:
    """Warnings: a split of one class, rows without a split, rows that can not be read."""
    warnings = []
    label, (split, names) = manifest.column("label"), manifest.codes("split")
    for code, name in enumerate(names):
        present = np.unique(label[split == code])
        if name and len(present) == 1:
            warnings.append(f"split {name!r} holds only {'fakes' if present[0] == FAKE else 'reals'}")
        if not name and len(present):
            warnings.append(f"{int(np.sum(split == code))} rows belong to no split")
    status, statuses = manifest.codes("status")
    for code, name in enumerate(statuses):
        if name != "ok" and (count := int(np.sum(status == code))):
            warnings.append(f"{count} rows are {name}; they get no score")
    return warnings
