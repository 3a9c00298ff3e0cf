"""Who a procedural person is: everything about them that no frame changes, drawn from a seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from unfooled.randomness import seed_of

Colour = tuple[float, float, float]

# sRGB skin from the palest to the deepest, at even steps of melanin.
_SKIN = np.array([(238, 202, 184), (226, 180, 152), (196, 146, 113), (148, 100, 73), (92, 60, 46)]) / 255
_HAIR = {
    "black": (26, 22, 21),
    "dark brown": (52, 36, 27),
    "brown": (86, 58, 39),
    "light brown": (124, 90, 60),
    "blond": (186, 150, 98),
    "pale blond": (214, 188, 142),
    "auburn": (108, 52, 30),
    "red": (158, 80, 40),
    "grey": (138, 136, 134),
    "white": (208, 206, 202),
    "dyed": (120, 60, 110),
}
_IRIS = {
    "brown": (84, 50, 28),
    "dark brown": (50, 30, 20),
    "hazel": (112, 88, 46),
    "green": (96, 112, 78),
    "grey": (118, 130, 138),
    "blue": (92, 128, 160),
}
STYLES = ("bald", "shaved", "short", "side part", "quiff", "long", "wavy", "bob", "fringe", "curly", "tied", "scarf")
BEARDS = ("none", "stubble", "moustache", "goatee", "full")
CLOTHES = ("crew", "shirt", "collar", "hood", "roll neck", "v neck")


@dataclass(frozen=True)
class Identity:
    """A person.

    Args:
        build: named deviations of head and features from the mean, about standard normal, clipped to 2.2.
        masculine: in [0, 1]; moves jaw, brow and beard together, and the choice of hair.
        age: in years, 18 to 80.
        melanin: in [0, 1], palest to deepest skin.
        skin, hair, brows, iris, lips: sRGB in [0, 1].
        style, beard, clothes: one of ``STYLES``, ``BEARDS``, ``CLOTHES``.
        cloth: sRGB of the garment, or of the scarf.
        freckles, gloss, makeup: in [0, 1].
        glasses: 0 none, else the half width of a lens in eye distances.
        texture: seed of strands, pores and spots.
    """

    build: dict[str, float]
    masculine: float
    age: float
    melanin: float
    skin: Colour
    hair: Colour
    brows: Colour
    iris: Colour
    lips: Colour
    style: str
    beard: str
    clothes: str
    cloth: Colour
    freckles: float
    gloss: float
    makeup: float
    glasses: float
    rim: Colour
    texture: int


BUILD = (
    "face width", "jaw width", "jaw square", "chin length", "chin width", "forehead", "cheekbone", "cheek",
    "nose length", "nose width", "nose bridge", "nose hook", "nose tip", "eye size", "eye open", "eye tilt",
    "eye apart", "eye depth", "lid", "brow height", "brow thick", "brow tilt", "brow arch", "mouth width",
    "mouth height", "lip upper", "lip lower", "cupid", "ear", "ear out", "neck", "hairline", "recede",
    "volume", "parting", "wave", "length", "asymmetry",
)  # fmt: skip


def colour(value: NDArray[np.float64]) -> Colour:
    """Three numbers, limited to [0, 1]."""
    r, g, b = (float(v) for v in np.clip(value, 0, 1))
    return r, g, b


def _pick(rng: Generator, weights: Mapping[str, float]) -> str:
    names, share = list(weights), np.array(list(weights.values()), float)
    return names[int(rng.choice(len(names), p=share / share.sum()))]


def identity(seed: int, person: int) -> Identity:
    """The person of that number; the same on every machine and in any order."""
    rng = np.random.default_rng(seed_of(seed, "identity", person))
    build = {name: float(np.clip(rng.standard_normal(), -2.2, 2.2)) for name in BUILD}
    masculine = float(np.clip(rng.beta(0.6, 0.6), 0.02, 0.98))
    man = masculine > 0.5
    age = float(18 + 62 * rng.beta(1.3, 2.2))
    melanin = float(rng.uniform(0, 1))
    at = melanin * (len(_SKIN) - 1)
    low = min(int(at), len(_SKIN) - 2)
    skin = _SKIN[low] + (at - low) * (_SKIN[low + 1] - _SKIN[low])
    skin = skin * (1 + 0.04 * rng.standard_normal()) * (1 + rng.normal(0, (0.02, 0.015, 0.03)))
    iris_name = _pick(rng, {"brown": 3, "dark brown": 3} if melanin > 0.5 else dict.fromkeys(_IRIS, 1.0))
    style, hair, brows = _hair(rng, man, age, melanin)
    return Identity(
        build=build,
        masculine=masculine,
        age=age,
        melanin=melanin,
        skin=colour(skin),
        style=style,
        hair=hair,
        brows=brows,
        iris=colour(np.array(_IRIS[iris_name]) / 255 * rng.uniform(0.85, 1.2)),
        lips=_lips(rng, skin, man),
        beard=_pick(rng, {"none": 4, "stubble": 3, "moustache": 0.7, "goatee": 1, "full": 2}) if man else "none",
        clothes=CLOTHES[int(rng.integers(len(CLOTHES)))],
        cloth=_cloth(rng),
        freckles=float(max(0, rng.uniform(-1.2, 1)) * (melanin < 0.5)),
        gloss=float(rng.uniform(0.3, 1)),
        makeup=float(0 if man else max(0, rng.uniform(-0.5, 1))),
        glasses=float(rng.uniform(0.34, 0.44)) if rng.random() < 0.2 else 0.0,
        rim=_cloth(rng) if rng.random() < 0.35 else (0.05, 0.045, 0.04),
        texture=int(rng.integers(2**62)),
    )


def _hair(rng: Generator, man: bool, age: float, melanin: float) -> tuple[str, Colour, Colour]:
    if man:
        styles: dict[str, float] = {
            "bald": 0.5 + age / 60,
            "shaved": 1.3,
            "short": 4,
            "side part": 3,
            "quiff": 2,
            "curly": 1.2,
            "wavy": 0.6,
        }
    else:
        styles = {"long": 3, "wavy": 3, "bob": 2, "fringe": 2, "curly": 1.5, "tied": 3, "side part": 0.6, "scarf": 0.8}
    style = _pick(rng, styles)
    if melanin > 0.62:
        shades: dict[str, float] = {"black": 6, "dark brown": 2}
    elif melanin > 0.4:
        shades = {"black": 4, "dark brown": 4, "brown": 2, "auburn": 0.4}
    else:
        shades = {name: 1.0 for name in _HAIR if name not in ("grey", "white", "dyed")}
    if not man:
        shades["dyed"] = 0.25
    hair = np.array(_HAIR[_pick(rng, shades)]) / 255
    grey = float(np.clip((age - rng.normal(54, 8)) / 16, 0, 0.95))
    brows = 0.85 * hair * (0.7 if hair.mean() > 0.4 else 1.0)
    hair = hair + grey * (np.array(_HAIR["grey" if rng.random() < 0.6 else "white"]) / 255 - hair)
    return style, colour(hair * rng.uniform(0.85, 1.15)), colour(brows + 0.4 * grey * (0.5 - brows))


def _lips(rng: Generator, skin: NDArray[np.float64], man: bool) -> Colour:
    natural = skin * (0.86, 0.62, 0.62) if man else skin * (0.88, 0.56, 0.58)
    painted = np.array([(0.62, 0.12, 0.16), (0.70, 0.30, 0.32), (0.55, 0.20, 0.28), (0.74, 0.42, 0.38)])
    share = 0.0 if man or rng.random() < 0.5 else float(rng.uniform(0.3, 0.75))
    return colour(natural + share * (painted[int(rng.integers(4))] * (0.6 + 0.5 * skin.mean()) - natural))


def _cloth(rng: Generator) -> Colour:
    hue, grey, value = rng.uniform(0, 6.28), rng.beta(1.2, 2.5) * 0.7, rng.choice([0.09, 0.2, 0.4, 0.6, 0.85])
    tint = 1 + grey * np.cos(hue + np.array([0, 2.09, 4.19]))
    return colour(value * tint)
