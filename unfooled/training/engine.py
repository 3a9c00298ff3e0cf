"""Lightning Fabric and the optimiser as the settings want them."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.training.settings import Settings

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def place(settings: Settings) -> tuple[str, int | None]:
    """``("cuda", 1)`` for ``cuda:1``, ``("cpu", None)`` for ``auto`` without a GPU.

    Raises:
        ConfigError: this machine does not have what the settings ask for.
    """
    device, _, number = settings.device.partition(":")
    if device not in ("auto", "cpu", "cuda") or (number and not (device == "cuda" and number.isdigit())):
        raise ConfigError(f"device must be auto, cpu, cuda or cuda:1, got {settings.device!r}")
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"device {settings.device} is not there: no GPU, or a CPU build of PyTorch; write --device cpu"
        )
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if number and (settings.devices > 1 or int(number) >= torch.cuda.device_count()):
        raise ConfigError(
            f"device {settings.device} names one of {torch.cuda.device_count()} GPUs, devices is {settings.devices}; "
            "write device = 'cuda' for several"
        )
    if settings.precision == "16-mixed" and device == "cpu":
        raise ConfigError("precision 16-mixed needs a GPU; write bf16-mixed or 32")
    return device, int(number) if number else None


def make_fabric(settings: Settings) -> Fabric:
    """Device, precision and processes.

    Raises:
        ConfigError: this machine does not have them.
    """
    # A second that only training has to spend: settings are read by every command.
    from lightning_fabric import Fabric

    device, number = place(settings)
    # Its notes on standard error would tear a progress bar apart; its warnings still come through.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    # Several processes are started by Fabric from this very command line, or by torchrun.
    return Fabric(
        accelerator=device,
        devices=settings.devices if number is None else [number],
        strategy="auto" if settings.devices == 1 else "ddp",
        precision="32-true" if settings.precision == "32" else settings.precision,
    )


def first_process() -> bool:
    """Whether this process is the one that writes and speaks; the others are started with a LOCAL_RANK above 0."""
    return os.environ.get("LOCAL_RANK", "0") == "0"


def channels_last(x: Tensor) -> Tensor:
    """Frames or clips with their channels last in memory, which convolutions read faster; others as they are."""
    layouts = {4: torch.channels_last, 5: torch.channels_last_3d}
    return x.contiguous(memory_format=layouts[x.dim()]) if x.dim() in layouts else x


def weights_channels_last(module: nn.Module) -> None:
    """The same for the weights of convolutions over frames and over clips, in place."""
    for parameter in module.parameters():
        parameter.data = channels_last(parameter.data)


def make_optimizer(detector: Detector, settings: Settings) -> torch.optim.Optimizer:
    """SGD or Adam over what is not frozen; the loop sets the learning rate of each step."""
    parameters = [p for p in detector.parameters() if p.requires_grad]
    if settings.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=1.0, weight_decay=settings.weight_decay)
    return torch.optim.SGD(parameters, lr=1.0, momentum=settings.momentum, weight_decay=settings.weight_decay)
