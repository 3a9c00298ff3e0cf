"""What the report asks of evaluations: runs with unique names, conditions in words, metrics by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from unfooled.reports.parts import Look
from unfooled.results import ConditionResult, Evaluation, Metric

CLEAN = "clean"
WORDS = {
    "frame/auc": "AUC", "video/auc": "video AUC", "accuracy": "accuracy", "accuracy_adv": "accuracy under attack",
    "robust_accuracy": "robust accuracy", "attack_success_rate": "attack success rate",
}  # fmt: skip
MODES = {"both": "both attacked", "fakes_only": "only fakes attacked", "reals_only": "only reals attacked"}


@dataclass(frozen=True)
class Run:
    """One evaluation with the name and look that it has in this report."""

    name: str
    look: Look
    evaluation: Evaluation

    @property
    def clean(self) -> ConditionResult | None:
        return self.condition(CLEAN)

    @property
    def attacks(self) -> list[ConditionResult]:
        """Of the plain detector, nothing else in the way."""
        found = [c for c in self.evaluation.conditions if c.name != CLEAN]
        return [c for c in found if c.distortion is None and c.defense is None]

    def condition(self, name: str | None) -> ConditionResult | None:
        return next((c for c in self.evaluation.conditions if c.name == name), None)

    @property
    def people(self) -> int:
        return len(set(self.evaluation.samples.identity) - {""})


def name_runs(evaluations: Sequence[Evaluation]) -> list[Run]:
    """Runs in the order given; equal names get `` (2)``, `` (3)``."""
    taken: set[str] = set()
    runs = []
    for index, evaluation in enumerate(evaluations):
        plain = evaluation.name.strip() or "unnamed"
        name, copy = plain, 1
        while name in taken:
            copy += 1
            name = f"{plain} ({copy})"
        taken.add(name)
        runs.append(Run(name, Look(index), evaluation))
    return runs


def looks(runs: Iterable[Run]) -> dict[str, Look]:
    return {run.name: run.look for run in runs}


def conditions(runs: Sequence[Run]) -> list[str]:
    """Names of all attacked conditions, those that more runs share first, else in order of appearance."""
    counts = Counter(c.name for run in runs for c in run.attacks)
    return sorted(counts, key=lambda name: -counts[name])


def one_of_each(runs: Sequence[Run]) -> list[str]:
    """The first condition of every family of attacks, in the order of ``conditions``."""
    families = {c.name: family(c) for run in runs for c in run.attacks}
    first: dict[str, str] = {}
    for name in conditions(runs):
        first.setdefault(families[name], name)
    return list(first.values())


def headline(runs: Sequence[Run]) -> str | None:
    """The attack that the summary speaks of: the first that most runs share; None where nothing was attacked."""
    return next(iter(conditions(runs)), None)


def metric(condition: ConditionResult | None, *names: str) -> Metric | None:
    """The first of ``names`` that the condition has with a value, else the first that it has at all."""
    found = [condition.metrics[name] for name in names if name in condition.metrics] if condition else []
    return next((m for m in found if m.value is not None), found[0] if found else None)


def auc(condition: ConditionResult | None) -> Metric | None:
    """Frame AUC of a condition; of an attacked one with both classes attacked, else with the one that was."""
    names = (
        ("frame/auc",)
        if condition is None or condition.name == CLEAN
        else ("robust/both/frame_auc", "robust/fakes_only/frame_auc", "robust/reals_only/frame_auc")
    )
    return metric(condition, *names)


def value(found: Metric | None) -> float | None:
    return None if found is None else found.value


def options_of(name: str) -> tuple[str, dict[str, str]]:
    """``"pgd:eps=2/255,steps=10"`` -> ``("pgd", {"eps": "2/255", "steps": "10"})``; none where it is no such text."""
    kind, _, rest = name.partition(":")
    pairs = [option.partition("=") for option in rest.split(",")] if rest else []
    return kind, {key: value for key, _, value in pairs} if all(equals for _, equals, _ in pairs) else {}


def in_words(name: str) -> str:
    """``"pgd:eps=2/255,steps=10"`` -> ``"PGD, eps 2/255, 10 steps"``."""
    kind, options = options_of(name)
    if name.partition(":")[2] and not options:
        return name
    words = _kind(kind)
    if kind == "transfer" and "attack" in options:
        surrogate = options.pop("surrogate", "another detector").partition("@")[0]
        words = f"transfer of {_kind(options.pop('attack'))} from {surrogate}"
    told = [f"{v} steps" if k == "steps" else f"{k.replace('_', ' ')} {v}" for k, v in options.items()]
    return ", ".join([words, *told])


def _kind(name: str) -> str:
    return name.upper() if name in ("pgd", "fgsm", "cw", "apgd", "rwa", "rbb") else name


def metric_in_words(name: str) -> str:
    """``"robust/fakes_only/frame_auc"`` -> ``"robust AUC, only fakes attacked"``."""
    if name in WORDS:
        return WORDS[name]
    parts = name.split("/")
    if parts[0] == "robust" and len(parts) == 3:
        kind = "robust video" if parts[2].startswith("video_") else "robust"
        quantity = parts[2].removeprefix("frame_").removeprefix("video_")
        return f"{kind} {'AUC' if quantity == 'auc' else quantity.replace('_', ' ')}, {MODES.get(parts[1], parts[1])}"
    if parts[0] in ("manipulation", "collection") and len(parts) >= 3:
        return f"{parts[-1].upper()} on {'/'.join(parts[1:-1])}"
    return name.replace("frame/", "").replace("/", " ").replace("_", " ")


def eps_in_words(eps: float | None, norm: str | None) -> str:
    """``2/255`` for Linf where it is a round share, ``32 pixels`` for L0, else the plain number."""
    if eps is None:
        return "no limit"
    if norm == "l0":
        return f"{eps:g} pixels"
    shares = eps * 255
    if norm != "l2" and abs(shares - round(shares)) < 1e-6:
        return f"{round(shares)}/255"
    return f"{eps:g}"


def family(condition: ConditionResult) -> str:
    """The attack without its eps: conditions of one family differ in eps alone."""
    kind, _, options = condition.name.partition(":")
    rest = [o for o in options.split(",") if o and o.partition("=")[0] != "eps"]
    return in_words(f"{kind}:{','.join(rest)}" if rest else kind)


def same_samples(a: Evaluation, b: Evaluation) -> bool:
    """Both were tested on the same rows with the same labels, in any order."""
    if a.samples.id == b.samples.id and a.samples.label == b.samples.label:
        return True
    return sorted(zip(a.samples.id, a.samples.label, strict=True)) == sorted(
        zip(b.samples.id, b.samples.label, strict=True)
    )
