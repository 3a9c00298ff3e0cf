"""Detectors in files: safetensors with the spec and the threshold in the header; nothing is ever unpickled."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from unfooled import models
from unfooled.errors import CheckpointError, ConfigError
from unfooled.files import replacing
from unfooled.models import Detector
from unfooled.models.published import CONVERT, misfit

HEADER = "unfooled"
FORMAT = 1
BEST = "best.safetensors"
PICKLES = (b"PK", b"\x80")


def save(detector: Detector, path: Path | str, **metadata: object) -> Path:
    """Write a detector's weights, spec and threshold; the file appears whole or not at all.

    Args:
        detector: of any device, dtype and memory format.
        path: ends in ``.safetensors``; missing folders are made.
        metadata: anything JSON can hold, given back by ``metadata(path)``; ``spec`` and ``threshold`` are taken.

    Raises:
        ConfigError: the metadata can not be JSON.
        CheckpointError: the file can not be written (a full disk); a file that was there before is kept.
    """
    path = Path(path)
    if taken := {"spec", "threshold"} & set(metadata):
        raise ConfigError(f"metadata must not be called {', '.join(sorted(taken))}: the detector's own are saved")
    facts = {"format": FORMAT, "spec": detector.spec, "threshold": float(detector.threshold), **metadata}
    try:
        header = json.dumps(facts)
    except TypeError as error:
        raise ConfigError(f"metadata of {path.name} must be JSON: {error}") from None
    write_weights(path, detector, {HEADER: header})
    return path


def write_weights(path: Path, network: nn.Module, header: Mapping[str, str]) -> None:
    """Write a network's tensors and a header of texts; the file appears whole or not at all.

    Raises:
        CheckpointError: it can not be written (a full disk); a file that was there before is kept.
    """
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in network.state_dict().items()}
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(to_bytes(state, dict(header)))
    except OSError as error:
        raise CheckpointError(f"{path} can not be written: {error.strerror or error}") from None


def load(path: Path | str, device: torch.device | str = "cpu", *, into: Detector | None = None) -> Detector:
    """The saved detector in eval mode, with its threshold.

    Args:
        path: a checkpoint, or a run folder (its ``best.safetensors``).
        device: where the weights go.
        into: a detector to fill instead of building one from the saved spec; a wrapped network needs it.

    Raises:
        CheckpointError: no such file, not a checkpoint of unfooled, damaged, or its entries do not fit.
    """
    path = _resolve(path)
    state, facts = _read(path)
    detector = into if into is not None else _rebuild(path, facts["spec"])
    if problems := misfit(detector.state_dict(), state):
        raise CheckpointError(f"{path} does not fit the detector: {problems}")
    if other := _other_options(facts["spec"], detector.spec):
        raise CheckpointError(f"{path} was saved from a detector with other options: {other}")
    if floats := [t.dtype for t in state.values() if t.is_floating_point()]:
        detector.to(floats[0])
    detector.load_state_dict(state)
    detector.threshold.fill_(facts["threshold"])
    return detector.to(device).eval()


def _other_options(saved: dict[str, Any], here: dict[str, Any]) -> str:
    """What differs between two specs but for dropout: weights of the same shapes can mean another function."""
    if not saved or not here:
        return ""
    if saved["name"] != here["name"]:
        return f"it is a {saved['name']}, not a {here['name']}"
    usual = {name: p.default for name, p in inspect.signature(models.DETECTORS[here["name"]]).parameters.items()}
    saved, here = {**usual, **saved}, {**usual, **here}
    return ", ".join(
        f"{name} was {value}, is {here.get(name)}"
        for name, value in sorted(saved.items())
        if name not in ("dropout", "checkpointing") and here.get(name) != value
    )


def metadata(path: Path | str) -> dict[str, Any]:
    """What was saved beside the weights: ``spec``, ``threshold`` and the caller's own; reads only the header."""
    path = _resolve(path)
    _check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return _facts(path, file.metadata())
    except SafetensorError as error:
        raise _damaged(path, error) from None


def _resolve(path: Path | str) -> Path:
    path = Path(path)
    if not path.is_dir():
        return path
    if not (path / BEST).is_file():
        raise CheckpointError(f"{path} holds no {BEST}; name a run folder in which training has finished an epoch")
    return path / BEST


def _check_file(path: Path) -> None:
    try:
        with path.open("rb") as file:
            start = file.read(2)
    except OSError as error:
        raise CheckpointError(f"checkpoint {path} can not be read: {error.strerror or error}") from None
    if not start:
        raise CheckpointError(f"checkpoint {path} is empty; save it again")
    if start.startswith(PICKLES):
        raise CheckpointError(f"{path} is a pickled file and is refused as unsafe: {CONVERT}")


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    _check_file(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, _facts(path, file.metadata())  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"checkpoint {path} is damaged, cut short or no safetensors file ({error}); save it again")


def _facts(path: Path, header: dict[str, str] | None) -> dict[str, Any]:
    try:
        facts: dict[str, Any] = json.loads((header or {})[HEADER])
        version, spec, threshold = facts.pop("format"), facts["spec"], float(facts["threshold"])
    except (KeyError, TypeError, ValueError):
        raise CheckpointError(
            f"{path} was not saved by unfooled; for weights published by others use "
            "unfooled.models.published.load_published(path, name)"
        ) from None
    if version != FORMAT:
        raise CheckpointError(f"{path} has format {version}, this unfooled reads {FORMAT}; update unfooled")
    return facts | {"spec": spec, "threshold": threshold}


def _rebuild(path: Path, spec: dict[str, Any]) -> Detector:
    if not spec:
        raise CheckpointError(
            f"{path} holds a wrapped network, which can not be built from the file alone; "
            "use load(path, into=unfooled.wrap(your_module, ...))"
        )
    try:
        return models.create(**spec)
    except (ConfigError, TypeError) as error:
        raise CheckpointError(f"{path} names a detector that this unfooled can not build: {error}") from None
