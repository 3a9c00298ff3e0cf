"""Readers of published layouts; every trap of METHODS 8 that concerns them is a test."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from unfooled.data.layouts import LAYOUTS, index, read_ffpp, read_folder, verify
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.errors import ConfigError, DataError

PAIRS = {"train": [["000", "003"], ["001", "870"]], "val": [["010", "011"]], "test": [["020", "021"]]}
PNG = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()


def put(root: Path, *paths: str, data: bytes = PNG) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def put_splits(root: Path, splits: dict[str, list[list[str]]] = PAIRS) -> None:
    for name, pairs in splits.items():
        put(root, f"splits/{name}.json", data=json.dumps(pairs).encode())


def real(video: str, frame: str = "0000.png", collection: str = "youtube", c: str = "c23") -> str:
    return f"original_sequences/{collection}/{c}/images/{video}/{frame}"


def fake(video: str, frame: str = "0000.png", manipulation: str = "Deepfakes", c: str = "c23") -> str:
    return f"manipulated_sequences/{manipulation}/{c}/images/{video}/{frame}"


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {str(r["id"]): r for r in manifest.table.to_pylist()}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Eight originals of two frames, and fakes a_b, b_a of three manipulations; self-blended a_a."""
    put_splits(tmp_path)
    for pair in (p for pairs in PAIRS.values() for p in pairs):
        a, b = pair
        for frame in ("0000.png", "0001.png"):
            put(tmp_path, real(a, frame), real(b, frame))
            for kind in ("Deepfakes", "FaceSwap"):
                put(tmp_path, fake(f"{a}_{b}", frame, kind), fake(f"{b}_{a}", frame, kind))
            put(tmp_path, fake(f"{a}_{a}", frame, "SelfBlended"))
    return tmp_path


def test_the_whole_tree_becomes_rows_without_a_leak(tree: Path) -> None:
    manifest = read_ffpp(tree)
    assert manifest.check() == []
    assert manifest.notes == ()
    assert len(manifest.select(label=REAL)) == 16
    assert len(manifest.select(label=FAKE)) == 2 * (2 * 8 + 4)
    counts = {s: len(manifest.select(split=s)) for s in ("train", "validation", "test", "")}
    assert counts == {"train": 28, "validation": 14, "test": 14, "": 0}
    row = rows(manifest)["FF++/FaceSwap/c23/000_003/0001"]
    assert row == {
        "id": "FF++/FaceSwap/c23/000_003/0001", "path": fake("000_003", "0001.png", "FaceSwap"), "label": FAKE,
        "video": "FF++/FaceSwap/000_003", "identity": "FF++/000", "source_identity": "FF++/003",
        "parent": "FF++/Real/c23/youtube/000/0001", "manipulation": "FaceSwap", "dataset": "FF++",
        "collection": "youtube", "split": "train", "compression": "c23", "status": "ok",
    }  # fmt: skip
    own = rows(manifest)["FF++/SelfBlended/c23/010_010/0000"]
    assert (own["split"], own["identity"], own["source_identity"]) == ("validation", "FF++/010", "FF++/010")


def test_one_name_under_two_manipulations_stays_two_videos(tree: Path) -> None:
    fakes = read_ffpp(tree).select(label=FAKE)
    assert len(set(fakes.column("video"))) == 8 * 2 + 4
    both = {v for v in fakes.column("video") if v.endswith("/000_003")}
    assert both == {"FF++/Deepfakes/000_003", "FF++/FaceSwap/000_003"}


def test_a_second_real_folder_or_compression_does_not_overwrite_the_first(tree: Path) -> None:
    put(tree, real("000", collection="actors"), real("000", c="c40"), fake("000_003", c="c40"))
    manifest = read_ffpp(tree)
    assert manifest.check() == []
    wanted = [f"FF++/Real/{c}/000/0000" for c in ("c23/youtube", "c23/actors", "c40/youtube")]
    assert set(wanted) <= set(rows(manifest))
    assert rows(manifest)["FF++/Deepfakes/c40/000_003/0000"]["parent"] == "FF++/Real/c40/youtube/000/0000"
    assert any("two collections" in note for note in manifest.notes)
    assert rows(manifest)["FF++/Deepfakes/c23/000_003/0000"]["collection"] == "youtube"
    only = read_ffpp(tree, compression="c40")
    assert set(only.column("compression")) == {"c40"}
    assert len(only) == 2


