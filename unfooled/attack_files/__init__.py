"""Attacks on files: from images and videos to such that still fool a detector after they were saved."""

from unfooled.attack_files.job import attack_files
from unfooled.attack_files.outcome import Outcome
from unfooled.attack_files.videos import VideoOptions

__all__ = ["Outcome", "VideoOptions", "attack_files"]
