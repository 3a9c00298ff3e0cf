"""``unfooled attack``."""

from __future__ import annotations

from dataclasses import replace
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
VIDEO_TITLES = {"before": "before", "after": "found", "saved": "saved", "h264_23": "H.264 crf 23"}
SHOWN = 5
TARGET = {
    "--target-field": "field", "--output": "output", "--target-threshold": "threshold", "--budget": "budget",
    "--rate": "rate", "--timeout": "timeout", "--target-upload": "upload", "--target-header": "headers",
    "--i-am-authorized": "authorized",
}  # fmt: skip


def attack(
    source: Annotated[Path, typer.Argument(metavar="FILE_OR_FOLDER", help="Images and videos to attack.")],
    attack_: Annotated[str, typer.Option("--attack", help="NAME[:key=value,...]. See `unfooled list`.")],
    out: Annotated[
        Path, typer.Option(help="The folder to write; the same command goes on in it. For one video also its file.")
    ],
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
    codec: Annotated[
        str | None, typer.Option(help="Of videos: ffv1 (lossless, .mkv) or h264. Default: as --out ends, else ffv1.")
    ] = None,
    crf: Annotated[int | None, typer.Option(help="Of h264, 0 (best) to 51 (worst). Default: 23.")] = None,
    face_detector: Annotated[
        str | None,
        typer.Option(metavar="haar|yunet|FILE.onnx", help="What finds the faces in videos. Default: haar."),
    ] = None,
    tracks: Annotated[
        str | None, typer.Option(help="Faces of a video: all (default), or that of the largest track.")
    ] = None,
    shared: Annotated[
        bool, typer.Option("--shared", help="One perturbation for all frames of a face, in place of one for each.")
    ] = False,
    pixels: Annotated[
        str | None,
        typer.Option(
            help="Of videos, what moves: pixels of the frame (default), or of the crop, which loses in saving."
        ),
    ] = None,
    clip: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip. Default: the recipe's, or frames one by one.")
    ] = None,
    learn_from: Annotated[
        Path | None,
        typer.Option(metavar="MANIFEST", help="Training faces for attacks that learn first: universal, stat."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
) -> None:
    """Attack image and video files: writes files that fool a detector, and says which of them still do after saving.

    Every file is attacked, as a fake that is to pass as real. What is written is scored again from the file, images
    also after JPEG, videos after H.264. In videos the faces are attacked; sound and timing stay.

    ```
    unfooled attack fakes/ --detector runs/afsl --attack pgd:eps=4/255,steps=50 --out attacked
    unfooled attack face.png --detector runs/afsl --attack rwa --out attacked --fake-only
    unfooled attack talk.mp4 --detector runs/csn --attack rwa --out talk-adv.mp4
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
    from unfooled.attack_files import VideoOptions, attack_files

    given: dict[str, Any] = {"codec": codec, "crf": crf, "face_detector": face_detector, "tracks": tracks, "clip": clip}
    given |= {"pixels": pixels}
    videos = VideoOptions(shared=shared, **{name: value for name, value in given.items() if value is not None})
    with bar("attacking") as update:
        result = attack_files(
            source, attacked, attack_, out, label=label, fake_only=fake_only, size=size, learn_from=learn_from,
            videos=videos, device=device, progress=update,
        )  # fmt: skip
    if not any("logit" in row for row in result.rows):
        raise DataError(result.stopped or f"no file could be attacked: {result.reasons[0]}")
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

    title = escape(str(result.rows[0].get("attack", ""))) or None
    for kind in ("images", "videos"):
        rows = [row for row in result.rows if ("tracks" in row) == (kind == "videos")]
        if any("logit" in row for row in rows):
            console.print(_table(replace(result, rows=rows), kind, title))
    for reason in result.reasons[:SHOWN]:
        console.print(f"[bold]warning:[/bold] {escape(reason)}", soft_wrap=True)
    if len(result.reasons) > SHOWN:
        say(f"... and {len(result.reasons) - SHOWN} more, see {ROWS}")
    for note in (*result.notes, *([result.stopped] if result.stopped else [])):
        console.print(f"[bold]note:[/bold] {escape(note)}", soft_wrap=True)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    say(f"{counts} -> {result.folder / ROWS}")


def _table(result: Outcome, kind: str, title: str | None) -> Table:
    titles = TITLES if kind == "images" else VIDEO_TITLES
    table = Table(title=title)
    table.add_column("", no_wrap=True)
    for name in titles.values():
        table.add_column(name, justify="right", no_wrap=True)
    rates = {stage: result.success_rate(stage) for stage in titles}
    table.add_row("success rate", *("" if rate is None else f"{rate:.3f}" for rate, _ in rates.values()))
    table.add_row(f"of {kind}", *("" if stage == "before" else str(count) for stage, (_, count) in rates.items()))
    logit = (("logit", "median logit"),) if kind == "videos" else ()
    for key, name in (*logit, ("linf_255", "median Linf, /255"), ("l2", "median L2")):
        table.add_row(name, *(_number(result.median(key, stage)) for stage in titles))
    for key, name in (("queries", "median queries"), ("seconds", "median seconds")):
        table.add_row(name, *(_number(result.median(key)) if stage == "after" else "" for stage in titles))
    return table


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
