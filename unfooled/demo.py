"""The whole story on people that nobody has to download: forge, train four detectors, attack them, report."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from unfooled import __version__, config
from unfooled.attacks import Attack
from unfooled.data.layouts import index
from unfooled.errors import ConfigError
from unfooled.evaluation import compare_all
from unfooled.reports import render
from unfooled.results import Evaluation, write_text
from unfooled.synthesis.forge import forge
from unfooled.training import Progress

MARK = "demo.json"
REPORT = "report.html"
PARTS = ("set", "recipes", "runs", REPORT, MARK)
RUNS = ("undefended", "AT", "TRADES", "AFSL")
UNDEFENDED = RUNS[0]


@dataclass(frozen=True)
class Plan:
    """How big the demo is; the seed is the only thing that a user chooses.

    Args:
        people, frames, size, manipulations: of the forged set.
        clean_epochs: of the undefended detector, from which the others start.
        robust_epochs: of each of the others; eps grows over the first half of them.
        views: sample views of an epoch.
        eps: radius of the training adversaries, in /255.
        limit: faces of unseen people that every condition is measured on.
        attacks: every detector answers to all of them; ``transfer`` is made on the undefended one.
        over_eps: radii of the curve, in /255.
        detector: options of the small residual network.
    """

    people: int = 40
    frames: int = 16
    size: int = 80
    manipulations: tuple[str, ...] = ("Face2Face", "FaceSwap", "NeuralTextures")
    clean_epochs: int = 10
    robust_epochs: int = 5
    views: int = 1280
    eps: int = 1
    limit: int = 128
    attacks: tuple[str, ...] = (
        "pgd:eps=2/255,steps=10",
        "pgd:eps=2/255,steps=50,restarts=2",
        "pgd:eps=2/255,steps=20,loss=margin+features,weight=10",
        "transfer:eps=2/255",
    )
    over_eps: tuple[float, ...] = (1, 4)
    detector: Mapping[str, Any] = field(default_factory=lambda: {"name": "resnet", "stem_stride": 2, "width": 16})


FULL = Plan()
QUICK = Plan(
    people=15, frames=4, size=64, manipulations=("FaceSwap",), clean_epochs=2, robust_epochs=2, views=128, limit=24,
    attacks=("pgd:eps=2/255,steps=5", "transfer:eps=2/255,steps=5"), over_eps=(1,),
)  # fmt: skip


class Watch(Progress, Protocol):
    """What the demo tells while it works."""

    def on_stage(self, title: str, share: float, known: bool) -> None:
        """A stage begins, about ``share`` of the whole; ``known``: it was done before."""

    def on_progress(self, done: int, total: int | None = None) -> None:
        """So much of the stage is done."""


@dataclass(frozen=True)
class Stage:
    """A step of the demo: what it is called, its share of the time, whether it is done, and how it is done."""

    title: str
    share: float
    done: Callable[[], bool]
    do: Callable[[], None]


def demo(
    out: Path | str, *, seed: int = 0, quick: bool = False, force: bool = False, watch: Watch | None = None
) -> list[Evaluation]:
    """Forge portraits, train an undefended detector, AT, TRADES and AFSL, attack all four, and write ``report.html``.

    Each stage is what a user's own command does, and leaves what that command leaves: ``set/`` (data forge, data
    index), ``recipes/*.toml``, ``runs/*`` (train, evaluate) and the report. Broken off, the same call goes on.

    Args:
        out: a folder; a new one, or that of the same demo.
        seed: of people, forgeries, training and attacks.
        quick: everything so small that it takes about a minute; the numbers mean nothing then.
        force: do it anew.
        watch: is told how far it is.

    Returns:
        The four evaluations, undefended first.

    Raises:
        ConfigError: ``out`` holds something else, or can not be written.
    """
    work = _Work(Path(out), QUICK if quick else FULL, seed, watch or _Silence())
    _claim(work, force)
    for stage in work.stages():
        known = stage.done()
        work.watch.on_stage(stage.title, stage.share, known)
        if not known:
            stage.do()
    return [Evaluation.read(work.run(name) / "eval.json") for name in RUNS]


@dataclass(frozen=True)
class _Work:
    out: Path
    plan: Plan
    seed: int
    watch: Watch

    @property
    def facts(self) -> dict[str, Any]:
        plan = json.loads(json.dumps(asdict(self.plan)))
        return {"made by": f"unfooled {__version__}", "seed": self.seed, "plan": plan}

    @property
    def manifest(self) -> Path:
        return self.out / "set" / "manifest.parquet"

    def run(self, name: str) -> Path:
        return self.out / "runs" / name

    def stages(self) -> list[Stage]:
        """In order; each one is done when its last file is there, for that appears whole or not at all."""
        training = [
            Stage(f"training {n}", 0.12 if n == UNDEFENDED else 0.14, partial(self.trained, n), partial(self.train, n))
            for n in RUNS
        ]
        attacking = [
            Stage(f"attacking {n}", 0.0925, (self.run(n) / "eval.json").exists, partial(self.evaluate, n)) for n in RUNS
        ]
        return [
            Stage("forging talking portraits", 0.08, self.manifest.exists, self.forge),
            *training,
            *attacking,
            Stage("writing the report", 0.01, lambda: False, self.report),
        ]

    def forge(self) -> None:
        plan, folder = self.plan, self.out / "set"
        forge(
            "portraits", folder, people=plan.people, frames=plan.frames, manipulations=plan.manipulations,
            size=plan.size, seed=self.seed, force=True, progress=self.watch.on_progress,
        )  # fmt: skip
        manifest, _ = index("ffpp", folder)
        manifest.write(self.manifest)

    def recipe(self, name: str) -> dict[str, Any]:
        """What the run is trained with, beyond the defaults: ``recipes/faces-*.toml`` in small."""
        plan = self.plan
        eps = f"{plan.eps}/255"
        # Two dozen people are few: without colours that change and a strong decay the detector learns them by heart.
        training: dict[str, Any] = {
            "batch_size": 64, "lr": 0.05, "warmup": 20, "clip": 5.0, "weight_decay": 0.01, "workers": 0,
        }  # fmt: skip
        recipe: dict[str, Any] = {
            "epochs": plan.clean_epochs,
            "seed": self.seed,
            "data": {
                "manifest": str(self.manifest),
                "size": plan.size,
                "views": plan.views,
                "augment": ["flip", "colour:amount=0.3,p=0.5"],
            },
            "detector": dict(plan.detector),
            "training": training,
            "evaluation": {"attack": "none"},
        }
        objectives: dict[str, dict[str, Any]] = {
            "AT": {"name": "at"},
            "TRADES": {"name": "trades", "beta": 6},
            "AFSL": {"name": "afsl", "beta1": 16, "beta2": 1},
        }
        if name != UNDEFENDED:
            recipe |= {"epochs": plan.robust_epochs, "init": str(self.run(UNDEFENDED))}
            recipe["objective"] = {**objectives[name], "eps": eps, "steps": 2}
            recipe["evaluation"] = {"attack": f"pgd:eps={eps},steps=10", "limit": plan.limit // 2}
            training["ramp_epochs"] = plan.robust_epochs / 2
        return recipe

    def train(self, name: str) -> None:
        path, folder = self.out / "recipes" / f"{name.lower()}.toml", self.run(name)
        write_text(path, config.dump(config.Recipe.model_validate(self.recipe(name))))
        config.train(config.load_recipe(path), folder, resume=(folder / "state.pt").exists(), progress=self.watch)

    def trained(self, name: str) -> bool:
        history = self.run(name) / "metrics.jsonl"
        epochs = len(history.read_text(encoding="utf-8").splitlines()) if history.exists() else 0
        return epochs == (self.plan.clean_epochs if name == UNDEFENDED else self.plan.robust_epochs)

    def evaluate(self, name: str) -> None:
        config.evaluate_run(
            self.run(name), self.attacks(), over_eps=[r / 255 for r in self.plan.over_eps], limit=self.plan.limit,
            checks=False, name=name, seed=self.seed, out=self.run(name) / "eval.json",
            progress=self.watch.on_progress,
        )  # fmt: skip

    def attacks(self) -> list[Attack]:
        surrogate = f",surrogate={self.run(UNDEFENDED)}"
        texts = [a + surrogate if a.startswith("transfer") else a for a in self.plan.attacks]
        return [config.build_attack(text) for text in texts]

    def report(self) -> None:
        read = [Evaluation.read(self.run(name) / "eval.json") for name in RUNS]
        write_text(self.out / REPORT, render(read, compare_all(read)))


class _Silence:
    def on_stage(self, title: str, share: float, known: bool) -> None: ...

    def on_progress(self, done: int, total: int | None = None) -> None: ...

    def on_step(self, step: int, steps: int, terms: Mapping[str, float]) -> None: ...

    def on_epoch(self, record: Mapping[str, Any]) -> None: ...


def _claim(work: _Work, force: bool) -> None:
    """Make the folder ours, go on with our own, or say what stands in the way."""
    out, mark = work.out, work.out / MARK
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file; name a folder with --out")
    there = [name for name in PARTS if (out / name).exists()]
    if mark.exists():
        try:
            begun = json.loads(mark.read_text(encoding="utf-8"))
        except ValueError:
            begun = None
        if begun == work.facts and not force:
            return
        if not force:
            raise ConfigError(
                f"{out} holds a demo with another seed, size or version; choose another --out, or say --force to "
                "replace it"
            )
        for name in there:
            _remove(out / name)
    elif there:
        # Force must not cost anybody a folder of something else.
        raise ConfigError(f"{out / there[0]} is there, but no {MARK}: the demo did not write it; choose another --out")
    elif not force and out.exists() and any(out.iterdir()):
        raise ConfigError(f"{out} is not empty; choose another --out, or say --force to write beside what is there")
    try:
        out.mkdir(parents=True, exist_ok=True)
        write_text(mark, json.dumps(work.facts, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(
            f"{out} can not be written ({(error.strerror or str(error)).lower()}); choose another --out"
        ) from None


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()