def test_nothing_of_a_test_person_is_left_in_train(tree: Path) -> None:
    put(tree, fake("000_020"), fake("021_001"), fake("000_001"))
    manifest = read_ffpp(tree)
    assert manifest.check() == ["3 rows belong to no split"]
    test = manifest.select(split="test")
    people = set(test.column("identity")) | set(test.select(label=FAKE).column("source_identity"))
    assert people == {"FF++/020", "FF++/021"}
    rest = manifest.select(split=["train", "validation"])
    assert not people & {*rest.column("identity"), *rest.column("source_identity")}
    assert "3 fakes are in no split list and belong to no split, such as Deepfakes/000_001" in manifest.notes


def test_an_id_in_two_lists_is_an_error(tree: Path) -> None:
    put_splits(tree, {"test": [["000", "021"]]})
    with pytest.raises(DataError, match=r"test\.json: 000 is in train too"):
        read_ffpp(tree)


def test_damaged_images_are_marked_not_replaced(tree: Path) -> None:
    put(tree, real("000"), data=b"")
    put(tree, real("001"), data=PNG[:50])
    (tree / real("003")).unlink()
    (tree / real("003")).symlink_to(tree / "nowhere")
    plain = read_ffpp(tree)
    status = {i: r["status"] for i, r in rows(plain).items()}
    assert len(plain) == 56
    assert status["FF++/Real/c23/youtube/000/0000"] == "unreadable"
    assert status["FF++/Real/c23/youtube/003/0000"] == "missing"
    assert sum("get no score" in note for note in plain.notes) == 2
    manifest, problems = index("ffpp", tree, decode=True, compression=None, seed=0)
    bad = manifest.select(status="unreadable").column("id").tolist()
    assert bad == ["FF++/Real/c23/youtube/000/0000", "FF++/Real/c23/youtube/001/0000"]
    assert problems[-1].startswith("3 images do not decode")
    assert "2 rows are unreadable; they get no score" in manifest.check()


def test_a_partial_copy_is_taken_and_reported(tmp_path: Path) -> None:
    put_splits(tmp_path, {"train": PAIRS["train"]})
    put(tmp_path, real("000"), fake("000_003"), fake("001_870"), "original_sequences/youtube/c23/images/003/note.txt")
    manifest = read_ffpp(tmp_path)
    assert len(manifest) == 3
    text = "\n".join(manifest.notes)
    for part in (
        "val.json is not there", "test.json is not there", "2 of 4 listed originals are absent, such as 001",
        "1 fakes have no original here, such as Deepfakes/001_870", "1 folders hold no frame, such as youtube/003",
    ):  # fmt: skip
        assert part in text
    assert rows(manifest)["FF++/Deepfakes/c23/001_870/0000"]["parent"] is None
    assert rows(manifest)["FF++/Deepfakes/c23/001_870/0000"]["identity"] == "FF++/001"


def test_without_split_lists_it_says_so_or_reads_unsplit(tmp_path: Path) -> None:
    put(tmp_path, real("000"))
    with pytest.raises(DataError, match=r"splits has no train\.json, val\.json or test\.json"):
        read_ffpp(tmp_path)
    assert read_ffpp(tmp_path, splits=False).column("split").tolist() == [""]
    for text, message in (("{", "is not JSON"), ("[[1, 2]]", "must be a list of pairs"), ('{"a": 1}', "list of pairs")):
        put(tmp_path, "splits/train.json", data=text.encode())
        with pytest.raises(DataError, match=message):
            read_ffpp(tmp_path)


