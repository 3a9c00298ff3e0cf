"""Evaluate a detector under conditions: score every sample, attack every sample, measure, doubt, write down."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from unfooled import defenses
from unfooled.attacks import Attack, Transfer, frozen
from unfooled.checks import gradient_masking
from unfooled.data.frames import Frames
from unfooled.distortions import describe
from unfooled.errors import ConfigError
from unfooled.evaluation import learning
from unfooled.evaluation.answers import Answers, Store, answer, job
from unfooled.evaluation.conditions import CLEAN, Condition, by_attack, with_clean
from unfooled.evaluation.defense_warnings import defending_warnings
from unfooled.evaluation.examples import Gallery
from unfooled.evaluation.levels import APPLIED_TO, level_means
from unfooled.evaluation.projection import FeatureSpace
from unfooled.evaluation.provenance import provenance as facts_of
from unfooled.evaluation.samples import PixelDigest, balanced_rows, distorted_before, samples_of
from unfooled.evaluation.tables import MODES, Tables, people
from unfooled.models.detector import Detector
from unfooled.results import Check, ConditionResult, Evaluation, Samples

Array = NDArray[np.float64]
Progress = Callable[[int, int], None]

CHECKED = 32
"""Samples of the gradient-masking checks: enough to show a blind attack, few enough to afford 20 attacks."""
FEW_PEOPLE = 10
DRAWN = 120
"""Samples of the picture of the feature space: more would only hide each other."""


def evaluate(
    detector: Detector,
    frames: Frames,
    conditions: Sequence[Condition] = (),
    *,
    name: str = "detector",
    batch_size: int = 64,
    device: str | torch.device = "cpu",
    workers: int = 0,
    seed: int = 0,
    limit: int | None = None,
    checks: bool = True,
    video_rule: str = "mean_logit",
    replicates: int = 1000,
    example_collections: Sequence[str] = ("london", "portraits"),
    progress: Progress | None = None,
    provenance: Mapping[str, Any] | None = None,
    learn_from: Frames | None = None,
    support: Frames | None = None,
    saved: Sequence[int] = (),
    resume: Path | None = None,
    keep: Path | None = None,
) -> Evaluation:
    """Metrics of ``detector`` on ``frames``, clean and under each condition, in float32.

    Every sample is attacked once per condition, reals and fakes; the modes both, fakes_only and reals_only come from
    mixing clean and attacked logits. The detector is left as it was found.

    Args:
        detector: any Detector; its ``threshold`` decides accuracy and success.
        frames: the samples, both classes; images that do not decode are listed and get no score.
        conditions: attacks, distortions and defenses; the clean condition is always run, first. An attack that
            several conditions share (the same object) is run once, and each distortion and each defense is also scored
            without an attack.
        name: of the detector in tables.
        batch_size: samples at a time; results do not depend on it.
        device: ``cpu``, ``cuda``, ``cuda:1``.
        workers: decoding processes.
        seed: of the subset, the bootstrap and the choice of examples; each attack has its own.
        limit: evaluate a balanced subset of so many samples, from as many people as possible; None means all.
        checks: look for gradient masking on a subset; costs about 20 attacks on 32 samples.
        video_rule: how frames make a video: ``mean_logit``, ``mean_probability``, ``max``.
        replicates: of the bootstrap over people; 0 gives no intervals.
        example_collections: only faces of these may be kept as pictures: persons of other collections did not
            publish theirs for this.
        progress: called with (done, total) samples, summed over conditions.
        provenance: what the caller knows (recipe, checkpoint); kept in the result.
        learn_from: training faces; at most ``learning.LEARNT_FROM`` of them, balanced, go to the attacks that learn
            before.
        support: training faces of the detector, for the defenses that learn from such.
        saved: qualities of JPEG, 1 to 100: every attacked sample is scored after such a file too.
        resume: a folder for what is finished, batch by batch: the same call goes on from there. The caller removes it.
        keep: a folder for what defenses have learnt, found again by later calls; None keeps nothing.

    Raises:
        DataError: a class is missing, no image decodes, or the detector answers NaN; a defense learns from the very
            samples that are tested.
        ConfigError: two conditions have one name, or an option is out of range.
    """
    ordered = with_clean(conditions)
    everything = frames
    if limit is not None:
        rows = balanced_rows(frames.manifest, frames.rows, limit, seed)
        frames = frames.take(rows)
    tick = _Ticker(progress, len(ordered) * len(frames))
    threshold = float(detector.threshold)
    surrogates = [c.attack.surrogate for c in ordered if isinstance(c.attack, Transfer)]
    with ExitStack() as stack:
        for part in (detector, *surrogates):
            stack.enter_context(placed(part, device))
        scores: dict[str, Answers] = {}
        every = np.arange(len(frames.manifest))
        manifest_rows = samples_of(frames.manifest, every)
        pixels = PixelDigest()
        drawn = balanced_rows(frames.manifest, every, DRAWN, seed)
        ordered = learning.defending(ordered, detector, frames, support, batch_size, keep)
        for group in by_attack(ordered):
            attack = learnt = group[0].attack
            if attack is not None and learn_from is not None:
                learnt = learning.learnt(attack, detector, learn_from, batch_size, device)
            facts_in = [learn_from.digest() if learnt is not attack and learn_from else "", list(saved), seed, DRAWN]
            if support is not None and any(c.defense is not None and c.defense.learns for c in group):
                facts_in.append(support.digest())
            together = [
                Answers(
                    replace(condition, attack=learnt),
                    Gallery(manifest_rows, tuple(example_collections), seed=seed),
                    FeatureSpace(drawn),
                    Store(resume, job(detector, frames, condition, batch_size, *facts_in)) if resume else Store(None),
                )
                for condition in group
            ]
            answer(
                detector,
                frames,
                together,
                manifest_rows,
                pixels=pixels,
                clean=scores[CLEAN].columns["logits"] if scores else None,
                device=device,
                batch_size=batch_size,
                workers=workers,
                saved=saved,
                tick=tick,
            )
            scores |= {condition.name: answers for condition, answers in zip(group, together, strict=True)}
        kept = np.flatnonzero(np.all([np.isfinite(s.columns["logits"]) for s in scores.values()], axis=0))
        samples = samples_of(frames.manifest, kept)
        found = _doubt(detector, frames, kept, ordered, device, seed) if checks else []
    tables = Tables(samples, threshold, video_rule, replicates, seed)
    unattacked = {c.unattacked: scores[c.name] for c in ordered if c.attack is None}
    results = [_result(c, scores[c.name], kept, unattacked[c.unattacked], tables) for c in ordered]
    facts = {
        **facts_of(detector, str(device), seed),
        "data_digest": frames.manifest.digest(),
        "pixel_digest": pixels.of(samples.id),
        "size": frames.size,
        "limit": None if limit is None else {"asked": limit, "of": len(everything), "chosen": "balanced, by people"},
        "seconds": {c.name: scores[c.name].seconds for c in ordered},
        **(provenance or {}),
    }
    unreadable = _unreadable(everything, frames)
    return Evaluation(
        name=name,
        provenance=facts,
        threshold=threshold,
        video_rule=video_rule,
        samples=samples,
        conditions=results,
        level_means=level_means(ordered, results, tables),
        distortion=distorted_before(frames.manifest),
        unreadable=unreadable,
        checks=found,
        warnings=[*_about(samples, unreadable), *(f.warning for f in found if f.warning), *defending_warnings(results)],
    )


@contextmanager
def placed(detector: Detector, device: str | torch.device) -> Iterator[None]:
    """The detector on ``device`` and in evaluation mode inside; both are put back after.

    Raises:
        ConfigError: there is no such device here.
    """
    home = next((p.device for p in detector.parameters()), detector.threshold.device)
    try:
        detector.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {str(device)!r} is not here: {str(error).splitlines()[0]}; use cpu") from None
    try:
        # Published numbers are float32: TF32 convolutions would only look like it.
        with frozen(detector), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        detector.to(home)


@dataclass
class _Ticker:
    progress: Progress | None
    total: int
    done: int = 0

    def __call__(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.total)


def _result(
    condition: Condition, scores: Answers, kept: NDArray[np.int64], unattacked: Answers, tables: Tables
) -> ConditionResult:
    distortion = describe(condition.distortion) if condition.distortion else None
    applied_to = APPLIED_TO if condition.distortion else None
    columns = {name: values[kept] for name, values in scores.columns.items()}
    logits, attack = columns["logits"], condition.attack
    told: dict[str, Any] = {
        "name": condition.name, "distortion": distortion, "applied_to": applied_to,
        "defense": defenses.describe(condition.defense) if condition.defense else None,
        "adaptive": condition.retune is not None,
    }  # fmt: skip
    if attack is None:
        return ConditionResult(
            **told,
            logits=logits.tolist(),
            seconds=scores.seconds,
            metrics=tables.clean(logits),
        )
    before = unattacked.columns["logits"][kept]
    after = {name: values for name, values in columns.items() if name == "png" or name.startswith("jpeg")}
    attacked = np.isin(tables.frames.y, (1,) if _inner(attack).fakes_only else (0, 1))
    # A row that the attack leaves alone says nothing about how far it goes.
    distance, l2, queries, success = (columns[name][attacked] for name in ("distance", "l2", "queries", "success"))
    # Where the attack goes and what it costs stands once, beside the attack alone.
    own = distortion is None and (condition.defense is None or condition.retune is not None)
    return ConditionResult(
        **told,
        attack=repr(attack),
        eps=attack.threat.eps,
        norm=type(attack.threat).__name__.lower(),
        steps=_setting(attack, "steps"),
        seed=_setting(attack, "seed"),
        logits=logits.tolist(),
        logits_png=columns["png"].tolist() if "png" in columns else None,
        distance=columns["distance"].tolist() if own else None,
        queries=columns["queries"].tolist() if own else None,
        success_share=float(success.mean()),
        distance_median=float(np.median(distance)),
        distance_max=float(distance.max()),
        l2_median=float(np.median(l2)),
        queries_mean=float(queries.mean()),
        seconds=scores.seconds,
        metrics=tables.attacked(
            before,
            logits,
            after,
            modes=("fakes_only",) if _inner(attack).fakes_only else tuple(MODES),
            distance=columns["distance"] if math.isinf(attack.threat.eps) else None,
        ),
        examples=scores.gallery.examples(),
        projection=scores.space.projection(kept),
    )


def _setting(attack: Attack, name: str) -> int | None:
    value: int | None = getattr(_inner(attack), name, None)
    return value


def _inner(attack: Attack) -> Attack:
    """What searches: a transferred attack is that of its surrogate."""
    return attack.attack if isinstance(attack, Transfer) else attack


def _doubt(
    detector: Detector,
    frames: Frames,
    kept: NDArray[np.int64],
    conditions: Sequence[Condition],
    device: str | torch.device,
    seed: int,
) -> list[Check]:
    attacks = [c.attack for c in conditions if c.attack is not None and 0 < c.attack.threat.eps < math.inf]
    attack = next((a for a in attacks if not isinstance(a, Transfer)), attacks[0] if attacks else None)
    if attack is None:
        return []
    surrogate = next((a.surrogate for a in attacks if isinstance(a, Transfer)), None)
    chosen = frames.take(balanced_rows(frames.manifest, kept, CHECKED, seed))
    batch = next(iter(chosen.test_loader(CHECKED))).to(device)
    try:
        findings = gradient_masking(detector, batch.x, batch.y, attack, surrogate=surrogate)
    except ConfigError as error:
        return [Check(name="gradients", attack=repr(attack), values={}, warning=str(error))]
    return [Check(name=f.name, attack=repr(attack), values=dict(f.values), warning=f.warning) for f in findings]


def _unreadable(everything: Frames, frames: Frames) -> list[str]:
    manifest = everything.manifest
    left_out = np.setdiff1d(np.arange(len(manifest)), everything.rows)
    known = [f"{row['path']}: {row['status']}" for row in manifest.take(left_out).table.to_pylist()]
    # Without the folder: a result travels, and where it was made is nobody's business.
    return known + [reason.replace(f"{manifest.root}/", "") for _, reason in frames.unreadable]


def _about(samples: Samples, unreadable: Sequence[str]) -> list[str]:
    warnings = []
    if unreadable:
        warnings.append(f"{len(unreadable)} samples could not be read and have no score, such as {unreadable[0]}")
    if "" in samples.identity:
        unknown = samples.identity.count("")
        warnings.append(f"{unknown} of {len(samples.id)} samples name no person: intervals count each video as one")
    if (number := len(set(people(samples)))) < FEW_PEOPLE:
        warnings.append(f"the intervals rest on {number} people only; they say little about others")
    return warnings
