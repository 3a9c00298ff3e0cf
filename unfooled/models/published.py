"""Weights that others published, read into the detectors of the same name."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from unfooled.errors import CheckpointError, ConfigError
from unfooled.models import create
from unfooled.models.detector import Detector
from unfooled.registry import lookup

CONVERT = (
    "a pickle can run code when it is opened; where you trust it: safetensors.torch.save_file("
    "torch.load(FILE, weights_only=False).state_dict(), 'weights.safetensors')"
)
HEADS = {"csn-r101": "df_head", "meso4": "fc2", "mesoinception4": "fc2", "xception": "last_linear"}
PREFIXES = re.compile(r"^(?:(?:module|backbone|model|net)\.)+")
WRAPPERS = ("state_dict", "model", "net")


def load_published(
    source: Path | str | Mapping[str, Tensor], name: str, *, fake_class: Literal[0, 1] = 1, **options: object
) -> Detector:
    """A detector with published weights, in eval mode; a warning names the entries that were left out.

    Args:
        source: a ``.safetensors`` file, a torch file that holds tensors only, a Keras ``.h5`` file, or a state dict.
            Known namings: RealForensics, DeepfakeBench, FaceForensics++ (with and without dropout), timm, Cadene,
            plain; MesoNet's Keras layers.
        name: ``csn-r101``, ``meso4``, ``mesoinception4`` or ``xception``.
        fake_class: which of two classes means fake; the Keras files say P(real) and ignore it.
        options: as for ``create``, and ``form="realforensics"`` for ``csn-r101``, which has no other; a head of
            another kind than the published one starts fresh.

    Raises:
        CheckpointError: the file is missing, damaged, a pickle, or lacks entries (listed).
        ConfigError: no published form of ``name``, or ``fake_class`` is not 0 or 1.
    """
    head_name = lookup("published detector", HEADS, name)
    if fake_class not in (0, 1):
        raise ConfigError(f"fake_class must be 0 or 1, got {fake_class!r}")
    if name == "csn-r101" and (form := options.pop("form", "realforensics")) != "realforensics":
        raise ConfigError(f"form of csn-r101 must be realforensics, got {form!r}")
    path = None if isinstance(source, Mapping) else Path(source)
    label = "state dict" if path is None else str(path)
    is_keras = path is not None and path.suffix in (".h5", ".hdf5")
    if is_keras and ("meso" not in name or options.setdefault("form", "keras") != "keras"):
        raise ConfigError(f"{label} is a Keras file; it fits meso4 and mesoinception4 with form keras only")
    detector = create(name, **options)
    if path is not None and is_keras:
        state, head = _from_keras(path, detector.backbone)
    else:
        tensors = source if isinstance(source, Mapping) else _read(Path(source))
        state, head = _from_torch(_unwrap(tensors), head_name, fake_class)
    left_out = _fill_head(detector.head, head, head_name) + _fill_backbone(label, detector.backbone, state)
    if left_out:
        warnings.warn(f"{label}: left out {', '.join(left_out)}", stacklevel=2)
    return detector.eval()


def _read(path: Path) -> Mapping[str, Any]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(f"{path} holds more than tensors and is refused as unsafe: {CONVERT}") from None
    except OSError as error:
        raise CheckpointError(f"{path} can not be read: {error.strerror or error}") from None
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).partition("\n")[0] or "it ends too early"
        raise CheckpointError(f"{path} is damaged or no file of weights ({reason}); fetch it again") from None
    if not isinstance(tensors, Mapping):
        raise CheckpointError(f"{path} holds a {type(tensors).__name__}, not a state dict; save module.state_dict()")
    return tensors


def _unwrap(tensors: Mapping[str, Any]) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(tensors.get(wrapper), Mapping):
            tensors = tensors[wrapper]
    return {PREFIXES.sub("", name): tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}


def _from_torch(
    tensors: dict[str, Tensor], head_name: str, fake_class: int
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Canonical names, and the head as one logit: fake minus real."""
    head, state = {}, {}
    for name, tensor in tensors.items():
        match = re.fullmatch(rf"(?:{head_name}|fc)(?:\.1)?\.(weight|bias)", name)
        if match and len(tensor) == 2:
            head[match[1]] = (tensor[fake_class] - tensor[1 - fake_class]).unsqueeze(0)
        elif match:
            head[match[1]] = tensor
        elif name.endswith("pointwise.weight"):
            state[name] = tensor.reshape(*tensor.shape[:2], 1, 1)
        else:
            state[name] = tensor
    return state, head


