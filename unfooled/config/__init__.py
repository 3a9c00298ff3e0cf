"""Recipes, the objects that they stand for, and the runs that these make."""

from unfooled.config.parts import Parts, build, build_attack, of_collections, of_manipulations
from unfooled.config.recipe import Recipe, dump, load_recipe
from unfooled.config.runs import evaluate_run, of_split, train

__all__ = [
    "Parts", "Recipe", "build", "build_attack", "dump", "evaluate_run", "load_recipe", "of_collections",
    "of_manipulations", "of_split", "train",
]  # fmt: skip
