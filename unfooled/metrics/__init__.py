"""How good a detector is: numbers from (logits, y), their intervals over people, and paired differences."""

from __future__ import annotations

from unfooled.metrics.functions import (
    Metric,
    accuracy,
    auc,
    average_precision,
    brier,
    ece,
    eer,
    f1,
    log_loss,
    metric,
    precision,
    recall,
    roc_curve,
    share,
    sigmoid,
    tpr_at_fpr,
)
from unfooled.metrics.resampling import Resamples, bootstrap, interval, paired_difference
from unfooled.metrics.videos import RULES, Videos, by_video

__all__ = [
    "RULES",
    "Metric",
    "Resamples",
    "Videos",
    "accuracy",
    "auc",
    "average_precision",
    "bootstrap",
    "brier",
    "by_video",
    "ece",
    "eer",
    "f1",
    "interval",
    "log_loss",
    "metric",
    "paired_difference",
    "precision",
    "recall",
    "roc_curve",
    "share",
    "sigmoid",
    "tpr_at_fpr",
]
