"""Training: ``fit`` a detector to an objective, with a run folder that survives any kill."""

from unfooled.training.engine import first_process, place
from unfooled.training.folder import Record, RunFolder
from unfooled.training.loop import FitResult, Progress, fit
from unfooled.training.settings import Settings
from unfooled.training.validation import limited, validate

__all__ = [
    "FitResult",
    "Progress",
    "Record",
    "RunFolder",
    "Settings",
    "first_process",
    "fit",
    "limited",
    "place",
    "validate",
]
