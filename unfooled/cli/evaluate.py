"""``unfooled evaluate``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from unfooled.cli.progress import bar, console, say
from unfooled.errors import ConfigError
from unfooled.files import check_target

if TYPE_CHECKING:
    from unfooled.results import ConditionResult, Evaluation, Metric

SHORT = 26
"""Letters of a condition's name that leave room for everything else in one line."""
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
    distortion: Annotated[
        list[str] | None,
        typer.Option(
            help="all, a type (its five levels) or TYPE:level=1..5; repeat for several. With --attack, the attacked"
            " faces are scored after each of them too."
        ),
    ] = None,
    defense: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME[:key=value,...] answers in place of the plain detector, for clean faces and for each --attack"
            " made on the plain detector; repeat for several. See `unfooled list`."
        ),
    ] = None,
    adaptive: Annotated[bool, typer.Option(help="Also make each --attack through each --defense.")] = False,
    retune: Annotated[
        int, typer.Option(min=1, help="Gradients of an adaptive attack after which the defense decides anew.")
    ] = 1,
    split: Annotated[str, typer.Option(help="test, validation, train, or all (also rows without a split).")] = "test",
    manipulation: Annotated[
        list[str] | None, typer.Option(help="Only fakes of this one, and the reals; repeat for several. Default: all.")
    ] = None,
    collection: Annotated[
        list[str] | None, typer.Option(help="Only rows of this one; repeat for several. Default: all.")
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(help="CSV of somebody's scores: id or path, logit or score, optional logit_adv or score_adv."),
    ] = None,
    adversarial: Annotated[
        Path | None, typer.Option(help="Folder of somebody's adversarial images to score instead of an attack.")
    ] = None,
    size: Annotated[int | None, typer.Option(min=8, help="Face size in pixels. Default: the recipe's.")] = None,
    clip: Annotated[
        int | None, typer.Option(min=1, help="Frames of a clip. Default: the recipe's, or frames one by one.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="A balanced subset of so many samples.")] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")] = "auto",
    seed: Annotated[int, typer.Option(min=0, help="Of the subset and the bootstrap.")] = 0,
    video_rule: Annotated[
        str, typer.Option(help="How frames make a video: mean_logit, mean_probability or max.")
    ] = "mean_logit",
    checks: Annotated[bool, typer.Option(help="Look for gradient masking.")] = True,
    saved: Annotated[
        str | None, typer.Option(help="Also score every attacked face after JPEG files of these qualities, e.g. 90,75")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the detector in tables. Default: the run's folder.")] = None,
    out: Annotated[Path | None, typer.Option(help="The JSON to write. Default: eval.json in the run folder.")] = None,
) -> None:
    """Measure a detector, clean and under attack: AUC with intervals over people, on people it has never seen.

    Killed, the same command goes on from the last finished batch.

    ```
    unfooled evaluate runs/afsl --attack pgd                        # at the recipe's eps
    unfooled evaluate runs/afsl --attack pgd:eps=2/255,steps=50,restarts=3 --over-eps 1/255,4/255
    unfooled evaluate runs/afsl --attack pgd:loss=margin+features,weight=10
    unfooled evaluate runs/afsl --attack transfer:surrogate=runs/standard
    unfooled evaluate runs/afsl --distortion all                    # 7 types x 5 levels of DeeperForensics-1.0
    unfooled evaluate runs/afsl --attack pgd --distortion h264      # clean, distorted, attacked, attacked > distorted
    unfooled evaluate runs/afsl --attack fgsm:eps=2/255 --defense post-training:algorithm=2,freeze=false --adaptive
    unfooled evaluate --scores theirs.csv --data sets/faces/manifest.parquet --out theirs.json
    unfooled evaluate runs/afsl --adversarial their-images/
    ```
    """
    chosen = {"seed": seed, "video_rule": video_rule}
    if scores is not None:
        given = {
            "RUN": run, "--attack": attack, "--over-eps": over_eps, "--distortion": distortion,
            "--adversarial": adversarial, "--limit": limit, "--size": size, "--clip": clip, "--saved": saved,
            "--manipulation": manipulation, "--collection": collection, "--defense": defense, "--adaptive": adaptive,
        }  # fmt: skip
        if foreign := [option for option, value in given.items() if value]:
            raise ConfigError(f"--scores brings its own answers; leave out {', '.join(foreign)}")
        out = out or scores.with_suffix(".eval.json")
        check_target(out)
        old = " (replaced)" if out.exists() else ""
        result = _of_scores(scores, data, split, name, chosen)
        result.write(out)
    elif run is None:
        raise ConfigError("nothing to evaluate: name a run folder, or give --scores CSV")
    else:
        out = out or (run if run.is_dir() else run.parent) / "eval.json"
        check_target(out)
        old = " (replaced)" if out.exists() else ""
        chosen |= {"batch_size": batch_size, "device": device, "data": data, "split": split, "name": name}
        chosen |= {"manipulations": manipulation or [], "collections": collection or []}
        chosen |= {"size": size, "clip": clip, "limit": limit, "adversarial": adversarial, "checks": checks, "out": out}
        chosen |= {"saved": _qualities(saved), "distortions": distortion or [], "defended_by": defense or []}
        chosen |= {"adaptive": adaptive, "retune": retune}
        result = _of_run(run, over_eps, attack or [], chosen)
    asked = f" of {limit} asked (as many reals as fakes)" if limit and len(result.samples.id) < limit else ""
    _show(result)
    say(f"{len(result.samples.id)} samples{asked} -> {out}{old}")


