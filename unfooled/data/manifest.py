"""The manifest: one row a sample, who is in it, what was done to it and which split it belongs to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from unfooled.data import leaks
from unfooled.data.schema import (
    COLUMNS,
    DEFAULTS,
    DISTORTION,
    FAKE,
    REAL,
    SCHEMA_VERSION,
    SPLITS,
    need_columns,
    normal,
)
from unfooled.errors import DataError, suggest
from unfooled.files import replacing

__all__ = ["COLUMNS", "FAKE", "REAL", "SPLITS", "Manifest", "merge"]

FILE_NAME = "manifest.parquet"
_DIGESTED = ("label", "split", "status", "identity", "source_identity")


@dataclass(frozen=True, eq=False)
class Manifest:
    """A table of samples; frozen, every change gives a new one.

    Args:
        table: the columns of ``COLUMNS``; more columns travel along untouched.
        root: folder that ``path`` is relative to.
        notes: what the reader of a layout found odd; kept in the file.
        published: the splits were made by the publisher of the set, not by us: a leak is a warning then.

    Raises:
        DataError: a column is lacking or of another type, a label is not 0 or 1, a split or status is unknown.
    """

    table: Any
    root: Path
    notes: tuple[str, ...] = field(default=())
    published: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", normal(self.table))
        object.__setattr__(self, "root", Path(self.root).absolute())

    @classmethod
    def from_columns(cls, columns: Mapping[str, Any], root: Path, notes: Iterable[str] = ()) -> Manifest:
        """A manifest from equally long columns; absent optional ones (people, parent, split, ...) get their default."""
        columns = dict(columns)
        length = len(columns["id"]) if "id" in columns else 0
        for name, default in DEFAULTS.items():
            if name not in columns:
                columns[name] = pa.array([default] * length, pa.string())
        if unknown := sorted(set(columns) - set(COLUMNS)):
            raise DataError(f"a manifest has no column {unknown[0]!r}{suggest(unknown[0], COLUMNS)}")
        need_columns("the rows", columns)
        try:
            arrays = {n: pa.array(columns[n], pa.int8() if n == "label" else pa.string()) for n in COLUMNS}
            return cls(pa.table(arrays), root, tuple(notes))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as error:
            raise DataError(f"the rows do not fit the manifest's columns: {error}") from None

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, object]], root: Path, notes: Iterable[str] = ()) -> Manifest:
        """A manifest from one mapping a row; keys as in ``COLUMNS``, optional ones may be left out."""
        names = [n for n in COLUMNS if any(n in row for row in rows)] + sorted(
            {k for r in rows for k in r} - {*COLUMNS}
        )
        columns = {n: [row.get(n, DEFAULTS.get(n)) for row in rows] for n in (names if rows else COLUMNS)}
        return cls.from_columns(columns, root, notes)

    @classmethod
    def read(cls, path: Path | str) -> Manifest:
        """The manifest in a Parquet file, or in the ``manifest.parquet`` of a folder.

        Raises:
            DataError: no file, not Parquet, columns lacking (all are named), no row, or a newer schema version.
        """
        path = Path(path)
        path = path / FILE_NAME if path.is_dir() else path
        if not path.is_file():
            raise DataError(f"no manifest at {path}; make one with: unfooled data index LAYOUT ROOT --out {path}")
        try:
            table = pq.read_table(path, partitioning=None)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None
        facts = _facts(path, table)
        need_columns(str(path), table.column_names)
        if not len(table):
            raise DataError(f"{path} has no rows; index the data again")
        root = path.absolute().parent / str(facts.get("root", "."))
        notes = tuple(map(str, facts.get("notes", ())))
        return cls(table, Path(os.path.normpath(root)), notes, bool(facts.get("published", False)))

    def write(self, path: Path | str) -> None:
        """Write Parquet (zstd) atomically; the root is stored relative to the file where one holds the other."""
        path = Path(path).absolute()
        if not len(self):
            raise DataError(f"a manifest without rows is not written to {path}; check the folder that was indexed")
        nested = self.root.is_relative_to(path.parent) or path.is_relative_to(self.root)
        facts = {
            "schema_version": SCHEMA_VERSION,
            "root": Path(os.path.relpath(self.root, path.parent)).as_posix() if nested else str(self.root),
            "notes": list(self.notes),
            "published": self.published,
        }
        table = self.table.replace_schema_metadata({"unfooled": json.dumps(facts)})
        try:
            with replacing(path) as temporary:
                pq.write_table(table, temporary, compression="zstd")
        except OSError as error:
            raise DataError(f"{path} can not be written: {error.strerror or error}") from None

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> npt.NDArray[Any]:
        """One column: int64 for ``label``, objects (str or None) for the others."""
        if name == "label":
            return np.asarray(self._chunk(name).to_numpy(zero_copy_only=False), dtype=np.int64)
        return np.asarray(self._chunk(name).to_numpy(zero_copy_only=False), dtype=object)

    def codes(self, name: str) -> tuple[npt.NDArray[np.int64], list[str]]:
        """A text column as (codes, values): row i holds ``values[codes[i]]``; code -1 is null."""
        words = self._chunk(name)
        words = words if pa.types.is_dictionary(words.type) else words.dictionary_encode()
        codes = pc.fill_null(words.indices, -1).to_numpy(zero_copy_only=False).astype(np.int64)
        return codes, words.dictionary.to_pylist()

    def paths(self) -> list[Path]:
        """Absolute path of each row."""
        return [self.root / p for p in self.table["path"].to_pylist()]

    def select(self, **wanted: object) -> Manifest:
        """The rows whose columns hold the wanted values: ``select(split="test", manipulation=["Real", "FaceSwap"])``.

        Args:
            wanted: column = one value or a sequence of them; none matching gives a manifest without rows.
        """
        mask = np.ones(len(self), dtype=bool)
        for name, value in wanted.items():
            single = value is None or isinstance(value, (str, int, np.integer))
            values: list[Any] = [value] if single else list(cast(Iterable[Any], value))
            if name == "label":
                mask &= np.isin(self.column("label"), np.array(values, dtype=np.int64))
            else:
                codes, known = self.codes(name)
                index: dict[str | None, int] = {word: code for code, word in enumerate(known)} | {None: -1}
                mask &= np.isin(codes, [index[v] for v in values if v in index])
        return replace(self, table=self.table.filter(pa.array(mask)))

    def take(self, rows: npt.ArrayLike) -> Manifest:
        """The rows with the given numbers, in that order."""
        return replace(self, table=self.table.take(pa.array(np.asarray(rows, dtype=np.int64))))

    def with_column(self, name: str, values: Any) -> Manifest:
        """The same manifest with one column replaced."""
        self._chunk(name)
        array = pa.array(values, pa.int8() if name == "label" else pa.string())
        return replace(self, table=self.table.set_column(self.table.column_names.index(name), name, array))

    def check(self, *, published: bool | None = None, files: bool = True) -> list[str]:
        """Warnings about the table; a leak between our own splits, a double id or a missing file is an error.

        Args:
            published: the splits are the publisher's, so a leak is a warning; None = as the manifest says.
            files: also look whether every file is there (rows of status ``missing`` are known to be absent).

        Raises:
            DataError: double ids, a video or person (as target or donor) in two splits, missing files; with
                counts and examples.
        """
        ids = self.table["id"]
        if (double := len(ids) - pc.count_distinct(ids).as_py()) > 0:
            counts = pc.value_counts(ids)
            example = pc.filter(counts.field(0), pc.greater(counts.field(1), 1))[0].as_py()
            raise DataError(f"{double} ids occur more than once, such as {example!r}; index the data again")
        warnings = []
        published = self.published if published is None else published
        people = leaks.leak(self, "person", ["identity", "source_identity"])
        for found in filter(None, [leaks.leak(self, "video", ["video"]), people, leaks.divided(self)]):
            if not published:
                raise DataError(
                    f"{found}; split by person, or index with --published where the splits are the publisher's"
                )
            warnings.append(f"{found} (published split, kept as it is)")
        if files:
            leaks.check_files(self)
        return warnings + leaks.oddities(self)

    def digest(self) -> str:
        """SHA-256 over ids, labels, splits, statuses, people and distortions; order of rows and folder do not matter.

        The bytes of the images are not read: a changed image under an unchanged name keeps the digest.
        """
        order = pc.sort_indices(self.table["id"])
        digest = hashlib.sha256()
        ids = self._chunk("id").cast(pa.large_string()).take(order)
        _, offsets, data = ids.buffers()
        digest.update(np.diff(np.frombuffer(offsets, np.int64)[: len(ids) + 1]).tobytes())
        digest.update(data or b"")
        order = order.to_numpy()
        for name in (*_DIGESTED, *([DISTORTION] if DISTORTION in self.table.column_names else [])):
            if name == "label":
                digest.update(self.column(name)[order].tobytes())
                continue
            codes, values = self.codes(name)
            used = np.unique(codes[codes >= 0])
            by_text = sorted(used, key=lambda code: values[code])
            rank = np.full(len(values) + 1, -1, dtype=np.int64)
            rank[by_text] = np.arange(len(by_text))
            digest.update(json.dumps([name, [values[c] for c in by_text]]).encode())
            digest.update(rank[codes][order].tobytes())
        return digest.hexdigest()

    def summary(self) -> list[dict[str, Any]]:
        """One dict for each split x manipulation x label: rows, videos, people, and rows by status."""
        columns = {n: self.codes(n) for n in ("split", "manipulation", "video", "identity", "status")}
        splits, manipulations = columns["split"], columns["manipulation"]
        keys = (splits[0] * len(manipulations[1]) + manipulations[0]) * 2 + self.column("label")
        groups, member = np.unique(keys, return_inverse=True)
        result = []
        for number, key in enumerate(groups.tolist()):
            (split, manipulation), y = divmod(key // 2, len(manipulations[1])), key % 2
            rows = member == number
            status = columns["status"][0][rows]
            people = columns["identity"][0][rows]
            result.append(
                {
                    "split": splits[1][split],
                    "manipulation": manipulations[1][manipulation],
                    "label": "fake" if y == FAKE else "real",
                    "rows": int(rows.sum()),
                    "videos": len(np.unique(columns["video"][0][rows])),
                    "people": len(np.unique(people[people >= 0])),
                    **{s: int(np.sum(status == c)) for c, s in enumerate(columns["status"][1])},
                }
            )
        return sorted(result, key=lambda r: (SPLITS.index(r["split"]), r["label"] == "fake", r["manipulation"]))

    def _chunk(self, name: str) -> Any:
        if name not in self.table.column_names:
            raise DataError(f"the manifest has no column {name!r}{suggest(name, self.table.column_names)}")
        column = self.table[name].combine_chunks()
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def merge(manifests: Sequence[Manifest]) -> Manifest:
    """All rows of several manifests, paths relative to their common folder; check the result for leaks.

    Raises:
        DataError: no manifest given, or an id occurs in two of them.
    """
    if not manifests:
        raise DataError("nothing to merge; name at least one manifest")
    root = Path(os.path.commonpath([m.root for m in manifests]))
    tables = []
    for manifest in manifests:
        prefix = manifest.root.relative_to(root).as_posix()
        paths = manifest.table["path"]
        if prefix != ".":
            paths = pc.binary_join_element_wise(prefix, paths, "/")
        tables.append(manifest.table.set_column(manifest.table.column_names.index("path"), "path", paths))
    merged = pa.concat_tables(tables, promote_options="default")
    double = len(merged) - pc.count_distinct(merged["id"]).as_py()
    if double:
        raise DataError(f"{double} ids occur in two manifests; give each its own dataset name when indexing")
    notes = tuple(dict.fromkeys(n for m in manifests for n in m.notes))
    return Manifest(merged, root, notes, all(m.published for m in manifests))


def _facts(path: Path, table: Any) -> dict[str, Any]:
    stored = (table.schema.metadata or {}).get(b"unfooled", b"{}")
    try:
        facts: dict[str, Any] = dict(json.loads(stored))
    except ValueError:
        raise DataError(f"{path}: its note of root and version is damaged; index the data again") from None
    version = facts.get("schema_version", SCHEMA_VERSION)
    if not isinstance(version, int) or version > SCHEMA_VERSION:
        raise DataError(
            f"{path} has schema version {version}, this unfooled reads <= {SCHEMA_VERSION}; update unfooled"
        )
    return facts
