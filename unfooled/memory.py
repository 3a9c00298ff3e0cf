"""Freed memory kept for the next tensor, where the system would take it back each time."""

from __future__ import annotations

import ctypes
import os

_MMAP_MAX, _TRIM_THRESHOLD = -4, -1


def keep_memory() -> bool:
    """Let this process keep the memory that tensors give back; whether the C library could be told (glibc can).

    A CPU fills every large tensor of a network into pages that the system has to clear first, and gives them back a
    moment later: a third of the time of a small detector. The process then holds its largest use until its end, which
    suits a training or an attack, not a service. Call it before the first tensor; numbers do not change.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # PyTorch reads it at its first tensor: large pages
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return False
    return bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, 2**31 - 1))
