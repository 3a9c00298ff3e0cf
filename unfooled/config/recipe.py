"""Recipes: a TOML file that says only what differs from the defaults."""

from __future__ import annotations

import inspect
import tomllib
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomlkit
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from unfooled import models, objectives
from unfooled.data.clips import FPS
from unfooled.errors import ConfigError, suggest
from unfooled.registry import lookup
from unfooled.registry import parse as parse_part
from unfooled.training import Settings

ELSEWHERE = {"epochs", "seed", "resume", "views", "fake_share", "validation_attack", "validation_limit"}


class Section(BaseModel):
    """A table of a recipe; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")


class DataSection(Section):
    """[data]: ``manifest`` of frames (path from the current directory), frame ``size``, ``augment`` in order of use,
    share of fakes in a batch (``"data"``: as in the data set), ``views`` an epoch. Fakes of the manipulations in
    ``leave_out``, and rows outside ``collections`` (none: all), are neither trained on nor validated with, so that they
    are unseen when they are measured. ``people``: share of the training people, more of them always being these and
    others; drawn by ``seed``. For clips,
    ``clip``: how many frames they have, at ``fps`` a second, and ``clips_per_video`` at fixed places wherever they are
    measured (none: as many as fit beside each other)."""

    manifest: str
    size: int = 96
    augment: list[str] = ["flip"]
    fake_share: float | Literal["data"] = 0.5
    views: int | None = None
    leave_out: list[str] = []
    collections: list[str] = []
    people: float = 1.0
    clip: int | None = None
    fps: float = FPS
    clips_per_video: int | None = None


class Named(BaseModel):
    """A name, and options of the part with that name."""

    model_config = ConfigDict(extra="allow")

    name: str

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.__pydantic_extra__ or {})


class DetectorSection(Named):
    """[detector]: a name of ``models.DETECTORS`` and its options."""

    name: str = "resnet"


class ObjectiveSection(Named):
    """[objective]: a name of ``objectives.OBJECTIVES`` and its options."""

    name: str = "standard"


class EvaluationSection(Section):
    """[evaluation]: the adversary that chooses the best epoch on validation, and at most ``limit`` frames for it."""

    attack: str = "pgd:eps=2/255,steps=10"
    limit: int | None = None


def _training_section() -> type[Section]:
    hints: dict[str, Any] = typing.get_type_hints(Settings)
    precision = hints["precision"]
    hints["precision"] = Annotated[precision, BeforeValidator(str)]
    own: dict[str, Any] = {f.name: (hints[f.name], f.default) for f in fields(Settings) if f.name not in ELSEWHERE}
    return create_model("TrainingSection", __base__=Section, **own)


if TYPE_CHECKING:
    TrainingSection = Section
else:
    TrainingSection = _training_section()


class Recipe(Section):
    """A whole run: what to learn from, what to build, what to minimise, how long."""

    epochs: int
    seed: int = 0
    init: str | None = None
    data: DataSection
    detector: DetectorSection = Field(default_factory=DetectorSection)
    objective: ObjectiveSection = Field(default_factory=ObjectiveSection)
    training: TrainingSection = Field(default_factory=TrainingSection)
    evaluation: EvaluationSection = Field(default_factory=EvaluationSection)

    @property
    def eps(self) -> str | None:
        """Linf radius of the evaluation's adversary, as written; what ``--attack pgd`` without eps takes."""
        _, options = parse_part(self.evaluation.attack)
        return options.get("eps") if options.get("norm", "linf") == "linf" else None


def load_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe in a TOML file, or of a run folder (its ``recipe.toml``).

    Args:
        path: paths inside the recipe start from the current directory, not from the file.
        overrides: ``key.sub=value``; the value as in TOML, or plain text: ``objective.eps=4/255``.

    Raises:
        ConfigError: no such file, no TOML, an unknown key (with the nearest known one), or a value of a wrong kind.
    """
    path = Path(path)
    path = path / "recipe.toml" if path.is_dir() else path
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"recipe {path} can not be read: {error.strerror}; see recipes/ for examples") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"recipe {path} is not TOML: {error}") from None
    for override in overrides:
        _override(values, override)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"recipe {path}: {'; '.join(_reasons(error))}") from None
    for section, known in _named(recipe).items():
        for key in getattr(recipe, section).options:
            if key not in known:
                raise ConfigError(f"recipe {path}: unknown key {key!r} in [{section}]{suggest(key, known)}")
    return recipe


def dump(recipe: Recipe) -> str:
    """The resolved recipe as TOML, defaults written out; ``load_recipe`` reads it back."""
    values = recipe.model_dump()
    for section, known in _named(recipe).items():
        values[section] = {"name": values[section]["name"], **known, **values[section]}
    return tomlkit.dumps(_without_none(values))


def _override(values: dict[str, Any], text: str) -> None:
    key, equals, value = text.partition("=")
    *sections, last = key.strip().split(".")
    if not equals or not all([*sections, last]):
        raise ConfigError(f"--set {text!r} must be KEY=VALUE or KEY.SUB=VALUE, such as objective.beta1=16")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {text!r}: {section!r} is a value, not a section of the recipe")
    try:
        values[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        values[last] = value.strip()


def _reasons(error: ValidationError) -> Iterable[str]:
    sections: dict[str, type[Section]] = {"data": DataSection, "evaluation": EvaluationSection}
    sections["training"] = TrainingSection
    for problem in error.errors():
        *where, key = (str(part) for part in problem["loc"] if isinstance(part, str))
        known = (sections[where[0]] if where and where[0] in sections else Recipe).model_fields
        section = f"[{where[0]}] " if where else ""
        if problem["type"] == "extra_forbidden":
            yield f"unknown key {key!r}{f' in [{where[0]}]' if where else ''}{suggest(key, known)}"
        elif problem["type"] == "missing":
            yield f"{section}{key} is missing; write it, or give it with --set {'.'.join([*where, key])}=..."
        elif problem["type"] == "model_type":
            yield f"{key} is a section, got {problem['input']!r}; write [{key}] and its keys below"
        else:
            yield f"{section}{key}: {problem['msg'].lower()}, got {problem['input']!r}"


def _named(recipe: Recipe) -> dict[str, Mapping[str, Any]]:
    """Options and defaults of the parts that a recipe names."""
    make = lookup("detector", models.DETECTORS, recipe.detector.name)
    options = {option: p.default for option, p in inspect.signature(make).parameters.items()}
    return {"detector": options, "objective": objectives.defaults(recipe.objective.name)}


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    kept = {k: _without_none(v) if isinstance(v, Mapping) else v for k, v in values.items() if v is not None}
    # TOML: plain keys come before tables.
    return dict(sorted(kept.items(), key=lambda item: isinstance(item[1], dict)))
