"""``unfooled data``: forge, index, check, fetch-face-model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.progress import bar, console, say

if TYPE_CHECKING:
    from unfooled.data.cropping import Boxes
    from unfooled.data.manifest import Manifest

SHOWN = 5

app = typer.Typer(help="Make, index and check data sets.", no_args_is_help=True, rich_markup_mode="markdown")


@app.command()
def forge(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder of face photographs with faces.csv (file, identity, landmarks), or the word portraits: "
            "drawn people, no download. A folder of that name is ./portraits."
        ),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the FaceForensics++-shaped set.")],
    people: Annotated[int | None, typer.Option(help="portraits: how many people. Default: 60.")] = None,
    frames: Annotated[
        int | None,
        typer.Option(help="Frames of a clip; makes a clip of every photograph. Default: portraits 32, else no clips."),
    ] = None,
    flicker: Annotated[
        float | None,
        typer.Option(help="Clips: how much a forgery changes from frame to frame, 0 to 1. Default: 0.15."),
    ] = None,
    manipulation: Annotated[
        list[str] | None, typer.Option(help="One of `unfooled list`; repeat for several. Default: all.")
    ] = None,
    per_image: Annotated[int, typer.Option(min=1, help="Fakes of each manipulation for every picture.")] = 1,
    strength: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="0 leaves the picture as it is, 1 is the full forgery.")
    ] = 1.0,
    size: Annotated[int, typer.Option(min=32, help="Height and width of the written faces, in pixels.")] = 96,
    margin: Annotated[
        float | None,
        typer.Option(help="Photographs: turn and frame faces as `prepare --margin` does. Default: a close square."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; default: one a core.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Make a set of real and fake faces, split by person, from photographs or drawn people.

    ```
    unfooled data forge portraits --out sets/portraits --people 60 --frames 32
    unfooled data forge photos --out sets/faces
    unfooled data forge photos --out sets/clips --frames 16
    unfooled data forge photos --out sets/like-videos --margin 1.3
    unfooled data forge photos --out sets/swaps --manipulation FaceSwap --per-image 3
    ```
    """
    from unfooled.synthesis.forge import forge as run

    with bar("forging") as update:
        summary = run(
            source, out, people=people, frames=frames, flicker=flicker, manipulations=manipulation, per_image=per_image,
            strength=strength, size=size, margin=margin, seed=seed, workers=workers, force=force, progress=update,
        )  # fmt: skip
    console.print(str(summary))
    console.print(f"next: unfooled data index ffpp {out} --out {out / 'manifest.parquet'}")


