"""Long work that survives a kill: a folder that belongs to one job, and a list of what is done that grows by lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unfooled.errors import ConfigError, DataError
from unfooled.files import replacing

JOB = "job.json"


class Journal:
    """A JSONL file of finished items, one object a line; what stands there is never asked or made again.

    Each line is handed to the system whole when its item is done, so a kill loses at most the item in work. A last
    line that a kill cut short is dropped. The file is made with the first line.

    Args:
        path: of the file; one process at a time writes to it.

    Raises:
        DataError: a line that is not the last is no JSON object.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, Any]] = []
        self._cut: int | None = None
        if path.exists():
            self._read(path.read_bytes())

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a finished item down."""
        line = json.dumps(row, allow_nan=False) + "\n"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        # Opened for each line, so that nothing waits in a buffer.
        with self.path.open("ab") as file:
            if self._cut is not None:
                file.truncate(self._cut)
                self._cut = None
            file.write(line.encode())
        self.rows.append(dict(row))

    def _read(self, data: bytes) -> None:
        lines = data.splitlines(keepends=True)
        whole = 0
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or not line.endswith(b"\n"):
                if number == len(lines) and not line.endswith(b"\n"):
                    self._cut = whole
                    return
                raise DataError(f"{self.path} is damaged at line {number} (no JSON object); move it away to start anew")
            self.rows.append(row)
            whole += len(line)


def check_folder(folder: Path, job: Mapping[str, Any]) -> bool:
    """Whether ``folder`` holds this job already, begun or done; False where it is new or empty.

    Args:
        folder: where the job writes.
        job: what makes the job what it is; anything JSON can hold.

    Raises:
        ConfigError: it is no folder, or holds another job or other files.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; choose another --out")
    if (folder / JOB).exists():
        try:
            there = json.loads((folder / JOB).read_text(encoding="utf-8"))
        except ValueError:
            there = {}
        there = there if isinstance(there, dict) else {}
        if there == dict(job):
            return True
        key = next((k for k in job if there.get(k) != job[k]), next(iter(there.keys() - job.keys()), "job"))
        was, now = (str(j.get(key, "unknown")) for j in (there, job))
        raise ConfigError(f"{folder} holds another job ({key} {was}, now {now}); choose another --out")
    if any(not file.name.endswith(".part") for file in folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no job to go on with; choose another --out")
    return False


@contextmanager
def claimed(folder: Path, job: Mapping[str, Any]) -> Iterator[None]:
    """The folder is this job's; if the job writes nothing, it is as it was.

    Raises:
        ConfigError: as ``check_folder``.
    """
    resumed = check_folder(folder, job)
    existed = folder.exists()
    if not resumed:
        with replacing(folder / JOB) as temporary:
            temporary.write_text(json.dumps(dict(job), indent=1) + "\n", encoding="utf-8")
    try:
        yield
    finally:
        if not resumed and [file.name for file in folder.iterdir()] == [JOB]:
            (folder / JOB).unlink()
            if not existed:
                folder.rmdir()
