"""The model card of a generator: what it learnt from, how far its faces lie from real ones, what it is for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unfooled.training import Record


def model_card(name: str, facts: Mapping[str, Any], best: Record, warnings: Sequence[str]) -> str:
    """The card in Markdown.

    Args:
        name: of the run.
        facts: ``images``, ``train``, ``measured_on``, ``samples``, ``features``.
        best: record of the point whose weights were kept.
        warnings: what looks wrong.
    """
    lines = [
        f"# Model card: {name}",
        "",
        f"Generator of faces, trained by unfooled on {facts['images']} real images (manifest digest "
        f"`{facts['train'][:16]}`, split train).",
        "",
        f"Frechet distance {best['frechet']:.4g} at step {best['step']}: {facts['samples']} samples against "
        f"{facts['measured_on']}, in the features of detector {facts['features']}. The step was chosen by this number.",
        "",
        "## Intended use",
        "",
        "Fakes of manipulation `GAN` to train and test deepfake detectors with (arXiv 2302.11704). Every file that",
        "`unfooled gan sample` writes carries a note that it is synthetic test material.",
        "",
        "## Limits",
        "",
        "- Faces may resemble people in the training images: treat samples as those images must be treated.",
        "- A Frechet distance compares only within one detector's features and one number of samples.",
        "- One generator is not every generator: a detector that finds its faces may miss those of another.",
        *(f"- Warning: {warning}" for warning in warnings),
    ]
    return "\n".join(lines) + "\n"
