"""Training: ``fit`` a detector to an objective, with a run folder that survives any kill."""

from unfooled.training.folder import Record, RunFolder
from unfooled.training.loop import FitResult, Progress, fit
from unfooled.training.settings import Settings
from unfooled.training.validation import limited, validate

__all__ = ["FitResult", "Progress", "Record", "RunFolder", "Settings", "fit", "limited", "validate"]
