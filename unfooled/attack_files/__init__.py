"""Attacks on image files: from pictures to pictures that still fool a detector after they were saved."""

from unfooled.attack_files.job import attack_files
from unfooled.attack_files.outcome import Outcome

__all__ = ["Outcome", "attack_files"]
