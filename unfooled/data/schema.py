"""The columns of a manifest: their types, allowed values and defaults."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from unfooled.errors import DataError

REAL, FAKE = 0, 1
SPLITS = ("train", "validation", "test", "")
STATUSES = ("ok", "unreadable", "missing", "no_face", "too_short")
SCHEMA_VERSION = 1
DISTORTION = "distortion"
"""A further column: what was done to the full frames before the faces were cut out of them (``data prepare``)."""

_WORD = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    {
        "id": pa.string(),
        "path": pa.string(),
        "label": pa.int8(),
        "video": _WORD,
        "identity": _WORD,
        "source_identity": _WORD,
        "parent": pa.string(),
        "manipulation": _WORD,
        "dataset": _WORD,
        "collection": _WORD,
        "split": _WORD,
        "compression": _WORD,
        "status": _WORD,
    }
)
COLUMNS: tuple[str, ...] = tuple(SCHEMA.names)
NULLABLE = ("identity", "source_identity", "parent")
DEFAULTS: dict[str, str | None] = {
    "identity": None, "source_identity": None, "parent": None,
    "dataset": "", "collection": "", "split": "", "compression": "", "status": "ok",
}  # fmt: skip


def need_columns(where: str, present: Iterable[str]) -> None:
    """Refuse a table that lacks columns; all of them are named."""
    if lacking := [n for n in COLUMNS if n not in set(present)]:
        raise DataError(f"{where}: the manifest lacks the columns {', '.join(lacking)}; index the data again")


def cast(name: str, column: Any, wanted: Any) -> Any:
    """A column of a table as another type.

    Raises:
        DataError: its cells can not be read so.
    """
    try:
        return column.cast(wanted)
    except pa.ArrowException:
        what = "hold numbers" if pa.types.is_floating(wanted) else f"be {wanted}"
        raise DataError(f"column {name!r} must {what}, got {column.type}; index the data again") from None


def normal(table: Any) -> Any:
    """The table with the column types of ``SCHEMA``, its cells checked."""
    need_columns("the table", table.column_names)
    for position, name in enumerate(table.column_names):
        column = table[name]
        wanted = SCHEMA.field(name).type if name in COLUMNS else column.type
        if wanted == _WORD and not pa.types.is_dictionary(column.type):
            column = cast(name, column, pa.string()).dictionary_encode()
        if column.type != wanted:
            column = cast(name, column, wanted)
        if column.null_count and name in COLUMNS and name not in NULLABLE:
            raise DataError(f"column {name!r} has {column.null_count} empty cells; index the data again")
        if column is not table[name]:
            table = table.set_column(position, name, column)
    table = table.unify_dictionaries().select([*COLUMNS, *(n for n in table.column_names if n not in COLUMNS)])
    for name, allowed in {"label": (REAL, FAKE), "split": SPLITS, "status": STATUSES}.items():
        if wrong := [v for v in pc.unique(table[name]).to_pylist() if v not in allowed]:
            raise DataError(f"{name} must be one of {', '.join(map(repr, allowed))}, got {wrong[0]!r}")
    return table
