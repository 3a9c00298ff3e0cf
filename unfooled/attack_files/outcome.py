"""What came of a job: one row a file, and the table at the end."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STAGES = ("after", "saved", "jpeg90", "jpeg75")
"""The attacked tensor; the PNG that was written; that PNG saved again as JPEG of these qualities."""
VIDEO_STAGES = ("after", "saved", "h264_23")
"""The attacked crops in memory; the video that was written; that video saved again as H.264 of crf 23."""


@dataclass(frozen=True)
class Outcome:
    """The rows of ``attack.jsonl``, the last one of each file.

    Args:
        folder: where everything lies.
        rows: as in the file.
        stopped: why the job ended before its last file; None where it did not.
        notes: what a reader should know.
    """

    folder: Path
    rows: list[dict[str, Any]]
    stopped: str | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def statuses(self) -> dict[str, int]:
        """How many files ended in which status."""
        return dict(Counter(row["status"] for row in self.rows))

    @property
    def reasons(self) -> list[str]:
        """One line for each file that can not be attacked, or where the attack failed."""
        return [row["reason"] for row in self.rows if row.get("reason") and row["status"] != "budget"]

    @property
    def attacked(self) -> list[dict[str, Any]]:
        """The rows of files that an attack was tried on."""
        return [row for row in self.rows if row["status"] in ("ok", "failed", "budget")]

    def success_rate(self, stage: str) -> tuple[float | None, int]:
        """The share of initially right files that fool the detector at a stage, and of how many.

        Args:
            stage: of ``STAGES`` for images, of ``VIDEO_STAGES`` for videos.

        An attack that failed counts as no success; None where nothing was asked at that stage.
        """
        told = [row["success"].get(stage) for row in self.attacked if row["right_before"]]
        known = [bool(value) for value in told if value is not None]
        return (sum(known) / len(known) if known else None), len(known)

    def median(self, key: str, stage: str | None = None) -> float | None:
        """The median over attacked files of ``linf_255`` or ``l2`` at a stage, or of ``queries`` or ``seconds``."""
        values = [row.get(key) for row in self.attacked]
        values = [v.get(stage) if isinstance(v, Mapping) else v for v in values]
        known = [v for v in values if v is not None]
        return statistics.median(known) if known else None
