"""``unfooled demo``."""

from __future__ import annotations

import sys
import time
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.evaluate import with_interval
from unfooled.cli.progress import bars, console, say
from unfooled.cli.train import epoch_line

if TYPE_CHECKING:
    from unfooled.results import Evaluation


def demo(
    out: Annotated[Path, typer.Option(help="A new folder for everything the demo makes.")] = Path("demo"),
    seed: Annotated[int, typer.Option(min=0, help="Other people, other forgeries, another training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="About a minute: shows that all works, its numbers mean nothing.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Start anew where --out holds a demo or other files.")] = False,
    show: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the report. Default: where a person is watching.")
    ] = None,
) -> None:
    """Show on procedural people why an undefended detector is worthless under attack, and what helps.

    Renders talking portraits, forges them, trains four small detectors (undefended, AT, TRADES, AFSL), attacks them
    and writes a report. About five minutes on two cores; no download, no GPU. Broken off, the same command goes on.

    ```
    unfooled demo
    unfooled demo --out tmp/demo --seed 1
    unfooled demo --out tmp/look --quick
    ```
    """
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled.demo import REPORT
    from unfooled.demo import demo as run

    started = time.perf_counter()
    watch = _Watch()
    try:
        results = run(out, seed=seed, quick=quick, force=force, watch=watch)
    finally:
        watch.close()
    report = out / REPORT
    console.print(_table(results))
    say("AFSL is the published form with beta1 16 and beta2 1, begun from the undefended detector with a growing eps")
    if quick:
        say("--quick trains too little to judge anything: run the demo without it for numbers")
    minutes, seconds = divmod(round(time.perf_counter() - started), 60)
    say(f"report -> {report}  ({report.stat().st_size / 1e6:.1f} MB, {minutes}:{seconds:02} minutes)")
    say("with your own photographs or FaceForensics++: see the README, or unfooled data --help")
    if show or (show is None and sys.stdout.isatty()):
        webbrowser.open(report.resolve().as_uri())


class _Watch:
    """One bar for the whole demo, one for the stage at work, one line a stage and epoch."""

    def __init__(self) -> None:
        self.display = bars()
        self.whole = self.display.add_task("demo", total=100, info="")
        self.stage = self.display.add_task("", total=None, info="", visible=False)
        self.before, self.share = 0.0, 0.0

    def on_stage(self, title: str, share: float, known: bool) -> None:
        self.display.start()
        self.before, self.share = self.before + self.share, share
        self.display.update(self.whole, completed=round(100 * self.before))
        self.display.reset(self.stage, description=title, total=None, info="", visible=True)
        self.display.console.print(f"{title}{' (done before)' if known else ''}", highlight=False)

    def on_progress(self, done: int, total: int | None = None) -> None:
        self.display.update(self.stage, completed=done, total=total)
        self._advance(done, total)

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None:
        info = "  ".join(f"{name} {value:.3f}" for name, value in terms.items())
        self.display.update(self.stage, completed=step, total=steps, info=escape(info))
        self._advance(step, steps)

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        self.display.console.print("  " + epoch_line(record), highlight=False, soft_wrap=True)

    def close(self) -> None:
        if self.display.live.is_started:
            self.display.stop()

    def _advance(self, done: int, total: int | None) -> None:
        if total:
            self.display.update(self.whole, completed=100 * (self.before + self.share * done / total))


def _table(results: Sequence[Evaluation]) -> Table:
    """Clean, and the weakest AUC at each of the two radii that the demo speaks of."""
    table = Table(title="AUC on people that no detector has seen (95 % interval)")
    table.add_column("detector")
    table.add_column("clean", justify="right")
    radii = [r / 255 for r in (1, 2)]
    for radius in radii:
        table.add_column(f"weakest under attack, {radius * 255:g}/255", justify="right")
    for result in results:
        cells = [with_interval(result.condition("clean").metrics.get("frame/auc"))]
        for radius in radii:
            found = [
                c.metrics["robust/both/frame_auc"]
                for c in result.conditions
                if c.eps is not None and abs(c.eps - radius) < 1e-9
            ]
            cells.append(with_interval(min(found, key=lambda m: 1.0 if m.value is None else m.value)) if found else "")
        table.add_row(escape(result.name), *cells)
    return table
