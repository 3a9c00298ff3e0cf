"""``unfooled attack``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.progress import bar, console, say
from unfooled.errors import ConfigError, DataError

if TYPE_CHECKING:
    from unfooled.attack_files import Outcome
    from unfooled.models.detector import Detector

TITLES = {"after": "found", "saved": "saved (PNG)", "jpeg90": "JPEG 90", "jpeg75": "JPEG 75"}
SHOWN = 5
TARGET = {
    "--target-field": "field", "--output": "output", "--target-threshold": "threshold", "--budget": "budget",
    "--rate": "rate", "--timeout": "timeout", "--target-upload": "upload", "--target-header": "headers",
    "--i-am-authorized": "authorized",
}  # fmt: skip


def attack(
    source: Annotated[Path, typer.Argument(metavar="IMAGE_OR_FOLDER", help="What to attack.")],
    attack_: Annotated[str, typer.Option("--attack", help="NAME[:key=value,...]. See `unfooled list`.")],
    out: Annotated[Path, typer.Option(help="The folder to write; the same command goes on in it.")],
    detector: Annotated[Path | None, typer.Option(help="A run folder or checkpoint.")] = None,
    target: Annotated[
        str | None,
        typer.Option(help="A detector one can only call: an http:// address, 'program {file}', module:function."),
    ] = None,
    target_field: Annotated[
        str | None,
        typer.Option(metavar="A.B.0", help="Where the score stands in its answer. Default over HTTP: score."),
    ] = None,
    output: Annotated[
        str | None, typer.Option(help="What it answers: p_fake (default), p_real, logit or label.")
    ] = None,
    target_threshold: Annotated[
        float | None, typer.Option(help="P(fake) (or logit) above which it says fake. Default: 0.5 (or 0).")
    ] = None,
    budget: Annotated[int | None, typer.Option(min=1, help="Queries it may be asked, in all.")] = None,
    rate: Annotated[float | None, typer.Option(help="Queries a second at most.")] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds for one answer. Default: 10.")] = None,
    target_upload: Annotated[str | None, typer.Option(help="Name of the file field it expects. Default: file.")] = None,
    target_header: Annotated[
        list[str] | None, typer.Option(metavar="NAME:VALUE", help="Sent with each request; repeat for several.")
    ] = None,
    i_am_authorized: Annotated[
        list[str] | None, typer.Option(metavar="HOST", help="A host other than this machine whose owner agreed.")
    ] = None,
    label: Annotated[
        str, typer.Option(help="What the images are: fake, real, or auto (the detector's own verdict).")
    ] = "fake",
    fake_only: Annotated[
        bool, typer.Option("--fake-only", help="Pass over images that the detector does not call fake.")
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(min=8, help="Attack the central square at so many pixels. Default: the image as it is."),
    ] = None,
    learn_from: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Training faces for attacks that learn first: universal, stat."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Attack image files: writes PNGs that fool a detector, and says which of them still do after saving.

    Every image is attacked, as a fake that is to pass as real. Each PNG is scored again from the file, and after JPEG.

    ```
    unfooled attack fakes/ --detector runs/afsl --attack pgd:eps=4/255,steps=50 --out attacked
    unfooled attack face.png --detector runs/afsl --attack rwa --out attacked --fake-only
    unfooled attack fakes/ --target http://127.0.0.1:8000/score --attack square:eps=8/255 --budget 20000 --out attacked
    unfooled attack fakes/ --target "mydetector {file}" --output p_real --attack rbb --out attacked
    unfooled attack fakes/ --target mymodule:score --attack transfer:surrogate=runs/standard --out attacked
    ```
    """
    options: dict[str, Any] = {
        "--target-field": target_field, "--output": output, "--target-threshold": target_threshold, "--budget": budget,
        "--rate": rate, "--timeout": timeout, "--target-upload": target_upload, "--target-header": target_header,
        "--i-am-authorized": i_am_authorized,
    }  # fmt: skip
    attacked = _attacked(detector, target, {k: v for k, v in options.items() if v is not None and v != []})
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled.attack_files import attack_files

    with bar("attacking") as update:
        result = attack_files(
            source, attacked, attack_, out, label=label, fake_only=fake_only, size=size, learn_from=learn_from,
            device=device, progress=update,
        )  # fmt: skip
    if not any("logit" in row for row in result.rows):
        raise DataError(result.stopped or f"no image could be attacked: {result.reasons[0]}")
    _show(result)


def _attacked(detector: Path | None, target: str | None, options: dict[str, Any]) -> Path | Detector:
    if (detector is None) == (target is None):
        raise ConfigError("name what to attack: either --detector RUN or --target ADDRESS")
    if detector is not None:
        if options:
            raise ConfigError(f"{', '.join(options)} belong to a --target; a --detector has no use for them")
        return detector
    assert target is not None
    from unfooled.models.remote import remote

    if headers := options.get("--target-header"):
        pairs = [header.partition(":") for header in headers]
        if bad := [header for header, (_, colon, _) in zip(headers, pairs, strict=True) if not colon]:
            raise ConfigError(f"--target-header must be NAME:VALUE, got {bad[0]!r}")
        options["--target-header"] = {name.strip(): value.strip() for name, _, value in pairs}
    return remote(target, **{TARGET[name]: value for name, value in options.items()})


def _show(result: Outcome) -> None:
    from unfooled.attack_files.job import ROWS

    table = Table(title=escape(str(result.rows[0].get("attack", ""))) or None)
    table.add_column("", no_wrap=True)
    for title in TITLES.values():
        table.add_column(title, justify="right", no_wrap=True)
    rates = [result.success_rate(stage) for stage in TITLES]
    table.add_row("success rate", *("" if rate is None else f"{rate:.3f}" for rate, _ in rates))
    table.add_row("of images", *(str(count) for _, count in rates))
    for key, title in (("linf_255", "median Linf, /255"), ("l2", "median L2")):
        table.add_row(title, *(_number(result.median(key, stage)) for stage in ("after", "saved")), "", "")
    for key, title in (("queries", "median queries"), ("seconds", "median seconds")):
        table.add_row(title, _number(result.median(key)), "", "", "")
    console.print(table)
    for reason in result.reasons[:SHOWN]:
        console.print(f"[bold]warning:[/bold] {escape(reason)}", soft_wrap=True)
    if len(result.reasons) > SHOWN:
        say(f"... and {len(result.reasons) - SHOWN} more, see {ROWS}")
    for note in (*result.notes, *([result.stopped] if result.stopped else [])):
        console.print(f"[bold]note:[/bold] {escape(note)}", soft_wrap=True)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    say(f"{counts} -> {result.folder / ROWS}")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
