"""What a worker of a bulk scan does with one file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import torch

from unfooled.files import replacing
from unfooled.memory import keep_memory
from unfooled.scanning.options import ScanOptions
from unfooled.scanning.page import render
from unfooled.scanning.scanner import Scanner
from unfooled.scanning.verdict import Scan

PAGE = "index.html"


@dataclass(frozen=True)
class Task:
    """A file to scan.

    Args:
        key: of the ledger, and the folder of its evidence.
        path: where it lies.
        name: what the result calls it.
        sha256: of its bytes; None where they could not be read.
    """

    key: str
    path: Path
    name: str
    sha256: str | None


def begin(run: Path | None, options: ScanOptions, evidence: Path | None) -> Callable[[Task], str]:
    """Load the detector, once in each process; the function from a file to the JSON of its scan.

    Args:
        run: as for ``Scanner.open``.
        options: as for ``Scanner.open``.
        evidence: the folder above those of the files; None: nothing is written.
    """
    keep_memory()  # a fifth of the time of a scan with its margin
    # The processes are as many as the cores.
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    return partial(scan_one, Scanner.open(run, options), evidence)


def scan_one(scanner: Scanner, evidence: Path | None, task: Task) -> str:
    """The JSON of a file's scan; its evidence is written with a page, or none of it.

    Raises:
        OSError: the evidence can not be written (a full disk).
    """
    folder = None if evidence is None else evidence / task.key
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)  # what a kill left
    try:
        scan = _asked(scanner, folder, task)
        if folder is not None and scan.status == "ok":
            with replacing(folder / PAGE) as temporary:
                temporary.write_text(render([scan], [folder]), encoding="utf-8")
        return scan.model_dump_json()
    except OSError:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _asked(scanner: Scanner, folder: Path | None, task: Task) -> Scan:
    try:
        return scanner(task.path, name=task.name, evidence=folder)
    except OSError:
        raise
    except MemoryError:
        reason = f"{task.name} needs more memory than there is"
    except Exception as error:
        # One file that nobody thought of must not end the work on all others; it is counted and named.
        reason = f"{task.name} met a fault of unfooled: {type(error).__name__}: {' '.join(str(error).split())}"
    return scanner.without_verdict(task.name, task.sha256, "unreadable", reason)
