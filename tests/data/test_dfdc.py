"""DFDC: labels from metadata.json and labels.csv, originals and their fakes kept together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from unfooled.data.dfdc import read_dfdc
from unfooled.data.layouts import index
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.errors import ConfigError, DataError


def put(root: Path, *paths: str, data: bytes | str = b"video") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {str(r["id"]): r for r in manifest.table.to_pylist()}


Entry = dict[str, str | None]


def real() -> Entry:
    return {"label": "REAL", "split": "train", "original": None}


def fake(original: str) -> Entry:
    return {"label": "FAKE", "split": "train", "original": original}


def put_part(root: Path, part: str, entries: dict[str, Entry]) -> None:
    put(root, f"{part}/metadata.json", data=json.dumps(entries))
    put(root, *(f"{part}/{name}" for name in entries))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two parts of one original with two fakes, and three test videos."""
    put_part(tmp_path, "train/dfdc_train_part_0", {"a.mp4": real(), "b.mp4": fake("a.mp4"), "c.mp4": fake("a.mp4")})
    put_part(tmp_path, "train/dfdc_train_part_1", {"d.mp4": real(), "e.mp4": fake("d.mp4"), "f.mp4": fake("d.mp4")})
    put(tmp_path, "test/labels.csv", data="filename,label\nx.mp4,0\ny.mp4,1\nz.mp4,1\n")
    put(tmp_path, "test/x.mp4", "test/y.mp4", "test/z.mp4")
    return tmp_path


def test_the_whole_tree(tree: Path) -> None:
    manifest = read_dfdc(tree)
    assert (len(manifest), manifest.notes, manifest.published) == (9, (), True)
    assert manifest.check() == []
    assert rows(manifest)["DFDC/fake/train/dfdc_train_part_0/b"] == {
        "id": "DFDC/fake/train/dfdc_train_part_0/b", "path": "train/dfdc_train_part_0/b.mp4", "label": FAKE,
        "video": "DFDC/fake/train/dfdc_train_part_0/b", "identity": None, "source_identity": None,
        "parent": "DFDC/Real/train/dfdc_train_part_0/a", "manipulation": "fake", "dataset": "DFDC",
        "collection": "dfdc_train_part_0", "split": "train", "compression": "", "status": "ok",
    }  # fmt: skip
    test = manifest.select(split="test")
    assert dict(zip(test.column("path"), test.column("label"), strict=True)) == {
        "test/x.mp4": REAL, "test/y.mp4": FAKE, "test/z.mp4": FAKE,
    }  # fmt: skip


def test_labels_come_from_the_table_not_from_folders(tree: Path) -> None:
    put_part(tree, "FAKE/real", {"g.mp4": real(), "h.mp4": fake("g.mp4")})
    found = rows(read_dfdc(tree))
    assert found["DFDC/Real/FAKE/real/g"]["label"] == REAL
    assert found["DFDC/fake/FAKE/real/h"]["label"] == FAKE
    put(tree, "validation/labels.csv", data="label,filename\n1,v.mp4\n")
    put(tree, "validation/v.mp4")
    assert rows(read_dfdc(tree))["DFDC/fake/validation/v"]["split"] == "validation"
    with pytest.raises(ConfigError, match="brings its own validation videos"):
        read_dfdc(tree, validation=0.1)


def test_one_part_alone_is_a_root_too(tree: Path) -> None:
    manifest = read_dfdc(tree / "train/dfdc_train_part_0")
    assert set(manifest.column("id")) == {"DFDC/Real/a", "DFDC/fake/b", "DFDC/fake/c"}


def test_a_fake_is_never_divided_from_its_original(tmp_path: Path) -> None:
    for part in range(2):
        names = [f"r{part}{n}" for n in range(20)]
        entries = {f"{n}.mp4": real() for n in names} | {f"{n}f{k}.mp4": fake(f"{n}.mp4") for n in names for k in "ab"}
        put_part(tmp_path, f"dfdc_train_part_{part}", entries)
    put_part(tmp_path, "dfdc_train_part_2", {"orphan.mp4": fake("r00.mp4"), "other.mp4": fake("gone.mp4")})
    manifest, notes = index("dfdc", tmp_path, validation=0.25, seed=0, frames=None)
    assert manifest.published is False
    assert manifest.check() == []
    found = rows(manifest)
    children = [r for r in found.values() if r["parent"]]
    assert len(children) == 81
    assert all(r["split"] == found[str(r["parent"])]["split"] for r in children)
    assert len(manifest.select(split="validation", label=REAL)) == 10
    assert "1 fakes have no original here, such as dfdc_train_part_2/other" in notes
    assert read_dfdc(tmp_path, validation=0.25).digest() == manifest.digest()
    assert read_dfdc(tmp_path, validation=0.25, seed=1).digest() != manifest.digest()


