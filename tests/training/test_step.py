"""One step: memory that runs out, parts that add up, clipping."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unfooled.data.frames import Batch
from unfooled.errors import TrainingError
from unfooled.models import Detector
from unfooled.objectives import Standard
from unfooled.training.engine import channels_last, make_fabric, make_optimizer, weights_channels_last
from unfooled.training.step import Stepper

Make = Callable[..., tuple[Stepper, Detector, list[str]]]


@dataclass(frozen=True)
class Hungry(Standard):
    """Fits into memory with ``most`` rows."""

    most: int = 2
    error: type[Exception] = torch.OutOfMemoryError
    words: str = "CUDA out of memory"

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        if len(x) > self.most:
            raise self.error(self.words)
        return super().__call__(detector, x, y)


@pytest.fixture
def batch() -> Batch:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(8) % 2
    return Batch(torch.rand(8, 3, 32, 32, generator=g), y, y)


@pytest.fixture
def make(toy: ModuleType) -> Make:
    def stepper(clip: float = 0.0, **options: Any) -> tuple[Stepper, Detector, list[str]]:
        settings, lines = toy.settings(weight_decay=0.0, momentum=0.0, **options), []
        fabric, detector = make_fabric(settings), toy.without_batch_norm()
        optimizer = fabric.setup_optimizers(make_optimizer(detector, settings))
        return Stepper(fabric, detector, optimizer, None, 8, clip, 0, lines.append), detector, lines

    return stepper


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
        (MemoryError, ""),
    ],
)
def test_out_of_memory_halves_the_batch_says_so_and_keeps_the_result(
    make: Make, batch: Batch, error: type[Exception], words: str
) -> None:
    whole, expected, _ = make()
    parted, detector, lines = make()
    terms = whole(Standard(), batch, 0, 0.1)
    found = parted(Hungry(most=2, error=error, words=words), batch, 0, 0.1)
    assert parted.parts == 4
    assert [line.split(";")[1].strip().split(" rows")[0] for line in lines] == ["going on with 4", "going on with 2"]
    assert found["bce"] == pytest.approx(terms["bce"], rel=1e-5)
    for a, b in zip(detector.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_memory_that_holds_nothing_and_other_errors_stop(make: Make, batch: Batch) -> None:
    stepper, detector, _ = make()
    before = copy.deepcopy(detector.state_dict())
    with pytest.raises(TrainingError, match="out of memory with 2 rows at a time"):
        stepper(Hungry(most=1), batch, 0, 0.1)
    with pytest.raises(RuntimeError, match="shape"):
        stepper(Hungry(most=0, error=RuntimeError, words="shape"), batch, 0, 0.1)
    assert all(torch.equal(before[name], tensor) for name, tensor in detector.state_dict().items())


@dataclass(frozen=True)
class Counting(Standard):
    """Remembers how many rows it was given at a time."""

    seen: list[int] = field(default_factory=list)

    def __call__(self, detector: Detector, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        self.seen.append(len(x))
        assert len(set(y.tolist())) == 2, "each part has both classes"
        return super().__call__(detector, x, y)


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_parts_add_up_to_the_whole_batch(make: Make, batch: Batch, parts: int) -> None:
    whole, expected, _ = make()
    parted, detector, lines = make()
    parted.parts = parts
    objective = Counting()
    terms, found = whole(Standard(), batch, 0, 0.1), parted(objective, batch, 0, 0.1)
    assert (len(objective.seen), sum(objective.seen), lines) == (parts, 8, [])
    # Pairs of real and fake are those of a part.
    found.pop("cos_real_fake"), terms.pop("cos_real_fake")
    assert found == pytest.approx(terms, rel=1e-5)
    for a, b in zip(detector.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_weights_and_inputs_of_clips_get_their_channels_last() -> None:
    mixed = nn.Sequential(nn.Conv3d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Linear(4, 1))
    before = [parameter.detach().clone() for parameter in mixed.parameters()]
    own = list(mixed.parameters())
    weights_channels_last(mixed)
    assert all(a is b and torch.equal(a, c) for a, b, c in zip(mixed.parameters(), own, before, strict=True))
    assert mixed[0].weight.is_contiguous(memory_format=torch.channels_last_3d)  # type: ignore[union-attr, operator]
    assert mixed[1].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[union-attr, operator]
    assert channels_last(torch.zeros(2, 3, 4, 5, 6)).is_contiguous(memory_format=torch.channels_last_3d)
    assert channels_last(torch.zeros(2, 7)).shape == (2, 7)


def test_clipping_bounds_the_step(make: Make, batch: Batch) -> None:
    free, a, _ = make()
    bound, b, _ = make(clip=1e-3)
    start = torch.cat([p.detach().flatten() for p in a.parameters()])
    assert free(Standard(), batch, 0, 1.0)["grad_norm"] == bound(Standard(), batch, 0, 1.0)["grad_norm"]
    moved = [torch.cat([p.detach().flatten() for p in d.parameters()]) - start for d in (a, b)]
    assert moved[1].norm().item() == pytest.approx(1e-3, rel=1e-2)
    assert moved[0].norm() > moved[1].norm()