@app.command()
def index(
    layout: Annotated[
        str, typer.Argument(help="How it is laid out: celebdf, deeperforensics, deepfakebench, dfdc, ffpp, folder.")
    ],
    root: Annotated[Path, typer.Argument(help="The folder of the data set; deepfakebench: its JSON, or their folder.")],
    out: Annotated[Path, typer.Option(help="The manifest to write (Parquet).")],
    compression: Annotated[
        str | None, typer.Option(help="ffpp, deepfakebench: raw, c0, c23 or c40 only. Default: all that is there.")
    ] = None,
    frames: Annotated[
        str | None,
        typer.Option(
            help="videos (one row a file) or images (one row a frame). Default: ffpp images; celebdf, dfdc, "
            "deeperforensics videos."
        ),
    ] = None,
    splits: Annotated[
        bool, typer.Option(help="ffpp, celebdf, deeperforensics: read the published lists of splits.")
    ] = True,
    validation: Annotated[
        float | None,
        typer.Option(
            help="celebdf, dfdc: share of the training people (dfdc: originals) that becomes a validation split of our "
            "own, such as 0.1. Default: none, as published."
        ),
    ] = None,
    ffpp: Annotated[
        Path | None, typer.Option(help="deeperforensics: FaceForensics++, whose c23 originals are the real class.")
    ] = None,
    frames_root: Annotated[
        Path | None,
        typer.Option(help="deepfakebench: where the frames lie. Default: the folder of the JSON."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="A name that keeps people and videos of several sets apart.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The splits are the publisher's: a leak in them is a warning.")
    ] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Open every image once and mark those that can not be read.")
    ] = False,
    seed: Annotated[int, typer.Option(help="folder, celebdf, dfdc: draws the people of a split of our own.")] = 0,
) -> None:
    """Write a manifest: one row for every image or video, with label, person, manipulation and split.

    ```
    unfooled data index ffpp sets/faces --out sets/faces/manifest.parquet
    unfooled data index ffpp /data/FaceForensics++ --compression c23 --out ffpp.parquet
    unfooled data index celebdf /data/Celeb-DF-v2 --validation 0.1 --out celebdf.parquet
    unfooled data index dfdc /data/dfdc --validation 0.1 --out dfdc.parquet
    unfooled data index deeperforensics /data/DeeperForensics-1.0 --ffpp /data/FaceForensics++ --out deeper.parquet
    unfooled data index deepfakebench dataset_json/DFDCP.json --frames-root /data/rgb --out dfdcp.parquet
    unfooled data index folder mine --out mine.parquet      # mine/real, mine/fake[/manipulation]
    ```
    """
    from unfooled.data.layouts import index as read

    options: dict[str, object] = {"compression": compression, "frames": frames, "dataset": dataset, "seed": seed}
    options |= {"validation": validation, "ffpp": ffpp, "frames_root": frames_root}
    # Only said where it matters: a layout without split lists has nothing to leave out.
    options |= {} if splits else {"splits": False}
    manifest, problems = read(layout, root, decode=decode, **options)
    manifest = replace(manifest, published=published or manifest.published)
    manifest.write(out)
    _show(manifest)
    for problem in problems:
        console.print(f"note: {escape(problem)}")
    console.print(f"{len(manifest)} rows -> {out}")


@app.command()
def prepare(
    manifest: Annotated[Path, typer.Argument(help="A manifest of videos or pictures, from `unfooled data index`.")],
    out: Annotated[Path, typer.Option(help="The folder to write; the same command goes on in it.")],
    size: Annotated[int, typer.Option(min=8, help="Height and width of a crop, in pixels.")] = 224,
    margin: Annotated[float, typer.Option(help="Side of the crop over the height of the face.")] = 1.3,
    detector: Annotated[
        str, typer.Option(help="haar, yunet, yunet:longest=640, or the .onnx file of a YuNet.")
    ] = "haar",
    every: Annotated[int, typer.Option(min=1, help="Look for faces in every so manieth frame, follow between.")] = 3,
    frames: Annotated[
        int | None, typer.Option(min=1, help="At most so many crops of a track, evenly spread. Default: all.")
    ] = None,
    shortest: Annotated[int, typer.Option(min=1, help="Pass over faces that are there for fewer frames.")] = 5,
    largest: Annotated[bool, typer.Option("--largest", help="Only the track that covers most, not every one.")] = False,
    distortion: Annotated[
        str | None,
        typer.Option(
            help="Distort the full frames before faces are looked for, as DeeperForensics-1.0 does: blur:level=3, "
            "h264:crf=35; see `unfooled list`."
        ),
    ] = None,
    boxes: Annotated[
        str, typer.Option(help="With --distortion: look for faces in the distorted frames (as published) or original.")
    ] = "distorted",
    split: Annotated[str | None, typer.Option(help="Only this split: train, validation or test.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many files.")] = None,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; default: one a core.")] = None,
) -> None:
    """Find, follow, align and crop the faces of videos; killed at any moment, the same command goes on.

    Every track is one face from its first to its last frame in a shot, with a folder of lossless crops. A file without
    a face, or one that can not be read, gets a status and a reason, never a crop.

    ```
    unfooled data prepare ffpp.parquet --out tracks --detector yunet
    unfooled data prepare ffpp.parquet --out faces32 --frames 32 --largest --size 299
    unfooled data prepare ffpp.parquet --out tracks-blur3 --split test --distortion blur:level=3
    ```
    """
    from unfooled.data.cropping import Settings
    from unfooled.data.manifest import Manifest
    from unfooled.data.prepare import prepare as run
    from unfooled.distortions import parse
    from unfooled.errors import DataError

    table = Manifest.read(manifest)
    table = table if split is None else table.select(split=split)
    table = table if limit is None else table.take(range(min(limit, len(table))))
    if not len(table):
        raise DataError(f"{manifest} has no rows of split {split!r}; see `unfooled data check {manifest}`")
    settings = Settings(
        size, margin, detector, every, frames, shortest, largest,
        None if distortion is None else parse(distortion), cast("Boxes", boxes),
    )  # fmt: skip
    with bar("preparing") as update:
        done = run(table, out, settings, workers=workers, progress=update)
    for reason in done.reasons[:SHOWN]:
        console.print(f"[bold]warning:[/bold] {escape(reason)}", soft_wrap=True)
    if len(done.reasons) > SHOWN:
        console.print(f"... and {len(done.reasons) - SHOWN} more, see {escape(str(out / 'prepare.jsonl'))}")
    counts = ", ".join(f"{count} {status}" for status, count in sorted(done.statuses.items()))
    rate = f", {done.decoded / done.seconds:.0f} frames/s" if done.decoded else ""
    console.print(f"{counts}: {done.tracks} tracks, {done.crops} crops{rate}")
    console.print(f"{len(done.manifest)} rows -> {escape(str(done.path))}", soft_wrap=True)


