"""Videos and pictures -> lossless, aligned face crops and their manifest; killed at any moment, it goes on."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from unfooled.data.cropping import Settings, crop_file
from unfooled.data.faces import face_detector
from unfooled.data.manifest import Manifest
from unfooled.data.schema import COLUMNS, DISTORTION
from unfooled.errors import ConfigError
from unfooled.journal import Journal, claimed
from unfooled.workers import Lost, each

ROWS = "prepare.jsonl"
CROPS = "faces"
MANIFEST = "manifest.parquet"


@dataclass(frozen=True)
class Prepared:
    """What a run of ``prepare`` left behind.

    Args:
        manifest: one row for every crop, and one for every source without any.
        path: of the manifest's file.
        statuses: sources by status.
        tracks, crops: how many.
        reasons: why sources have no crops, one line each.
        decoded: frames decoded by this run, over all workers.
        seconds: that this run took.
    """

    manifest: Manifest
    path: Path
    statuses: Counter[str]
    tracks: int
    crops: int
    reasons: list[str]
    decoded: int
    seconds: float


def prepare(
    source: Manifest,
    out: Path | str,
    settings: Settings | None = None,
    *,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Find, follow, align and crop the faces of every row; the same arguments give the same crops with any ``workers``.

    ``out`` gets ``faces/<path of the source>/<track>/<frame>.png``, ``prepare.jsonl`` (a line for every source that is
    done) and ``manifest.parquet``, whose rows carry the columns ``track``, ``frame`` (its number in the source) and
    ``time`` (seconds), and ``distortion`` where the settings name one. After a kill the same call goes on: each worker
    loses the file that it was at.

    Args:
        source: rows are videos or pictures; those of status ``missing`` or ``unreadable`` are passed on as they are.
        out: a new or empty folder, or that of the same job.
        settings: how; None = the defaults.
        workers: processes; None = one a core, 0 = none beside this one.
        progress: called with (done, total) sources.

    Raises:
        ConfigError: an option is wrong, the rows are crops already, or ``out`` holds something else.
        OSError: ``out`` can not be written (a full disk); what is finished stays.
    """
    out, started = Path(out).absolute(), time.monotonic()
    settings = settings or Settings()
    face_detector(settings.detector)  # refuses here what every worker would
    if "track" in source.table.column_names:
        raise ConfigError("the manifest holds face crops already; give the one of the videos")
    rows = source.table.select(list(COLUMNS)).to_pylist()
    job = {"work": "prepare", "digest": source.digest(), **settings.facts()}
    decoded = 0
    with claimed(out, job):
        journal = Journal(out / ROWS)
        known = {row["id"]: row for row in journal.rows}
        todo = [row for row in rows if row["status"] == "ok" and row["id"] not in known]
        total = sum(row["status"] == "ok" for row in rows)
        done = total - len(todo)
        tasks = [Task(row["id"], source.root / row["path"], out / CROPS / place_of(row["path"])) for row in todo]
        count = (os.cpu_count() or 1) if workers is None else workers
        for finished in _all(tasks, settings, count):
            decoded += finished["decoded"]
            journal.add(finished)
            known[finished["id"]] = finished
            done += 1
            if progress is not None:
                progress(done, total)
        made = _manifest(source, rows, known, out)
        if settings.distortion is not None:
            told = pa.array([settings.distorted] * len(made), pa.string())
            made = replace(made, table=made.table.append_column(DISTORTION, told))
        made.write(out / MANIFEST)
    found = [known[row["id"]] for row in rows if row["id"] in known]
    statuses = Counter(row["status"] for row in found)
    statuses.update(row["status"] for row in rows if row["status"] != "ok")
    return Prepared(
        made, out / MANIFEST, statuses, sum(len(row["tracks"]) for row in found),
        sum(len(t["frames"]) for row in found for t in row["tracks"]),
        [row["reason"] for row in found if row["reason"]], decoded, time.monotonic() - started,
    )  # fmt: skip


@dataclass(frozen=True)
class Task:
    """One source: its id, its file and the folder of its crops."""

    id: str
    path: Path
    folder: Path


def place_of(path: str) -> Path:
    """The path of a source as a folder below another one, whatever it is."""
    return Path(*(part if part not in ("..", "/") else "_" for part in Path(path).parts))


def work(task: Task, settings: Settings) -> dict[str, Any]:
    """The line of one source; its crops are written, or none of them."""
    shutil.rmtree(task.folder, ignore_errors=True)
    started = time.perf_counter()
    try:
        found = crop_file(task.path, task.folder, settings)
    except OSError:
        shutil.rmtree(task.folder, ignore_errors=True)
        raise
    return {"id": task.id, **found, "seconds": round(time.perf_counter() - started, 3)}


def _all(tasks: list[Task], settings: Settings, workers: int) -> Iterator[dict[str, Any]]:
    for task, line in each(partial(partial, work, settings=settings), tasks, workers):
        if isinstance(line, Lost):
            shutil.rmtree(task.folder, ignore_errors=True)
            told = {"id": task.id, "status": "unreadable", "reason": f"{task.path} {line.reason}"}
            yield {**told, "tracks": [], "decoded": 0, "seconds": 0.0}
        else:
            yield line


def _manifest(
    source: Manifest, rows: Iterable[Mapping[str, Any]], known: Mapping[str, Mapping[str, Any]], out: Path
) -> Manifest:
    columns: dict[str, list[Any]] = {name: [] for name in (*COLUMNS, "track", "frame", "time")}

    def add(row: Mapping[str, Any], **changes: Any) -> None:
        for name, values in columns.items():
            values.append(changes.get(name, row.get(name)))

    for row in rows:
        done = known.get(row["id"])
        folder = (Path(CROPS) / place_of(row["path"])).as_posix()
        for track in done["tracks"] if done else []:
            for frame, moment in zip(track["frames"], track["times"], strict=True):
                place = f"{track['track']}/{frame:06}"
                parent = f"{row['parent']}/{place}" if row["parent"] else None
                add(row, id=f"{row['id']}/{place}", path=f"{folder}/{place}.png", parent=parent, track=track["track"],
                    frame=frame, time=moment)  # fmt: skip
        if done is None or not done["tracks"]:
            there = os.path.relpath(source.root / row["path"], out)
            add(row, path=there, status=done["status"] if done else row["status"])
    ids = set(columns["id"])
    columns["parent"] = [parent if parent in ids else None for parent in columns["parent"]]
    kinds = {"label": pa.int8(), "frame": pa.int64(), "time": pa.float64()}
    table = pa.table({name: pa.array(values, kinds.get(name, pa.string())) for name, values in columns.items()})
    return Manifest(table, out, source.notes, source.published)
