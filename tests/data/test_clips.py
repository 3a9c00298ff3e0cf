"""Clips: which frames belong together, in which order and at which rate, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfooled.data.clips import FRAMES, clips, tracks
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError, DataError


def rows_of(video: str, frames: int, **more: Any) -> list[dict[str, Any]]:
    """The frames of one video, as a reader lists them; a value that is a list has one entry a frame."""
    found = []
    for n in range(frames):
        own = {k: v[n] if isinstance(v, list) else v for k, v in more.items()}
        name = f"{video}/{n}"
        plain = {
            "id": name,
            "path": f"{name}.png",
            "label": 0,
            "video": video,
            "identity": video,
            "manipulation": "Real",
        }
        found.append(plain | own)
    return found


def manifest_of(*videos: Sequence[dict[str, Any]], **columns: Any) -> Manifest:
    rows = [row for video in videos for row in video]
    extra = {n: pa.array([r.pop(n, None) for r in rows], kind) for n, kind in columns.items()}
    manifest = Manifest.from_rows(rows, Path("/set"))
    for name, values in extra.items():
        manifest = Manifest(manifest.table.append_column(name, values), manifest.root)
    return manifest


def frames_of(manifest: Manifest) -> list[list[int]]:
    """The numbers in the names of each clip's frames."""
    return [[int(Path(p).stem) for p in paths] for paths in manifest.table[FRAMES].to_pylist()]


def test_clips_lie_beside_each_other_and_keep_what_is_known_of_their_frames() -> None:
    manifest = manifest_of(rows_of("a", 10, label=1, split="test", source_identity="z"), rows_of("b", 4))
    found = clips(manifest, 4)
    assert frames_of(found) == [[0, 1, 2, 3], [6, 7, 8, 9], [0, 1, 2, 3]]
    assert found.column("id").tolist() == ["a#0", "a#6", "b#0"]
    assert found.column("path").tolist() == ["a/0.png", "a/6.png", "b/0.png"]
    assert found.column("label").tolist() == [1, 1, 0]
    assert found.column("split").tolist() == ["test", "test", ""]
    assert found.column("source_identity").tolist() == ["z", "z", None]
    assert (found.root, found.notes) == (manifest.root, ())


@pytest.mark.parametrize(
    ("count", "starts"), [(None, [0, 3, 6]), (1, [3]), (2, [0, 6]), (4, [0, 2, 4, 6]), (99, [0, 1, 2, 3, 4, 5, 6])]
)
def test_the_number_of_clips(count: int | None, starts: list[int]) -> None:
    assert [f[0] for f in frames_of(clips(manifest_of(rows_of("a", 9)), 3, count))] == starts


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 30), st.one_of(st.none(), st.integers(1, 12)))
def test_clips_are_whole_different_and_spread(frames: int, length: int, count: int | None) -> None:
    found = frames_of(clips(manifest_of(rows_of("a", frames)), length, count))
    starts = [f[0] for f in found]
    assert starts == sorted(set(starts))
    assert all(len(f) == length for f in found)
    if frames >= length:
        assert all(f == list(range(f[0], f[0] + length)) for f in found)
        wanted = frames // length if count is None else min(count, frames - length + 1)
        assert len(found) == wanted
        if len(found) > 1:
            assert (starts[0], found[-1][-1]) == (0, frames - 1)
            gaps = np.diff(starts)
            assert gaps.max() - gaps.min() <= 1
            assert count is not None or gaps.min() >= length
    else:
        assert found == [[*range(frames), *[frames - 1] * (length - frames)]]


def test_a_short_track_holds_its_last_frame_and_says_so() -> None:
    manifest = manifest_of(rows_of("a", 3), rows_of("b", 5), rows_of("c", 1))
    for found in (clips(manifest, 5), tracks(manifest, 5)):
        assert frames_of(found) == [[0, 1, 2, 2, 2], [0, 1, 2, 3, 4], [0] * 5]
        assert found.notes == ("2 tracks are shorter than a clip of 5 frames and hold the last one, such as a",)


def test_frames_come_in_the_order_of_their_number_time_or_name() -> None:
    mixed = np.random.default_rng(0).permutation(12)
    by_name = manifest_of(rows_of("a", 12)).take(mixed)
    assert frames_of(clips(by_name, 12)) == [list(range(12))], "10 comes after 9"
    backwards = [11 - n for n in range(12)]
    by_number = manifest_of(rows_of("a", 12, frame=backwards), frame=pa.int64()).take(mixed)
    assert frames_of(clips(by_number, 12)) == [backwards]
    by_time = manifest_of(rows_of("a", 12, time=[n / 25 for n in backwards]), time=pa.float64()).take(mixed)
    assert frames_of(clips(by_time, 12)) == [backwards]


@pytest.mark.parametrize(
    ("rate", "fps", "expected"),
    [
        (25, 25, list(range(10))),
        (50, 25, [0, 2, 4, 6, 8]),
        (30, 25, [0, 1, 2, 4, 5, 6, 7, 8]),
        (12.5, 25, [0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]),
        (25, 5, [0, 5]),
    ],
)
def test_times_make_the_rate(rate: float, fps: float, expected: list[int]) -> None:
    times = [7 + n / rate for n in range(10)]
    found = frames_of(tracks(manifest_of(rows_of("a", 10, time=times), time=pa.float64()), 1, fps))
    ties = 1 if rate == 12.5 else 0  # a tick between two frames may go to either
    assert len(found[0]) == len(expected)
    assert np.abs(np.array(found[0]) - expected).max() <= ties
    rounded = [round(t, 3) for t in times]
    assert len(frames_of(tracks(manifest_of(rows_of("a", 10, time=rounded), time=pa.float64()), 1, fps))[0]) == len(
        expected
    )


