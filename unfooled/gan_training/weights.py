"""Generators in files: safetensors with what builds them in the header; nothing is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from unfooled.checkpoints import write_weights
from unfooled.errors import CheckpointError, ConfigError
from unfooled.models.gan import Generator

FILE_NAME = "generator.safetensors"
HEADER = "unfooled-gan"
FORMAT = 1


def save_generator(generator: Generator, path: Path, **facts: object) -> None:
    """Write weights, spec and facts that JSON can hold; the file appears whole or not at all.

    Raises:
        CheckpointError: the file can not be written (a full disk); a file that was there before is kept.
    """
    header = json.dumps({"format": FORMAT, "spec": generator.spec, **facts})
    write_weights(path, generator, {HEADER: header})


def load_generator(path: Path | str, device: torch.device | str = "cpu") -> tuple[Generator, dict[str, Any]]:
    """The generator in eval mode, and the facts beside it.

    Args:
        path: a file that ``save_generator`` wrote, or a run folder of ``unfooled gan train``.
        device: where the weights go.

    Raises:
        CheckpointError: no such file, none of a generator, damaged, or made by a newer unfooled.
    """
    path = Path(path)
    path = path / FILE_NAME if path.is_dir() else path
    if not path.is_file():
        raise CheckpointError(f"no generator at {path}; name a run folder that `unfooled gan train` wrote")
    try:
        with safe_open(path, framework="pt") as file:
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            facts: dict[str, Any] = json.loads((file.metadata() or {})[HEADER])
        if facts.pop("format") != FORMAT:
            raise CheckpointError(f"{path} was made by another version of unfooled; update unfooled")
        generator = Generator(**facts.pop("spec"))
        generator.load_state_dict(state)
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is damaged or no safetensors file ({error}); train again") from None
    except (KeyError, TypeError, ValueError, RuntimeError, ConfigError):
        raise CheckpointError(f"{path} holds no generator of unfooled; name a run of `unfooled gan train`") from None
    return generator.requires_grad_(False).eval().to(device), facts


def digest(generator: Generator) -> str:
    """8 digits that tell one generator's weights from another's."""
    found = hashlib.blake2b(digest_size=4)
    for name, tensor in sorted(generator.state_dict().items()):
        found.update(name.encode() + tensor.detach().to("cpu", torch.float64).contiguous().numpy().tobytes())
    return found.hexdigest()
