"""DeepfakeBench's JSON lists: both slashes, compression levels, double listings, foreign paths."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from unfooled.data.deepfakebench import read_deepfakebench
from unfooled.data.layouts import index
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.errors import DataError


def put(root: Path, *paths: str, data: bytes | str = b"video") -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data.encode() if isinstance(data, str) else data)


def rows(manifest: Manifest) -> dict[str, dict[str, object]]:
    return {str(r["id"]): r for r in manifest.table.to_pylist()}


PNG = cv2.imencode(".png", np.full((8, 8, 3), 90, np.uint8))[1].tobytes()
FF = "FaceForensics++"


def video(label: str, *frames: str) -> dict[str, Any]:
    return {"label": label, "frames": list(frames)}


def put_json(root: Path, name: str, content: object) -> Path:
    put(root, f"json/{name}.json", data=json.dumps(content))
    return root / "json" / f"{name}.json"


def real(name: str, frame: str = "000", c: str = "c23") -> str:
    return f"{FF}/original_sequences/youtube/{c}/frames/{name}/{frame}.png"


def fake(name: str, frame: str = "000", c: str = "c23", kind: str = "Deepfakes") -> str:
    return f"{FF}/manipulated_sequences/{kind}/{c}/frames/{name}/{frame}.png"


@pytest.fixture
def ffdf(tmp_path: Path) -> Path:
    """FF-DF.json with two compressions, its fakes written with backslashes; the frames lie below data/."""
    levels: dict[str, Any] = {
        "FF-real": {"train": {}, "val": {}, "test": {}},
        "FF-DF": {"train": {}, "val": {}, "test": {}},
    }
    for split, (a, b) in {"train": ("000", "003"), "val": ("010", "011"), "test": ("020", "021")}.items():
        for c in ("c23", "c40"):
            reals, fakes = ([real(n, c=c) for n in (a, b)], [fake(f"{a}_{b}", c=c), fake(f"{b}_{a}", c=c)])
            put(tmp_path, *(f"data/{p}" for p in reals + fakes), data=PNG)
            levels["FF-real"][split][c] = {n: video("FF-real", p) for n, p in zip((a, b), reals, strict=True)}
            back = [p.replace("/", "\\") for p in fakes]
            levels["FF-DF"][split][c] = {f"{a}_{b}": video("FF-DF", back[0]), f"{b}_{a}": video("FF-DF", back[1])}
    return put_json(tmp_path, "FF-DF", {"FF-DF": levels})


def test_a_list_of_the_ffpp_family(ffdf: Path, tmp_path: Path) -> None:
    manifest = read_deepfakebench(ffdf, frames_root=tmp_path / "data")
    assert manifest.check() == []
    assert (len(manifest), manifest.notes, manifest.published) == (24, (), True)
    assert rows(manifest)["FF++/Deepfakes/c40/010_011/000"] == {
        "id": "FF++/Deepfakes/c40/010_011/000", "path": fake("010_011", c="c40"), "label": FAKE,
        "video": "FF++/Deepfakes/010_011", "identity": "FF++/010", "source_identity": "FF++/011",
        "parent": "FF++/Real/c40/010/000", "manipulation": "Deepfakes", "dataset": "FF++", "collection": "",
        "split": "validation", "compression": "c40", "status": "ok",
    }  # fmt: skip
    assert rows(manifest)["FF++/Real/c23/020/000"]["collection"] == "youtube"
    only = read_deepfakebench(ffdf, frames_root=tmp_path / "data", compression="c40")
    assert set(only.column("compression")) == {"c40"}
    assert set(read_deepfakebench(ffdf, frames_root=tmp_path / "data", dataset="d").column("dataset")) == {"d"}
    with pytest.raises(DataError, match="compression must be one of"):
        read_deepfakebench(ffdf, compression="c99")


def test_a_folder_of_lists_keeps_manipulations_apart_and_reals_once(ffdf: Path, tmp_path: Path) -> None:
    put(tmp_path, f"data/{fake('000_003', kind='FaceSwap')}", data=PNG)
    swap = {"c23": {"000_003": video("FF-FS", fake("000_003", kind="FaceSwap"))}}
    reals = {"c23": {"000": video("FF-real", real("000"))}}
    put_json(tmp_path, "FF-FS", {"FF-FS": {"FF-real": {"train": reals}, "FF-FS": {"train": swap}}})
    manifest, notes = index("deepfakebench", tmp_path / "json", frames_root=tmp_path / "data", seed=0)
    assert (len(manifest), notes) == (25, [])
    both = {v for v in manifest.select(label=FAKE).column("video") if v.endswith("/000_003")}
    assert both == {"FF++/Deepfakes/000_003", "FF++/FaceSwap/000_003"}
    assert len(manifest.select(id="FF++/Real/c23/000/000")) == 1


def test_test_videos_listed_in_train_too_are_test_videos(tmp_path: Path) -> None:
    names = ["id0_0000", "id1_0000", "id0_id1_0000", "00007"]
    folders = ["Celeb-real", "Celeb-real", "Celeb-synthesis", "YouTube-real"]
    paths = {n: f"Celeb-DF-v2/{f}/frames/{n}/000.png" for n, f in zip(names, folders, strict=True)}
    put(tmp_path, *(f"data/{p}" for p in paths.values()), data=PNG)
    reals = {n: video("CelebDFv2_real", paths[n]) for n in names if n != "id0_id1_0000"}
    fakes = {"id0_id1_0000": video("CelebDFv2_fake", paths["id0_id1_0000"])}
    one = {"id0_0000": reals["id0_0000"]}
    content = {
        "CelebDFv2_real": {"train": reals, "val": one, "test": one},
        "CelebDFv2_fake": {"train": fakes, "val": {}, "test": {}},
    }
    manifest = read_deepfakebench(
        put_json(tmp_path, "Celeb-DF-v2", {"Celeb-DF-v2": content}), frames_root=tmp_path / "data"
    )
    found = rows(manifest)
    assert len(manifest) == 4
    assert found["Celeb-DF-v2/Real/id0_0000/000"]["split"] == "test"
    assert found["Celeb-DF-v2/Real/00007/000"]["identity"] is None
    swap = found["Celeb-DF-v2/Celeb-synthesis/id0_id1_0000/000"]
    assert (swap["identity"], swap["source_identity"]) == ("Celeb-DF-v2/id0", "Celeb-DF-v2/id1")
    assert swap["parent"] == "Celeb-DF-v2/Real/id0_0000/000"
    assert manifest.notes[-1].startswith("1 videos are listed in several splits and count for test before validation")
    assert any("leak" in w for w in manifest.check())
    del content["CelebDFv2_real"]["train"]["00007"]
    manifest = read_deepfakebench(
        put_json(tmp_path, "Celeb-DF-v2", {"Celeb-DF-v2": content}), frames_root=tmp_path / "data"
    )
    assert any("all lie in Celeb-real: the published script lets one" in n for n in manifest.notes)


@pytest.mark.parametrize("beginning", ["/another/machine/rgb/", "D:\\sets\\rgb\\", "./datasets/", ""])
def test_paths_of_another_machine(tmp_path: Path, beginning: str) -> None:
    frames = ["UADFV/real/frames/0001/000.png", "UADFV/fake/frames/0001_fake/000.png"]
    put(tmp_path, *(f"data/{f}" for f in frames), data=PNG)
    gone = "UADFV/real/frames/0000/000.png"
    content = {
        "UADFV_Real": {
            "train": {"0000": video("UADFV_Real", beginning + gone), "0001": video("UADFV_Real", beginning + frames[0])}
        },
        "UADFV_Fake": {"train": {"0001": video("UADFV_Fake", beginning + frames[1])}},
    }
    path = put_json(tmp_path, "UADFV", {"UADFV": content})
    manifest = read_deepfakebench(path, frames_root=tmp_path / "data")
    assert sorted(manifest.column("path")) == sorted(frames)
    assert manifest.check() == []
    assert "1 of 3 listed videos have no frame here (partial copy), such as UADFV/Real/0000" in manifest.notes
    assert any("without the beginning" in n for n in manifest.notes) == bool(beginning)
    assert set(manifest.column("identity")) == {None}
    with pytest.raises(DataError, match=r"none of the frames of 3 listed videos lie here.*--frames-root"):
        read_deepfakebench(path)


def test_absolute_paths_that_are_here(tmp_path: Path) -> None:
    put(tmp_path, "data/UADFV/real/frames/0001/000.png", data=PNG)
    content = {
        "UADFV_Real": {"train": {"0001": video("UADFV_Real", f"{tmp_path}/data/UADFV/real/frames/0001/000.png")}}
    }
    manifest = read_deepfakebench(put_json(tmp_path, "UADFV", {"UADFV": content}))
    assert manifest.paths()[0].resolve() == (tmp_path / "data/UADFV/real/frames/0001/000.png").resolve()
    assert len(manifest.check()) == 1


def test_damaged_and_absent_frames_are_marked_not_replaced(tmp_path: Path) -> None:
    names = [f"DFDCP/method_A/frames/v/{n:03}.png" for n in range(4)]
    put(tmp_path, f"data/{names[0]}", data=PNG)
    put(tmp_path, f"data/{names[1]}", data=b"")
    put(tmp_path, f"data/{names[2]}", data=PNG[:40])
    content = {"DFDCP_FakeA": {"test": {"v": video("DFDCP_FakeA", *reversed(names))}}}
    path = put_json(tmp_path, "DFDCP", {"DFDCP": content})
    manifest, _ = index("deepfakebench", path, frames_root=tmp_path / "data", decode=True)
    assert manifest.column("path").tolist() == names
    assert manifest.column("status").tolist() == ["ok", "unreadable", "unreadable", "missing"]
    assert set(manifest.column("manipulation")) == {"method_A"}


def test_facts_without_a_name_are_left_out(tmp_path: Path) -> None:
    put(tmp_path, "data/DFDC/test/frames/x/0.png", data=PNG)
    split = {
        "test": {"x": video("DFDC_Real", "DFDC/test/frames/x/0.png")},
        "val": video("DFDC_Real", "DFDC/gone/0.png"),
    }
    path = put_json(tmp_path, "DFDC", {"DFDC": {"DFDC_Real": split, "DFDC_Fake": {"test": {"y": video("DFDC_Fake")}}}})
    manifest = read_deepfakebench(path, frames_root=tmp_path / "data")
    assert manifest.column("id").tolist() == ["DFDC/Real/x/0"]
    text = "\n".join(manifest.notes)
    assert "1 splits hold facts without a video's name, which are left out" in text
    assert "1 videos list no frame, such as DFDC_Fake/y" in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"D": []}, r"bad\.json: D must be an object, got"),
        ({"D": {"L": {"train": []}}}, r"D/L/train must be an object, got \[\]"),
        ({"D": {"L": {"dev": {}}}}, "the split must be one of .*, got 'dev'"),
        ({"D": {"L": {"train": {"v": {"label": "x_real"}}}}}, "D/L/train/v: frames must be a list of paths, got None"),
        ({"D": {"L": {"train": {"v": {"label": "x_real", "frames": [1]}}}}}, "frames must be a list of paths"),
        ({"D": {"L": {"train": {"v": {"label": 1, "frames": []}}}}}, "label must be a word such as FF-real, got 1"),
        ({"D": {"real": {"train": {"v": video("GAN", "real/v/0.png")}}}}, "label must end in real or fake .*got 'GAN'"),
        ({"D": {"L": {"train": {"c23": {"v": 3}}}}}, "D/L/train/c23/v must be an object, got 3"),
    ],
)
def test_other_shapes_are_one_line_with_the_place(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        read_deepfakebench(put_json(tmp_path, "bad", content))
    assert "bad.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_no_list(tmp_path: Path) -> None:
    put(tmp_path, "bad.json", data="{'a'")
    with pytest.raises(DataError, match=r"bad\.json is not JSON: .*line 1 column 2"):
        read_deepfakebench(tmp_path / "bad.json")
    (tmp_path / "bad.json").unlink()
    with pytest.raises(DataError, match=r"holds no \.json"):
        read_deepfakebench(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        read_deepfakebench(tmp_path / "none")


def test_deeperforensics_reals_are_marked_as_the_wrong_class(tmp_path: Path) -> None:
    frames = ["DF/source_videos/M101/frames/s/0.png", "DF/manipulated_videos/end_to_end/frames/000_M101/0.png"]
    put(tmp_path, *(f"data/{f}" for f in frames), data=PNG)
    content = {
        "DF_real": {"test": {"s": video("DF_real", frames[0])}},
        "DF_fake": {"test": {"000_M101": video("DF_fake", frames[1])}},
    }
    path = put_json(tmp_path, "DeeperForensics-1.0", {"DeeperForensics-1.0": content})
    manifest = read_deepfakebench(path, frames_root=tmp_path / "data")
    assert "1 reals are source_videos, not DeeperForensics' real class, such as s" in manifest.notes
    swap = rows(manifest)["DeeperForensics-1.0/DF_fake/000_M101/0"]
    assert (swap["identity"], swap["source_identity"]) == ("FF++/000", "DeeperForensics-1.0/M101")
    assert manifest.select(label=REAL).column("identity").tolist() == [None]


def test_many_frames_take_seconds(tmp_path: Path) -> None:
    videos = {}
    for number in range(20):
        folder = f"DFDCP/original/frames/{number}"
        put(tmp_path, *(f"data/{folder}/{n:03}.png" for n in range(100)))
        videos[str(number)] = video("DFDCP_Real", *(f"{folder}/{n:03}.png" for n in range(100)))
    path = put_json(tmp_path, "DFDCP", {"DFDCP": {"DFDCP_Real": {"test": videos}}})
    start = time.process_time()
    assert len(read_deepfakebench(path, frames_root=tmp_path / "data")) == 2000
    assert time.process_time() - start < 0.5
