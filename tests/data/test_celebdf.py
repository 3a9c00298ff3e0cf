"""Celeb-DF: flags, casing, people, partial copies and a validation split of our own."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from unfooled.data.celebdf import people_of, read_celebdf
from unfooled.data.layouts import index
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.errors import ConfigError, DataError


def put(root: Path, *paths: str, data: bytes | str = b"video") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {str(r["id"]): r for r in manifest.table.to_pylist()}


LIST = """1 YouTube-real/00001.mp4
1 Celeb-real/id0_0001.mp4
0 Celeb-synthesis/id0_id1_0001.mp4
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three people with two videos each, every swap of the first, two YouTube videos, and the test list."""
    for person in range(3):
        put(tmp_path, *(f"Celeb-real/id{person}_{n:04}.mp4" for n in range(2)))
        swaps = (f"id{person}_id{other}_{n:04}" for other in range(3) for n in range(2) if other != person)
        put(tmp_path, *(f"Celeb-synthesis/{s}.mp4" for s in swaps))
    put(tmp_path, "YouTube-real/00000.mp4", "YouTube-real/00001.mp4")
    put(tmp_path, "List_of_testing_videos.txt", data=LIST)
    return tmp_path


def people(manifest: Manifest, split: str) -> set[str]:
    part = manifest.select(split=split)
    return {p for c in ("identity", "source_identity") for p in part.column(c) if p}


def test_the_whole_tree(tree: Path) -> None:
    manifest = read_celebdf(tree)
    assert (len(manifest), manifest.notes, manifest.published) == (20, (), True)
    assert len(set(manifest.column("id"))) == 20
    assert rows(manifest)["Celeb-DF-v2/Celeb-synthesis/id0_id1_0000"] == {
        "id": "Celeb-DF-v2/Celeb-synthesis/id0_id1_0000", "path": "Celeb-synthesis/id0_id1_0000.mp4", "label": FAKE,
        "video": "Celeb-DF-v2/Celeb-synthesis/id0_id1_0000", "identity": "Celeb-DF-v2/id0",
        "source_identity": "Celeb-DF-v2/id1", "parent": "Celeb-DF-v2/Real/Celeb-real/id0_0000",
        "manipulation": "Celeb-synthesis", "dataset": "Celeb-DF-v2", "collection": "Celeb-real", "split": "train",
        "compression": "", "status": "ok",
    }  # fmt: skip
    stranger = rows(manifest)["Celeb-DF-v2/Real/YouTube-real/00000"]
    assert (stranger["identity"], stranger["collection"], stranger["label"]) == (None, "YouTube-real", REAL)
    assert rows(manifest)["Celeb-DF-v2/Real/Celeb-real/id2_0001"]["identity"] == "Celeb-DF-v2/id2"


def test_flag_1_is_real_and_no_test_video_is_left_in_train(tree: Path) -> None:
    manifest = read_celebdf(tree)
    test = manifest.select(split="test")
    assert dict(zip(test.column("path"), test.column("label"), strict=True)) == {
        "YouTube-real/00001.mp4": REAL, "Celeb-real/id0_0001.mp4": REAL, "Celeb-synthesis/id0_id1_0001.mp4": FAKE,
    }  # fmt: skip
    assert not set(test.column("video")) & set(manifest.select(split="train").column("video"))
    assert any("people in two splits" in w and "published split" in w for w in manifest.check())
    put(tree, "List_of_testing_videos.txt", data=LIST + "0 Celeb-real/id1_0000.mp4")
    with pytest.raises(DataError, match=r"videos\.txt line 4: the flag 0 means fake, but Celeb-real is not"):
        read_celebdf(tree)


def test_malformed_lines_name_file_and_line(tree: Path) -> None:
    for line in ("2 Celeb-real/id0_0000.mp4", "1 id0_0000.mp4", "Celeb-real/id0_0000.mp4", "1 Celeb-rael/x.mp4"):
        put(tree, "List_of_testing_videos.txt", data=f"{LIST}\n{line}\n")
        with pytest.raises(DataError, match=r"List_of_testing_videos\.txt line 5: expected FLAG FOLDER/FILE"):
            read_celebdf(tree)
    put(tree, "List_of_testing_videos.txt", data=b"1 \xff\xfe")
    with pytest.raises(DataError, match="not UTF-8"):
        read_celebdf(tree)
    (tree / "List_of_testing_videos.txt").unlink()
    with pytest.raises(DataError, match="is not there; copy Celeb-DF's test list"):
        read_celebdf(tree)
    manifest = read_celebdf(tree, splits=False)
    assert (set(manifest.column("split")), manifest.published) == ({""}, False)


def test_other_casing_and_line_ends(tree: Path) -> None:
    (tree / "YouTube-real").rename(tree / "Youtube-real")
    put(tree, "List_of_testing_videos.txt", data=LIST.replace("YouTube", "Youtube").replace("\n", "\r\n"))
    manifest = read_celebdf(tree)
    assert rows(manifest)["Celeb-DF-v2/Real/YouTube-real/00001"]["path"] == "Youtube-real/00001.mp4"
    assert manifest.notes == ()
    assert len(manifest.select(split="test")) == 3


def test_a_second_real_folder_does_not_overwrite_the_first(tree: Path) -> None:
    put(tree, "Youtube-real/00007.mp4", "YouTube-real/id0_0000.mp4")
    ids = set(read_celebdf(tree).column("id"))
    real = "Celeb-DF-v2/Real"
    wanted = ("Celeb-real/id0_0000", "YouTube-real/id0_0000", "YouTube-real/00000", "YouTube-real/00007")
    assert {f"{real}/{name}" for name in wanted} <= ids
    put(tree, "Youtube-real/00000.mp4")
    with pytest.raises(DataError, match="second video of YouTube-real/00000"):
        read_celebdf(tree)


def test_a_partial_copy_is_taken_and_reported(tmp_path: Path) -> None:
    put(tmp_path, "List_of_testing_videos.txt", data=LIST)
    put(tmp_path, "Celeb-synthesis/id0_id1_0000.mp4", "Celeb-synthesis/odd.mp4", "frames_of_mine/x.png")
    manifest = read_celebdf(tmp_path)
    assert len(manifest) == 2
    text = "\n".join(manifest.notes)
    for part in (
        "3 of 3 test videos are absent, such as Celeb-real/id0_0001", "Celeb-real/ is not there",
        "1 fakes have no original here, such as Celeb-synthesis/id0_id1_0000",
        "1 names do not tell the people in the video, such as Celeb-synthesis/odd", "1 folders are none of the layout",
    ):  # fmt: skip
        assert part in text
    fake = rows(manifest)["Celeb-DF-v2/Celeb-synthesis/id0_id1_0000"]
    assert (fake["identity"], fake["parent"]) == ("Celeb-DF-v2/id0", None)
    assert rows(manifest)["Celeb-DF-v2/Celeb-synthesis/odd"]["identity"] is None


def test_a_video_without_bytes_keeps_its_row_and_gets_no_score(tree: Path) -> None:
    put(tree, "Celeb-real/id0_0001.mp4", data=b"")
    (tree / "Celeb-synthesis/id0_id1_0001.mp4").unlink()
    (tree / "Celeb-synthesis/id0_id1_0001.mp4").symlink_to(tree / "nowhere")
    manifest = read_celebdf(tree)
    assert len(manifest) == 20
    assert manifest.select(status="unreadable").column("path").tolist() == ["Celeb-real/id0_0001.mp4"]
    assert manifest.select(status="missing").column("path").tolist() == ["Celeb-synthesis/id0_id1_0001.mp4"]
    assert sum("get no score" in note for note in manifest.notes) == 2
    assert sum("get no score" in warning for warning in manifest.check()) == 2


def test_frames_and_videos_folders(tmp_path: Path) -> None:
    put(tmp_path, "List_of_testing_videos.txt", data=LIST)
    put(tmp_path, "Celeb-real/frames/id0_0001/000.png", "Celeb-real/videos/id0_0001.mp4")
    put(tmp_path, *(f"Celeb-synthesis/frames/id0_id1_0001/{n}.png" for n in ("000", "001")))
    found = rows(read_celebdf(tmp_path, frames="images", dataset="mine"))
    fake = found["mine/Celeb-synthesis/id0_id1_0001/000"]
    assert fake["parent"] == "mine/Real/Celeb-real/id0_0001/000"
    assert (fake["video"], fake["split"]) == ("mine/Celeb-synthesis/id0_id1_0001", "test")
    assert found["mine/Celeb-synthesis/id0_id1_0001/001"]["parent"] is None
    assert read_celebdf(tmp_path).column("path").tolist() == ["Celeb-real/videos/id0_0001.mp4"]
    with pytest.raises(ConfigError, match="frames must be videos, images or frames, got 'video'"):
        read_celebdf(tmp_path, frames="video")


def test_our_own_validation_split_divides_people(tmp_path: Path) -> None:
    put(tmp_path, "List_of_testing_videos.txt", data="1 Celeb-real/id0_0000.mp4\n")
    put(tmp_path, *(f"Celeb-real/id{p}_0000.mp4" for p in range(20)), *(f"YouTube-real/{n}.mp4" for n in range(20)))
    put(tmp_path, *(f"Celeb-synthesis/id{a}_id{b}_0000.mp4" for a in range(20) for b in range(20) if a != b))
    manifest, notes = index("celebdf", tmp_path, validation=0.2, seed=0, compression=None)
    validation = manifest.select(split="validation")
    assert len(people(manifest, "validation")) == 4
    assert not people(manifest, "validation") & people(manifest, "train")
    assert len(validation.select(collection="YouTube-real")) == 4
    assert len(validation.select(label=FAKE)) == 4 * 3
    assert f"{2 * 4 * 16} swaps between a person of train and one of validation belong to no split" in notes[-1]
    assert manifest.select(split="test").column("path").tolist() == ["Celeb-real/id0_0000.mp4"]
    assert read_celebdf(tmp_path, validation=0.2).digest() == manifest.digest()
    assert read_celebdf(tmp_path, validation=0.2, seed=1).digest() != manifest.digest()
    larger = people(read_celebdf(tmp_path, validation=0.4), "validation")
    assert people(manifest, "validation") < larger
    assert not read_celebdf(tmp_path).select(split="validation").table.num_rows
    for share in (0.0, 1.0, -0.1):
        with pytest.raises(ConfigError, match="validation must be a share between 0 and 1"):
            read_celebdf(tmp_path, validation=share)
    with pytest.raises(ConfigError, match="only the test list tells"):
        read_celebdf(tmp_path, validation=0.2, splits=False)


def test_names() -> None:
    assert people_of("id0_id16_0003") == ("id0", "id16", "0003")
    assert people_of("id61_0009") == ("id61", None, "0009")
    assert people_of("00170") == (None, None, "")


def test_no_such_tree(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        read_celebdf(tmp_path / "none")
    put(tmp_path, "List_of_testing_videos.txt", data=LIST)
    with pytest.raises(DataError, match="no videos found in Celeb-real"):
        read_celebdf(tmp_path)


def test_many_files_take_seconds(tmp_path: Path) -> None:
    folder = tmp_path / "YouTube-real"
    folder.mkdir()
    for number in range(2000):
        (folder / f"{number:06}.mp4").touch()
    put(tmp_path, "List_of_testing_videos.txt", data=LIST)
    start = time.process_time()
    assert len(read_celebdf(tmp_path)) == 2000
    assert time.process_time() - start < 0.5
