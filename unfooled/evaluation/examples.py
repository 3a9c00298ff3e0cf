"""A few faces before and after an attack, as small pictures inside the result."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from unfooled.codecs import NOTE, to_pixels
from unfooled.metrics import sigmoid
from unfooled.randomness import seed_of
from unfooled.results import Example, Samples

SIDE = 128


@dataclass(frozen=True)
class _Candidate:
    order: int
    row: int
    x: Tensor
    x_adv: Tensor
    logit: float
    logit_adv: float


@dataclass
class Gallery:
    """Keeps a few faces of each class while batches go by: the same ones for every detector, so that they compare.

    Chosen by the seed alone; picking those that were fooled would make a robust detector look like a broken one.

    Args:
        samples: of the evaluation.
        allowed: collections whose faces may be shown.
        most: faces of each class.
        seed: chooses.
    """

    samples: Samples
    allowed: tuple[str, ...]
    most: int = 3
    seed: int = 0
    _kept: dict[int, list[_Candidate]] = field(default_factory=dict)

    def best(self, rows: Sequence[int]) -> list[int]:
        """Places in ``rows`` (numbers of ``samples``) of the batch's own candidates: no other of it can be shown."""
        orders: dict[int, list[tuple[int, int]]] = {0: [], 1: []}
        for i, row in enumerate(rows):
            if self.samples.collection[row] in self.allowed:
                orders[self.samples.label[row]].append((self._order(row), i))
        return sorted(i for found in orders.values() for _, i in sorted(found)[: self.most])

    def see(self, rows: list[int], x: Tensor, x_adv: Tensor, logits: Tensor, logits_adv: Tensor) -> None:
        """Look at candidates; ``x`` and ``x_adv`` are (B, 3, H, W) frames, one for each of ``rows``."""
        if x.dim() != 4:
            return
        before, after = logits.tolist(), logits_adv.tolist()
        for i, row in enumerate(rows):
            if self.samples.collection[row] not in self.allowed:
                continue
            order = self._order(row)
            kept = self._kept.setdefault(self.samples.label[row], [])
            if len(kept) < self.most or order < kept[-1].order:
                pictures = x[i].detach().cpu().clone(), x_adv[i].detach().cpu().clone()
                kept.append(_Candidate(order, row, *pictures, before[i], after[i]))
                kept.sort(key=lambda c: c.order)
                del kept[self.most :]

    def _order(self, row: int) -> int:
        return seed_of(self.seed, "example", self.samples.id[row])

    def examples(self) -> list[Example]:
        """Fakes first."""
        return [self._example(c) for y in (1, 0) for c in self._kept.get(y, [])]

    def _example(self, c: _Candidate) -> Example:
        delta = c.x_adv - c.x
        largest = float(delta.abs().max())
        gain = 0.5 / largest if largest > 0 else 1.0
        return Example(
            id=self.samples.id[c.row],
            label=self.samples.label[c.row],
            manipulation=self.samples.manipulation[c.row],
            x=picture(c.x),
            x_adv=picture(c.x_adv),
            difference=picture(0.5 + gain * delta),
            amplification=gain,
            score=float(sigmoid(c.logit)),
            score_adv=float(sigmoid(c.logit_adv)),
        )


def picture(x: Tensor) -> str:
    """A (3, H, W) image in [0, 1] as a PNG data URI, at most 128 pixels wide and high."""
    image = Image.fromarray(to_pixels(x))
    image.thumbnail((SIDE, SIDE))
    note = PngInfo()
    note.add_text("Comment", NOTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, pnginfo=note)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