def _of_scores(scores: Path, data: Path | None, split: str, name: str | None, chosen: dict[str, Any]) -> Evaluation:
    from unfooled.config.runs import not_a_test, of_split
    from unfooled.data.manifest import Manifest
    from unfooled.evaluation import evaluate_scores

    if data is None:
        raise ConfigError("--scores needs --data MANIFEST, which says what is real and what is fake")
    manifest = Manifest.read(data)
    notes = manifest.check(files=False)
    facts = {"split": split, "manifest": data.name}
    known = {*manifest.column("id"), *manifest.column("path")}
    result = evaluate_scores(
        scores, of_split(manifest, split), name=name or scores.stem, passed_over=known, provenance=facts, **chosen
    )
    result.warnings = [*not_a_test(split), *result.warnings, *notes]
    return result


def _of_run(run: Path, over_eps: str | None, attacks: Sequence[str], given: dict[str, Any]) -> Evaluation:
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled import config
    from unfooled.registry import number

    radii = [number("--over-eps", text.strip()) for text in over_eps.split(",")] if over_eps else []
    with bar("evaluating") as update:
        return config.evaluate_run(run, attacks, over_eps=radii, progress=update, **given)


def _qualities(text: str | None) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [0]
    if not all(1 <= quality <= 100 for quality in found):
        raise ConfigError(f"--saved must be JPEG qualities from 1 to 100, got {text!r}; write 90,75")
    return found


def _show(result: Evaluation) -> None:
    notes = ["mean: over the five levels"] if result.level_means else []
    notes += [f"distorted: {where}" for where in {c.applied_to: None for c in result.conditions if c.applied_to}]
    notes += [f"{c.defense}: {_each(c):.3f} s an image" for c in result.conditions if c.defense and not c.attack]
    if any(c.defense for c in result.conditions):
        notes.append("a > d: attack a on the plain detector, defense d answers; a through d: made through the defense")
    notes += [f"all faces: {result.distortion}, full frames before cropping"] if result.distortion else []
    table = Table(title=escape(result.name), caption=escape("; ".join(notes)) or None)
    rows = list(_rows(result))
    # Where names are long, intervals go below their numbers: what was done must stay readable at 80 columns.
    narrow = max(len(name) for name, _ in rows) > SHORT
    table.add_column("condition", overflow="fold")
    # Papers on defenses count what is right, not what is ranked right.
    counted = ["accuracy"] if any(c.defense for c in result.conditions) else []
    for title in ("AUC", "video AUC", "fakes only", "flipped", *counted):
        table.add_column(title.replace(" ", "\n") if narrow else title, justify="right", no_wrap=True)
    for name, metrics in rows:
        attacked = "frame/auc" not in metrics
        frame, video = ("robust/both/frame_auc", "robust/both/video_auc") if attacked else ("frame/auc", "video/auc")
        rest = [video, "robust/fakes_only/frame_auc", "attack_success_rate"]
        rest += ["accuracy_adv" if attacked else "accuracy"] if counted else []
        auc = with_interval(metrics.get(frame))
        auc = auc.replace(" ", "\n", 1) if narrow else auc
        table.add_row(escape(name), auc, *(_value(metrics.get(key)) for key in rest))
    console.print(table)
    for warning in result.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}")


def _each(condition: ConditionResult) -> float:
    return (condition.seconds or 0.0) / max(1, len(condition.logits))


def _rows(result: Evaluation) -> Iterator[tuple[str, dict[str, Metric]]]:
    """Every condition, but a distortion that was run at all of its levels by their mean."""
    means = dict(result.level_means)
    for c in result.conditions:
        if c.series is None or c.series not in result.level_means:
            yield c.name, c.metrics
        elif c.series in means:
            yield f"{c.series} (mean)", means.pop(c.series)
    for name, metrics in means.items():
        yield f"{name} (mean)", metrics


def with_interval(metric: Metric | None) -> str:
    """``0.954 [0.933, 0.973]``; empty where there is no such number."""
    value = _value(metric)
    if metric is None or metric.low is None:
        return value
    return escape(f"{value} [{metric.low:.3f}, {metric.high:.3f}]")


def _value(metric: Metric | None) -> str:
    return "" if metric is None or metric.value is None else f"{metric.value:.3f}"