def test_each_tick_shows_the_nearest_frame_of_a_variable_rate() -> None:
    times = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.09, 60))
    manifest = manifest_of(rows_of("a", 60, time=times.tolist()), time=pa.float64())
    found = np.array(frames_of(tracks(manifest, 1, 25.0))[0])
    ticks = times[0] + np.arange(len(found)) / 25
    np.testing.assert_array_equal(found, np.abs(times[None] - ticks[:, None]).argmin(1))
    assert ticks[-1] <= times[-1] + 0.05 / 25 < ticks[-1] + 1 / 25 + 0.002


def test_tracks_and_compressions_of_one_video_are_samples_of_their_own() -> None:
    two = manifest_of(rows_of("a", 3, track="0"), rows_of("a", 3, track="1", id=["x", "y", "z"]), track=pa.string())
    assert clips(two, 3).column("id").tolist() == ["a/0#0", "a/1#0"]
    levels = manifest_of(rows_of("a", 3, compression="c23"), rows_of("a", 3, compression="c40", id=["x", "y", "z"]))
    assert clips(levels, 3).column("id").tolist() == ["a/c23#0", "a/c40#0"]
    assert tracks(levels, 3).column("video").tolist() == ["a", "a"]


def test_no_clip_reaches_across_a_row_that_can_not_be_read() -> None:
    status = ["ok"] * 4 + ["unreadable"] + ["ok"] * 2 + ["missing"] + ["ok"] * 6
    manifest = manifest_of(rows_of("a", 14, status=status), rows_of("b", 2, status="missing"))
    found = clips(manifest, 3)
    assert frames_of(found) == [[0, 1, 2], [8, 9, 10], [11, 12, 13], []]
    assert found.column("status").tolist() == ["ok", "ok", "ok", "missing"]
    assert len(set(found.column("id"))) == 4
    assert frames_of(tracks(manifest, 3)) == [[0, 1, 2, 3], [8, 9, 10, 11, 12, 13], []]
    assert frames_of(clips(manifest, 3, 2)) == [[0, 1, 2], [11, 12, 13], []]
    held = clips(manifest, 8)
    assert frames_of(held)[0] == [8, 9, 10, 11, 12, 13, 13, 13], "the longest part, where none is long enough"


def test_the_parent_is_the_clip_of_the_same_frames() -> None:
    parents = [f"a/{n}" for n in range(6)]
    manifest = manifest_of(rows_of("a", 6), rows_of("f", 6, label=1, parent=parents), rows_of("g", 1, parent="a/1"))
    assert clips(manifest, 3).column("parent").tolist() == [None, None, "a#0", "a#3", None]


def test_training_takes_whole_tracks() -> None:
    found = tracks(manifest_of(rows_of("a", 10), rows_of("b", 7)), 4)
    assert frames_of(found) == [list(range(10)), list(range(7))]
    assert found.column("id").tolist() == ["a#0", "b#0"]


def test_a_manifest_of_clips_is_written_and_read(tmp_path: Path) -> None:
    found = clips(manifest_of(rows_of("a", 9), rows_of("b", 9, label=1)), 4)
    found.write(tmp_path / "clips.parquet")
    again = Manifest.read(tmp_path / "clips.parquet")
    assert frames_of(again) == frames_of(found)
    assert again.digest() == found.digest()
    assert len(found.select(label=1)) == 2
    assert clips(manifest_of(rows_of("a", 2)).take([]), 4).table[FRAMES].to_pylist() == []


@pytest.mark.parametrize(
    ("column", "values"),
    [("label", [0, 0, 1]), ("identity", ["p", "p", None]), ("split", ["train", "test", "test"]),
     ("manipulation", ["Real", "Deepfakes", "Real"])],
)  # fmt: skip
def test_frames_that_disagree_are_refused(column: str, values: list[Any]) -> None:
    with pytest.raises(DataError, match=f"frames of a disagree in {column}"):
        clips(manifest_of(rows_of("a", 3, **{column: values})), 2)


def test_orders_and_times_that_say_nothing_are_refused() -> None:
    for name, values, words in (
        ("frame", [0, 1, 1], "two frames of one frame"),
        ("time", [0.0, 0.04, 0.04], "two frames of one time"),
        ("time", [0.0, None, 0.04], "two frames of one time, or one without"),
    ):
        with pytest.raises(DataError, match=words):
            clips(manifest_of(rows_of("a", 3, **{name: values}), **{name: pa.float64()}), 2)
    back = manifest_of(rows_of("a", 3, frame=[0, 1, 2], time=[0.0, 0.1, 0.05]), frame=pa.int64(), time=pa.float64())
    with pytest.raises(DataError, match="do not grow from frame to frame"):
        clips(back, 2)
    with pytest.raises(DataError, match="column 'frame' must hold numbers"):
        clips(manifest_of(rows_of("a", 2, frame=["x", "y"]), frame=pa.string()), 2)


def test_numbers_out_of_range_are_refused() -> None:
    manifest = manifest_of(rows_of("a", 4))
    for options, words in (
        ({"length": 0}, "clip must be >= 1"),
        ({"count": 0}, "clips_per_video must be >= 1"),
        ({"fps": 0.0}, "fps must be > 0"),
        ({"fps": float("nan")}, "fps must be > 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            clips(manifest, **options)
    with pytest.raises(ConfigError, match="holds clips already"):
        clips(clips(manifest, 2), 2)
