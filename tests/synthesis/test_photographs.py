"""Tables of photographs, and the square around a face."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from unfooled.data.alignment import crop
from unfooled.data.faces import Face
from unfooled.errors import DataError
from unfooled.synthesis.landmarks import five_of
from unfooled.synthesis.photographs import read_photographs

Album = Callable[..., Path]
FIVE = "30 40 60 40 45 55 32 70 58 70"


def write(folder: Path, text: str, name: str = "faces.csv") -> Path:
    (folder / name).write_text(text)
    return folder


def test_table_is_read_with_people_and_collections(tmp_path: Path, album: Album) -> None:
    photographs = read_photographs(album(tmp_path, {"one": 2, "two": 3}, shots=2), fewest=2)
    assert len(photographs) == 10
    assert {p.collection for p in photographs} == {"one", "two"}
    assert len({p.identity for p in photographs}) == 5
    assert photographs[0].points.shape == (5, 2)


def test_prefixes_that_are_no_collections_make_one(tmp_path: Path, album: Album) -> None:
    folder = album(tmp_path, {"one": 2, "two": 3})
    assert {p.collection for p in read_photographs(folder, fewest=3)} == {"photos"}


def test_other_table_name_own_collection_and_missing_identity(tmp_path: Path) -> None:
    write(tmp_path, f"file,landmarks,collection\na.png,{FIVE},mine\nb.png,{FIVE},\n", "landmarks.csv")
    a, b = read_photographs(tmp_path)
    assert (a.identity, a.collection, b.identity, b.collection) == ("a", "mine", "b", "photos")


@pytest.mark.parametrize("points", [5, 68])
def test_square_keeps_the_face_inside(tmp_path: Path, album: Album, points: int) -> None:
    for photograph in read_photographs(album(tmp_path, {"one": 3}, points=points)):
        face = photograph.portrait(64)
        assert face.image.shape == (64, 64, 3)
        assert face.image.dtype == np.uint8
        assert (face.shape > -1).all()
        assert (face.shape < 64).all()


def test_landmarks_travel_with_the_pixels(tmp_path: Path) -> None:
    image = np.zeros((300, 400, 3), np.uint8)
    five = np.array([[150, 120], [210, 120], [180, 157], [154, 183], [206, 183]])
    for x, y in five:
        cv2.circle(image, (int(x), int(y)), 3, (255, 255, 255), -1)
    cv2.imwrite(str(tmp_path / "a.png"), image)
    write(tmp_path, f"file,landmarks\na.png,{' '.join(map(str, five.ravel()))}\n")
    face = read_photographs(tmp_path)[0].portrait(128)
    nose = face.shape[30]
    ys, xs = np.nonzero(face.image[..., 0] > 100)
    near = np.abs(xs - nose[0]) + np.abs(ys - nose[1]) < 8
    np.testing.assert_allclose([xs[near].mean(), ys[near].mean()], nose, atol=0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,landmarks\n", "no rows"),
        (f"file,landmark\na.png,{FIVE}\n", "did you mean 'landmark'"),
        ("file,landmarks\na.png,\n", "a.png: has no landmarks"),
        ("file,landmarks\na.png,1 2 3\n", "a.png: landmarks must be 5 or 68"),
        ("file,landmarks\na.png,1 2 x\n", "a.png: landmarks .* must be numbers"),
        (f"file,landmarks\n,{FIVE}\n", "no file name"),
        (f"file,landmarks\na.png,{FIVE}\na.png,{FIVE}\n", "a.png is named 2 times"),
    ],
)
def test_a_wrong_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_photographs(write(tmp_path, text))


def test_missing_things_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_photographs(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"faces\.csv"):
        read_photographs(tmp_path)


def test_a_picture_without_landmarks_is_named(tmp_path: Path) -> None:
    (tmp_path / "extra.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"extra\.jpg: no landmarks"):
        read_photographs(write(tmp_path, f"file,landmarks\na.png,{FIVE}\n"))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    write(tmp_path, f"file,landmarks\na.png,{FIVE}\nb.png,{FIVE}\nc.png,{FIVE}\nd.png,3 4 6 4 4.5 5.5 3.2 7 5.8 7\n")
    (tmp_path / "b.png").write_bytes(b"no image")
    cv2.imwrite(str(tmp_path / "c.png"), np.zeros((50, 50, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "d.png"), np.zeros((50, 50, 3), np.uint8))
    for photograph, message in zip(
        read_photographs(tmp_path),
        ["a.png: .*does not exist", "b.png: .*decoded", "c.png: landmarks lie outside", "d.png: the face is under"],
        strict=True,
    ):
        with pytest.raises(DataError, match=message):
            photograph.portrait(64)


@pytest.mark.parametrize("points", [5, 68])
def test_a_margin_frames_a_face_as_prepare_does(tmp_path: Path, album: Album, points: int) -> None:
    photograph = replace(read_photographs(album(tmp_path, {"one": 1}, points=points))[0], margin=1.3)
    face = photograph.portrait(96)
    pixels = cv2.cvtColor(cv2.imread(str(photograph.path)), cv2.COLOR_BGR2RGB)
    five = photograph.points if points == 5 else five_of(photograph.points)
    np.testing.assert_array_equal(face.image, crop(pixels, Face((0, 0, 1, 1), 1.0, five), 96, 1.3))
    # Wherever the face was, its eyes come to lie where those of every crop lie.
    eyes = five_of(face.shape)[:2].mean(0)
    np.testing.assert_allclose(eyes, (47.5, 47.5 - 0.345 / (3 * 1.3) * 96), atol=4)
    assert not np.array_equal(face.image, replace(photograph, margin=2.0).portrait(96).image)
