"""DeeperForensics-1.0: lists of fakes, FF++ targets as the real class."""

from __future__ import annotations

from pathlib import Path

import pytest

from unfooled.data.deeperforensics import read_deeperforensics
from unfooled.data.ffpp import read_ffpp
from unfooled.data.layouts import index
from unfooled.data.leaks import shared_people
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.errors import ConfigError, DataError


def put(root: Path, *paths: str, data: bytes | str = b"video") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {str(r["id"]): r for r in manifest.table.to_pylist()}


LISTS = {"train": ["000_M101", "001_W020"], "val": ["002_M004"], "test": ["003_M005"]}
NAMES = [name for names in LISTS.values() for name in names]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Four fakes in two variants below deeper/, five originals below ffpp/."""
    for split, names in LISTS.items():
        put(tmp_path, f"deeper/lists/splits/{split}.txt", data="".join(f"{n}.mp4\n" for n in names))
    for variant in ("end_to_end", "end_to_end_level_3"):
        put(tmp_path, *(f"deeper/manipulated_videos/{variant}/{n}.mp4" for n in NAMES))
    put(tmp_path, *(f"ffpp/original_sequences/youtube/c23/videos/00{n}.mp4" for n in range(5)))
    put(tmp_path, "ffpp/original_sequences/youtube/c40/videos/000.mp4", "deeper/source_videos/M101/x/front.mp4")
    return tmp_path


def test_the_whole_tree(tree: Path) -> None:
    manifest = read_deeperforensics(tree / "deeper", ffpp=tree / "ffpp")
    assert manifest.check() == []
    assert (len(manifest), manifest.published, manifest.root) == (12, True, tree)
    assert rows(manifest)["DeeperForensics-1.0/end_to_end_level_3/002_M004"] == {
        "id": "DeeperForensics-1.0/end_to_end_level_3/002_M004",
        "path": "deeper/manipulated_videos/end_to_end_level_3/002_M004.mp4", "label": FAKE,
        "video": "DeeperForensics-1.0/end_to_end_level_3/002_M004", "identity": "FF++/002",
        "source_identity": "DeeperForensics-1.0/M004", "parent": "DeeperForensics-1.0/Real/002",
        "manipulation": "end_to_end_level_3", "dataset": "DeeperForensics-1.0", "collection": "youtube",
        "split": "validation", "compression": "", "status": "ok",
    }  # fmt: skip
    counts = {s: len(manifest.select(split=s)) for s in ("train", "validation", "test", "")}
    assert counts == {"train": 6, "validation": 3, "test": 3, "": 0}


def test_one_name_under_two_variants_stays_two_videos(tree: Path) -> None:
    fakes = read_deeperforensics(tree / "deeper").select(label=FAKE)
    assert len(set(fakes.column("video"))) == len(set(fakes.column("id"))) == 8


def test_the_real_class_is_ffpp_c23_not_the_source_videos(tree: Path) -> None:
    manifest, notes = index("deeperforensics", tree / "deeper", ffpp=tree / "ffpp", seed=0)
    reals = manifest.select(label=REAL)
    assert reals.column("path").tolist() == [f"ffpp/original_sequences/youtube/c23/videos/00{n}.mp4" for n in range(4)]
    assert dict(zip(reals.column("identity"), reals.column("split"), strict=True)) == {
        "FF++/000": "train", "FF++/001": "train", "FF++/002": "validation", "FF++/003": "test",
    }  # fmt: skip
    assert not any("source_videos" in p for p in manifest.column("path"))
    assert "not the real class, and are left out" in notes[-1]
    alone = read_deeperforensics(tree / "deeper")
    assert (len(alone), set(alone.column("label"))) == (8, {FAKE})
    assert "no real videos: the real class is FF++'s c23 targets" in alone.notes[0]
    assert set(alone.column("parent")) == {None}
    with pytest.raises(DataError, match="original_sequences/youtube/c23 is not there"):
        read_deeperforensics(tree / "deeper", ffpp=tree / "deeper")


def test_training_on_ffpp_is_known_to_share_people(tree: Path) -> None:
    other = read_ffpp(tree / "ffpp", frames="videos", splits=False)
    assert shared_people(read_deeperforensics(tree / "deeper"), other) == [f"FF++/00{n}" for n in range(4)]


def test_fakes_in_no_list_belong_to_no_split(tree: Path) -> None:
    put(tree, "deeper/manipulated_videos/end_to_end/004_M006.mp4", "deeper/manipulated_videos/end_to_end/odd.mp4")
    manifest = read_deeperforensics(tree / "deeper", ffpp=tree / "ffpp")
    found = rows(manifest)
    assert found["DeeperForensics-1.0/end_to_end/004_M006"]["split"] == ""
    assert found["DeeperForensics-1.0/Real/004"]["split"] == ""
    assert found["DeeperForensics-1.0/end_to_end/odd"]["identity"] is None
    text = "\n".join(manifest.notes)
    assert "2 fakes are in no list and belong to no split, such as end_to_end/004_M006" in text
    assert "1 names are not <target>_<actor> and tell nobody, such as end_to_end/odd" in text


def test_a_partial_copy_is_taken_and_reported(tree: Path) -> None:
    (tree / "deeper/manipulated_videos/end_to_end/000_M101.mp4").unlink()
    (tree / "ffpp/original_sequences/youtube/c23/videos/001.mp4").unlink()
    (tree / "deeper/lists/splits/test.txt").unlink()
    put(tree, "deeper/manipulated_videos/end_to_end/001_W020.mp4", data=b"")
    manifest = read_deeperforensics(tree / "deeper", ffpp=tree / "ffpp")
    assert len(manifest) == 10
    text = "\n".join(manifest.notes)
    for part in (
        "splits/test.txt is not there: no row gets the split test",
        "1 of 3 listed videos of end_to_end are absent, such as 000_M101",
        "1 of 4 target videos are absent in original_sequences/youtube/c23, such as 001",
        "2 fakes have no target video in FF++, such as end_to_end/001_W020", "1 files are empty (unreadable)",
    ):  # fmt: skip
        assert part in text
    found = rows(manifest)
    assert found["DeeperForensics-1.0/end_to_end/001_W020"]["parent"] is None
    assert found["DeeperForensics-1.0/end_to_end/001_W020"]["status"] == "unreadable"
    assert found["DeeperForensics-1.0/Real/003"]["split"] == ""


def test_lists(tree: Path) -> None:
    for line in ("000-M101.mp4", "0_M101.mp4", "000_003.mp4"):
        put(tree, "deeper/lists/splits/val.txt", data=f"002_M004.mp4\n{line}\n")
        with pytest.raises(DataError, match=r"val\.txt line 2: expected TARGET_ACTOR\.mp4 such as"):
            read_deeperforensics(tree / "deeper")
    put(tree, "deeper/lists/splits/val.txt", data="000_M101\n")
    with pytest.raises(DataError, match=r"val\.txt line 1: 000_M101 is in the list of train too"):
        read_deeperforensics(tree / "deeper")
    put(tree, "deeper/lists/splits/val.txt", data="end_to_end/002_M004.mp4\n000_M007\n")
    manifest = read_deeperforensics(tree / "deeper", ffpp=tree / "ffpp")
    assert rows(manifest)["DeeperForensics-1.0/end_to_end/002_M004"]["split"] == "validation"
    assert rows(manifest)["DeeperForensics-1.0/Real/000"]["split"] == ""
    assert any("1 targets are in two lists" in n for n in manifest.notes)
    for split in LISTS:
        (tree / f"deeper/lists/splits/{split}.txt").unlink()
    with pytest.raises(DataError, match=r"has no train\.txt, val\.txt or test\.txt"):
        read_deeperforensics(tree / "deeper")
    assert set(read_deeperforensics(tree / "deeper", splits=False).column("split")) == {""}


def test_extracted_frames(tree: Path) -> None:
    put(tree, *(f"deeper/manipulated_videos/end_to_end/frames/000_M101/{n}.png" for n in ("000", "001")))
    put(tree, "ffpp/original_sequences/youtube/c23/frames/000/0000.png")
    found = rows(read_deeperforensics(tree / "deeper", ffpp=tree / "ffpp", frames="frames", dataset="d"))
    assert len(found) == 3
    assert found["d/end_to_end/000_M101/000"]["parent"] == "d/Real/000/0000"
    assert found["d/end_to_end/000_M101/001"]["parent"] is None


def test_no_such_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_deeperforensics(tmp_path / "none")
    with pytest.raises(DataError, match=r"no videos found: expected .*manipulated_videos/<variant>"):
        read_deeperforensics(tmp_path, splits=False)
    with pytest.raises(ConfigError, match="no option 'compression'"):
        index("deeperforensics", tmp_path, compression="c23")
