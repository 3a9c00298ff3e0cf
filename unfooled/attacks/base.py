"""What every attack shares: the checks at the edge, the frozen detector, the projection and the judgement."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import ClassVar, Literal, Self, TypeAlias, final, get_args

import torch
from torch import Tensor, nn

from unfooled.attacks.constant_norms import constant_norms
from unfooled.errors import ConfigError, DataError
from unfooled.models.detector import Detector
from unfooled.threats import L2, Linf, Threat

Precision: TypeAlias = Literal["float32", "bfloat16"]


@dataclass(frozen=True, eq=False)
class Adversarial:
    """What an attack found, one entry a sample.

    Args:
        x: perturbed input, shape of the clean one, inside the ball and [0, 1]; its channels may be last in memory.
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
    point: projection and judgement follow here. A search that leaves rows out says so with ``only``.

    Args:
        threat: what may change.
        precision: of the search. ``float32`` takes the detector as it is; ``bfloat16`` runs it under autocast, which
            is coarser, so that the search may end elsewhere, and faster where the processor has it. The judgement is
            never affected.
    """

    threat: Threat
    precision: Precision = field(default="float32", kw_only=True)
    threats: ClassVar[tuple[type[Threat], ...]] = (Linf, L2)
    """What it is defined for; the first is its default."""
    least_norm: ClassVar[bool] = False
    """It looks for the shortest perturbation, and its result is a distance."""
    fakes_only: ClassVar[bool] = False
    """It turns fakes into reals by definition and leaves reals as they are."""
    learns: ClassVar[bool] = False
    """``fit`` has something to do."""

    def __post_init__(self) -> None:
        if not isinstance(self.threat, self.threats):
            norms = " or ".join(kind.__name__.lower() for kind in self.threats)
            raise ConfigError(
                f"{type(self).__name__} is an attack under norm {norms}, got {type(self.threat).__name__.lower()}; "
                f"write norm={self.threats[0].__name__.lower()}"
            )

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
        with (
            torch.inference_mode(False),
            torch.enable_grad(),
            frozen(detector),
            constant_norms(detector),
            self._arithmetic(x.device),
        ):
            # A tensor made in inference mode can not be differentiated; its clone can.
            x = pixels_together(x.clone() if x.is_inference() else x.detach())
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
        x = pixels_together(x)
        with counted(detector, len(x)) as queries:
            x_adv = self.search(detector, x, y)
        with frozen(detector), torch.no_grad():
            logits = detector(x_adv)
            distance = self.threat.distance(x_adv - x)
        if torch.isnan(logits).any():
            raise DataError(f"the detector answered NaN for {int(torch.isnan(logits).sum())} of {len(x)} inputs")
        return Adversarial(x_adv, is_wrong(detector, logits, y), distance, queries().to(y), logits)

    @contextmanager
    def _arithmetic(self, device: torch.device) -> Iterator[None]:
        if self.precision not in get_args(Precision):
            raise ConfigError(f"precision must be one of {', '.join(get_args(Precision))}, got {self.precision!r}")
        if self.precision == "float32":
            yield  # under the caller's own autocast, if any
            return
        with torch.autocast(device.type, torch.bfloat16):
            yield


def pixels_together(x: Tensor) -> Tensor:
    """``x`` with its channels last in memory, where that makes convolutions faster."""
    if x.device.type != "cpu" or x.dtype == torch.float64:
        return x
    return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.channels_last_3d)


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


_rows: ContextVar[Tensor | None] = ContextVar("_rows", default=None)


@contextmanager
def only(rows: Tensor) -> Iterator[None]:
    """Says that the forward passes inside are for these rows of the batch alone, so that queries count for them.

    Args:
        rows: (N,) positions in the batch, or in the rows of an ``only`` around this one.
    """
    outer = _rows.get()
    token = _rows.set(rows if outer is None else outer[rows])
    try:
        yield
    finally:
        _rows.reset(token)


@contextmanager
def counted(detector: Detector, size: int = 1) -> Iterator[Callable[[], Tensor]]:
    """A function that tells how many rows the detector's backbone has seen since for each of ``size`` samples.

    A forward pass counts alike for all samples, or for those that ``only`` names: one on 40 views of each counts 40.
    """
    with torch.inference_mode(False):
        queries = torch.zeros(size, dtype=torch.float64)

    def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = _rows.get()
        if rows is None:
            queries.add_(len(inputs[0]) / size)
        elif len(rows):
            queries[rows.to(queries.device)] += len(inputs[0]) / len(rows)

    hook = detector.backbone.register_forward_pre_hook(note)
    token = _rows.set(None)
    try:
        yield lambda: queries.round().to(torch.int64)
    finally:
        _rows.reset(token)
        hook.remove()


def wrong_way(y: Tensor, like: Tensor) -> Tensor:
    """(B,) the sign that harms a logit: +1 for reals, -1 for fakes, in the dtype of ``like``."""
    return (1 - 2 * y).to(like)


def is_wrong(detector: Detector, logits: Tensor, y: Tensor) -> Tensor:
    """(B,) whether the logits lie on the wrong side of the detector's threshold."""
    return (logits > detector.threshold) != (y == 1)


def per_row(values: Tensor, like: Tensor) -> Tensor:
    """(B,) as (B, 1, ...), so that it multiplies or chooses rows of ``like``."""
    return values.reshape(-1, *[1] * (like.dim() - 1))


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
        self.x = torch.where(per_row(more, x_adv), x_adv, self.x)


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