def test_video_files_give_one_row_each(tmp_path: Path) -> None:
    put_splits(tmp_path)
    put(tmp_path, "original_sequences/youtube/raw/videos/000.mp4", "manipulated_sequences/GAN/raw/videos/000_003.mp4")
    manifest = read_ffpp(tmp_path, frames="videos")
    assert manifest.column("id").tolist() == ["FF++/Real/raw/youtube/000", "FF++/GAN/raw/000_003"]
    assert manifest.column("parent").tolist() == [None, "FF++/Real/raw/youtube/000"]
    with pytest.raises(DataError, match=r"no images found.*read with frames='videos'"):
        read_ffpp(tmp_path)


def test_frame_folders_called_frames_and_other_padding(tmp_path: Path) -> None:
    put_splits(tmp_path)
    put(tmp_path, "original_sequences/london/raw/frames/000/7.jpg", fake("000_003", "0007.png", c="raw"))
    manifest = read_ffpp(tmp_path, dataset="mine")
    assert manifest.column("parent").tolist() == [None, "mine/Real/raw/london/000/7"]
    assert manifest.column("collection").tolist() == ["london", "london"]


def test_actors_and_samples_without_a_person(tmp_path: Path) -> None:
    put_splits(tmp_path)
    put(tmp_path, real("01__walking", collection="actors"), fake("01_02__walking__A1B2C3", manipulation="DFD"))
    put(tmp_path, fake("g00012", manipulation="GAN"))
    found = rows(read_ffpp(tmp_path))
    dfd = found["FF++/DFD/c23/01_02__walking__A1B2C3/0000"]
    assert (dfd["identity"], dfd["source_identity"]) == ("FF++/01", "FF++/02")
    assert dfd["parent"] == "FF++/Real/c23/actors/01__walking/0000"
    assert dfd["collection"] == "actors"
    gan = found["FF++/GAN/c23/g00012/0000"]
    assert (gan["identity"], gan["source_identity"], gan["split"]) == (None, None, "")


def test_a_forged_set_is_called_after_its_source(tree: Path) -> None:
    put(tree, "forge.json", data=b'{"source": "portraits"}')
    assert set(read_ffpp(tree).column("dataset")) == {"portraits"}
    assert "portraits/Real/c23/youtube/000/0000" in rows(read_ffpp(tree))
    assert set(read_ffpp(tree, dataset="mine").column("dataset")) == {"mine"}
    put(tree, "forge.json", data=b"{}")
    assert set(read_ffpp(tree).column("dataset")) == {"FF++"}
    put(tree, "forge.json", data=b"{")
    with pytest.raises(DataError, match=r"forge\.json is not JSON"):
        read_ffpp(tree)


def test_a_second_fake_of_a_frame_has_that_frame_as_its_parent(tree: Path) -> None:
    put(tree, *(fake("000_000", f"{k:04}.png", "SelfBlended") for k in (2, 3, 4)))
    found = rows(read_ffpp(tree))
    assert found["FF++/SelfBlended/c23/000_000/0002"]["parent"] is None
    put(tree, "forge.json", data=b"{}")
    found = rows(read_ffpp(tree))
    parents = [found[f"FF++/SelfBlended/c23/000_000/{k:04}"]["parent"] for k in range(5)]
    assert parents == [f"FF++/Real/c23/youtube/000/{k % 2:04}" for k in range(5)]


def test_people_csv_names_persons_so_that_a_double_photograph_is_a_leak(tree: Path) -> None:
    people = "id,identity,collection\n000,ada,gpo\n003,ben,gpo\n020,cleo,london\n"
    put(tree, "people.csv", data=people.encode())
    found = rows(read_ffpp(tree))
    swap = found["FF++/FaceSwap/c23/000_003/0000"]
    assert (swap["identity"], swap["source_identity"], swap["collection"]) == ("ada", "ben", "gpo")
    assert found["FF++/Real/c23/youtube/020/0000"]["collection"] == "london"
    assert found["FF++/Real/c23/youtube/021/0000"]["identity"] == "FF++/021"
    put(tree, "people.csv", data=people.replace("cleo", "ada").encode())
    with pytest.raises(DataError, match="leak: 1 person in two splits, such as 'ada' in train and test"):
        read_ffpp(tree).check()
    put(tree, "people.csv", data=b"id,name\n000,ada\n")
    with pytest.raises(DataError, match="lacks the column identity"):
        read_ffpp(tree)


