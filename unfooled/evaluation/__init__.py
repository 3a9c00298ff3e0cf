"""Evaluate a detector, anybody's scores or anybody's adversarial images, and compare two evaluations."""

from __future__ import annotations

from unfooled.evaluation.compare import compare, compare_all
from unfooled.evaluation.conditions import Condition, defended, distorted, over_eps
from unfooled.evaluation.images import evaluate_images
from unfooled.evaluation.run import evaluate
from unfooled.evaluation.scores import evaluate_scores

__all__ = [
    "Condition", "compare", "compare_all", "defended", "distorted", "evaluate", "evaluate_images", "evaluate_scores",
    "over_eps",
]  # fmt: skip
