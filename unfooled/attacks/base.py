"""What every attack shares: the checks at the edge, the frozen detector, the projection and the judgement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Self, final

import torch
from torch import Tensor, nn

from unfooled.errors import DataError
from unfooled.models.detector import Detector
from unfooled.threats import Threat


@dataclass(frozen=True, eq=False)
class Adversarial:
    """What an attack found, one entry a sample.

    Args:
        x: perturbed input, shape of the clean one, inside the ball and [0, 1].
        success: (B,) bool; the detector, asked afresh, puts ``x`` on the wrong side of its threshold.
        distance: (B,) change in the threat's norm, pixel units.
        queries: (B,) int64; forward passes of the attacked detector that the search spent on each sample.
        logits: (B,) of ``x``, from the same fresh forward.
    """

    x: Tensor
    success: Tensor
    distance: Tensor
    queries: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Attack(ABC):
    """A search for the input that harms most inside a threat; a value, the detector is an argument.

    An author writes only ``perturb``. It runs with gradients enabled and the detector frozen, and may return any
    point: projection and judgement follow here.
    """

    threat: Threat

    def fit(self, detector: Detector, batches: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """The attack after learning from (x, y) batches what it needs once; most need nothing."""
        return self

    @abstractmethod
    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        """The perturbed input for ``x`` with labels ``y``; the search and nothing else."""

    @final
    def search(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        """Perturbed input inside the ball and [0, 1], unchecked and unjudged: what a training step needs.

        Args:
            x: (B, 3, H, W) or (B, 3, T, H, W) in [0, 1].
            y: (B,) int64, 0 real, 1 fake.
        """
        with torch.inference_mode(False), torch.enable_grad(), frozen(detector):
            # A tensor made in inference mode can not be differentiated; its clone can.
            x = x.clone() if x.is_inference() else x.detach()
            return self.threat.project(x, self.perturb(detector, x, y).detach())

    @final
    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> Adversarial:
        """Attack each row of ``x`` and judge the result with a fresh forward.

        Args:
            x: float (B, 3, H, W) or (B, 3, T, H, W) in [0, 1].
            y: (B,) int64, 0 real, 1 fake.

        Raises:
            DataError: ``x`` or ``y`` is not as above, or the detector answers NaN.
        """
        check_batch(x, y)
        with counted(detector) as rows:
            x_adv = self.search(detector, x, y)
        with frozen(detector), torch.no_grad():
            logits = detector(x_adv)
            distance = self.threat.distance(x_adv - x)
        if torch.isnan(logits).any():
            raise DataError(f"the detector answered NaN for {int(torch.isnan(logits).sum())} of {len(x)} inputs")
        success = (logits > detector.threshold) != (y == 1)
        return Adversarial(x_adv, success, distance, torch.full_like(y, rows() // len(x)), logits)


@contextmanager
def frozen(detector: nn.Module) -> Iterator[None]:
    """Evaluation mode and no parameter gradients inside; each module's mode and each flag are put back after."""
    modes = [(module, module.training) for module in detector.modules()]
    flags = [(parameter, parameter.requires_grad) for parameter in detector.parameters()]
    try:
        detector.eval()
        detector.requires_grad_(False)
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in flags:
            parameter.requires_grad_(requires_grad)


@contextmanager
def counted(detector: Detector) -> Iterator[Callable[[], int]]:
    """A function that tells how many rows the detector's backbone has seen since."""
    rows = 0

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        nonlocal rows
        rows += len(inputs[0])

    hook = detector.backbone.register_forward_pre_hook(note)
    try:
        yield lambda: rows
    finally:
        hook.remove()


def wrong_way(y: Tensor, like: Tensor) -> Tensor:
    """(B,) the sign that harms a logit: +1 for reals, -1 for fakes, in the dtype of ``like``."""
    return (1 - 2 * y).to(like)


@dataclass
class Worst:
    """Remembers for every row the point with the most harmful logit: reals highest, fakes lowest.

    Not stopped at the flip: a robust AUC needs the whole damage. NaN never counts as harm.
    """

    x: Tensor
    y: Tensor
    harm: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.harm = self.x.new_full((len(self.x),), -torch.inf)

    def see(self, x_adv: Tensor, logits: Tensor) -> None:
        """Keep the rows of ``x_adv`` that do more harm than any before."""
        harm = wrong_way(self.y, self.harm) * logits.detach().to(self.harm)
        # On a tie the later point: where a saturated logit stands still, the walk still leaves x.
        more = harm >= self.harm
        self.harm = torch.where(more, harm, self.harm)
        self.x = torch.where(more.reshape(-1, *[1] * (x_adv.dim() - 1)), x_adv, self.x)


def check_batch(x: Tensor, y: Tensor) -> None:
    """Refuse what is no labelled batch of frames or clips in [0, 1], in one line that says why."""
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise DataError(f"x must be a float tensor in [0, 1], got {kind}; bytes become that by x.float() / 255")
    if x.dim() not in (4, 5) or x.shape[1] != 3 or 0 in x.shape:
        raise DataError(f"x must be (B, 3, H, W) frames or (B, 3, T, H, W) clips, got {tuple(x.shape)}")
    low, high = (float(v) for v in x.detach().aminmax())
    if not (low >= 0 and high <= 1):
        raise DataError(
            f"x must lie in [0, 1], got [{low:g}, {high:g}]; divide bytes by 255, the detector normalises by itself"
        )
    if not isinstance(y, Tensor) or y.dtype != torch.int64:
        kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
        raise DataError(f"y must be an int64 tensor, got {kind}; write y.long()")
    if y.shape != x.shape[:1]:
        raise DataError(f"y must have one label for each of the {len(x)} rows of x, got shape {tuple(y.shape)}")
    if not ((y == 0) | (y == 1)).all():
        raise DataError(f"y must be 0 (real) or 1 (fake), got {sorted(set(y.tolist()))}")
