"""The run folder: what a training run leaves behind, written so that a kill at any moment loses nothing."""

from __future__ import annotations

import io
import json
import pickle
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unfooled.errors import CheckpointError, ConfigError, TrainingError
from unfooled.files import replacing

Record = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """Names and writes the files of one run.

    Args:
        path: the folder; made when first written to.
    """

    path: Path

    @property
    def best(self) -> Path:
        return self.path / "best.safetensors"

    @property
    def last(self) -> Path:
        return self.path / "last.safetensors"

    @property
    def state(self) -> Path:
        return self.path / "state.pt"

    def check(self, resume: bool) -> None:
        """Refuse a folder with a run in it, unless that run is to go on.

        Raises:
            ConfigError: the folder holds a run and ``resume`` is False, or is not there and ``resume`` is True.
        """
        files = (self.best, self.state, self.path / "metrics.jsonl")
        if resume and not self.path.is_dir():
            raise ConfigError(f"{self.path} is no run to resume; leave out --resume to start one")
        if not resume and any(file.exists() for file in files):
            raise ConfigError(f"{self.path} holds a run already; go on with --resume or choose another --out")

    def claim(self, resume: bool) -> None:
        """``check``, then make the folder.

        Raises:
            ConfigError: it holds a run, or it can not be made.
        """
        self.check(resume)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{self.path} can not be a run folder: {error.strerror}; choose another --out") from None

    def log(self, text: str) -> None:
        """Add a line with the time to log.txt."""
        with (self.path / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def write(self, name: str, text: str) -> None:
        """Write a text file whole or not at all."""
        self._replace(self.path / name, text.encode())

    def write_history(self, history: Sequence[Record]) -> None:
        """metrics.jsonl, one line an epoch."""
        self.write("metrics.jsonl", "".join(json.dumps(record) + "\n" for record in history))

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Everything that a resume needs, as tensors and plain values."""
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        self._replace(self.state, buffer.getvalue())

    def load_state(self) -> dict[str, Any] | None:
        """The saved state; None where no epoch was finished.

        Raises:
            CheckpointError: the file is damaged or holds more than tensors and plain values.
        """
        if not self.state.exists():
            return None
        try:
            state: dict[str, Any] = torch.load(self.state, map_location="cpu", weights_only=True)
        except (RuntimeError, EOFError, OSError, pickle.UnpicklingError) as error:
            reason = str(error).partition("\n")[0]
            raise CheckpointError(f"{self.state} can not be resumed from ({reason}); train into a new --out") from None
        return state

    def refuse_other(self, then: Mapping[str, str], now: Mapping[str, str]) -> None:
        """Refuse to go on with a run that was made with other settings.

        Raises:
            ConfigError: a fact of ``now`` was another ``then``.
        """
        if other := [f"{k} was {then.get(k)}, is {v}" for k, v in now.items() if then.get(k) != v]:
            raise ConfigError(f"{self.path} can not go on with other settings: {'; '.join(other)}")

    def _replace(self, path: Path, content: bytes) -> None:
        try:
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        except OSError as error:
            raise TrainingError(
                f"{path} can not be written: {error.strerror or error}; make room, then go on with --resume"
            ) from None