def _from_keras(path: Path, backbone: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Layers in the order of their creation, turned from (H, W, C) to (C, H, W); the sign from real to fake."""
    layers = _keras_layers(path)
    state: dict[str, Tensor] = {}
    kinds = {"conv2d": nn.Conv2d, "batch_normalization": nn.BatchNorm2d}
    names = {k: [n for n, m in backbone.named_modules() if isinstance(m, kind)] for k, kind in kinds.items()}
    for kind, wanted in {**{k: len(n) for k, n in names.items()}, "dense": 2}.items():
        if len(layers[kind]) != wanted:
            raise CheckpointError(f"{path} has {len(layers[kind])} {kind} layers, the detector {wanted}")
    for kind in kinds:
        for name, layer in zip(names[kind], layers[kind], strict=True):
            state |= {f"{name}.{entry}": tensor for entry, tensor in _keras_entries(layer)}
    hidden, last = (dict(_keras_entries(layer)) for layer in layers["dense"])
    maps = state["conv4.weight" if "conv4.weight" in state else "conv2.weight"].shape[0]
    side = int((hidden["weight"].shape[1] / maps) ** 0.5)
    weight = hidden["weight"].reshape(-1, side, side, maps).permute(0, 3, 1, 2).flatten(1)
    state |= {"fc1.weight": weight.contiguous(), "fc1.bias": hidden["bias"]}
    return state, {entry: -tensor for entry, tensor in last.items()}


def _keras_entries(layer: dict[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    names = {"beta": "bias", "gamma": "weight", "moving_mean": "running_mean", "moving_variance": "running_var"}
    for entry, tensor in layer.items():
        if entry != "kernel":
            yield names.get(entry, entry), tensor
        else:
            yield "weight", tensor.permute(3, 2, 0, 1) if tensor.dim() == 4 else tensor.t()


def _keras_layers(path: Path) -> dict[str, list[dict[str, Tensor]]]:
    try:
        import h5py
    except ImportError:
        raise CheckpointError(f"{path} is a Keras file; to read it: pip install 'unfooled[keras]'") from None
    found: dict[str, dict[int, dict[str, Tensor]]] = {"conv2d": {}, "batch_normalization": {}, "dense": {}}

    def visit(name: str, item: Any) -> None:
        match = re.search(r"(?:^|/)(conv2d|batch_normalization|dense)(?:_(\d+))?/(\w+)(?::0)?$", name)
        if match and isinstance(item, h5py.Dataset):
            layer = found[match[1]].setdefault(int(match[2] or 0), {})
            layer[match[3]] = torch.from_numpy(item[()])

    try:
        with h5py.File(path) as file:
            file.visititems(visit)
    except OSError as error:
        raise CheckpointError(f"{path} can not be read as a Keras file: {error}") from None
    return {kind: [layers[number] for number in sorted(layers)] for kind, layers in found.items()}


def _fill_head(head: nn.Module, found: dict[str, Tensor], head_name: str) -> list[str]:
    own = head.state_dict()
    if {k: v.shape for k, v in found.items()} == {k: v.shape for k, v in own.items()}:
        head.load_state_dict(found)
        return []
    if not found:
        return [f"the head (there is no {head_name} for it; it starts fresh)"]
    shapes = ", ".join(f"{k} {list(v.shape)}" for k, v in found.items())
    return [f"{head_name} ({shapes} does not fit the head, which starts fresh)"]


def _fill_backbone(label: str, backbone: nn.Module, found: dict[str, Tensor]) -> list[str]:
    own = backbone.state_dict()
    # Older files have no such counters, and nothing in eval mode reads them.
    found = {k: v for k, v in own.items() if k.endswith("num_batches_tracked")} | found
    if misfit(own, {k: v for k, v in found.items() if k in own}):
        raise CheckpointError(f"{label} does not fit the detector: {misfit(own, found)}")
    backbone.load_state_dict({k: found[k] for k in own})
    return _counted(sorted(found.keys() - own.keys()))


def _counted(names: list[str], most: int = 8) -> list[str]:
    """The names, or how many there are under each first part where they are too many to read."""
    if len(names) <= most:
        return names
    return [f"{part}.* ({count})" for part, count in Counter(name.partition(".")[0] for name in names).items()]


def misfit(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor], most: int = 8) -> str:
    """What keeps one state dict from filling another, in one line; empty where it fits."""
    problems = {
        "missing": sorted(wanted.keys() - found.keys()),
        "unexpected": sorted(found.keys() - wanted.keys()),
        "of other shape": [
            f"{k} {list(found[k].shape)} for {list(wanted[k].shape)}"
            for k in sorted(wanted.keys() & found.keys())
            if wanted[k].shape != found[k].shape
        ],
    }
    return "; ".join(
        f"{kind} {len(names)}: {', '.join(names[:most])}" + (f" and {len(names) - most} more" if names[most:] else "")
        for kind, names in problems.items()
        if names
    )
