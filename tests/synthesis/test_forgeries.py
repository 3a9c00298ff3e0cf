"""What every manipulation promises, at the limits and in between."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unfooled.errors import ConfigError, DataError
from unfooled.registry import summary
from unfooled.synthesis.eigenfaces import patch
from unfooled.synthesis.forgeries import MANIPULATIONS, Deepfakes, Manipulation, SelfBlended
from unfooled.synthesis.photographs import Portrait, read_photographs
from unfooled.synthesis.warps import face_points, polygon

Make = Callable[..., Portrait]
Cast = tuple[Manipulation, list[tuple[Portrait, Portrait]]]


def forger(name: str, faces: list[Portrait]) -> Manipulation:
    made = MANIPULATIONS[name]()
    return made.fit(np.stack([patch(f) for f in faces])) if isinstance(made, Deepfakes) else made


@pytest.fixture(params=MANIPULATIONS)
def drawn(request: pytest.FixtureRequest, portrait: Make) -> Cast:
    """A manipulation, and pairs of drawn faces in two sizes."""
    faces = [portrait(k) for k in range(10, 18)]
    made = forger(request.param, faces)
    couples = [(portrait(1), portrait(2)), (portrait(3), portrait(4)), (portrait(5, 64), portrait(6, 64))]
    return made, [(a, a) if made.of_itself else (a, b) for a, b in couples]


@pytest.fixture(params=MANIPULATIONS)
def photographed(request: pytest.FixtureRequest, shared: Path) -> Cast:
    """A manipulation, and pairs of real photographs of both collections."""
    album = read_photographs(shared / "data" / "faces", 9)
    first = {c: [p for p in album if p.collection == c][:12] for c in ("gpo", "london")}
    known = {c: [p.portrait(96) for p in photographs] for c, photographs in first.items()}
    made = forger(request.param, [*known["gpo"][4:], *known["london"][4:]])
    couples = [pair for faces in known.values() for pair in ((faces[0], faces[2]), (faces[3], faces[1]))]
    return made, [(a, a) if made.of_itself else (a, b) for a, b in couples]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def check_null(cast: Cast) -> None:
    made, couples = cast
    for a, b in couples:
        for seed in range(4):
            forged = made(a, b, rng(seed), strength=0.0)
            np.testing.assert_array_equal(forged.image, a.image)
            assert forged.image.dtype == np.uint8


def check_outside(cast: Cast) -> None:
    made, couples = cast
    for a, b in couples:
        for seed in range(4):
            forged = made(a, b, rng(seed))
            outside = forged.mask == 0
            np.testing.assert_array_equal(forged.image[outside], a.image[outside])
            assert 0 <= forged.mask.min() < forged.mask.max() <= 1
            # Nothing leaves the face, and something happens in it.
            face = polygon(face_points(a.shape), len(a.image)) > 0
            assert outside[~face].all()
            change = np.abs(forged.image.astype(int) - a.image)
            assert change[forged.mask > 0.5].mean() > 0.5


def test_null_forgeries_of_drawn_faces_are_the_real_bytes(drawn: Cast) -> None:
    check_null(drawn)


def test_null_forgeries_of_photographs_are_the_real_bytes(photographed: Cast) -> None:
    check_null(photographed)


def test_drawn_faces_change_inside_the_mask_only(drawn: Cast) -> None:
    check_outside(drawn)


def test_photographs_change_inside_the_mask_only(photographed: Cast) -> None:
    check_outside(photographed)


def test_same_draws_same_bytes_other_draws_other_bytes(drawn: Cast) -> None:
    made, [(a, b), *_] = drawn
    np.testing.assert_array_equal(made(a, b, rng(1)).image, made(a, b, rng(1)).image)
    assert len({made(a, b, rng(seed)).image.tobytes() for seed in range(5)}) == 5


def test_more_strength_changes_more(drawn: Cast) -> None:
    made, couples = drawn
    for a, b in couples:
        steps = [np.abs(made(a, b, rng(3), s).image.astype(int) - a.image).mean() for s in (0, 0.25, 0.5, 0.75, 1)]
        assert steps == sorted(steps)
        assert steps[1] > 0


def test_arguments_are_left_alone(drawn: Cast) -> None:
    made, [(a, b), *_] = drawn
    before = [x.copy() for x in (a.image, a.shape, b.image, b.shape)]
    made(a, b, rng())
    for x, y in zip(before, (a.image, a.shape, b.image, b.shape), strict=True):
        np.testing.assert_array_equal(x, y)


def test_another_donor_gives_another_fake(drawn: Cast, portrait: Make) -> None:
    made, [(a, b), *_] = drawn
    if not made.of_itself:
        assert made(a, b, rng()).image.tobytes() != made(a, portrait(9), rng()).image.tobytes()


@pytest.mark.parametrize("size", [32, 50, 224])
def test_any_size(size: int, portrait: Make) -> None:
    a, b = portrait(1, size), portrait(2, size)
    for name in MANIPULATIONS:
        forged = forger(name, [portrait(k, size) for k in range(4)])(a, b, rng())
        assert forged.image.shape == (size, size, 3)
        assert (forged.image != a.image).any()


def test_every_manipulation_says_what_it_does() -> None:
    assert list(MANIPULATIONS) == sorted(MANIPULATIONS)
    assert len({summary(m) for m in MANIPULATIONS.values()}) == 5
    assert all(20 < len(summary(m)) < 100 for m in MANIPULATIONS.values())
    assert SelfBlended.of_itself


def test_wrong_arguments_are_refused(portrait: Make) -> None:
    made = MANIPULATIONS["FaceSwap"]()
    with pytest.raises(ConfigError, match=r"strength must be in \[0, 1\], got 2"):
        made(portrait(1), portrait(2), rng(), strength=2.0)
    with pytest.raises(DataError, match="of one size"):
        made(portrait(1), portrait(2, 64), rng())
    with pytest.raises(ConfigError, match="no autoencoder"):
        Deepfakes()(portrait(1), portrait(2), rng())
