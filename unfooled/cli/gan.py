"""``unfooled gan``: train, sample."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from unfooled.cli.progress import Watch, bar, console, say

app = typer.Typer(
    help="Train a small GAN on real faces, and sample fakes of manipulation GAN from it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@app.command()
def train(
    manifest: Annotated[
        Path, typer.Argument(help="A manifest of face images; the real rows of split train are learnt from.")
    ],
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    steps: Annotated[int, typer.Option(help="Steps of both networks; with --resume more than before goes on.")] = 9000,
    size: Annotated[int, typer.Option(help="Side of the faces in pixels: 32, 64 or 128 (with a GPU).")] = 64,
    width: Annotated[
        int, typer.Option(help="Channels at half the size; twice as many take about 4 times as long.")
    ] = 24,
    batch_size: Annotated[int, typer.Option(help="Reals, and as many fakes, of a step.")] = 16,
    lr: Annotated[float, typer.Option(help="Learning rate of both networks (Adam).")] = 4e-4,
    start: Annotated[
        str, typer.Option(help="eigenfaces: start as a linear model of the training faces; nothing: from noise.")
    ] = "eigenfaces",
    ema: Annotated[float, typer.Option(help="Decay of the average of the generator's weights, in [0, 1).")] = 0.998,
    augment: Annotated[
        str, typer.Option(help="Differentiable augmentation of reals and fakes, or none.")
    ] = "colour,translation,cutout",
    every: Annotated[int, typer.Option(help="Steps between two points: measured, drawn, saved to resume from.")] = 500,
    samples: Annotated[int, typer.Option(help="Samples that the Frechet distance is measured on.")] = 1000,
    features: Annotated[
        Path | None,
        typer.Option(help="Run folder or checkpoint whose features measure it. Default: the package's small detector."),
    ] = None,
    precision: Annotated[str, typer.Option(help="32 or bf16-mixed.")] = "32",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")] = "auto",
    workers: Annotated[int, typer.Option(help="Decoding processes.")] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same numbers.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
) -> None:
    """Train a generator of faces (spectral norm, hinge loss, averaged weights, differentiable augmentation).

    ```
    unfooled gan train sets/faces/manifest.parquet --out runs/gan
    unfooled gan train sets/faces/manifest.parquet --out runs/gan --features runs/standard --resume
    unfooled gan train sets/faces/manifest.parquet --out runs/gan128 --size 128 --device cuda
    ```
    """
    from unfooled.memory import keep_memory

    keep_memory()
    from typing import Literal, cast

    from unfooled import checkpoints
    from unfooled.data.manifest import Manifest
    from unfooled.gan_training import GanSettings, fit_gan
    from unfooled.scanning.scanner import SMALL

    settings = GanSettings(
        size=size, width=width, start=cast(Literal["eigenfaces", "nothing"], start), steps=steps,
        batch_size=batch_size, lr=lr, ema=ema, augment=augment, every=every,
        samples=samples, precision=cast(Literal["32", "bf16-mixed"], precision), device=device, workers=workers,
        seed=seed, resume=resume,
    )  # fmt: skip
    table = Manifest.read(manifest)
    detector = checkpoints.load(features or SMALL)
    detector.title = str(features) if features else "small (of the package)"
    watch = Watch(point_line)
    try:
        result = fit_gan(table, settings, out, features=detector, progress=watch)
    finally:
        watch.close()
    for warning in result.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}", soft_wrap=True)
    say(f"best Frechet distance {result.best['frechet']:.4g} (step {result.best['step']}) -> {out}")
    run, index, target = (shlex.quote(str(path)) for path in (out, manifest, f"{out}-faces"))
    say(f"next: unfooled gan sample {run} -n 500 --index {index} --out {target}")


@app.command()
def sample(
    run: Annotated[Path, typer.Argument(help="A run folder of `unfooled gan train`.")],
    out: Annotated[Path, typer.Option(help="A new folder for the PNG files and their manifest.")],
    number: Annotated[int, typer.Option("-n", "--number", help="How many faces.")] = 500,
    index: Annotated[
        Path | None,
        typer.Option(
            help="A manifest to add them to; the result is OUT/manifest.parquet, the given one stays as it is. "
            "Default: a manifest of the samples alone, for `unfooled data merge`."
        ),
    ] = None,
    dataset: Annotated[str, typer.Option(help="A name that keeps them apart from other sets.")] = "gan",
    seed: Annotated[int, typer.Option(help="Same seed, same faces.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 or auto.")] = "auto",
) -> None:
    """Write faces of a trained generator: fakes of manipulation GAN, marked as synthetic in their metadata.

    ```
    unfooled gan sample runs/gan -n 500 --out sets/gan
    unfooled gan sample runs/gan -n 1074 --index sets/faces/manifest.parquet --out sets/faces-gan
    ```
    """
    from unfooled.data.manifest import Manifest
    from unfooled.gan_training import sample as draw
    from unfooled.training import Settings, place

    kind, which = place(Settings(device=device))
    table = None if index is None else Manifest.read(index)
    with bar("sampling", number) as update:
        made = draw(
            run, number, out, index=table, seed=seed, dataset=dataset, progress=update,
            device=kind if which is None else f"{kind}:{which}",
        )  # fmt: skip
    say(f"{made.count} faces of {made.size} px -> {out}")
    say(f"{len(made.manifest)} rows -> {out / 'manifest.parquet'}")
    say(f"train with data.size = {made.size}, so that reals and fakes are resized alike")


def point_line(record: Mapping[str, Any]) -> str:
    """What a point came to, in one line."""
    losses = "  ".join(f"{name} {record[name]:.3f}" for name in ("discriminator", "generator"))
    rate = f"{record['images_per_second']:.0f} images/s"
    return f"step {record['step']:>6}  Frechet distance {record['frechet']:.4f}  {losses}  {rate}"
