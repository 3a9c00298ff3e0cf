"""What a result has to say about how it came to be."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import torch

import unfooled
from unfooled.models.detector import Detector


def provenance(detector: Detector | None, device: str, seed: int) -> dict[str, Any]:
    """Versions, hardware, seed and the detector's spec."""
    return {
        "seed": seed,
        "versions": {
            "unfooled": unfooled.__version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "hardware": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
            "device": device,
        },
        "detector": {} if detector is None else dict(detector.spec),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
