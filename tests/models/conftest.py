"""Deterministic weights: every entry of a state dict is a function of its name and shape alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor


class Recipe:
    """The rule that made the golden numbers."""

    def __init__(self, keys: dict[str, Any]) -> None:
        self.keys = keys

    @staticmethod
    def entry(name: str, shape: Sequence[int]) -> Tensor:
        """The tensor that belongs to a canonical name."""
        kind = name.rpartition(".")[2]
        if kind == "num_batches_tracked":
            return torch.tensor(0)
        seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
        n = np.random.default_rng(seed).standard_normal(size=tuple(shape), dtype=np.float32)
        if kind in ("running_mean", "bias"):
            n = np.float32(0.1) * n
        elif kind == "running_var":
            n = np.float32(1) + np.float32(0.1) * np.abs(n)
        elif n.ndim >= 2:
            n = n * np.float32(math.sqrt(1 / math.prod(n.shape[1:])))
        else:
            n = np.float32(1) + np.float32(0.1) * n
        return torch.from_numpy(n)

    def fill(self, shapes: Mapping[str, Sequence[int]]) -> dict[str, Tensor]:
        """A state dict for canonical names and their shapes."""
        return {name: self.entry(name, shape) for name, shape in shapes.items()}

    @staticmethod
    def digest(state: Mapping[str, Tensor]) -> str:
        """sha256 over sorted names and float32 bytes, counters left out."""
        total = hashlib.sha256()
        for name in sorted(state):
            if not name.endswith("num_batches_tracked"):
                total.update(name.encode() + state[name].numpy().astype("<f4").tobytes())
        return total.hexdigest()

    @staticmethod
    def network_input(*shape: int) -> Tensor:
        """The shared input, already normalised."""
        return torch.from_numpy(np.random.default_rng(0).standard_normal(size=shape, dtype=np.float32))


@pytest.fixture(scope="session")
def recipe(golden: Callable[[str], Path]) -> Recipe:
    """Weights by recipe, and the published keys."""
    return Recipe(json.loads(golden("state_dict_keys.json").read_text()))
