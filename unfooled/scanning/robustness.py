"""The margin of a verdict: the smallest change of the face crops FOUND that turns it, no less than the true one."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unfooled.attack_files.clips import BATCH, to_input
from unfooled.attacks.apgd import climb
from unfooled.attacks.base import Worst, frozen, pixels_together
from unfooled.attacks.constant_norms import constant_norms
from unfooled.attacks.gradient import Slope, autograd, margin
from unfooled.data.images import Pixels
from unfooled.data.manifest import FAKE, REAL
from unfooled.models.detector import Detector
from unfooled.scanning.points import Shape
from unfooled.scanning.verdict import Margin
from unfooled.threats import Linf

LARGEST = 16 / 255
MOST_TRACKS = 16
"""Faces that are searched; a file of which more would have to change gets no margin."""
FRAGILE, ROUNDED = 1.0, 0.5


@dataclass(frozen=True)
class MarginSearch:
    """How the smallest change is looked for.

    Args:
        steps: of APGD at each radius that does not turn the verdict; one that does ends earlier.
        tolerance: ratio of the smallest radius that turned it to the largest that did not, less 1.
        seed: of the first start.
        largest: radius that is tried last.
    """

    steps: int = 10
    tolerance: float = 0.05
    seed: int = 0
    largest: float = LARGEST

    def __str__(self) -> str:
        return f"apgd:steps={self.steps},seed={self.seed}, bisected to {100 * self.tolerance:g} %"


def margin_of(
    detector: Detector,
    shown: Mapping[str, Pixels],
    logits: Mapping[str, float],
    spoken: Sequence[str],
    target: float,
    rising: bool,
    shape: Shape,
    search: MarginSearch | None = None,
    device: str = "cpu",
) -> Margin:
    """How far the crops of a file have to move, in Linf, until its logit passes ``target``.

    Every point of a track may be changed, each on its own, by at most the radius; the track's logit is the mean of
    theirs, just as in the verdict.

    Args:
        detector: differentiable, in evaluation mode on ``device``.
        shown: (N, T, S, S, 3) crops of each track.
        logits: of each track.
        spoken: tracks that count for the file: with ``max`` all of them, with ``largest`` that one.
        target: logit that is to be passed.
        rising: True: one track has to rise to it, the easiest; False: every track above has to fall to it.
        shape: what the detector is shown.
        search: how; None: the defaults.
        device: of the detector.
    """
    search = search or MarginSearch()
    names = list(spoken) if rising else [name for name in spoken if logits[name] > target]
    if len(names) > MOST_TRACKS and not rising:
        why = f"not searched: {len(names)} faces would have to change, at most {MOST_TRACKS} are tried"
        return Margin(linf_255=None, attack=why, searched_255=0.0, fragile=False, survives_rounding=True)
    with torch.inference_mode(False), torch.enable_grad(), frozen(detector), constant_norms(detector):
        walks = [
            _Walk(detector, shown[name], target, FAKE if not rising else REAL, shape, search, device) for name in names
        ]
        # The likeliest to decide first: the others then only have to be compared with it.
        walks.sort(key=lambda walk: walk.first_guess, reverse=not rising)
        found: float | None = None
        for k, walk in enumerate(walks[:MOST_TRACKS]):
            if k and rising and found is not None and not walk.reaches(found / (1 + search.tolerance)):
                continue
            if k and not rising and found is not None and walk.reaches(found):
                continue
            here = walk.smallest()
            if here is None and not rising:
                found = None
                break
            if here is not None:
                found = here if found is None else min(found, here) if rising else max(found, here)
    tried = max((walk.tried for walk in walks), default=0.0)
    return _told(found, tried, f"{search} on {sum(len(shown[name]) for name in names)} points")


def _told(found: float | None, tried: float, attack: str) -> Margin:
    # Rounded up: at the radius that is told the verdict did turn.
    linf = None if found is None else _up(found)
    return Margin(
        linf_255=linf,
        attack=attack,
        searched_255=_up(max(tried, found or 0.0)),
        fragile=linf is not None and linf < FRAGILE,
        survives_rounding=linf is None or linf >= ROUNDED,
    )


def _up(radius: float) -> float:
    return math.ceil(255 * radius * 1000 - 1e-6) / 1000


class _ReachedError(Exception):
    """The target is passed; nothing more has to be looked for at this radius."""


@dataclass
class _Walk:
    """The search on one track: the points that do most harm so far, from which the next radius starts."""

    detector: Detector
    shown: Pixels
    target: float
    label: int
    shape: Shape
    search: MarginSearch
    device: str
    tried: float = 0.0
    lowest: float = 0.0
    highest: float | None = None
    _reached: float = 0.0
    _met: bool = False
    _leap: float = 1.06
    first_guess: float = field(init=False)

    def __post_init__(self) -> None:
        step = BATCH if self.shape.clip is None else 1
        groups = [self.shown[k : k + step] for k in range(0, len(self.shown), step)]
        self.x = [pixels_together(to_input(group, self.shape.clip, self.device)) for group in groups]
        self.deltas = [torch.zeros_like(x) for x in self.x]
        found = [self._slope(x)(x) for x in self.x]
        self.start = [self._harm(logits) for logits, _ in found]
        self.harm = list(self.start)
        self._clean = self._mean()
        self._goal = (-1 if self.label == FAKE else 1) * self.target
        length = sum(float(g.abs().sum()) for _, g in found) / len(self.shown)
        self.first_guess = (self._goal - self._clean) / length if length > 0 else math.inf
        # The first start is the linear one: for a small radius nothing beats it.
        self.directions = [gradient.sign() for _, gradient in found]

    def smallest(self) -> float | None:
        """The smallest radius found; None where the largest does not do."""
        if self._clean >= self._goal:
            return 0.0
        radius = min(max(self.first_guess, 1e-5), self.search.largest)
        for _ in range(24):
            if self.highest is not None and self.highest <= self.lowest * (1 + self.search.tolerance):
                break
            if not self.reaches(radius) and radius >= self.search.largest:
                return None
            radius = self._next()
        return self.highest

    def reaches(self, radius: float) -> bool:
        """Whether points within the radius are found whose mean passes the target."""
        if self.highest is not None and radius >= self.highest:
            return True
        if radius <= self.lowest:
            return False
        done = self._try(radius)
        self.tried = max(self.tried, radius)
        if done:
            self.highest = radius
        else:
            self.lowest, self._reached, self._met = radius, self._mean(), False
        return done

    def _next(self) -> float:
        if self.lowest == 0:
            # A radius that does is found in a step or two, one that does not costs all of them: down in small leaps.
            assert self.highest is not None
            self._leap = min(self._leap**1.5, 2.0)
            return self.highest / self._leap
        # Harm grows nearly in a straight line, and hardly ever faster: a little beyond where the line meets the goal.
        risen = max(self._reached - self._clean, 1e-9)
        ahead = self.lowest * min(max((self._goal - self._clean) / risen, 1.0) * (1 + self.search.tolerance / 2), 4.0)
        if self.highest is None:
            return min(ahead, self.search.largest)
        if self._met:  # the line has had its turn; where it was wrong, halving is sure
            return math.sqrt(self.lowest * self.highest)
        self._met = True
        return min(ahead, self.highest / (1 + self.search.tolerance / 2))

    def _try(self, radius: float) -> bool:
        threat, steps = Linf(radius), self.search.steps
        before = max((float(d.abs().max()) for d in self.deltas), default=0.0)
        best, self.harm = list(self.deltas), list(self.start)
        try:
            for k, x in enumerate(self.x):
                y = torch.full((len(x),), self.label, device=x.device)
                worst = Worst(x, y)
                see = self._watcher(k, x, worst, best)
                start = self.deltas[k] * (radius / before) if before > 0 else radius * self.directions[k]
                start = threat.project(x, x + start)
                end = climb(threat, x, start, self._slope(x), self._harm, steps, see=see)
                see(end, self._ask(end))
        except _ReachedError:
            self.deltas = best
            return True
        self.deltas = best
        return False

    def _watcher(self, k: int, x: Tensor, worst: Worst, best: list[Tensor]) -> Callable[[Tensor, Tensor], None]:
        def see(x_adv: Tensor, logits: Tensor) -> None:
            worst.see(x_adv, logits)
            self.harm[k] = torch.maximum(self.harm[k], worst.harm)
            best[k] = worst.x - x
            if self._mean() >= self._goal:
                raise _ReachedError

        return see

    def _slope(self, x: Tensor) -> Slope:
        return autograd(self.detector, margin(torch.full((len(x),), self.label, device=x.device)))

    def _ask(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.detector(x)
        return logits

    def _harm(self, logits: Tensor) -> Tensor:
        return -logits if self.label == FAKE else logits.clone()

    def _mean(self) -> float:
        return float(torch.cat(self.harm).double().mean())
