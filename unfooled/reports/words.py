"""The sections in words and pictures: summary, warnings, example faces, provenance, glossary."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from unfooled.reports.curves import score, spread
from unfooled.reports.figures import overview
from unfooled.reports.page import flat
from unfooled.reports.parts import Cell, Column, Details, Face, Fact, Group, Notice, Section, Table, number
from unfooled.reports.reading import Run, auc, conditions, in_words, same_samples, value
from unfooled.results import ConditionResult, Example

PICTURES = re.compile(r"data:image/(png|jpeg|webp);base64,[A-Za-z0-9+/]+={0,2}")
# The whole page stays under 5 MB: 1 MB of script, the rest of charts and tables.
FACE_BYTES = 2_600_000
FACES = 8
WORDS = (
    ("Real, fake", "The two answers. A score above the threshold means fake."),
    ("Attack, adversarial", "A change of the picture, too small to see, that is computed to make the detector err."),
    ("eps", "How much the attack may change. 2/255: each colour value moves by at most 2 of 255 steps (Linf)."),
    ("AUC", "How often a random fake scores higher than a random real. 1: always. 0.5: guessing. 0: always wrong."),
    ("Robust AUC", "The AUC on attacked pictures. Far below 0.5: the attack turns the detector's judgement around."),
    ("Accuracy", "Share of right answers at the detector's threshold."),
    ("Robust accuracy", "Share of pictures that are judged rightly before and after the attack."),
    ("Attack success rate", "Share of the rightly judged pictures that the attack flips. Lower is better."),
    ("95 % interval", "Had other people been tested, the number would lie in this range about 95 times of 100."),
    ("PGD, FGSM", "Attacks that follow the detector's own gradient, in many small steps or in one."),
    ("Transfer", "The attack is computed on another detector and only tried on this one."),
)  # fmt: skip


def lead(runs: Sequence[Run]) -> str:
    """What was tested on what, in one sentence."""
    samples = runs[0].evaluation.samples
    fakes = sum(samples.label)
    people = f", {runs[0].people} people" if runs[0].people else ""
    attacks = len(conditions(runs))
    under = f"clean and under {attacks} attack{'s'[: attacks != 1]}" if attacks else "clean; no attack was run"
    detectors = "One detector" if len(runs) == 1 else f"{len(runs)} detectors"
    count = len(samples.label)
    told = f"{detectors}, tested on {count:,} faces ({count - fakes:,} real, {fakes:,} fake{people}): {under}."
    before = {run.evaluation.distortion for run in runs}
    if len(before) > 1 or None in before:
        return told
    return f"{told} The full frames were distorted ({before.pop()}) before the faces were cut out of them."


def summary(runs: Sequence[Run], attack: str | None) -> Section:
    """The answer in three numbers and one chart."""
    clean = {r.name: v for r in runs if (v := value(auc(r.clean))) is not None}
    attacked = {r.name: v for r in runs if (v := value(auc(r.condition(attack)))) is not None}
    facts = []
    if clean:
        best = max(clean, key=lambda name: clean[name])
        facts.append(
            Fact("Best on clean faces" if len(clean) > 1 else "On clean faces", number(clean[best]), f"AUC of {best}")
        )
    if attacked and attack:
        best = max(attacked, key=lambda name: attacked[name])
        label = "Best under attack" if len(attacked) > 1 else "Under attack"
        facts.append(Fact(label, number(attacked[best]), f"robust AUC of {best}, {in_words(attack)}"))
    falls = {name: clean[name] - attacked[name] for name in attacked if name in clean}
    if falls:
        worst = max(falls, key=lambda name: falls[name])
        label = "Largest fall" if len(falls) > 1 else "Fall"
        facts.append(
            Fact(label, number(falls[worst]), f"{worst}: from {number(clean[worst])} to {number(attacked[worst])}")
        )
    meaning = (
        "A good score on clean pictures says nothing about a person who wants to fool the detector. The distance "
        "between the open and the full circle is what such a person gains by a change that nobody sees."
    )
    if not attacked:
        meaning = (
            "These numbers hold for pictures as they are. No attack was run, so nothing here says how the detectors do "
            "against a person who wants to fool them."
        )
    return Section("summary", "Summary", "At a glance", meaning, tuple(facts), groups=(overview(runs, attack),))


def warnings_section(runs: Sequence[Run], notes: Sequence[str]) -> Section | None:
    """What a reader must know before trusting the numbers; one line each, with the runs that it is true of."""
    who: dict[str, list[str]] = {}
    for run in runs:
        for text in run.evaluation.warnings:
            who.setdefault(text, []).append(run.name)
    found = [Notice(note) for note in notes]
    for text, names in who.items():
        everybody = len(names) == len(runs) > 1
        found.append(Notice(text[:1].upper() + text[1:], "All runs" if everybody else ", ".join(names)))
    if not found:
        return None
    meaning = (
        "Something in these runs asks for care. A warning about the attack means that the true robustness may be lower "
        "than the number shown."
    )
    return Section("warnings", "Warnings", "Read this first", meaning, warnings=tuple(found))


def data_notes(runs: Sequence[Run]) -> list[str]:
    """Why the runs may not be compared with each other; [] where all saw the same samples."""
    first, notes = runs[0], []
    others = [r for r in runs[1:] if not same_samples(first.evaluation, r.evaluation)]
    if others:
        counts = ", ".join(f"{r.name} on {len(r.evaluation.samples.id):,} faces" for r in [first, *others])
        notes.append(
            f"These runs were not tested on the same data ({counts}), so their numbers must not be compared with each "
            "other. Evaluate them on one manifest and one split."
        )
    if len({r.evaluation.distortion for r in runs}) > 1:
        how = ", ".join(f"{r.name}: {r.evaluation.distortion or 'nothing'}" for r in runs)
        notes.append(f"What was done to the full frames before the faces were cut out of them differs ({how}).")
    elif not others and len(set(map(_digest, runs)) - {""}) > 1:
        notes.append(
            "The runs name the same samples, but the digests of their data differ: the files or the table changed "
            "between the evaluations. Evaluate again on one manifest."
        )
    one_sided = [(r, c) for r in runs for c in r.attacks if "robust/both/frame_auc" not in c.metrics and auc(c)]
    notes += [f"{r.name}: {in_words(c.name)} attacked one class only; its AUC is of that mode." for r, c in one_sided]
    if len({r.evaluation.video_rule for r in runs}) > 1:
        rules = ", ".join(f"{r.name}: {r.evaluation.video_rule}" for r in runs)
        notes.append(f"Scores of a video were made by different rules ({rules}); do not compare the video AUC.")
    return notes


def _digest(run: Run) -> str:
    provenance = run.evaluation.provenance
    data = provenance.get("data")
    inner = data.get("digest") if isinstance(data, dict) else None
    return str(provenance.get("data_digest") or provenance.get("data digest") or inner or "")


def checks_section(runs: Sequence[Run]) -> Section | None:
    """What the checks for gradient masking measured."""
    columns = (Column("Run", "text"), Column("Check", "text"), Column("Measured", "text"), Column("Finding", "text"))
    rows = []
    for run in runs:
        for check in run.evaluation.checks:
            measured = ", ".join(
                f"{k.replace('_', ' ')} {'n/a' if v is None else f'{v:.3g}'}" for k, v in check.values.items()
            )
            finding = Cell(check.warning or "nothing suspicious", check.warning or "")
            rows.append(
                [
                    Cell(run.name, run.name, colour=run.look.index),
                    Cell(check.name, check.name),
                    Cell(measured or "nothing"),
                    finding,
                ]
            )
    if not rows:
        return None
    return Section(
        "checks", "Checks", "Can the attack be trusted?",
        "A detector may look robust because the attack went blind, not because it is. These checks look for that: "
        "gradients that are zero, an attack that gets no stronger with more steps or a larger eps, or a borrowed "
        "attack that does better than the direct one.",
        details=(Details("What the checks measured", table=Table("One row a run and check.", columns, rows)),),
    )  # fmt: skip


def faces_section(runs: Sequence[Run], attack: str | None) -> Section | None:
    """Faces before and after the attack, with the change amplified."""
    found = [(run, c, e) for run in runs if (c := _pictured(run, attack)) for e in _some(c.examples)]
    shown: dict[tuple[str, str], list[Face]] = {}
    left = FACE_BYTES
    hidden = 0
    for run, condition, example in found:
        pictures = (example.x, example.x_adv, example.difference)
        size = sum(map(len, pictures))
        if size > left or not all(PICTURES.fullmatch(p) for p in pictures):
            hidden += 1
            continue
        left -= size
        threshold = run.evaluation.threshold
        shown.setdefault((run.name, condition.name), []).append(_face(example, threshold))
    if not shown:
        return None
    groups = [Group(f"{run}, {in_words(attack)}", faces=tuple(faces)) for (run, attack), faces in shown.items()]
    notes = (f"{hidden} more examples are left out to keep this file small.",) if hidden else ()
    strips = {bool(face.strip) for faces in shown.values() for face in faces}
    where = {
        False: "Left, the face as it is; in the middle, the same face after the attack; right, the change itself",
        True: "Of clips some frames are shown: above as they are, below them after the attack, last the change itself",
    }
    return Section(
        "faces", "Faces", "What the attack does to a face",
        f"{'. '.join(where[kind] for kind in sorted(strips))}, amplified so that one sees it. Before and after look "
        "alike, and yet the score may turn around. P(fake) is the detector's answer.",
        groups=tuple(groups), notes=notes,
    )  # fmt: skip


def _pictured(run: Run, attack: str | None) -> ConditionResult | None:
    """The attack of the summary where it has pictures, else the first that has some."""
    return next((c for c in (run.condition(attack), *run.attacks) if c and c.examples), None)


def _some(examples: Sequence[Example]) -> list[Example]:
    return [examples[i] for i in spread(len(examples), FACES)]


def _face(example: Example, threshold: float) -> Face:
    limit = score(threshold)
    before, after = example.score > limit, example.score_adv > limit
    truth = bool(example.label)
    verdict = "fooled" if before == truth != after else "holds" if after == truth else "wrong before and after"
    if before != truth and after == truth:
        verdict = "wrong before, right after"
    label = "fake" if truth else "real"
    return Face(
        title=f"Fake, {example.manipulation}" if truth else "Real", label=label,
        x=example.x, x_adv=example.x_adv, difference=example.difference, gain=f"{example.amplification:.0f}",
        verdict=verdict, fooled=after != truth,
        scores=(("before", round(100 * example.score), before), ("after", round(100 * example.score_adv), after)),
        strip=f"{example.shown} of {example.clip} frames" if example.clip is not None else "",
    )  # fmt: skip


def provenance_section(runs: Sequence[Run]) -> Section:
    """Where every number comes from: recipe, seed, data, versions, hardware, duration."""
    facts = [dict(_facts(run)) for run in runs]
    shared = {k: v for k, v in facts[0].items() if all(f.get(k) == v for f in facts)} if len(runs) > 1 else {}
    details = [Details("The same in all runs", tuple(shared.items()), open=True)] if shared else []
    for run, own in zip(runs, facts, strict=True):
        pairs = tuple((k, v) for k, v in own.items() if k not in shared)
        details.append(Details(run.name, pairs, _recipe(run.evaluation.provenance.get("recipe")), open=len(runs) == 1))
    return Section(
        "provenance", "Provenance", "Where the numbers come from",
        "With these settings the numbers can be made again. The data digest is a fingerprint of the test set: two "
        "reports with the same digest speak of the same pictures.",
        details=tuple(details),
    )  # fmt: skip


def _facts(run: Run) -> Iterator[tuple[str, str]]:
    e = run.evaluation
    yield from flat({k: v for k, v in e.provenance.items() if k != "recipe"})
    yield "threshold (logit)", f"{e.threshold:g}"
    yield "score of a video", e.video_rule.replace("_", " ")
    for i, c in enumerate(run.attacks, 1):
        yield f"attack {i}", f"{c.attack or c.name}{_spent(c.seconds)}"


def _spent(seconds: float | None) -> str:
    return "" if seconds is None else f", {seconds:.0f} s"


def _recipe(recipe: Any) -> str:
    if recipe is None:
        return ""
    if isinstance(recipe, str):
        return recipe.strip()
    return "\n".join(f"{k} = {v}" for k, v in flat(recipe)) if isinstance(recipe, dict) else str(recipe)


def glossary() -> Section:
    """The words of the report."""
    return Section(
        "words", "Words", "The words of this report", details=(Details("Show the words", WORDS, style="words"),)
    )
