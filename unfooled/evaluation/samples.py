"""Which rows are evaluated: the columns a result keeps, and a balanced subset by people."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from unfooled.codecs import eight_bits
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.data.schema import DISTORTION
from unfooled.errors import ConfigError, DataError
from unfooled.randomness import seed_of
from unfooled.results import Samples

Rows = NDArray[np.int64]


def samples_of(manifest: Manifest, rows: Rows | Sequence[int]) -> Samples:
    """The columns of some rows; an unknown person is the empty text.

    Raises:
        DataError: reals or fakes are missing, so there is nothing to tell apart.
    """
    chosen = manifest.take(rows)
    label = chosen.column("label")
    if len(set(label.tolist())) < 2:
        found = "no readable row" if not len(label) else f"{len(label)} {'fakes' if label[0] else 'reals'} only"
        raise DataError(f"the samples must hold reals and fakes, got {found}; choose a split that has both")
    text = {
        name: ["" if value is None else str(value) for value in chosen.column(name)]
        for name in ("id", "video", "identity", "manipulation", "collection")
    }
    return Samples(label=label.tolist(), **text)


def distorted_before(manifest: Manifest) -> str | None:
    """What ``data prepare`` did to the full frames, such as ``blur:level=3``; None: nothing."""
    if DISTORTION not in manifest.table.column_names:
        return None
    found = sorted(set(manifest.table[DISTORTION].to_pylist()) - {None})
    more = " in some rows" if len(found) > 1 or manifest.table[DISTORTION].null_count else ""
    return " or ".join(found) + more if found else None


class PixelDigest:
    """A digest of the pictures that were really scored, whatever their order: a manifest knows only their names."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def see(self, ids: Iterable[str], x: Tensor) -> None:
        """Note the pictures ``x`` (B, 3, H, W) in [0, 1], read from 8 bits, of the samples ``ids``."""
        for name, picture in zip(ids, eight_bits(x), strict=True):
            content = str(picture.shape).encode() + picture.tobytes()
            self.rows[name] = hashlib.blake2b(content, digest_size=8).hexdigest()

    def of(self, ids: Iterable[str]) -> str:
        """The digest of the samples ``ids``."""
        lines = "\n".join(f"{name} {self.rows[name]}" for name in sorted(ids))
        return hashlib.blake2b(lines.encode(), digest_size=16).hexdigest()


def balanced_rows(manifest: Manifest, rows: Rows, limit: int, seed: int = 0) -> Rows:
    """At most ``limit`` of the rows, half real and half fake, from as many people as possible.

    People take turns, in one seeded order for both classes, so reals and fakes are of the same people.

    Args:
        rows: row numbers to choose from.
        limit: >= 2.
        seed: equal seeds choose equal rows, whatever their order.
    """
    if limit < 2:
        raise ConfigError(f"limit must be at least 2 (one real, one fake), got {limit}")
    chosen = manifest.take(rows)
    label = chosen.column("label")
    ids, identity, video = (chosen.column(name) for name in ("id", "identity", "video"))
    who = [p or v for p, v in zip(identity, video, strict=True)]
    turn = {p: seed_of(seed, "person", p) for p in set(who)}
    kept: list[int] = []
    for y in (REAL, FAKE):
        seen: dict[str, int] = {}
        order = []
        for place in sorted(np.flatnonzero(label == y).tolist(), key=lambda i: seed_of(seed, "row", ids[i])):
            seen[who[place]] = seen.get(who[place], 0) + 1
            order.append((seen[who[place]], turn[who[place]], place))
        kept += [place for _, _, place in sorted(order)[: limit // 2]]
    return np.sort(rows[np.asarray(kept, np.int64)])
