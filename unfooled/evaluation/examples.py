"""A few faces or clips before and after an attack, as small pictures inside the result."""

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
"""Pixels of a picture's longer side."""
STRIP = 5
"""Frames of a clip that are shown."""
STRIP_SIDE = 64
_GAP = 2


@dataclass(frozen=True)
class _Candidate:
    order: int
    row: int
    clip: int | None
    x: Tensor
    x_adv: Tensor
    logit: float
    logit_adv: float


@dataclass
class Gallery:
    """Keeps a few samples of each class while batches go by: the same ones for every detector, so that they compare.

    Chosen by the seed alone; picking those that were fooled would make a robust detector look like a broken one.

    Args:
        samples: of the evaluation.
        allowed: collections whose faces may be shown.
        most: samples of each class.
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

    def see(
        self,
        rows: list[int],
        x: Tensor,
        x_adv: Tensor,
        logits: Tensor,
        logits_adv: Tensor,
        clip: int | None = None,
    ) -> None:
        """Look at candidates.

        Args:
            rows: numbers of ``samples``.
            x: (B, 3, H, W) frames, or (B, 3, T, H, W) what ``some_frames`` gives of clips; one for each row.
            x_adv: the same after the attack.
            logits: (B,) of the samples.
            logits_adv: (B,) after the attack.
            clip: frames of a whole clip; None: frames.
        """
        before, after = logits.tolist(), logits_adv.tolist()
        for i, row in enumerate(rows):
            if self.samples.collection[row] not in self.allowed:
                continue
            order = self._order(row)
            kept = self._kept.setdefault(self.samples.label[row], [])
            if len(kept) < self.most or order < kept[-1].order:
                pictures = x[i].detach().cpu().clone(), x_adv[i].detach().cpu().clone()
                kept.append(_Candidate(order, row, clip, *pictures, before[i], after[i]))
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
            clip=c.clip,
            shown=1 if c.clip is None else c.x.shape[1],
        )


def some_frames(x: Tensor) -> Tensor:
    """Clips (B, 3, T, H, W) with those frames alone that are shown, evenly spread; frames (B, 3, H, W) as they are."""
    if x.dim() == 4 or x.shape[2] <= STRIP:
        return x
    return x[:, :, [(2 * k + 1) * x.shape[2] // (2 * STRIP) for k in range(STRIP)]]


def picture(x: Tensor) -> str:
    """A PNG data URI of an image (3, H, W), or of the frames (3, T, H, W) of a clip side by side; values in [0, 1].

    An image becomes at most 128 pixels wide and high, a frame of a clip 64.
    """
    frames = [x] if x.dim() == 3 else list(x.unbind(1))
    images = [Image.fromarray(to_pixels(frame)) for frame in frames]
    for one in images:
        one.thumbnail((SIDE, SIDE) if x.dim() == 3 else (STRIP_SIDE, STRIP_SIDE))
    width, height = images[0].size
    image = Image.new("RGB", (len(images) * (width + _GAP) - _GAP, height), "white")
    for k, one in enumerate(images):
        image.paste(one, (k * (width + _GAP), 0))
    note = PngInfo()
    note.add_text("Comment", NOTE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, pnginfo=note)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
