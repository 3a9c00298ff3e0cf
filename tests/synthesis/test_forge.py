"""A whole set: names, splits, sameness, and nothing half-written."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unfooled.errors import ConfigError, DataError
from unfooled.synthesis import autoencoders as module
from unfooled.synthesis.forge import NOTE, Summary, forge
from unfooled.synthesis.forgeries import MANIPULATIONS, Deepfakes

Album = Callable[..., Path]
PEOPLE = {"one": 11, "two": 10}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, album: Album) -> Path:
    return album(tmp_path_factory.mktemp("source"), PEOPLE, shots=2)


@pytest.fixture(scope="module")
def made(source: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Summary]:
    out = tmp_path_factory.mktemp("made") / "set"
    return out, forge(source, out, size=48, workers=1)


def files(root: Path) -> dict[str, bytes]:
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_tree_is_that_of_faceforensics(made: tuple[Path, Summary]) -> None:
    out, summary = made
    with (out / "people.csv").open() as lines:
        people = {row["id"]: row for row in csv.DictReader(lines)}
    assert list(people) == [f"{k:03}" for k in range(21)]
    expected = {"people.csv", "forge.json"} | {f"splits/{s}.json" for s in ("train", "val", "test")}
    for person in people.values():
        expected |= {f"original_sequences/{person['collection']}/raw/images/{person['id']}/{k:04}.png" for k in (0, 1)}
        expected |= {
            f"manipulated_sequences/SelfBlended/raw/images/{person['id']}_{person['id']}/{k:04}.png" for k in (0, 1)
        }
    split_of = {}
    for split in ("train", "val", "test"):
        for a, b in json.loads((out / "splits" / f"{split}.json").read_text()):
            assert people[a]["collection"] == people[b]["collection"]
            for i in (a, b):
                assert split_of.setdefault(i, split) == split
            for name in set(MANIPULATIONS) - {"SelfBlended"}:
                root = f"manipulated_sequences/{name}/raw/images"
                expected |= {f"{root}/{x}_{y}/{k:04}.png" for x, y in ((a, b), (b, a)) for k in (0, 1)}
    assert set(split_of) == set(people)
    assert set(files(out)) == expected
    assert summary.real == 42
    assert sum(summary.fake.values()) == sum("manipulated" in f for f in expected)
    assert summary.people == {"train": 13, "val": 4, "test": 4}
    assert "42 real" in str(summary)


def test_forged_files_say_so_and_real_ones_do_not(made: tuple[Path, Summary]) -> None:
    out, _ = made
    for path in out.rglob("*.png"):
        picture = Image.open(path)
        assert picture.size == (48, 48)
        assert picture.text.get("Comment") == (NOTE if "manipulated_sequences" in str(path) else None)


def test_workers_do_not_matter_and_the_seed_does(source: Path, made: tuple[Path, Summary], tmp_path: Path) -> None:
    out, _ = made
    forge(source, tmp_path / "three", size=48, workers=3)
    assert files(tmp_path / "three") == files(out)
    forge(source, tmp_path / "other", size=48, seed=1, manipulations=["SelfBlended"])
    same = files(tmp_path / "other").keys() & files(out).keys()
    fakes = [k for k in same if "SelfBlended" in k]
    assert all(files(tmp_path / "other")[k] != files(out)[k] for k in fakes[:5])


def test_null_set_is_the_real_one_pixel_for_pixel(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "null"
    forge(source, out, size=48, strength=0.0)
    fakes = list(out.glob("manipulated_sequences/*/raw/images/*/*.png"))
    assert len(fakes) >= 5 * 42
    for fake in fakes:
        target = fake.parent.name.partition("_")[0]
        (real,) = out.glob(f"original_sequences/*/raw/images/{target}/{fake.name}")
        np.testing.assert_array_equal(pixels(fake), pixels(real))


def test_photographs_make_a_set(shared: Path, tmp_path: Path) -> None:
    table = list(csv.reader((shared / "data/faces/faces.csv").open()))
    rows = [r for r in table if r[0].startswith("gpo_")][:12] + [r for r in table if r[0].startswith("london_")][:24]
    with (tmp_path / "faces.csv").open("w", newline="") as lines:
        csv.writer(lines).writerows([table[0], *([str(shared / "data/faces" / r[0]), *r[1:]] for r in rows)])
    summary = forge(tmp_path, tmp_path / "set", size=96)
    assert summary.real == 36
    assert {p.name for p in (tmp_path / "set/original_sequences").iterdir()} == {"gpo", "london"}


def test_several_fakes_for_every_photograph(tmp_path: Path, album: Album) -> None:
    source = album(tmp_path / "source", {"one": 16})
    summary = forge(source, tmp_path / "set", size=32, per_image=2, manipulations=["SelfBlended", "FaceSwap"])
    assert summary.fake["SelfBlended"] == 32
    assert summary.fake["FaceSwap"] >= 32
    frames = sorted(p.name for p in (tmp_path / "set/manipulated_sequences/SelfBlended/raw/images/000_000").iterdir())
    assert frames == ["0000.png", "0001.png"]


def test_autoencoders_never_saw_target_or_donor(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[tuple[int, set[bytes]]] = []
    patches: dict[bytes, str] = {}
    plain_patch, plain_fit = module.patch, Deepfakes.fit

    def spy_patch(portrait):  # type: ignore[no-untyped-def]
        face = plain_patch(portrait)
        patches[portrait.image.tobytes()] = face.tobytes()
        return face

    def spy_fit(self, faces):  # type: ignore[no-untyped-def]
        learnt.append((len(faces), {f.tobytes() for f in faces}))
        made = plain_fit(self, faces)
        object.__setattr__(made, "rank", len(learnt) - 1)
        return made

    used: list[tuple[bytes, bytes, int]] = []
    plain_face = Deepfakes.face

    def spy_face(self, target, donor, rng, strength):  # type: ignore[no-untyped-def]
        used.append((target.image.tobytes(), donor.image.tobytes(), self.rank))
        return plain_face(self, target, donor, rng, strength)

    monkeypatch.setattr(module, "patch", spy_patch)
    monkeypatch.setattr(Deepfakes, "fit", spy_fit)
    monkeypatch.setattr(Deepfakes, "face", spy_face)
    forge(source, tmp_path / "set", size=48, workers=0, manipulations=["Deepfakes"])
    assert len(used) >= 42
    for target, donor, index in used:
        assert patches.get(target) not in learnt[index][1]
        assert patches.get(donor) not in learnt[index][1]
    # Seven training people in one collection, six in the other: within each, all learn from equally many.
    assert len({n for n, _ in learnt}) <= 2


def test_progress_ends_at_the_total(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    forge(source, tmp_path / "set", size=32, manipulations=["SelfBlended"], progress=lambda d, t: seen.append((d, t)))
    assert [d for d, _ in seen] == list(range(1, 85))
    assert seen[-1] == (84, 84)


def test_a_filled_folder_is_kept_unless_forced(source: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    forge(source, out, size=32, manipulations=["SelfBlended"])
    with pytest.raises(ConfigError, match=r"is not empty.*--force"):
        forge(source, out, size=32)
    forge(source, out, size=32, manipulations=["FaceSwap"], force=True)
    assert [p.name for p in (out / "manipulated_sequences").iterdir()] == ["FaceSwap"]
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="forge did not write it"):
        forge(source, tmp_path / "thesis", force=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_run_leaves_nothing(source: Path, tmp_path: Path, workers: int) -> None:
    def stop(done: int, total: int) -> None:
        if done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        forge(source, tmp_path / "set", size=32, manipulations=["FaceSwap"], workers=workers, progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_broken_photograph_is_named_and_leaves_nothing(tmp_path: Path, album: Album) -> None:
    source = album(tmp_path / "source", {"one": 10})
    (source / "one_004_0.png").write_bytes(b"broken")
    with pytest.raises(DataError, match=r"one_004_0\.png: the image can not be decoded"):
        forge(source, tmp_path / "set", size=32)
    assert [p.name for p in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"manipulations": ["Faceswap"]}, "did you mean 'FaceSwap'"),
        ({"per_image": 0}, "per_image must be >= 1"),
        ({"per_image": 9}, "per_image must be < 2"),
        ({"strength": 1.5}, "strength must be in"),
        ({"size": 8}, "size must be >= 32"),
    ],
)
def test_wrong_settings_are_refused(source: Path, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        forge(source, tmp_path / "set", **options)
