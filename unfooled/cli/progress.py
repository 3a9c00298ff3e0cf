"""Progress bars with time left, and the console that every command prints to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Column

console = Console(highlight=False)
notes = Console(stderr=True, highlight=False)


def say(text: str) -> None:
    """Print a line as it is: no markup in somebody's paths, no break in a command to copy."""
    console.print(text, markup=False, soft_wrap=True)


def bars() -> Progress:
    """A progress display on stderr, so that stdout stays for results."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=16),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
        # Only what room is left: the bar, the count and the time must stay readable at 80 columns.
        TextColumn("{task.fields[info]}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")),
        console=notes,
    )


@contextmanager
def bar(title: str, total: int | None = None) -> Iterator[Callable[[int, int | None], None]]:
    """One bar; gives ``update(done, total)``."""
    display = bars()
    task = display.add_task(title, total=total, info="")

    def update(done: int, total: int | None = None) -> None:
        # The bar appears with the first step: a command that is refused shows its one line and nothing else.
        display.start()
        display.update(task, completed=done, total=total)

    try:
        yield update
    finally:
        if display.live.is_started:
            display.stop()


class Watch:
    """Shows a training under way: one bar with the terms of the last step, one line a record.

    Args:
        line: what a record (of an epoch, of a point) came to, in one line.
    """

    def __init__(self, line: Callable[[Mapping[str, Any]], str]) -> None:
        self.line = line
        self.display = bars()
        self.task = self.display.add_task("training", total=None, info="")

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None:
        # The bar appears with the first step: a recipe that is refused shows its one line and nothing else.
        self.display.start()
        info = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
        self.display.update(self.task, completed=step, total=steps, info=escape(info))

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        self.display.console.print(self.line(record), highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self.display.live.is_started:
            self.display.stop()