def test_the_same_video_in_two_parts_stays_in_one_split(tree: Path) -> None:
    put_part(tree, "train_sample_videos", {"a.mp4": real(), "b.mp4": fake("a.mp4"), "x.mp4": real()})
    for seed in range(8):
        found = rows(read_dfdc(tree, validation=0.5, seed=seed))
        splits = {found[f"DFDC/Real/{p}/a"]["split"] for p in ("train/dfdc_train_part_0", "train_sample_videos")}
        splits |= {found[f"DFDC/fake/{p}/b"]["split"] for p in ("train/dfdc_train_part_0", "train_sample_videos")}
        assert len(splits) == 1
    manifest = read_dfdc(tree)
    assert "2 reals lie in two parts, such as train_sample_videos/a" in manifest.notes
    assert rows(manifest)["DFDC/Real/train_sample_videos/x"]["split"] == ""
    assert any("videos of the test lie in another part too" in n for n in manifest.notes)


def test_a_partial_copy_is_taken_and_reported(tree: Path) -> None:
    (tree / "train/dfdc_train_part_0/a.mp4").unlink()
    put(tree, "test/unlisted.mp4")
    put(tree, "test/y.mp4", data=b"")
    manifest = read_dfdc(tree)
    assert len(manifest) == 8
    assert rows(manifest)["DFDC/fake/train/dfdc_train_part_0/b"]["parent"] is None
    assert rows(manifest)["DFDC/fake/test/y"]["status"] == "unreadable"
    text = "\n".join(manifest.notes)
    for part in (
        "1 of 3 listed videos of train/dfdc_train_part_0 are absent", "2 fakes have no original here",
        "1 videos are not in labels.csv and are left out, such as test/unlisted", "1 files are empty (unreadable)",
    ):  # fmt: skip
        assert part in text


def test_extracted_frames(tmp_path: Path) -> None:
    part = "dfdc_train_part_0"
    put(tmp_path, f"{part}/metadata.json", data=json.dumps({"a.mp4": real(), "b.mp4": fake("a.mp4")}))
    put(tmp_path, f"{part}/frames/a/000.png", f"{part}/frames/b/0.png", f"{part}/frames/b/1.png")
    found = rows(read_dfdc(tmp_path, frames="frames"))
    assert found[f"DFDC/fake/{part}/b/0"]["parent"] == f"DFDC/Real/{part}/a/000"
    assert found[f"DFDC/fake/{part}/b/1"]["parent"] is None
    with pytest.raises(DataError, match=r"holds no videos that a metadata\.json.*with images instead"):
        read_dfdc(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"metadata\.json is not JSON: .*line 1"),
        ("[]", "must hold a JSON object, got list"),
        ('{"a.mp4": 1}', "'a.mp4' must be an object with label"),
        ('{"a.mp4": {"label": "fake"}}', "'a.mp4': label must be REAL or FAKE, got 'fake'"),
        ('{"a.mp4": {"split": "train"}}', "label must be REAL or FAKE, got None"),
        ('{"a.mp4": {"label": "REAL", "split": "x"}}', "split must be one of .*, got 'x'"),
        ('{"a.mp4": {"label": "FAKE", "original": 3}}', "original must be a file name, got 3"),
        ('{"a.mp4": {"label": "REAL"}, "a.mp4": {"label": "FAKE"}}', "names 'a.mp4' twice"),
        ('{"a.mp4": {"label": "REAL"}, "a.avi": {"label": "FAKE"}}', "listed with another suffix"),
    ],
)
def test_malformed_metadata_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "part/metadata.json", data=text)
    with pytest.raises(DataError, match=message) as error:
        read_dfdc(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"labels\.csv line 1: expected the columns filename,label"),
        ("name,label\n", "expected the columns filename,label, got 'name,label'"),
        (
            "filename,label\nx.mp4,0\n\ny.mp4,FAKE\n",
            r"labels\.csv line 4: label must be 0 .real. or 1 .fake., got 'FAKE'",
        ),
        ("filename,label\nx.mp4\n", "line 2: label must be 0 .* got None"),
        ("filename,label\nx.mp4,0\nx.mp4,1\n", "line 3: 'x.mp4' is listed twice"),
    ],
)
def test_malformed_tables_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "test/labels.csv", data=text)
    with pytest.raises(DataError, match=message):
        read_dfdc(tmp_path)


def test_metadata_beside_a_table_and_no_split(tree: Path) -> None:
    put(tree, "test/metadata.json", data="{}")
    put_part(tree, "more", {"g.mp4": {"label": "REAL"}, "h.mp4": {"label": "FAKE", "split": "test"}})
    manifest = read_dfdc(tree)
    assert len(manifest.select(split="test")) == 4
    assert rows(manifest)["DFDC/Real/more/g"]["split"] == ""
    text = "\n".join(manifest.notes)
    for part in ("lie beside a labels.csv", "1 videos belong to no split", "1 fakes name no original, such as more/h"):
        assert part in text
    with pytest.raises(DataError, match="holds no images"):
        read_dfdc(tree, frames="images")