def test_folders_that_are_no_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_ffpp(tmp_path / "none")
    with pytest.raises(DataError, match="compression must be one of raw, c0, c23, c40, got 'c99'"):
        read_ffpp(tmp_path, compression="c99")
    put_splits(tmp_path)
    with pytest.raises(DataError, match="no images found: expected"):
        read_ffpp(tmp_path)
    put(tmp_path, fake("000_003", manipulation="Real"))
    with pytest.raises(DataError, match="can not be called Real"):
        read_ffpp(tmp_path)


def test_folder_keeps_people_together_and_both_classes_in_each_split(tmp_path: Path) -> None:
    for person in range(20):
        put(tmp_path, f"real/p{person}/a.png", f"real/p{person}/b.png", f"fake/FaceSwap/p{person}/a.png")
    put(tmp_path, "fake/p3/direct.png", "notes/x.png")
    manifest = read_folder(tmp_path, dataset="mine")
    assert manifest.check() == []
    assert manifest.notes[0].startswith("1 files lie outside of real/ and fake/")
    people = {s: len(set(manifest.select(split=s).column("identity"))) for s in ("train", "validation", "test")}
    assert people == {"train": 12, "validation": 4, "test": 4}
    direct = rows(manifest)["mine/fake/fake/p3/direct.png"]
    assert (direct["identity"], direct["manipulation"]) == ("mine/p3", "fake")
    assert len(manifest.select(video="mine/Real/p3")) == 2
    assert read_folder(tmp_path, dataset="mine").digest() == manifest.digest()
    assert read_folder(tmp_path, dataset="mine", seed=1).digest() != manifest.digest()


def test_folder_of_flat_files_pairs_equal_names(tmp_path: Path) -> None:
    put(tmp_path, *(f"{kind}/{n}.png" for kind in ("Real", "fake/GAN") for n in range(10)), "Real/clip.mp4")
    put(tmp_path, "fake/GAN/0.png", data=b"")
    manifest = read_folder(tmp_path)
    assert manifest.check()[-1] == "1 rows are unreadable; they get no score"
    split = {r["path"]: r["split"] for r in rows(manifest).values()}
    assert all(split[f"Real/{n}.png"] == split[f"fake/GAN/{n}.png"] for n in range(10))
    assert len(manifest.select(status="unreadable")) == 1
    assert len(set(manifest.column("video"))) == 21
    assert verify(manifest).select(label=REAL, status="ok").column("path").tolist()[-1] == "Real/clip.mp4"


def test_folder_brings_its_own_splits(tmp_path: Path) -> None:
    put(
        tmp_path,
        *(f"{s}/{kind}/{s}{n}.png" for s in ("train", "val", "test") for kind in ("real", "fake") for n in (0, 1)),
    )
    manifest = read_folder(tmp_path)
    assert {s: len(manifest.select(split=s)) for s in ("train", "validation", "test")} == {
        "train": 4,
        "validation": 4,
        "test": 4,
    }
    put(tmp_path, "test/fake/GAN/train0.png")
    with pytest.raises(DataError, match="leak: 1 person in two splits"):
        read_folder(tmp_path).check()


def test_folder_traps(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image or video in real/ or fake/"):
        read_folder(tmp_path)
    put(tmp_path, "real/a.png")
    assert index("folder", tmp_path, compression=None, seed=0)[1] == []
    with pytest.raises(ConfigError, match="folder has no option 'compression'"):
        index("folder", tmp_path, compression="c23")
    with pytest.raises(ConfigError, match=r"no layout named 'ffp' .did you mean 'ffpp'"):
        index("ffp", tmp_path)
    (tmp_path / "real/loop").symlink_to(tmp_path)
    with pytest.raises(DataError, match="leads back to a folder above"):
        read_folder(tmp_path)
    assert list(LAYOUTS) == sorted(LAYOUTS)
