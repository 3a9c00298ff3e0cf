"""A result says with what it was made."""

from __future__ import annotations

import json

import torch

import unfooled
from unfooled.evaluation.provenance import provenance
from unfooled.models.detector import Detector


def test_versions_hardware_and_spec(tiny_detector: Detector) -> None:
    tiny_detector.spec = {"name": "tiny", "size": None}
    facts = provenance(tiny_detector, "cpu", 7)
    assert facts["seed"] == 7
    assert facts["versions"]["unfooled"] == unfooled.__version__
    assert facts["versions"]["torch"] == torch.__version__
    assert facts["hardware"]["cpu"]
    assert facts["hardware"]["gpu"] is None
    assert facts["detector"] == {"name": "tiny", "size": None}
    assert provenance(None, "cpu", 0)["detector"] == {}
    json.dumps(facts, allow_nan=False)
