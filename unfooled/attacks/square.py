"""Square: random squares, kept where the score does not get better for the detector."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unfooled.attacks.base import Attack, is_wrong, only, per_row, wrong_way
from unfooled.attacks.gradient import need_finite
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import generators
from unfooled.threats import Linf, Threat

HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
"""Queries out of 10,000 after which the share of pixels is halved."""
DRAWN_AT_ONCE = 500


def share(p: float, query: int, queries: int) -> float:
    """The share of the pixels that a square covers at ``query`` of ``queries``; ``p`` at first."""
    return p / 2.0 ** bisect_left(HALVED_AFTER, int(query / queries * 10000))


@dataclass(frozen=True)
class Square(Attack):
    """Random search with squares of colour at the edge of the ball; asks for scores alone.

    It starts from vertical stripes. Each query sets one square, of one sign for each channel, in every frame of a
    clip's span alike, and keeps it unless the logit gets less harmful.

    Args:
        threat: Linf.
        queries: >= 2 for each sample at most; a square that changes nothing is not asked for.
        p: share of the pixels in the first square, in (0, 1]; it is halved nine times on the way.
        stop_at_flip: leave a sample at its first wrong answer. That is what counts queries; a robust AUC needs the
            whole damage.
        seed: of stripes and squares, which belong to the sample; None draws from torch's global generator.

    Raises:
        ConfigError: an option is out of range, or the threat is not Linf with a finite eps.

    Source: arXiv:1912.00049. Deviations: not stopped at the flip; a square that leaves the logit as it is is kept, so
    that rounded scores do not hold the search up; in a picture that is not square, or a clip, a rectangle of the
    same share in every direction; x itself counts as a point.
    """

    threats: ClassVar[tuple[type[Threat], ...]] = (Linf,)

    queries: int = 5000
    p: float = 0.8
    stop_at_flip: bool = False
    seed: int | None = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        need_finite(self.threat)
        if self.queries < 2:
            raise ConfigError(f"queries must be >= 2, got {self.queries}")
        if not 0 < self.p <= 1:
            raise ConfigError(f"p must be in (0, 1], got {self.p:g}; the published one is 0.8")

    @torch.no_grad()
    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        eps, sides, sources = self.threat.eps, x.shape[2:], generators(x, self.seed, "square")
        # Stripes: one sign for each channel and column.
        signs = torch.stack([_signs(torch.rand(3, sides[-1], generator=g)) for g in sources]).to(x)
        x_adv = (x + eps * signs.reshape(len(x), 3, *[1] * (len(sides) - 1), -1)).clamp(0, 1)
        clean, logits = detector(x), detector(x_adv)
        harm, still = (_harm(z, y) for z in (logits, clean))
        going = torch.ones_like(y, dtype=torch.bool)
        if self.stop_at_flip:
            going = ~(is_wrong(detector, clean, y) | is_wrong(detector, logits, y))
        tried = x_adv.clone()
        draws: list[Tensor] = []
        for query in range(2, self.queries):
            turn = (query - 2) % DRAWN_AT_ONCE
            if turn == 0:
                draws = [
                    torch.rand(DRAWN_AT_ONCE, len(sides) + 3, generator=g) if go else torch.empty(0)
                    for g, go in zip(sources, going.tolist(), strict=True)
                ]
            part = share(self.p, query, self.queries) ** (1 / len(sides))
            lengths = [max(1, round(part * side)) for side in sides]
            windows = {}
            for i in going.nonzero().flatten().tolist():
                draw = draws[i][turn]
                firsts = [int(u * (side - n + 1)) for u, side, n in zip(draw[3:].tolist(), sides, lengths, strict=True)]
                window = (i, slice(None), *(slice(a, a + n) for a, n in zip(firsts, lengths, strict=True)))
                colour = _signs(draw[:3]).to(x).reshape(3, *[1] * len(sides))
                tried[window] = (x[window] + eps * colour).clamp(0, 1)
                if not torch.equal(tried[window], x_adv[window]):
                    windows[i] = window
            rows = torch.tensor(list(windows), dtype=torch.int64, device=x.device)
            if not len(rows):
                continue
            with only(rows):
                logits = detector(tried if len(rows) == len(x) else tried[rows])
            now = _harm(logits, y[rows])
            for i, kept in zip(windows, (now >= harm[rows]).tolist(), strict=True):
                source, target = (tried, x_adv) if kept else (x_adv, tried)
                target[windows[i]] = source[windows[i]]
            harm[rows] = now.maximum(harm[rows])
            if self.stop_at_flip:
                going[rows] = ~is_wrong(detector, logits, y[rows])
                if not going.any():
                    break
        return torch.where(per_row(still > harm, x), x, x_adv)


def _signs(uniform: Tensor) -> Tensor:
    return torch.where(uniform < 0.5, -1.0, 1.0)


def _harm(logits: Tensor, y: Tensor) -> Tensor:
    """NaN does no harm."""
    return (wrong_way(y, logits) * logits).nan_to_num(nan=-torch.inf)
