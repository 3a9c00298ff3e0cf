"""Where a track is asked about, and the crops out of the file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_toys import squares

from unfooled.codecs import encode_video
from unfooled.data.faces import Face
from unfooled.data.footage import Footage
from unfooled.data.tracks import Sighting, Track
from unfooled.errors import DataError
from unfooled.scanning.points import HELD, Shape, cut, per_track, windows


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 200), st.integers(1, 40), st.one_of(st.none(), st.integers(1, 30)), st.floats(5, 60))
def test_windows_lie_in_the_track_in_order(frames: int, count: int, clip: int | None, fps: float) -> None:
    found = windows([k / 25 for k in range(frames)], count, Shape(24, clip, fps))
    assert 1 <= len(found) <= count
    assert all(len(w) == (clip or 1) for w in found)
    assert all(0 <= p < frames for w in found for p in w)
    assert all(a <= b for w in found for a, b in pairwise(w))
    assert all(a[0] < b[0] or a == b for a, b in pairwise(found))
    if clip is None:
        assert len(found) == min(count, frames)


def test_clips_lie_beside_each_other_and_reach_both_ends() -> None:
    found = windows([k / 25 for k in range(100)], 8, Shape(24, 25))
    assert [w[0] for w in found] == [0, 25, 50, 75]
    assert found[-1][-1] == 99
    one = windows([k / 25 for k in range(100)], 1, Shape(24, 25))
    assert [w[0] for w in one] == [37]


def test_frames_inside_a_clip_keep_the_pace_it_was_trained_at() -> None:
    times = [k / 50 for k in range(100)]
    (first, *_) = windows(times, 8, Shape(24, 10, 25))
    assert list(first) == list(range(0, 20, 2))
    short = windows([0.0, 0.04], 8, Shape(24, 5))
    assert short == [(0, 1, 1, 1, 1)]


def test_no_more_is_held_than_there_is_room_for() -> None:
    assert per_track(1, 32, Shape(24)) == 32
    assert per_track(1000, 32, Shape(24)) == HELD // 1000
    assert per_track(10 * HELD, 32, Shape(24)) == 1
    assert per_track(40, 8, Shape(24, 25)) == 2


def test_crops_come_from_their_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    path.write_bytes(encode_video(squares([[40 + 10 * t] for t in range(8)]), codec="ffv1"))
    sightings = tuple(Sighting(t, t / 25, Face((8 + t % 3, 30, 44 + t % 3, 66), 0.9), True) for t in range(8))
    track = Track("0", sightings)
    with Footage(path) as frames:
        found = cut(frames, [track], {"0": [(1,), (6,)]}, 16, 0.8)
        assert found["0"].shape == (2, 1, 16, 16, 3)
        assert [int(np.median(c[..., 0])) for c in found["0"]] == [50, 100]
        clips = cut(frames, [track], {"0": [(2, 3, 3)]}, 16, 0.8)
        assert [int(np.median(c[..., 0])) for c in clips["0"][0]] == [60, 70, 70]
        late = Track("0", (*sightings, Sighting(20, 0.8, sightings[0].face, True)))
        with pytest.raises(DataError, match="gave fewer frames"):
            cut(frames, [late], {"0": [(8,)]}, 16, 0.8)
