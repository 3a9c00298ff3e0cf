"""``unfooled report`` and ``unfooled list``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unfooled.cli.progress import console, say


def report(
    evaluations: Annotated[
        list[Path], typer.Argument(help="Evaluation JSON files, or run folders that hold an eval.json.")
    ],
    out: Annotated[Path, typer.Option(help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Make one offline HTML page that compares evaluations.

    ```
    unfooled report runs/*/eval.json --out report.html
    ```
    """
    from unfooled.evaluation import compare_all
    from unfooled.files import check_target
    from unfooled.reports import render
    from unfooled.results import Evaluation, write_text

    check_target(out)
    files = [p / "eval.json" if p.is_dir() else p for p in evaluations]
    read = [Evaluation.read(p) for p in files]
    write_text(out, render(read, compare_all(read)))
    say(f"{len(read)} evaluation{'s'[: len(read) != 1]} -> {out}")


def list_parts() -> None:
    """Show detectors, attacks, defenses, distortions, objectives and manipulations, one line each."""
    from unfooled.attacks import ATTACKS
    from unfooled.defenses import DEFENSES
    from unfooled.distortions import DISTORTIONS
    from unfooled.models import DETECTORS
    from unfooled.objectives import OBJECTIVES
    from unfooled.registry import summary
    from unfooled.synthesis.forgeries import MANIPULATIONS

    tables = {
        "detectors": DETECTORS, "attacks": ATTACKS, "defenses": DEFENSES, "distortions": DISTORTIONS,
        "objectives": OBJECTIVES, "manipulations": MANIPULATIONS,
    }  # fmt: skip
    for kind, table in tables.items():
        console.print(f"[bold]{kind}[/bold]")
        for name, part in sorted(table.items()):
            console.print(f"  {name:<16}{summary(part)}", soft_wrap=True, markup=False)
