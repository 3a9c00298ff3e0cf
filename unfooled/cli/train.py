"""``unfooled train``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from unfooled.cli.progress import Watch, console, say

SHOWN = ("loss", "bce", "bce_adv", "kl", "dcl", "asl", "srl", "rank", "cos_real_fake", "cos_adv", "cos_weight")


def train(
    recipe: Annotated[Path, typer.Argument(help="A TOML recipe; see recipes/.")],
    out: Annotated[Path, typer.Option(help="The run folder to write.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.SUB=VALUE", help="Change a key of the recipe.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run in --out stopped.")] = False,
    device: Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1 or auto.")] = None,
) -> None:
    """Train a detector as a recipe says; writes checkpoints, metrics, logs and a model card.

    ```
    unfooled train recipes/faces-afsl.toml --out runs/afsl
    unfooled train recipes/faces-trades.toml --out runs/trades-b3 --set objective.beta=3 --set seed=1
    unfooled train recipes/faces-afsl.toml --out runs/afsl --resume
    tensorboard --logdir runs
    ```
    """
    from unfooled.memory import keep_memory

    keep_memory()
    from unfooled import config
    from unfooled.training import first_process

    settings = config.load_recipe(recipe, set_ or [])
    watch = Watch(epoch_line)
    try:
        result = config.train(settings, out, resume=resume, device=device, progress=watch)
    finally:
        watch.close()
    if not first_process():
        return
    for warning in result.warnings:
        console.print(f"[bold]warning:[/bold] {escape(warning)}")
    say(f"best {_aucs(result.best)} (validation, epoch {result.best['epoch']}) -> {out}")
    say(f"next: unfooled evaluate {shlex.quote(str(out))} --attack pgd")


def epoch_line(record: Mapping[str, Any]) -> str:
    """What an epoch came to, in one line."""
    terms = "  ".join(f"{k} {record[k]:.3f}" for k in SHOWN if record.get(k) is not None)
    return f"epoch {record['epoch']:>3}  {_aucs(record)}  eps {record['eps'] * 255:.2f}/255  {terms}"


def _aucs(record: Mapping[str, Any]) -> str:
    named = {"val_clean_auc": "clean AUC", "val_robust_auc": "robust AUC"}
    return "  ".join(f"{text} {record[key]:.3f}" for key, text in named.items() if record.get(key) is not None)
