"""``unfooled data``: forge, index, check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.progress import bar, console

if TYPE_CHECKING:
    from unfooled.data.manifest import Manifest

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
    seed: Annotated[int, typer.Option(help="Same seed, same bytes.")] = 0,
    workers: Annotated[int | None, typer.Option(min=0, help="Processes; default: one a core.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that is not empty.")] = False,
) -> None:
    """Make a set of real and fake faces, split by person, from photographs or drawn people.

    ```
    unfooled data forge portraits --out sets/portraits --people 60 --frames 32
    unfooled data forge photos --out sets/faces
    unfooled data forge photos --out sets/clips --frames 16
    unfooled data forge photos --out sets/swaps --manipulation FaceSwap --per-image 3
    ```
    """
    from unfooled.synthesis.forge import forge as run

    with bar("forging") as update:
        summary = run(
            source, out, people=people, frames=frames, flicker=flicker, manipulations=manipulation, per_image=per_image,
            strength=strength, size=size, seed=seed, workers=workers, force=force, progress=update,
        )  # fmt: skip
    console.print(str(summary))
    console.print(f"next: unfooled data index ffpp {out} --out {out / 'manifest.parquet'}")


@app.command()
def index(
    layout: Annotated[str, typer.Argument(help="How the folder is laid out: ffpp or folder.")],
    root: Annotated[Path, typer.Argument(help="The folder of the data set.")],
    out: Annotated[Path, typer.Option(help="The manifest to write (Parquet).")],
    compression: Annotated[
        str | None, typer.Option(help="ffpp: raw, c0, c23 or c40 only. Default: all that is there.")
    ] = None,
    frames: Annotated[
        str | None, typer.Option(help="ffpp: images (one row a frame) or videos (one row a file).")
    ] = None,
    splits: Annotated[bool, typer.Option(help="ffpp: read splits/{train,val,test}.json.")] = True,
    dataset: Annotated[
        str | None, typer.Option(help="A name that keeps people and videos of several sets apart.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The splits are the publisher's: a leak in them is a warning.")
    ] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="Open every image once and mark those that can not be read.")
    ] = False,
    seed: Annotated[int, typer.Option(help="folder: how people are split where no split is given.")] = 0,
) -> None:
    """Write a manifest: one row for every image or video, with label, person, manipulation and split.

    ```
    unfooled data index ffpp sets/faces --out sets/faces/manifest.parquet
    unfooled data index ffpp /data/FaceForensics++ --compression c23 --out ffpp.parquet
    unfooled data index folder mine --out mine.parquet      # mine/real, mine/fake[/manipulation]
    ```
    """
    from unfooled.data.layouts import index as read

    options = {"compression": compression, "frames": frames, "dataset": dataset, "seed": seed}
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


def _show(manifest: Manifest) -> None:
    rows = manifest.summary()
    table = Table()
    for column in rows[0]:
        table.add_column(column, justify="left" if column in ("split", "manipulation", "label") else "right")
    for row in rows:
        table.add_row(*map(str, row.values()))
    console.print(table)
