"""Plausible made-up evaluations of four detectors, every optional part filled in."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Callable, Sequence
from functools import partial

import pytest
from PIL import Image

from unfooled.results import (
    Check,
    Comparison,
    ConditionResult,
    Difference,
    Evaluation,
    Example,
    Metric,
    Projection,
    Samples,
)

MANIPULATIONS = ("Deepfakes", "Face2Face", "FaceSwap", "NeuralTextures", "SelfBlended")
# name: (separation of the classes on clean faces, logits that an attack of 1/255 moves every score)
DETECTORS = {"standard": (2.6, 4.5), "at": (1.5, 0.45), "trades": (1.8, 0.6), "afsl": (2.1, 0.55)}


def auc(logits: Sequence[float], labels: Sequence[int]) -> float:
    reals = [z for z, y in zip(logits, labels, strict=True) if not y]
    fakes = [z for z, y in zip(logits, labels, strict=True) if y]
    wins = sum((f > r) + 0.5 * (f == r) for f in fakes for r in reals)
    return wins / (len(reals) * len(fakes))


def metric(value: float | None, samples: Samples, half: float = 0.03, note: str = "") -> Metric:
    n_fake = sum(samples.label)
    limits = {} if value is None else {"low": max(0.0, value - half), "high": min(1.0, value + half)}
    return Metric(value=value, n_real=len(samples.label) - n_fake, n_fake=n_fake, note=note, **limits)


def make_samples(count: int = 120) -> Samples:
    columns: dict[str, list[str]] = {k: [] for k in ("id", "video", "identity", "manipulation", "collection")}
    label = [i % 2 for i in range(count)]
    for i, y in enumerate(label):
        person, kind = f"{i // 10:03}", MANIPULATIONS[i // 2 % 5] if y else "Real"
        columns["id"].append(f"faces/{kind}/c23/{person}/{i}")
        columns["video"].append(f"faces/{kind}/{person}")
        columns["identity"].append(person)
        columns["manipulation"].append(kind)
        columns["collection"].append(("gpo", "london")[i // 4 % 2])
    return Samples(label=label, **columns)


def parts(logits: Sequence[float], samples: Samples) -> dict[str, Metric]:
    found = {}
    for kind, names in (("manipulation", MANIPULATIONS), ("collection", ("gpo", "london"))):
        for name in names:
            column = getattr(samples, kind)
            rows = [
                i
                for i, (n, y) in enumerate(zip(column, samples.label, strict=True))
                if n == name or (n == "Real" and not y)
            ]
            found[f"{kind}/{name}/auc"] = metric(
                auc([logits[i] for i in rows], [samples.label[i] for i in rows]), samples, 0.06
            )
    found["manipulation/macro/auc"] = metric(
        sum(found[f"manipulation/{m}/auc"].value or 0 for m in MANIPULATIONS) / 5, samples
    )
    return found


def share(flags: Sequence[bool]) -> float:
    return sum(flags) / max(1, len(flags))


def attacked(clean: Sequence[float], logits: Sequence[float], samples: Samples) -> dict[str, Metric]:
    y = samples.label
    modes = {
        "both": logits,
        "fakes_only": [a if k else c for a, c, k in zip(logits, clean, y, strict=True)],
        "reals_only": [c if k else a for a, c, k in zip(logits, clean, y, strict=True)],
    }
    right = [(z > 0) == bool(k) for z, k in zip(clean, y, strict=True)]
    right_adv = [(z > 0) == bool(k) for z, k in zip(logits, y, strict=True)]
    both = [a and b for a, b in zip(right, right_adv, strict=True)]
    found = {f"robust/{m}/frame_auc": metric(auc(z, y), samples) for m, z in modes.items()}
    found["accuracy"] = metric(share(right), samples)
    found["accuracy_adv"] = metric(share(right_adv), samples)
    found["robust_accuracy"] = metric(share(both), samples)
    found["attack_success_rate"] = metric(1 - sum(both) / max(1, sum(right)), samples)
    found["robust/both/png_frame_auc"] = metric(min(1.0, auc(logits, y) + 0.004), samples)
    return found | parts(logits, samples)


def picture(seed: int) -> str:
    rng = random.Random(seed)
    image = Image.new("RGB", (24, 24), tuple(rng.randrange(60, 220) for _ in range(3)))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def make_example(samples: Samples, row: int, holds: bool, picture: Callable[[int], str]) -> Example:
    side = (1 if samples.label[row] else -1) * (1 if holds else -1)
    return Example(
        id=samples.id[row], label=samples.label[row], manipulation=samples.manipulation[row], x=picture(row),
        x_adv=picture(row), difference=picture(1000 + row), amplification=63.75,
        score=0.97 if samples.label[row] else 0.06, score_adv=0.5 + 0.38 * side,
    )  # fmt: skip


def make_training(robust: bool) -> list[dict[str, float | None]]:
    return [
        {"epoch": e, "dcl": 0.7 * 0.9**e, "asl": 0.4 * 0.95**e, "srl": 0.05 * 0.98**e, "eps": 2 / 255, "lr": 0.01,
         "val_clean_auc": 1 - 0.5 * 0.85**e, "val_robust_auc": 0.8 - 0.4 * 0.9**e if robust else None,
         "cos_real_fake": 0.9 - 0.02 * e, "cos_adv": 0.7 + 0.012 * e}
        for e in range(20)
    ]  # fmt: skip


def make_evaluation(
    name: str = "standard",
    samples: Samples | None = None,
    eps: Sequence[int] = (2, 1, 4, 8),
    picture: Callable[[int], str] = picture,
    full: bool = True,
) -> Evaluation:
    samples = samples or make_samples()
    gap, pull = DETECTORS.get(name, (2.0, 1.0))
    rng = random.Random(name)
    sides = [1 if y else -1 for y in samples.label]
    hard = [MANIPULATIONS.index(m) * 0.25 if m in MANIPULATIONS else 0.4 for m in samples.manipulation]
    clean = [s * (gap - h) / 1.4 + rng.gauss(0, 1) for s, h in zip(sides, hard, strict=True)]
    places = [(2 * z + rng.gauss(0, 0.8), rng.gauss(0, 1.5)) for z in clean]
    conditions = [
        ConditionResult(
            name="clean", logits=clean,
            metrics={"frame/auc": metric(auc(clean, samples.label), samples), "video/auc": metric(0.99, samples, 0.01),
                     "accuracy": metric(0.9, samples), **parts(clean, samples)},
        )
    ]  # fmt: skip
    plan = [*(("pgd", e, f"pgd:eps={e}/255,steps=10", 1.0) for e in eps)]
    plan += [
        ("fgsm", 2, "fgsm:eps=2/255", 0.7),
        ("transfer", 2, "transfer:attack=pgd,surrogate=meso4,eps=2/255,steps=10", 0.2),
    ]
    for kind, e, text, strength in plan:
        moved = [z - s * pull * e * strength * (1 + 0.2 * rng.random()) for z, s in zip(clean, sides, strict=True)]
        step = [
            (x - 2 * s * pull * e * 0.5 + rng.gauss(0, 0.2), y + rng.gauss(0, 0.6))
            for (x, y), s in zip(places, sides, strict=True)
        ]
        faces = [make_example(samples, i, name != "standard", picture) for i in (1, 13, 25, 0)]
        first = full and text == plan[0][2]
        seen = Projection(rows=list(range(len(places))), clean=places, attacked=step, explained=0.71)
        conditions.append(
            ConditionResult(
                name=text, attack=f"{kind.upper()}(threat=Linf(eps={e / 255:.6f}), steps=10)", eps=e / 255, norm="linf",
                steps=10, seed=0, logits=moved, success_share=0.5, distance_median=e / 255, queries_mean=11.0,
                seconds=12.5,
                metrics=attacked(clean, moved, samples), projection=seen if first else None,
                examples=faces if first else [],
            )
        )  # fmt: skip
    blind = "31 % of the gradients are exactly zero: the attack may be blind" if name == "afsl" else None
    return Evaluation(
        name=name, samples=samples, conditions=conditions,
        training=make_training(name != "standard") if full else None,
        provenance={
            "recipe": {"data": "sets/faces/manifest.parquet", "objective": {"name": name, "beta1": 16}, "epochs": 20},
            "checkpoint": f"runs/{name}/best.safetensors", "seed": 0, "data_digest": "9f2b" * 16,
            "versions": {"unfooled": "0.1.0", "torch": "2.13.0"}, "hardware": {"cpu": "made up", "gpu": None},
            "seconds": 431.2, "detector": {"name": "resnet18", "head": "cosine"},
        },
        checks=[Check(name="zero_gradients", attack="PGD", values={"share": 0.31 if blind else 0.0}, warning=blind)],
        warnings=["the intervals rest on 12 people only; they say little about others", *([blind] if blind else [])],
    )  # fmt: skip


def make_comparison(a: str, b: str, condition: str = "pgd:eps=2/255,steps=10") -> Comparison:
    counts = {"n_real": 60, "n_fake": 60}
    sure = Difference(value=0.42, low=0.35, high=0.49, a=0.44, b=0.02, **counts)
    vague = Difference(value=-0.02, low=-0.06, high=0.03, a=0.9, b=0.92, **counts)
    found = {"robust/both/frame_auc": sure, "robust/both/video_auc": vague}
    return Comparison(a=a, b=b, condition=condition, n_people=12, differences=found)


@pytest.fixture(scope="session")
def evaluations() -> list[Evaluation]:
    """Four detectors on the same samples."""
    samples = make_samples()
    return [make_evaluation(name, samples) for name in DETECTORS]


@pytest.fixture(scope="session")
def comparisons() -> list[Comparison]:
    return [make_comparison("afsl", "standard"), make_comparison("trades", "at")]


@pytest.fixture(scope="session")
def make() -> Callable[..., Evaluation]:
    """Evaluations without the parts that make a page long, unless ``full=True`` is given."""
    return partial(make_evaluation, full=False)
