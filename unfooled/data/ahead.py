"""Work that runs in threads while the caller goes on, its results in the order of asking."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Self, TypeVar

A = TypeVar("A")
R = TypeVar("R")


class Ahead:
    """Calls ``work(argument)`` in threads and hands each result to ``then``, in the caller's thread and order.

    Args:
        threads: that work; 0: none, each call is done at once. At most ``2 * threads`` calls wait, so that memory
            stays flat however slow the work is.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._waiting: deque[tuple[Future[Any], Callable[[Any], None]]] = deque()
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        self._pool = ThreadPoolExecutor(self.threads) if self.threads else None
        return self

    def call(self, work: Callable[[A], R], argument: A, then: Callable[[R], None]) -> None:
        """What ``work`` raises comes out of this call, a later one or the end of the ``with`` block."""
        if self._pool is None:
            then(work(argument))
            return
        self._waiting.append((self._pool.submit(work, argument), then))
        self._hand_over(2 * self.threads)

    def _hand_over(self, most: int) -> None:
        while len(self._waiting) > most:
            future, then = self._waiting.popleft()
            then(future.result())

    def __exit__(self, kind: object, *_: object) -> None:
        if self._pool is None:
            return
        try:
            if kind is None:
                self._hand_over(0)
        finally:
            self._pool.shutdown(cancel_futures=True)
