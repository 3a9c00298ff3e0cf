"""``unfooled scan``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from unfooled.cli.progress import bars, console, say
from unfooled.errors import ConfigError

if TYPE_CHECKING:
    from unfooled.scanning.bulk import Step, Summary
    from unfooled.scanning.options import ScanOptions
    from unfooled.scanning.verdict import Scan

PAGE, JSON = "index.html", "scan.json"
STYLES = {"fake": "red", "real": "green", "undecided": "yellow"}
CODES = {"fake": 10, "undecided": 11, "unreadable": 12, "refused": 12, "no_score": 12}
STAGES = {"faces": 45, "crops": 10, "scores": 5, "evidence": 5, "tampering": 5, "margin": 30}
"""Stages of a scan and about which share of the time they take."""
SHOWN = 8
THREADS = 4
"""That look for faces in one file; more only wait for its decoding."""


def scan(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE_OR_FOLDER...", help="Videos, pictures, folders, patterns, @list.txt, - for a list on stdin."
        ),
    ],
    detector: Annotated[
        Path | None, typer.Option(metavar="RUN", help="A run folder or checkpoint. Default: the small one inside.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write. Default: FILE.scan, for several files it must be named.")
    ] = None,
    margin: Annotated[
        str,
        typer.Option(metavar="apgd|off", help="Search the smallest change that turns the verdict, or not (faster)."),
    ] = "apgd",
    samples: Annotated[int, typer.Option(help="Points of a face at most; of clips at most 8.")] = 32,
    rule: Annotated[str, typer.Option(help="What speaks for a file with several faces: max or largest.")] = "max",
    face_detector: Annotated[
        str,
        typer.Option(metavar="haar|yunet|FILE.onnx|whole", help="What finds faces; whole: the file is a face crop."),
    ] = "haar",
    every: Annotated[int, typer.Option(help="Look for faces in every so many-th frame.")] = 3,
    crop_margin: Annotated[float, typer.Option(help="Side of a crop over the height of the face.")] = 1.3,
    tampering: Annotated[bool, typer.Option(help="Look for signs of adversarial noise.")] = True,
    max_seconds: Annotated[float | None, typer.Option(help="Refuse longer videos.")] = None,
    max_pixels: Annotated[int | None, typer.Option(help="Refuse larger pictures and frames.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, help="Processes for several files. Default: one a core.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Of several files: processes, or ray (a cluster).")] = "processes",
    timeout: Annotated[float | None, typer.Option(help="Of several files: seconds for one.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Of several files: scan again what was unreadable.")] = False,
    evidence: Annotated[bool, typer.Option(help="Write pictures and a page.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON and nothing else.")] = False,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="End with 10 (fake), 11 (undecided) or 12 (unreadable).")
    ] = False,
    device: Annotated[str, typer.Option(help="Of one file: cpu, cuda or cuda:1.")] = "cpu",
) -> None:
    """Scan videos and pictures: a verdict a person can check, with evidence, margin and cautions.

    One file: the verdict on the screen, its evidence in a page. Several: JSON lines, a table (Parquet), an HTML index
    and a page for each; killed at any moment, the same command goes on.

    ```
    unfooled scan talk.mp4                                          # the small detector inside: a demonstration
    unfooled scan talk.mp4 --detector runs/afsl --out talk-evidence
    unfooled scan inbox/ --detector runs/afsl --out results --workers 8 --margin off
    unfooled scan "inbox/**/*.mp4" @more.txt --detector runs/afsl --out results --exit-code
    find /data -name "*.mp4" | unfooled scan - --detector runs/afsl --out results
    unfooled scan face.png --face-detector whole --json             # the picture is a face crop already
    ```
    """
    from unfooled.scanning.options import ScanOptions

    given: dict[str, Any] = {"max_seconds": max_seconds, "max_pixels": max_pixels}
    options = ScanOptions(
        face_detector=face_detector, every=every, crop_margin=crop_margin, samples=samples,
        rule=rule, margin=margin, tampering=tampering,  # type: ignore[arg-type]
        **{name: value for name, value in given.items() if value is not None},
    )  # fmt: skip
    if len(sources) == 1 and Path(sources[0]).is_file():
        bulk = {"--workers": workers, "--timeout": timeout, "--retry": retry or None}
        if foreign := [name for name, value in bulk.items() if value is not None]:
            raise ConfigError(f"{', '.join(foreign)} are for several files; leave out, or name a folder")
        found = _one(Path(sources[0]), detector, options, out, evidence, as_json, device)
        if exit_code:
            raise typer.Exit(CODES.get(found.verdict or found.status, 0))
        return
    if len(sources) == 1 and not Path(sources[0]).exists() and not set(sources[0]) & set("*?[@") and sources[0] != "-":
        raise ConfigError(f"{sources[0]} is not there; name a video, a picture, a folder, a pattern, @list.txt or -")
    if out is None:
        raise ConfigError("several files need --out FOLDER for results.jsonl, results.parquet and index.html")
    from unfooled.scanning.bulk import scan_many

    with _many(quiet=as_json) as update:
        summary = scan_many(
            sources, out, detector, options, workers=workers, engine=engine,  # type: ignore[arg-type]
            timeout=timeout, evidence=evidence, retry=retry, progress=update,
        )  # fmt: skip
    if as_json:
        sys.stdout.write((summary.folder / "results.jsonl").read_text(encoding="utf-8"))
    else:
        _counted(summary)
    if exit_code:
        raise typer.Exit(summary.exit_code)


def _one(
    path: Path, run: Path | None, options: ScanOptions, out: Path | None, evidence: bool, as_json: bool, device: str
) -> Scan:
    folder = Path(f"{path.name}.scan") if out is None else out
    if evidence and folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; name a folder")
    if (folder / "ledger.sqlite").exists():
        raise ConfigError(f"--out {folder} holds the scan of many files; name another folder")
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled.files import replacing
    from unfooled.scanning.page import render
    from unfooled.scanning.scanner import Scanner

    scanner = Scanner.open(run, options, device, threads=min(THREADS, os.cpu_count() or 1))
    with _stages() as update:
        found = scanner(path, evidence=folder if evidence else None, progress=update)
    if evidence:
        for name, text in ((JSON, found.model_dump_json(indent=1) + "\n"), (PAGE, render([found], [folder]))):
            with replacing(folder / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    if as_json:
        sys.stdout.write(found.model_dump_json(indent=1) + "\n")
    else:
        _show(found, folder / PAGE if evidence else None)
    return found


@contextmanager
def _stages() -> Iterator[Callable[[str, float], None]]:
    display, ends, total = bars(), dict[str, int](), 0
    for name, share in STAGES.items():
        ends[name], total = total, total + share
    task = display.add_task("scanning", total=total, info="")

    def update(stage: str, share: float) -> None:
        display.start()
        done = ends.get(stage, 0) + share * STAGES.get(stage, 0)
        display.update(task, completed=round(done), info=stage)

    try:
        yield update
    finally:
        if display.live.is_started:
            display.update(task, completed=total, info="")
            display.stop()


@contextmanager
def _many(quiet: bool) -> Iterator[Callable[[Step], None]]:
    display = bars()
    task = display.add_task("scanning", total=None, info="")

    def update(step: Step) -> None:
        if not quiet:
            display.start()
            display.update(task, completed=step.done, total=step.total, info=f"{step.rate:.2g}/s {step.name}")

    try:
        yield update
    finally:
        if display.live.is_started:
            display.stop()


def _show(found: Scan, page: Path | None) -> None:
    from unfooled.scanning import meaning
    from unfooled.scanning.page import percent

    style = STYLES.get(found.verdict or "", "white")
    lines = [escape(meaning.summary(found))]
    if found.verdict is not None and found.probability is not None:
        known = "calibrated" if found.detector.calibrated else "raw score, NOT calibrated"
        low, high = (f"{100 * p:.1f} %" for p in (found.thresholds.real_below, found.thresholds.fake_above))
        lines += [
            f"[bold]P(fake)[/bold]   {percent(found.probability)} ({known}; real below {low}, fake above {high})",
            f"[bold]margin[/bold]    {escape(meaning.margin(found))}",
            f"[bold]tampering[/bold] {escape(meaning.tampering(found))}",
        ]
    title = f"[bold {style}]{meaning.title(found).upper()}[/bold {style}]  {escape(found.file)}"
    console.print(Panel("\n".join(lines), title=title, title_align="left", border_style=style))
    if found.tracks:
        console.print(_faces(found))
    for caution in found.cautions:
        console.print(f"[bold]caution:[/bold] {escape(caution)}", soft_wrap=True)
    console.print(
        f"[bold]detector:[/bold] {escape(found.detector.name)}. {escape(found.detector.note)}", soft_wrap=True
    )
    if page is not None:
        say(f"evidence -> {page}")


def _faces(found: Scan) -> Table:
    from unfooled.scanning.page import percent
    from unfooled.scanning.timeline import clock

    table = Table()
    table.add_column("face")
    for title in ("from", "to", "frames", "points", "P(fake)", "logit"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict")
    loud = sorted(found.tracks, key=lambda t: -t.logit)[:SHOWN]
    for track in loud:
        style = STYLES[track.verdict]
        table.add_row(
            track.id, clock(track.start), clock(track.stop), str(track.frames), str(len(track.points)),
            percent(track.probability), f"{track.logit:.2f}", f"[{style}]{track.verdict}[/{style}]",
        )  # fmt: skip
    if len(found.tracks) > SHOWN:
        table.caption = f"the {SHOWN} of {len(found.tracks)} faces that look most fake"
    return table


def _counted(summary: Summary) -> None:
    table = Table()
    table.add_column("outcome")
    table.add_column("files", justify="right")
    for name, count in sorted(summary.counts.items(), key=lambda item: -item[1]):
        table.add_row(name, f"{count:,}")
    console.print(table)
    if summary.copies:
        say(f"{summary.copies:,} files have the bytes of another one and were scanned once")
    if summary.passed_over:
        endings = ", ".join(
            f"{count} {ending or 'without ending'}" for ending, count in summary.passed_over.most_common(5)
        )
        say(f"passed over: {endings}")
    say(f"{summary.scanned:,} scanned in {summary.seconds:.0f} s -> {summary.folder / 'index.html'}")
