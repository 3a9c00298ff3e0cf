"""Forged clips: the promises of forged photographs, and what only a clip can promise."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unfooled.data.ffpp import read_ffpp
from unfooled.errors import ConfigError
from unfooled.synthesis.forge import Summary, forge
from unfooled.synthesis.forgeries import MANIPULATIONS, Forgery, Manipulation
from unfooled.synthesis.photographs import Portrait

Album = Callable[..., Path]
FRAMES = 5


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, album: Album) -> Path:
    return album(tmp_path_factory.mktemp("source"), {"one": 10}, shots=2)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("made") / "set"
    return out, forge(source, out, frames=FRAMES, size=48, workers=1)


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def clip(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(p)).astype(int) for p in sorted(folder.iterdir())])


def couples(root: Path) -> list[tuple[Path, Path]]:
    """(fake, real) folders of a set."""
    fakes = sorted(root.glob("manipulated_sequences/*/raw/images/*"))
    return [(f, root / "original_sequences/one/raw/images" / f.name.partition("_")[0]) for f in fakes]


def test_every_photograph_becomes_a_clip_of_its_own_number(made: tuple[Path, Summary]) -> None:
    out, summary = made
    with (out / "people.csv").open() as lines:
        people = list(csv.DictReader(lines))
    assert [p["id"] for p in people] == [f"{k:03}" for k in range(20)]
    assert len({p["identity"] for p in people}) == 10
    for fake, real in couples(out):
        assert len(list(fake.iterdir())) == len(list(real.iterdir())) == FRAMES
        target, donor = fake.name.split("_")
        of = {p["id"]: p["identity"] for p in people}
        assert (of[target] == of[donor]) == ("SelfBlended" in str(fake))
    # Ten people of two clips make at least five pairs, each forged both ways and once for either clip.
    assert summary.real == 20 * FRAMES
    assert all(n >= 20 * FRAMES for n in summary.fake.values())
    assert str(summary).startswith(f"100 real and {sum(summary.fake.values())} fake frames of 48 px in clips of 5 (")
    assert "of 10 people" in str(summary)
    settings = json.loads((out / "forge.json").read_text())
    assert (settings["people"], settings["frames"], settings["flicker"]) == (10, 5, 0.15)


def test_a_forged_set_of_clips_has_no_leak(made: tuple[Path, Summary]) -> None:
    out, _ = made
    manifest = read_ffpp(out)
    assert manifest.check() == []
    assert manifest.notes == ()
    assert None not in set(manifest.select(label=1).column("parent"))
    assert "" not in set(manifest.column("split"))
    assert len(set(manifest.select(label=0).column("video"))) == 20


def test_workers_do_not_matter(source: Path, made: tuple[Path, Summary], tmp_path: Path) -> None:
    forge(source, tmp_path / "three", frames=FRAMES, size=48, workers=3)
    assert files(tmp_path / "three") == files(made[0])


def test_null_clips_are_the_real_ones_pixel_for_pixel(source: Path, tmp_path: Path) -> None:
    forge(source, tmp_path / "null", frames=3, size=48, strength=0.0)
    seen = set()
    for fake, real in couples(tmp_path / "null"):
        np.testing.assert_array_equal(clip(fake), clip(real))
        seen.add(fake.parts[-4])
    assert seen == set(MANIPULATIONS)


def test_pixels_outside_of_the_mask_are_the_real_ones(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, masks = Manipulation.__call__, []

    def spy(self: Manipulation, target: Portrait, donor: Portrait, rng: object, strength: float = 1.0) -> Forgery:
        forged = plain(self, target, donor, rng, strength)  # type: ignore[arg-type]
        outside = forged.mask == 0
        assert outside.any()
        np.testing.assert_array_equal(forged.image[outside], target.image[outside])
        masks.append(forged.mask)
        return forged

    monkeypatch.setattr(Manipulation, "__call__", spy)
    forge(source, tmp_path / "set", frames=2, size=48, workers=0)
    assert len(masks) >= 5 * 40


def test_a_forgery_flickers_but_holds_together(made: tuple[Path, Summary]) -> None:
    """What a fake changes differs little from frame to frame and much from clip to clip, in every manipulation."""
    out, _ = made
    changes: dict[str, list[np.ndarray]] = {}
    for fake, real in couples(out):
        changes.setdefault(fake.parts[-4], []).append(clip(fake) - clip(real))
    for name, found in changes.items():
        within = np.mean([np.abs(np.diff(c, axis=0)).mean() for c in found])
        between = np.mean([np.abs(a[0] - b[0]).mean() for a, b in pairwise(found)])
        assert 0 < within < 0.75 * between, name


class Recorder:
    """Notes every draw of a manipulation."""

    def __init__(self, draws: object, notes: list[object]) -> None:
        self.draws, self.notes = draws, notes

    def __getattr__(self, name: str) -> Callable:
        def draw(*arguments: object) -> object:
            value = getattr(self.draws, name)(*arguments)
            # A spread follows the size of the face in the frame.
            noted = value / arguments[1] if name == "normal" else value
            self.notes.append(np.round(noted, 9).tolist())
            return value

        return draw


@pytest.mark.parametrize("flicker", [0.0, 0.15, 0.5])
def test_flicker_is_how_much_the_draws_of_a_clip_differ(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flicker: float
) -> None:
    found: dict[tuple[str, bytes], list[str]] = {}
    for kind in MANIPULATIONS.values():
        plain = kind.face

        def spy(self, target, donor, rng, strength, plain=plain):  # type: ignore[no-untyped-def]
            notes: list[object] = []
            state = json.dumps(rng.clip.bit_generator.state["state"])
            made = plain(self, target, donor, Recorder(rng, notes), strength)
            found.setdefault((type(self).__name__, state.encode()), []).append(repr(notes))
            return made

        monkeypatch.setattr(kind, "face", spy)
    forge(source, tmp_path / "set", frames=3, size=32, workers=0, flicker=flicker)
    assert {name for name, _ in found} == set(MANIPULATIONS)
    # One state of the clip's generator for every clip, and so many different clips.
    assert len(found) >= 5 * 20
    assert all(len(notes) == 3 for notes in found.values())
    assert all(len(set(notes)) == (1 if flicker == 0 else 3) for notes in found.values())


def test_flicker_decides_and_alignment_jitters_with_it(source: Path, tmp_path: Path) -> None:
    within = {}
    for flicker in (0.0, 0.15, 0.6):
        out = tmp_path / str(flicker)
        forge(source, out, frames=3, size=48, manipulations=["FaceSwap"], flicker=flicker)
        within[flicker] = np.mean([np.abs(np.diff(clip(f) - clip(r), axis=0)).mean() for f, r in couples(out)])
    assert within[0.0] < within[0.15] < within[0.6]


def test_an_expression_moves_with_the_donors_clip(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs: list[tuple[bytes, bytes]] = []
    kind = MANIPULATIONS["Face2Face"]
    plain = kind.face

    def spy(self, target, donor, rng, strength):  # type: ignore[no-untyped-def]
        pairs.append((target.image.tobytes(), donor.image.tobytes()))
        return plain(self, target, donor, rng, strength)

    monkeypatch.setattr(kind, "face", spy)
    out = tmp_path / "set"
    forge(source, out, frames=3, size=32, workers=0, manipulations=["Face2Face"])
    number = {}
    for path in out.glob("original_sequences/one/raw/images/*/*.png"):
        number[np.asarray(Image.open(path)).tobytes()] = (path.parent.name, path.stem)
    for target, donor in pairs:
        assert number[target][0] != number[donor][0]
        assert number[target][1] == number[donor][1]


def test_several_turns_of_a_clip_follow_each_other(tmp_path: Path, album: Album) -> None:
    out = tmp_path / "set"
    forge(album(tmp_path / "photos", {"one": 16}), out, frames=3, size=32, per_image=2, manipulations=["SelfBlended"])
    for fake, real in couples(out):
        assert len(list(fake.iterdir())) == 6
        change = clip(fake) - np.tile(clip(real), (2, 1, 1, 1))
        assert change.any((1, 2, 3)).all()
        assert not np.array_equal(change[0], change[3])
    parents = read_ffpp(out).select(label=1).column("parent")
    assert all(str(p).count("/Real/") == 1 for p in parents)


def test_drawn_people_make_a_set(tmp_path: Path) -> None:
    out = tmp_path / "set"
    summary = forge("portraits", out, people=9, frames=3, size=32)
    assert summary.people == {"train": 5, "val": 2, "test": 2}
    assert (summary.real, summary.frames) == (27, 3)
    manifest = read_ffpp(out)
    assert manifest.check() == []
    assert set(manifest.column("dataset")) == {"portraits"}
    assert set(manifest.column("manipulation")) == {"Real", *MANIPULATIONS}
    assert None not in set(manifest.select(label=1).column("parent"))
    assert len(list((out / "original_sequences/portraits/raw/images").iterdir())) == 9
    for fake in (out / "manipulated_sequences").glob("*/raw/images/*"):
        assert len(list(fake.iterdir())) == 3


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_leaves_nothing(source: Path, tmp_path: Path, workers: int) -> None:
    def stop(done: int, total: int) -> None:
        if done == 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forge(source, tmp_path / "set", frames=2, size=32, workers=workers, progress=stop)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames must be >= 1"),
        ({"people": 12}, "people is an option of portraits"),
        ({"flicker": 0.2}, r"flicker needs clips.*--frames"),
        ({"frames": 4, "flicker": 1.5}, r"flicker must be in \[0, 1\], got 1\.5"),
        ({"frames": 4, "flicker": -0.1}, "flicker must be in"),
    ],
)
def test_wrong_settings_of_clips_are_refused(source: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        forge(source, tmp_path / "set", **options)
    assert list(tmp_path.iterdir()) == []


def test_summary_of_photographs_says_faces(tmp_path: Path) -> None:
    summary = Summary(tmp_path, 3, {"FaceSwap": 4}, {"train": 2}, 96)
    assert "3 real and 4 fake faces of 96 px (FaceSwap 4) of 2 people" in str(summary)
    assert "in clips of 8 (" in str(replace(summary, frames=8))
