"""The model card: what a detector was trained on, what it is for, what it gets wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unfooled.training.folder import Record


def model_card(facts: Mapping[str, Any], history: Sequence[Record], warnings: Sequence[str]) -> str:
    """The model card in Markdown: training data, intended use, measured error, limits.

    Args:
        facts: ``name``, ``objective``, ``detector``, ``attack``, ``epochs`` (planned), ``best`` (a record), and for
            ``train`` and ``validation`` a mapping with ``digest``, ``rows`` and ``counts`` by manipulation.
        history: one record an epoch.
        warnings: failure signatures.
    """
    best: Record = facts["best"]
    lines = [
        f"# Model card: {facts['name']}",
        "",
        f"Detector `{facts['detector']}` trained by unfooled, {len(history)} of {facts['epochs']} epochs.",
        f"Objective: `{facts['objective']}`.",
        "",
        "## Training data",
        "",
        "| split | rows | manifest digest | rows by manipulation |",
        "|---|---|---|---|",
    ]
    for split in ("train", "validation"):
        part = facts[split]
        counts = ", ".join(f"{name} {count}" for name, count in sorted(part["counts"].items()))
        lines.append(f"| {split} | {part['rows']} | `{part['digest'][:16]}` | {counts} |")
    lines += [
        "",
        "## Measured on validation (the checkpoint was chosen there; test numbers come from `unfooled evaluate`)",
        "",
        "| epoch | eps in training | clean AUC | robust AUC | adversary |",
        "|---|---|---|---|---|",
        f"| {best['epoch']} | {best['eps'] * 255:.3g}/255 | {best['val_clean_auc']:.3f} "
        f"| {_number(best['val_robust_auc'])} | {facts['attack']} |",
        "",
        "## Intended use",
        "",
        "Research on, and audits of, deepfake detectors on cropped faces like those of the training data. A score is",
        "evidence to be weighed by a person, never a verdict about a person by itself.",
        "",
        "## Limits",
        "",
        "- Scores are not calibrated; the threshold is a logit of 0 unless it was moved on purpose.",
        "- Forgeries unlike those above, other cameras, other compression and other people change the error.",
        "- Robustness was measured against the named adversary only, at its eps and steps; a stronger one finds more.",
        *(f"- Warning: {warning}" for warning in warnings),
    ]
    return "\n".join(lines) + "\n"


def _number(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.3f}"
