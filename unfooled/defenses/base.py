"""What every defense shares: the detector is left as it was found, and an attacker may look through it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol, Self, TypeAlias, final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from unfooled.attacks.base import frozen
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector

Answer: TypeAlias = Callable[[Tensor], Tensor]
"""x (B, ...) -> logits (B,); differentiable, everything that the defense has decided held fixed."""


class Pool(Protocol):
    """Training samples that a defense may draw from; ``data.frames.Frames`` is one."""

    labels: npt.NDArray[np.int64]

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> Tensor:
        """uint8 of one sample; DataError where it does not decode."""

    def digest(self) -> str:
        """Tells one pool from another."""


@dataclass(frozen=True)
class Defense(ABC):
    """A change of how a trained detector answers; a value, the detector is an argument.

    An author writes only ``adapt``. It runs without gradients and with the detector frozen; mode, flags, weights and
    buffers of the detector are the same after as before.
    """

    name: ClassVar[str]
    learns: ClassVar[bool] = False
    """``fit`` has something to do."""

    def fit(self, detector: Detector, pool: Pool, *, batch_size: int = 64, keep: Path | None = None) -> Self:
        """The defense after looking once at ``detector`` and training samples; most need nothing.

        Args:
            detector: the one that will be defended.
            pool: training samples, of the size and kind that will be asked about.
            batch_size: samples at a time.
            keep: a folder for what was computed, so that the same call finds it again.
        """
        return self

    @abstractmethod
    def adapt(self, detector: Detector, x: Tensor) -> Answer:
        """What shall answer for the rows of ``x``; row i of what it is then called with belongs to row i."""

    @final
    def __call__(self, detector: Detector, x: Tensor) -> Tensor:
        """(B,) logits; above the detector's threshold means fake.

        Args:
            x: float (B, 3, H, W) frames or (B, 3, T, H, W) clips in [0, 1].

        Raises:
            DataError: ``x`` is not as above.
        """
        check_shape(x)
        with torch.inference_mode(False), torch.no_grad(), frozen(detector):
            if not len(x):
                return x.new_empty(0)
            x = x.clone() if x.is_inference() else x.detach()
            return self.adapt(detector, x)(x)


def check_shape(x: Tensor) -> None:
    """Refuse what is neither frames nor clips.

    Raises:
        DataError: it is not.
    """
    if not x.is_floating_point() or x.dim() not in (4, 5) or x.shape[1] != 3:
        raise DataError(f"x must be float (B, 3, H, W) frames or (B, 3, T, H, W) clips, got {x.dtype} {tuple(x.shape)}")


class Defended(Detector):
    """A detector behind a defense, for an attacker who knows both; its answers are those of the defense.

    Where a gradient is asked for, it passes the defense with all that the defense decides (neighbours, tuned weights,
    noise) held fixed at what it decides for that very input, and is taken anew at the next: backward-pass
    differentiable approximation (arXiv:1802.00420). Where none is asked for, the answer is the defense's own. There is
    one feature, the logit, so attacks on features see nothing here.

    Args:
        defense: fitted, where it learns.
        detector: shared, not copied.
        retune: gradients that are taken before the defense decides anew, >= 1; more than 1 is cheaper and weaker, and
            serves attacks whose batches keep their rows.
    """

    backbone: Behind

    def __init__(self, defense: Defense, detector: Detector, retune: int = 1) -> None:
        if retune < 1:
            raise ConfigError(f"retune must be >= 1, got {retune}")
        super().__init__(
            Behind(defense, detector, retune),
            nn.Identity(),
            spec={"name": "defended", "detector": detector.spec, "defense": repr(defense)},
            smallest=detector.smallest,
            clips=detector.clips,
        )
        self.threshold = detector.threshold
        self.title = detector.title
        # Not eval(): the detector inside keeps its own mode.
        self.training = self.backbone.training = self.head.training = False

    def features(self, x: Tensor) -> Tensor:
        """(B, 1): the logit."""
        logits: Tensor = self.backbone(x)
        return logits


class Behind(nn.Module):
    """The defended answer as a module, so that queries can be counted."""

    def __init__(self, defense: Defense, detector: Detector, retune: int) -> None:
        super().__init__()
        self.defense, self.detector, self.retune = defense, detector, retune
        self._held: Answer | None = None
        self._rows = self._left = 0

    def forward(self, x: Tensor) -> Tensor:
        if not (torch.is_grad_enabled() and x.requires_grad):
            # Attacks ask so at their ends and between restarts: what was decided there serves no other walk.
            self._left = 0
            return self.defense(self.detector, x).unsqueeze(1)
        if self._held is None or not self._left or self._rows != len(x):
            with torch.no_grad(), frozen(self.detector):
                self._held = self.defense.adapt(self.detector, x.detach())
            self._rows, self._left = len(x), self.retune
        self._left -= 1
        with frozen(self.detector):
            return self._held(x).unsqueeze(1)
