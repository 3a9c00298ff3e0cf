"""``unfooled calibrate``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.progress import bar, console, say
from unfooled.errors import ConfigError

if TYPE_CHECKING:
    from unfooled.calibration import Calibration, Rate


def calibrate(
    run: Annotated[Path, typer.Argument(help="A run folder or checkpoint.")],
    data: Annotated[
        Path | None, typer.Option(help="A manifest of face crops or files. Default: the one the run was trained on.")
    ] = None,
    split: Annotated[str, typer.Option(help="validation (default), train or all; never test.")] = "validation",
    target_fpr: Annotated[float, typer.Option(help="Share of real files that may be called fake.")] = 0.01,
    rule: Annotated[str, typer.Option(help="What speaks for a file with several faces: max or largest.")] = "max",
    samples: Annotated[int, typer.Option(help="Points of a face at most; of clips at most 8.")] = 32,
    faces: Annotated[
        str | None,
        typer.Option(
            metavar="given|found",
            help="Rows are face crops, or files in which faces are looked for. Default: found for videos.",
        ),
    ] = None,
    face_detector: Annotated[
        str, typer.Option(metavar="haar|yunet|FILE.onnx", help="What finds the faces of files.")
    ] = "haar",
    subgroup: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Also count false positives by this column; repeat for several."),
    ] = None,
    attacked: Annotated[
        int, typer.Option(min=0, help="Files attacked to measure the sign of tampering; 0: none.")
    ] = 200,
    device: Annotated[str, typer.Option(help="cpu, cuda or cuda:1.")] = "cpu",
) -> None:
    """Set the two thresholds of a run's verdicts, and measure how often they are wrong.

    Fits a temperature and, for whole files, the score above which at most a target share of real files is called fake;
    below the lower one at most that share of fakes is called real; between, a file is undecided. Writes
    calibration.json into the run folder, which `scan` and `serve` use.

    ```
    unfooled calibrate runs/afsl
    unfooled calibrate runs/afsl --data sets/faces --target-fpr 0.05 --subgroup identity
    unfooled calibrate runs/afsl --data videos.parquet --faces found --face-detector yunet
    ```
    """
    if faces not in (None, "given", "found"):
        raise ConfigError(f"--faces must be given or found, got {faces!r}")
    if not run.exists():
        raise ConfigError(f"{run} is not there; name a run folder or checkpoint")
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled import calibration
    from unfooled.config import load_recipe
    from unfooled.files import check_target
    from unfooled.scanning.calibrating import calibrate as measure
    from unfooled.scanning.options import ScanOptions

    check_target(calibration.place(run))
    if data is None:
        data = Path(load_recipe(run if run.is_dir() else run.parent).data.manifest)
    options = ScanOptions(rule=rule, samples=samples, face_detector=face_detector, margin="off")  # type: ignore[arg-type]
    with bar("calibrating") as update:
        found = measure(
            run, data, split=split, target_fpr=target_fpr, options=options, faces=faces,  # type: ignore[arg-type]
            subgroups=subgroup or [], attacked=attacked, device=device, progress=update,
        )  # fmt: skip
    path = calibration.write(found, run)
    _show(found)
    say(f"{found.n_real} real and {found.n_fake} fake files -> {path}")


def _show(found: Calibration) -> None:
    table = Table(title=escape(f"{found.data}, split {found.split}"))
    table.add_column("")
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("95 % interval", justify="right", no_wrap=True)
    table.add_column("files", justify="right", no_wrap=True)
    rows: list[tuple[str, Rate]] = [
        ("real called fake", found.false_positives),
        ("the same, threshold of the other half", found.false_positives_crossed),
        ("fake called real", found.false_negatives),
        ("real left undecided", found.undecided_real),
        ("fake left undecided", found.undecided_fake),
    ]
    for column, groups in found.subgroups.items():
        rows += [(f"real called fake, {column} {value}", rate) for value, rate in groups.items()]
    if found.tampering is not None:
        rows.append(("flagged as tampered, not attacked", found.tampering.false_alarm))
        rows += [(f"flagged as tampered, {attack}", rate) for attack, rate in found.tampering.detection.items()]
    for title, rate in rows:
        value = "" if rate.value is None else f"{100 * rate.value:.1f} %"
        table.add_row(
            escape(title), value, f"{100 * rate.low:.1f} to {100 * rate.high:.1f} %", f"{rate.count} of {rate.of}"
        )
    console.print(table)
    say(f"temperature {found.temperature:.3g}; real below {found.real_below:.4f}, fake above {found.fake_above:.4f}")
    for note in found.notes:
        console.print(f"[bold]note:[/bold] {escape(note)}", soft_wrap=True)
