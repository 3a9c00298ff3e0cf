"""What a study consists of: a TOML file of runs, variants and seeds, laid out as jobs in an order of work."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unfooled.attacks import ATTACKS, describe
from unfooled.config import Recipe, build_attack, load_recipe
from unfooled.errors import ConfigError, suggest
from unfooled.evaluation.conditions import CLEAN
from unfooled.registry import lookup, parse

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+]*")
"""No hyphen: a job's folder is run-variant-seed."""
PLACE = re.compile(r"\{([^{}]*)\}")


class Section(BaseModel):
    """A table of a study file; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class RunSection(Section):
    """[[run]]: a ``name``; its ``recipe`` (none: the study's) with ``set`` changed; ``start``: a run above whose best
    weights, of the same variant and seed, it starts from; ``judged = false``: others start from it, no table has it."""

    name: str
    recipe: str | None = None
    changes: list[str] = Field(default=[], alias="set")
    start: str | None = None
    judged: bool = True


class VariantSection(Section):
    """[[variant]]: a ``name``, changes of every recipe (``set``), and of which ``manipulations`` the test fakes and
    of which ``collections`` all test rows are (none: all)."""

    name: str
    changes: list[str] = Field(default=[], alias="set")
    manipulations: list[str] = []
    collections: list[str] = []


class Study(Section):
    """A study. ``recipe``: of runs that name none, its path from the file; ``seeds``; ``split`` and ``limit`` of the
    samples that are judged; ``set``: changes of every recipe; ``attacks``: by the name of their threat, of which the
    weakest AUC counts (``{undefended}`` in an attack stands for that run's folder); ``compare``: pairs of runs."""

    recipe: str
    seeds: list[int] = [0]
    split: str = "validation"
    limit: int | None = None
    changes: list[str] = Field(default=[], alias="set")
    attacks: dict[str, list[str]] = {}
    run: list[RunSection]
    variant: list[VariantSection] = []
    compare: list[tuple[str, str]] = []


@dataclass(frozen=True)
class Job:
    """One training with its evaluation.

    Args:
        name: of its folder: run-variant-seed.
        run, variant, seed: which one; variant "" where the study has none.
        recipe: resolved.
        start: name of the job whose best weights it starts from; "" for none.
        surrogates: names of the jobs that its attacks are made on.
        judged: False: trained, and nothing more.
        attacks: as text, with folders in place; ``asked``: as written.
        manipulations: of the fakes that are judged; none: all.
        collections: of the rows that are judged; none: all.
    """

    name: str
    run: str
    variant: str
    seed: int
    recipe: Recipe
    start: str
    surrogates: tuple[str, ...]
    judged: bool
    attacks: tuple[str, ...]
    asked: tuple[str, ...]
    manipulations: tuple[str, ...]
    collections: tuple[str, ...]


def load_study(path: Path) -> Study:
    """The study in a TOML file.

    Raises:
        ConfigError: no such file, no TOML, an unknown key, a name twice or unknown, or nothing to do.
    """
    try:
        study = Study.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigError(f"study {path} can not be read: {error.strerror}; see recipes/studies") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"study {path} is not TOML: {error}") from None
    except ValidationError as error:
        raise ConfigError(f"study {path}: {'; '.join(_reasons(error))}") from None
    _check(path, study)
    return study


def _reasons(error: ValidationError) -> Iterator[str]:
    known = {k for s in (Study, RunSection, VariantSection) for k in ("set", *s.model_fields) if k != "changes"}
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        near = suggest(place.rpartition(".")[2], known) if problem["type"] == "extra_forbidden" else ""
        yield f"{place}: {problem['msg'].lower()}{near}"


def _check(path: Path, study: Study) -> None:
    if not study.run or not study.seeds:
        raise ConfigError(f"study {path} has no {'seeds' if study.run else '[[run]]'}; there is nothing to do")
    if study.split not in ("validation", "test"):
        raise ConfigError(f"study {path}: split must be validation or test, got {study.split!r}")
    runs = [r.name for r in study.run]
    seeds = [str(s) for s in study.seeds]
    for kind, names in (("run", runs), ("variant", [v.name for v in study.variant]), ("seed", seeds)):
        if double := [n for n in names if names.count(n) > 1]:
            raise ConfigError(f"study {path} has {kind} {double[0]!r} twice; give one another name")
        for name in names:
            if not NAME.fullmatch(name):
                raise ConfigError(f"study {path}: {kind} {name!r} must be made of letters, digits and . _ +")
    known = set[str]()
    for run in study.run:
        if run.start is not None and run.start not in known:
            raise ConfigError(f"study {path}: run {run.name!r} starts from {run.start!r}, which is no run above it")
        known.add(run.name)
    if study.limit is not None and study.limit < 2:
        raise ConfigError(f"study {path}: limit must be >= 2 (a real and a fake), got {study.limit}")
    for threat, attacks in study.attacks.items():
        if threat == CLEAN or not attacks:
            wrong = "is the name of the column without attack" if threat == CLEAN else "has no attack"
            raise ConfigError(f"study {path}: threat {threat!r} {wrong}; name it otherwise, or leave it out")
        for run in study.run:
            if run.judged and not any(_meets(run.name, text) for text in attacks):
                raise ConfigError(f"study {path}: threat {threat!r} holds no attack on run {run.name!r}; add one")
    texts = [a for attacks in study.attacks.values() for a in attacks]
    if double := [a for a in texts if texts.count(a) > 1]:
        raise ConfigError(f"study {path} has the attack {double[0]!r} twice; each belongs to one threat")
    asked = [*PLACE.findall(" ".join(texts))]
    for name in (*asked, *(n for pair in study.compare for n in pair)):
        if name not in known:
            raise ConfigError(f"study {path} has no run {name!r}{suggest(name, known)}")
    # One that is made on another run can not be built before that is trained; its name can be looked up.
    names = [describe(build_attack(text)) for text in texts if not PLACE.search(text)]
    if double := [n for n in names if names.count(n) > 1]:
        raise ConfigError(f"study {path} has the attack {double[0]!r} twice, written in two ways; leave one out")
    for text in texts:
        lookup("attack", ATTACKS, parse(text)[0])
    for name in (n for pair in study.compare for n in pair):
        if not next(run.judged for run in study.run if run.name == name):
            raise ConfigError(f"study {path} compares run {name!r}, which has judged = false; leave one of them out")


def jobs_of(study: Study, path: Path, out: Path) -> list[Job]:
    """Every run of every variant and seed, each after the one it starts from.

    Args:
        path: of the study's file; recipes are named from its folder.
        out: folder of the study.

    Raises:
        ConfigError: a recipe can not be read, a change does not fit it, or ``out`` can not stand in an attack's text.
    """
    if "," in str(out) and PLACE.search(" ".join(_texts(study, ""))):
        raise ConfigError(f"--out must have no comma where attacks are made on other runs, got {out}; choose another")
    found = []
    for seed, variant in product(study.seeds, study.variant or [VariantSection(name="")]):
        for run in study.run:
            changes = [*study.changes, *variant.changes, *run.changes, f"seed={seed}"]
            start = _job(run.start, variant.name, seed) if run.start else ""
            if start:
                changes.append(f"init={out / start}")
            texts = _texts(study, run.name)
            folders = {n: _job(n, variant.name, seed) for text in texts for n in PLACE.findall(text)}
            attacks = tuple(PLACE.sub(lambda n, at=folders: str(out / at[n[1]]), text) for text in texts)  # type: ignore[misc]
            found.append(
                Job(
                    name=_job(run.name, variant.name, seed), run=run.name, variant=variant.name, seed=seed,
                    recipe=load_recipe(path.parent / (run.recipe or study.recipe), changes), start=start,
                    surrogates=tuple(sorted(set(folders.values()))), judged=run.judged, attacks=attacks,
                    asked=tuple(texts),
                    manipulations=tuple(variant.manipulations), collections=tuple(variant.collections),
                )
            )  # fmt: skip
    return found


def _texts(study: Study, run: str) -> list[str]:
    """The attacks on a run, in order; nobody transfers from a run to itself."""
    return [text for attacks in study.attacks.values() for text in attacks if _meets(run, text)]


def _meets(run: str, attack: str) -> bool:
    return run not in PLACE.findall(attack)


def _job(run: str, variant: str, seed: int) -> str:
    return "-".join(part for part in (run, variant, str(seed)) if part)
