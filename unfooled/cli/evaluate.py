"""``unfooled evaluate``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.progress import bar, console, say
from unfooled.errors import ConfigError, DataError
from unfooled.files import check_target

if TYPE_CHECKING:
    from unfooled.data.manifest import Manifest
    from unfooled.evaluation import Condition
    from unfooled.results import Evaluation, Metric

RADII = "0.5/255,1/255,2/255,4/255,8/255"


def evaluate(
    run: Annotated[Path | None, typer.Argument(help="A run folder or checkpoint; none with --scores.")] = None,
    data: Annotated[Path | None, typer.Option(help="A manifest. Default: the one the run was trained on.")] = None,
    attack: Annotated[
        list[str] | None, typer.Option(help="NAME[:key=value,...]; repeat for several. See `unfooled list`.")
    ] = None,
    over_eps: Annotated[
        str | None, typer.Option(help=f"Also repeat the first attack at these radii, e.g. {RADII}")
    ] = None,
    split: Annotated[str, typer.Option(help="test, validation, train, or all (also rows without a split).")] = "test",
    scores: Annotated[
        Path | None,
        typer.Option(help="CSV of somebody's scores: id or path, logit or score, optional logit_adv or score_adv."),
    ] = None,
    adversarial: Annotated[
        Path | None, typer.Option(help="Folder of somebody's adversarial images to score instead of an attack.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Face size in pixels. Default: the recipe's.")] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="A balanced subset of so many samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the subset and the bootstrap.")] = 0,
    video_rule: Annotated[
        str, typer.Option(help="How frames make a video: mean_logit, mean_probability or max.")
    ] = "mean_logit",
    checks: Annotated[bool, typer.Option(help="Look for gradient masking.")] = True,
    name: Annotated[str | None, typer.Option(help="Of the detector in tables. Default: the run's folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="The JSON to write. Default: eval.json in the run folder.")] = None,
) -> None:
    """Measure a detector, clean and under attack: AUC with intervals over people, on people it has never seen.

    ```
    unfooled evaluate runs/afsl --attack pgd                        # at the recipe's eps
    unfooled evaluate runs/afsl --attack pgd:eps=2/255,steps=50,restarts=3 --over-eps 1/255,4/255
    unfooled evaluate runs/afsl --attack pgd:loss=margin+features,weight=10
    unfooled evaluate runs/afsl --attack transfer:surrogate=runs/standard
    unfooled evaluate --scores theirs.csv --data sets/faces/manifest.parquet --out theirs.json
    unfooled evaluate runs/afsl --adversarial their-images/
    ```
    """
    chosen = {"seed": seed, "video_rule": video_rule}
    if scores is not None:
        given = {"RUN": run, "--attack": attack, "--over-eps": over_eps, "--adversarial": adversarial,
                 "--limit": limit, "--size": size}  # fmt: skip
        if foreign := [option for option, value in given.items() if value]:
            raise ConfigError(f"--scores brings its own answers; leave out {', '.join(foreign)}")
        out = out or scores.with_suffix(".eval.json")
        check_target(out)
        result = _of_scores(scores, data, split, name, chosen)
    elif run is None:
        raise ConfigError("nothing to evaluate: name a run folder, or give --scores CSV")
    else:
        out = out or (run if run.is_dir() else run.parent) / "eval.json"
        check_target(out)
        chosen |= {"batch_size": batch_size, "device": _device(device)}
        result = _of_run(run, data, split, name, size, limit, attack or [], over_eps, adversarial, checks, chosen)
    if split != "test":
        rows = "all rows, also those of the training" if split == "all" else f"the {split} split, not on unseen people"
        result.warnings.insert(0, f"measured on {rows}: no test result")
    asked = f" of {limit} asked (as many reals as fakes)" if limit and len(result.samples.id) < limit else ""
    old = " (replaced)" if out.exists() else ""
    result.write(out)
    _show(result)
    say(f"{len(result.samples.id)} samples{asked} -> {out}{old}")


def _of_scores(scores: Path, data: Path | None, split: str, name: str | None, chosen: dict[str, Any]) -> Evaluation:
    from unfooled.data.manifest import Manifest
    from unfooled.evaluation import evaluate_scores

    if data is None:
        raise ConfigError("--scores needs --data MANIFEST, which says what is real and what is fake")
    manifest = Manifest.read(data)
    notes = manifest.check(files=False)
    facts = {"split": split, "manifest": data.name}
    known = {*manifest.column("id"), *manifest.column("path")}
    result = evaluate_scores(
        scores, _split(manifest, split), name=name or scores.stem, passed_over=known, provenance=facts, **chosen
    )
    result.warnings += notes
    return result


def _of_run(
    run: Path,
    data: Path | None,
    split: str,
    name: str | None,
    size: int | None,
    limit: int | None,
    attacks: Sequence[str],
    over_eps: str | None,
    adversarial: Path | None,
    checks: bool,
    chosen: dict[str, Any],
) -> Evaluation:
    from unfooled import checkpoints, config
    from unfooled import evaluation as rooms
    from unfooled.data.frames import Frames
    from unfooled.data.leaks import check_files
    from unfooled.data.manifest import Manifest

    detector = checkpoints.load(run)
    history = _history((run if run.is_dir() else run.parent) / "metrics.jsonl")
    folder = run if run.is_dir() else run.parent
    recipe = config.load_recipe(folder) if (folder / "recipe.toml").exists() else None
    if recipe is not None:
        data, size = data or Path(recipe.data.manifest), size or recipe.data.size
    if data is None or size is None:
        raise ConfigError(f"{folder} has no recipe.toml; give --data MANIFEST and --size PIXELS")
    manifest = Manifest.read(data)
    # Leaks are looked for everywhere, files only where they are needed: a test machine may hold the test images alone.
    notes = manifest.check(files=False)
    rows = _split(manifest, split)
    check_files(rows)
    frames = Frames(rows, size, seed=chosen["seed"])
    if recipe is not None and split == "test":
        notes += _seen_in_training(Path(recipe.data.manifest), frames.manifest)
    facts = {"split": split, "manifest": data.name, "checkpoint": run.name}
    chosen |= {
        "name": name or folder.resolve().name,
        "provenance": facts | {"recipe": config.dump(recipe) if recipe else None},
    }
    if adversarial is not None:
        if attacks or over_eps or limit is not None:
            raise ConfigError("--adversarial brings its own images; leave out --attack, --over-eps and --limit")
        with bar("scoring"):
            result = rooms.evaluate_images(detector, frames, adversarial, **chosen)
    else:
        conditions = _conditions(attacks, over_eps, recipe.eps if recipe else None)
        with bar("evaluating") as update:
            result = rooms.evaluate(detector, frames, conditions, limit=limit, checks=checks, progress=update, **chosen)
        result.training = history
    result.warnings += notes
    return result


def _seen_in_training(trained_on: Path, evaluated: Manifest) -> list[str]:
    """Refuse to call people unseen who trained or chose the detector."""
    from unfooled.data.leaks import shared_people
    from unfooled.data.manifest import Manifest

    if not trained_on.exists():
        return [f"the manifest of the training, {trained_on.name}, is not here: nobody looked whether people were seen"]
    trained = Manifest.read(trained_on).select(split=["train", "validation"])
    people = shared_people(trained, evaluated)
    if not people:
        return []
    leak = f"{len(people)} people of this split trained or chose the detector, such as {people[0]!r}"
    if evaluated.published:
        return [f"{leak} (published split, kept as it is)"]
    raise DataError(f"{leak}; evaluate on people it has never seen, or name the split that it was trained on")


def _history(path: Path) -> list[dict[str, Any]] | None:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else None
    except ValueError:
        raise DataError(
            f"{path} is damaged (not one JSON object a line); move it away to evaluate without it"
        ) from None


def _device(name: str) -> str:
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def _conditions(attacks: Sequence[str], over_eps: str | None, eps: str | None) -> list[Condition]:
    from unfooled import config
    from unfooled import evaluation as rooms
    from unfooled.registry import number

    built = [config.build_attack(text, eps) for text in attacks]
    conditions = [rooms.Condition(a) for a in built]
    if over_eps:
        if not built:
            raise ConfigError("--over-eps repeats the first --attack; give one, such as --attack pgd")
        names = {c.name for c in conditions}
        radii = [number("--over-eps", text.strip()) for text in over_eps.split(",")]
        conditions += [c for c in rooms.over_eps(built[0], radii) if c.name not in names]
    return conditions


def _split(manifest: Manifest, split: str) -> Manifest:
    if split == "all":
        return manifest
    found = sorted(set(manifest.column("split")))
    if split not in found:
        raise ConfigError(
            f"--split must be one of {', '.join(filter(None, found)) or 'none (no row has one)'}, got {split!r}"
        )
    return manifest.select(split=split)


def _show(result: Evaluation) -> None:
    table = Table(title=escape(result.name))
    table.add_column("condition", overflow="fold")
    for title in ("AUC", "video AUC", "fakes only", "flipped"):
        table.add_column(title, justify="right", no_wrap=True)
    for c in result.conditions:
        clean = c.attack is None
        frame, video = ("frame/auc", "video/auc") if clean else ("robust/both/frame_auc", "robust/both/video_auc")
        auc, rest = c.metrics.get(frame), (video, "robust/fakes_only/frame_auc", "attack_success_rate")
        table.add_row(escape(c.name), _with_interval(auc), *(_value(c.metrics.get(key)) for key in rest))
    console.print(table)
    for warning in result.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}")


def _with_interval(metric: Metric | None) -> str:
    value = _value(metric)
    if metric is None or metric.low is None:
        return value
    return escape(f"{value} [{metric.low:.3f}, {metric.high:.3f}]")


def _value(metric: Metric | None) -> str:
    return "" if metric is None or metric.value is None else f"{metric.value:.3f}"