@app.command()
def merge(
    manifests: Annotated[list[Path], typer.Argument(help="Two manifests or more.")],
    out: Annotated[Path, typer.Option(help="The manifest to write (Parquet).")],
) -> None:
    """Join manifests into one, to train or measure on several sets at once; splits stay as they are.

    ```
    unfooled data merge sets/photos/manifest.parquet sets/portraits/manifest.parquet --out sets/both.parquet
    ```
    """
    from unfooled.data.manifest import Manifest
    from unfooled.data.manifest import merge as join

    joined = join([Manifest.read(path) for path in manifests])
    warnings = joined.check(files=False)
    joined.write(out)
    _show(joined)
    for warning in warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}")
    console.print(f"{len(joined)} rows -> {escape(str(out))}", soft_wrap=True)


@app.command()
def check(
    manifest: Annotated[Path, typer.Argument(help="A manifest written by `unfooled data index`.")],
    files: Annotated[bool, typer.Option(help="Also look whether every file exists.")] = True,
) -> None:
    """Look for leaks (a person or video in two splits), double ids and missing files.

    ```
    unfooled data check sets/faces/manifest.parquet
    ```
    """
    from unfooled.data.manifest import Manifest

    table = Manifest.read(manifest)
    warnings = table.check(files=files)
    _show(table)
    for warning in warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}")
    console.print(f"digest {table.digest()}")
    console.print("no leak found" if not warnings else f"{len(warnings)} warnings")


@app.command("fetch-face-model")
def fetch(
    out: Annotated[
        Path | None, typer.Option(help="The file to write. Default: where `yunet` looks, in your cache folder.")
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="http, https or file address. Default: the model collection of OpenCV.")
    ] = None,
) -> None:
    """Fetch YuNet, the recommended face detector (0.2 MB), and check it; without it there is `haar`.

    ```
    unfooled data fetch-face-model
    unfooled data fetch-face-model --out models/yunet.onnx    # then name it, or set UNFOOLED_YUNET to it
    ```
    """
    from unfooled.data.fetch import FACE_MODEL, fetch_face_model, model_path

    target = out or model_path()
    say(f"{fetch_face_model(target, source or FACE_MODEL)} -> {target}")


def _show(manifest: Manifest) -> None:
    rows = manifest.summary()
    table = Table()
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("split", "manipulation", "label") else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
