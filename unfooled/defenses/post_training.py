"""Post-training at inference: the detector is tuned for every test sample on training samples near its boundary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Literal, Self

import torch
from torch import Tensor
from torch.func import functional_call

from unfooled.attacks import PGD, Attack, DeepFool
from unfooled.attacks.base import frozen, is_wrong, pixels_together
from unfooled.defenses.base import Answer, Defense, Pool
from unfooled.defenses.support import Support, balanced, identity
from unfooled.defenses.tuning import SGD, TOGETHER, Weights, ask_heads, skeleton, tune_heads, tune_network
from unfooled.errors import ConfigError
from unfooled.models.detector import Detector
from unfooled.randomness import generators
from unfooled.threats import L2, Linf

Plan = list[Tensor]
"""Positions in the support set for each iteration."""


@dataclass(frozen=True)
class PostTraining(Defense):
    """Tunes a copy of the detector for each test sample on its neighbours among training samples, and asks the copy.

    An attack leads from the sample to an anchor beyond the boundary; the neighbours are the support samples whose
    features point as the anchor's do. Where the attack does not turn the detector, or there is no neighbour, the plain
    detector answers.

    Args:
        algorithm: 1: neighbours of the sample or of its PGD anchor; 2: of its DeepFool anchor.
        freeze: only the last fully connected layer (the detector's head) moves; False: all weights.
        tau: a neighbour's cosine is above it, strictly; in (-1, 1], and 1 gives the plain logits.
        percentile: in (0, 100), in place of tau: that percentile of the cosines between support samples, for
            detectors whose features all point alike.
        support: ``random`` is ``per_class`` reals and as many fakes, ``whole`` the whole training set.
        per_class: >= 1, of a random support set.
        redraw: every test sample draws a random support set of its own (decided by its content) from the whole
            training set.
        draw: each iteration takes a seeded draw of at most so many neighbours, >= 1; None: all of them.
        batch_norm: ``frozen`` keeps the statistics, ``moving`` normalises by those of the neighbours and gathers
            them (a single neighbour has none and keeps the old ones).
        iterations: >= 1 steps of SGD.
        lr: > 0.
        momentum: in [0, 1); no Nesterov, dropout off.
        eps, step_size, steps: of PGD, Linf, in pixel units, from a random start.
        deepfool_steps, overshoot: of DeepFool.
        seed: of the support set, the draws and PGD's start, which belong to the sample.
        found, limit: what ``fit`` has found.

    Raises:
        ConfigError: an option is out of range.

    Source: Adaptive Modelling for Deepfake Detection using Post-Training, Algorithms 1 and 2. Deviations: attacks
    ascend the margin; DeepFool's overshoot is part of every step; what the paper leaves open is an option. Samples
    with the same neighbours share one tuned copy, which is the same to the last bit.
    """

    name: ClassVar[str] = "post-training"
    learns: ClassVar[bool] = True

    algorithm: int = 2
    freeze: bool = False
    tau: float = 0.9
    percentile: float | None = None
    support: Literal["random", "whole"] = "random"
    per_class: int = 16
    redraw: bool = False
    draw: int | None = None
    batch_norm: Literal["frozen", "moving"] = "frozen"
    iterations: int = 20
    lr: float = 1e-4
    momentum: float = 0.9
    eps: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 10
    deepfool_steps: int = 50
    overshoot: float = 0.02
    seed: int = 0
    found: Support | None = field(default=None, repr=False, compare=False)
    limit: float | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.algorithm not in (1, 2):
            raise ConfigError(f"post-training: algorithm must be 1 (PGD) or 2 (DeepFool), got {self.algorithm}")
        if not -1 < self.tau <= 1:
            raise ConfigError(f"post-training: tau must be in (-1, 1], got {self.tau:g}; the published one is 0.9")
        if self.percentile is not None and not 0 < self.percentile < 100:
            raise ConfigError(f"post-training: percentile must be in (0, 100), got {self.percentile:g}; write 90")
        for option, allowed in (("support", ("random", "whole")), ("batch_norm", ("frozen", "moving"))):
            if getattr(self, option) not in allowed:
                raise ConfigError(
                    f"post-training: {option} must be {' or '.join(allowed)}, got {getattr(self, option)!r}"
                )
        if self.redraw and self.support == "whole":
            raise ConfigError("post-training: redraw belongs to support=random; the whole training set is always there")
        for option in ("per_class", "iterations", *(["draw"] if self.draw is not None else [])):
            if getattr(self, option) < 1:
                raise ConfigError(f"post-training: {option} must be >= 1, got {getattr(self, option)}")
        if not 0 < self.lr < math.inf or not 0 <= self.momentum < 1:
            raise ConfigError(
                f"post-training: lr must be > 0 and momentum in [0, 1), got {self.lr:g} and {self.momentum:g}"
            )
        self.anchor()

    def anchor(self) -> Attack:
        """What leads from a sample to its anchor."""
        if self.algorithm == 1:
            return PGD(Linf(self.eps), self.steps, self.step_size, keep="last", seed=self.seed)
        return DeepFool(L2(math.inf), self.deepfool_steps, self.overshoot)

    def fit(self, detector: Detector, pool: Pool, *, batch_size: int = 64, keep: Path | None = None) -> Self:
        """The defense with its support set, embedded once by ``detector``, the only one that it then defends.

        Raises:
            ConfigError: there is nothing to tune in this detector.
            DataError: the pool lacks a class.
        """
        if not any(True for _ in (detector.head if self.freeze else detector).parameters()):
            fix = "write freeze=false" if self.freeze else "take another defense"
            raise ConfigError(f"post-training: this detector has no weights that could be tuned; {fix}")
        fixed = self.support == "random" and not self.redraw
        rows: Sequence[int] = balanced(pool, self.per_class, self.seed) if fixed else range(len(pool))
        found = Support.of(detector, pool, rows, batch_size, keep)
        limit = self.tau if self.percentile is None else found.usual(self.percentile, self.seed)
        return replace(self, found=found, limit=limit)

    def neighbours(self, detector: Detector, x: Tensor) -> Tensor:
        """(B, N) which support samples each row of ``x`` is tuned on; none where the plain detector answers.

        Raises:
            ConfigError: the defense has not been fitted, or to another detector.
            DataError: a row is itself in the support set.
        """
        with torch.no_grad(), frozen(detector):
            return self._look(detector, x)[0]

    def adapt(self, detector: Detector, x: Tensor) -> Answer:
        near, features = self._look(detector, x)
        rows = near.any(1).nonzero().squeeze(1)
        if not len(rows):
            return lambda there: detector.classify(features) if _same(there, x) else detector(there)
        plans = self._plans(x[rows], near[rows])
        if self.freeze and self.batch_norm == "frozen":
            return self._heads(detector, x, features, rows, near[rows], plans)
        return self._networks(detector, x, features, rows, plans)

    def _look(self, detector: Detector, x: Tensor) -> tuple[Tensor, Tensor]:
        """Neighbours (B, N), and the plain features (B, D) of ``x``."""
        if self.found is None or self.limit is None:
            raise ConfigError("post-training has no support set yet; call fit(detector, training samples) first")
        if self.found.detector != identity(detector):
            raise ConfigError("post-training was fitted to another detector (or to other weights of it); fit it anew")
        self.found.refuse(x)
        features = detector.features(x)
        said = (detector.classify(features) > detector.threshold).long()
        anchors = detector.features(self.anchor().search(detector, x, said))
        near = self.found.near(anchors, self.limit)
        if self.algorithm == 1:
            near |= self.found.near(features, self.limit)
        if self.redraw:
            near &= self.found.drawn(x, self.per_class, self.seed)
        return near & is_wrong(detector, detector.classify(anchors), said).unsqueeze(1), features

    def _plans(self, x: Tensor, near: Tensor) -> list[Plan]:
        """For each row the neighbours of each iteration."""
        plans = []
        for own, generator in zip(near.cpu(), generators(x, self.seed, "draw"), strict=True):
            every = own.nonzero().squeeze(1)
            if self.draw is None or len(every) <= self.draw:
                plans.append([every] * self.iterations)
            else:
                shuffled = (torch.randperm(len(every), generator=generator) for _ in range(self.iterations))
                plans.append([every[order[: self.draw].sort().values] for order in shuffled])
        return plans

    @property
    def _sgd(self) -> SGD:
        return SGD(self.lr, self.momentum)

    def _heads(
        self, detector: Detector, x: Tensor, features: Tensor, rows: Tensor, near: Tensor, plans: list[Plan]
    ) -> Answer:
        """The features stay, so a row of heads is tuned at once by matrix products."""
        assert self.found is not None
        used = near.any(0).nonzero().squeeze(1)
        masks = [near[:, used]] * self.iterations
        if self.draw is not None:
            masks = []
            for step in range(self.iterations):
                mask = torch.zeros(len(rows), len(used), dtype=torch.bool)
                for row, plan in enumerate(plans):
                    mask[row, torch.searchsorted(used.cpu(), plan[step])] = True
                masks.append(mask.to(near.device))
        seen = self.found.features.to(features)[used]
        stacked = tune_heads(detector.head, seen, self.found.y.to(used.device)[used], masks, self._sgd)

        def answer(there: Tensor) -> Tensor:
            f = features if _same(there, x) else detector.features(there)
            return detector.classify(f).index_put((rows,), ask_heads(detector.head, stacked, f[rows]))

        return answer

    def _networks(self, detector: Detector, x: Tensor, features: Tensor, rows: Tensor, plans: list[Plan]) -> Answer:
        """Everything moves, so each set of neighbours needs a tuning of its own."""
        assert self.found is not None
        plain = torch.ones(len(x), dtype=torch.bool, device=x.device).index_fill(0, rows, False).nonzero().squeeze(1)
        alike: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row, plan in zip(rows.tolist(), plans, strict=True):
            alike.setdefault(tuple(tuple(step.tolist()) for step in plan), []).append(row)
        found, work = self.found, skeleton(detector, moving_norms=self.batch_norm == "moving")
        asked = skeleton(detector)
        # Whoever asks for a gradient asks again; else copies are let go, for many of a large network are too many.
        held: dict[int, Weights] = {}
        order = torch.cat([plain, *(torch.tensor(rows, device=x.device) for rows in alike.values())]).argsort()

        def tune(steps: tuple[tuple[int, ...], ...]) -> Weights:
            every = torch.tensor(sorted(set().union(*steps)))
            plan = [torch.searchsorted(every, torch.tensor(step)).to(x.device) for step in steps]
            y = found.y[every].to(x.device)

            def pixels(rows: Tensor) -> Tensor:
                return pixels_together(found.pixels(every[rows.cpu()], x))

            kept = pixels(torch.arange(len(every))) if len(every) <= TOGETHER else None
            given = pixels if kept is None else kept.__getitem__
            return tune_network(work, given, y, plan, self._sgd, head_only=self.freeze)

        def answer(there: Tensor) -> Tensor:
            parts = []
            if len(plain):
                parts.append(detector.classify(features[plain]) if _same(there, x) else detector(there[plain]))
            for number, (steps, members) in enumerate(alike.items()):
                weights = held[number] if number in held else tune(steps)
                parts.append(functional_call(asked, weights, (there[members],)))
                if torch.is_grad_enabled():
                    held[number] = weights
            return torch.cat(parts)[order]

        return answer


def _same(there: Tensor, x: Tensor) -> bool:
    """Whether features that are known serve: the very sample, and nobody asks for its gradient."""
    return there is x and not (torch.is_grad_enabled() and there.requires_grad)
