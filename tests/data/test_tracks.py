"""Tracks: closed forms on made sequences with a detector that knows the answer; people of the real clips."""

from __future__ import annotations

import csv
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from unfooled.data.faces import Face, YuNet
from unfooled.data.images import Pixels
from unfooled.data.tracks import Track, follow
from unfooled.errors import ConfigError, DataError

MARKS = np.array([(12, 15), (28, 15), (20, 24), (14, 32), (26, 32)], float)
Place = tuple[float, float] | None
RAW = {"smooth": 1, "shortest": 1}


@dataclass(frozen=True)
class Picture:
    """A frame; its first pixel holds its number, so that a fake detector knows which one it sees."""

    index: int
    time: float
    pixels: Pixels


def frames(count: int, rate: float = 25, colour: Callable[[int], int] = lambda _: 90) -> Iterator[Picture]:
    for index in range(count):
        pixels = np.full((48, 64, 3), colour(index), np.uint8)
        pixels[0, 0, 0] = index
        yield Picture(index, index / rate, pixels)


class Fake:
    """Finds 40-pixel faces where ``where(index)`` says, one place for each person; None is a miss."""

    name = "fake"

    def __init__(self, where: Callable[[int], Sequence[Place]], score: float = 0.9, marked: bool = True) -> None:
        self.where, self.score, self.marked = where, score, marked
        self.asked: list[int] = []

    def __call__(self, pixels: Pixels) -> list[Face]:
        index = int(pixels[0, 0, 0])
        self.asked.append(index)
        places = [p for p in self.where(index) if p is not None]
        marks = [MARKS + np.array(p) if self.marked else None for p in places]
        return [Face((x, y, x + 40, y + 40), self.score, m) for (x, y), m in zip(places, marks, strict=True)]


def span(track: Track) -> tuple[int, int]:
    return track.sightings[0].index, track.sightings[-1].index


def lefts(track: Track) -> list[float]:
    return [s.face.box[0] for s in track.sightings]


def test_one_face_is_one_track_over_every_frame() -> None:
    (track,) = follow(frames(30), Fake(lambda i: [(2 * i, 5)]))
    assert track.id == "0"
    assert [s.index for s in track.sightings] == list(range(30))
    assert [s.time for s in track.sightings] == [i / 25 for i in range(30)]
    assert all(s.seen for s in track.sightings)


@pytest.mark.parametrize("smooth", [1, 3, 7, 15])
def test_smoothing_leaves_even_motion_as_it_is(smooth: int) -> None:
    (track,) = follow(frames(30), Fake(lambda i: [(3 * i, 50 - i)]), smooth=smooth)
    for sighting in track.sightings:
        x, y = 3 * sighting.index, 50 - sighting.index
        np.testing.assert_allclose(sighting.face.box, (x, y, x + 40, y + 40))
        np.testing.assert_allclose(sighting.face.landmarks, MARKS + np.array((x, y)))


def test_smoothing_is_a_centred_mean() -> None:
    (track,) = follow(frames(21), Fake(lambda i: [(10.0 * (i == 10), 0)]), smooth=5)
    assert lefts(track) == pytest.approx([0] * 8 + [2] * 5 + [0] * 8)


def test_smoothing_takes_the_trembling_out() -> None:
    places = 100 + np.random.default_rng(0).normal(0, 2, 60)
    (track,) = follow(frames(60), Fake(lambda i: [(places[i], 0)]), smooth=9)
    np.testing.assert_allclose(lefts(track)[4:-4], np.convolve(places, np.ones(9) / 9, "valid"))
    assert lefts(track)[0] == pytest.approx(places[0])


def test_two_people_are_two_tracks_from_left_to_right() -> None:
    tracks = follow(frames(10), Fake(lambda i: [(200, 0), (20, 0)]))
    assert [t.id for t in tracks] == ["0", "1"]
    assert [lefts(t)[0] for t in tracks] == [20, 200]


def test_ids_follow_the_first_appearance() -> None:
    tracks = follow(frames(30), Fake(lambda i: [(200, 0), (20, 0) if i >= 10 else None]))
    assert [(t.id, lefts(t)[0], span(t)) for t in tracks] == [("0", 200, (0, 29)), ("1", 20, (10, 29))]


def test_crossing_people_keep_their_tracks() -> None:
    tracks = follow(frames(41), Fake(lambda i: [(5 * i, 0), (200 - 5 * i, 12)]), **RAW)
    assert len(tracks) == 2
    np.testing.assert_allclose(lefts(tracks[0]), [5 * i for i in range(41)])
    np.testing.assert_allclose(lefts(tracks[1]), [200 - 5 * i for i in range(41)])


def test_crossing_people_are_told_apart_where_one_hides_the_other() -> None:
    def where(i: int) -> list[Place]:
        hidden = 17 <= i <= 23
        return [(5 * i, 0), None if hidden else (200 - 5 * i, 0)]

    tracks = follow(frames(41), Fake(where), **RAW)
    assert len(tracks) == 2
    np.testing.assert_allclose(lefts(tracks[0]), [5 * i for i in range(41)])
    np.testing.assert_allclose(lefts(tracks[1]), [200 - 5 * i for i in range(41)])
    assert [s.seen for s in tracks[1].sightings] == [not 17 <= i <= 23 for i in range(41)]


def test_best_pair_is_taken_first() -> None:
    # The second face overlaps both tracks; it belongs to the one that it overlaps more.
    tracks = follow(frames(3), Fake(lambda i: [(0, 0), (30, 0)] if i == 0 else [(24, 0)]), **RAW, gap=0)
    assert [span(t) for t in tracks] == [(0, 0), (0, 2)]
    assert lefts(tracks[1]) == [30, 24, 24]


@pytest.mark.parametrize(("missed", "count"), [(1, 1), (12, 1), (13, 2), (20, 2)])
def test_gaps_up_to_half_a_second_are_bridged(missed: int, count: int) -> None:
    tracks = follow(frames(60), Fake(lambda i: [None if 20 <= i < 20 + missed else (i, 0)]), **RAW)
    assert len(tracks) == count
    if count == 1:
        np.testing.assert_allclose(lefts(tracks[0]), range(60))
        np.testing.assert_allclose(tracks[0].sightings[20].face.landmarks, MARKS + np.array((20, 0)))
        assert [s.index for s in tracks[0].sightings if not s.seen] == list(range(20, 20 + missed))
    else:
        assert [span(t) for t in tracks] == [(0, 19), (20 + missed, 59)]


def test_no_gap_ends_a_track_with_the_first_miss() -> None:
    tracks = follow(frames(20), Fake(lambda i: [None if i == 9 else (0, 0)]), gap=0)
    assert [span(t) for t in tracks] == [(0, 8), (10, 19)]


def test_gap_is_time_not_frames() -> None:
    detect = Fake(lambda i: [None if 5 <= i < 12 else (0, 0)])
    assert len(follow(frames(30, rate=25), detect)) == 1
    assert len(follow(frames(30, rate=5), detect)) == 2


def test_bridging_follows_uneven_timestamps() -> None:
    times = [0.0, 0.04, 0.08, 0.30, 0.34]
    made = [Picture(p.index, t, p.pixels) for p, t in zip(frames(5), times, strict=True)]
    (track,) = follow(made, Fake(lambda i: [(100 * times[i], 0) if i in (0, 1, 4) else None]), **RAW)
    np.testing.assert_allclose(lefts(track), [100 * t for t in times], atol=1e-5)


@pytest.mark.parametrize("at", [10, 12])
@pytest.mark.parametrize("every", [1, 5])
def test_a_cut_ends_every_track(at: int, every: int) -> None:
    detect = Fake(lambda i: [(0, 0)])
    tracks = follow(frames(30, colour=lambda i: 90 if i < at else 10), detect, every=every)
    assert [span(t) for t in tracks] == [(0, at - 1), (at, 29)]
    assert len(follow(frames(30, colour=lambda i: 90 if i < at else 10), detect, every=every, cut=1.0)) == 1


def test_light_that_changes_slowly_is_no_cut() -> None:
    assert len(follow(frames(60, colour=lambda i: 60 + i), Fake(lambda i: [(0, 0)]))) == 1


@pytest.mark.parametrize("every", [2, 4, 7, 100])
def test_between_looks_the_face_lies_on_the_line(every: int) -> None:
    detect = Fake(lambda i: [(i / 2, 0)])
    (track,) = follow(frames(31), detect, every=every, **RAW)
    looked = sorted({*range(0, 31, every), 30})
    assert detect.asked == looked
    np.testing.assert_allclose(lefts(track), [i / 2 for i in range(31)])
    assert [s.index for s in track.sightings if s.seen] == looked


def test_short_and_unsure_tracks_are_dropped() -> None:
    def brief(i: int) -> list[Place]:
        return [(0, 0), (100, 0) if i < 4 else None]

    assert len(follow(frames(20), Fake(brief))) == 1
    assert [t.id for t in follow(frames(20), Fake(brief), shortest=4)] == ["0", "1"]
    assert follow(frames(20), Fake(brief, score=0.6)) == []
    assert len(follow(frames(20), Fake(brief, score=0.6), sure=0)) == 1


def test_overlap_says_how_far_a_face_may_jump() -> None:
    def jump(i: int) -> list[Place]:
        return [(0 if i < 10 else 25, 0)]  # IoU 15 / 65 = .23

    assert len(follow(frames(20), Fake(jump))) == 2
    assert len(follow(frames(20), Fake(jump), overlap=0.2)) == 1


def test_a_detector_without_landmarks_gives_boxes_alone() -> None:
    (track,) = follow(frames(10), Fake(lambda i: [(i, 0)], marked=False), every=3)
    assert all(s.face.landmarks is None for s in track.sightings)


def test_nothing_to_see_gives_no_track() -> None:
    assert follow([], Fake(lambda i: [])) == []
    assert follow(frames(10), Fake(lambda i: [])) == []
    (still,) = follow(frames(1), Fake(lambda i: [(3, 4)]), every=5, shortest=1)
    assert span(still) == (0, 0)


def test_two_frames_shown_at_one_time_do_no_harm() -> None:
    made = [Picture(p.index, 0.0, p.pixels) for p in frames(10)]
    (track,) = follow(made, Fake(lambda i: [(i, 0)]), every=3)
    assert np.isfinite(lefts(track)).all()


def test_frames_are_read_once_and_let_go() -> None:
    alive, most = 0, 0

    class Counted(Picture):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    def made() -> Iterator[Picture]:
        nonlocal alive, most
        for p in frames(50):
            alive += 1
            most = max(most, alive)
            yield Counted(p.index, p.time, p.pixels)

    tracks = follow(made(), Fake(lambda i: [(0, 0)]), every=4)
    assert most <= 4
    assert len(tracks[0].sightings) == 50


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"every": 0}, "every must be >= 1"), ({"smooth": 4}, "smooth must be odd"), ({"gap": -1}, "gap must be >= 0"),
        ({"overlap": 0}, "overlap must be in"), ({"sure": 1.1}, "sure must be in"), ({"cut": 0}, "cut must be in"),
        ({"shortest": 0}, "shortest must be >= 1"), ({"gap": float("nan")}, "gap must be >= 0"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, float], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        follow(frames(1), Fake(lambda i: []), **options)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_give_the_same_tracks_whichever_look_is_done_first(threads: int) -> None:
    class Slow(Fake):
        def __call__(self, pixels: Pixels) -> list[Face]:
            time.sleep(0.004 * (int(pixels[0, 0, 0]) % 3 == 0))
            return super().__call__(pixels)

    def where(i: int) -> list[Place]:
        return [(2 * i, 5) if i % 7 else None, (150 - i, 30)]

    def colour(i: int) -> int:
        return 30 if i < 41 else 220

    found = follow(frames(80, colour=colour), Slow(where), every=3, threads=threads)
    plain = follow(frames(80, colour=colour), Fake(where), every=3)
    assert [(t.id, span(t), lefts(t)) for t in found] == [(t.id, span(t), lefts(t)) for t in plain]
    assert len(plain) == 4


def test_what_a_thread_raises_comes_out() -> None:
    def where(i: int) -> list[Place]:
        raise DataError("no picture")

    with pytest.raises(DataError, match="no picture"):
        follow(frames(30), Fake(where), threads=2)


def clip(path: Path, stop: int = 10**6) -> Iterator[Picture]:
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index >= stop:
                return
            yield Picture(index, float(frame.time), frame.to_ndarray(format="rgb24"))


@pytest.fixture
def yunet(shared: Path) -> Iterator[YuNet]:
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield YuNet(str(shared / "models/yunet_n_320_320.onnx"))
    cv2.setNumThreads(before)


@pytest.mark.parametrize("name", ["WDA_AlexandriaOcasioCortez_000.mp4", "WDA_KatieHill_000.mp4"])
def test_one_speaker_is_one_track_from_first_to_last_frame(name: str, shared: Path, yunet: YuNet) -> None:
    (track,) = follow(clip(shared / "data/videos" / name), yunet, every=5)
    assert span(track) == (0, 199)


def test_people_of_a_clip_with_cuts_are_one_track_each(shared: Path, yunet: YuNet) -> None:
    tracks = follow(clip(shared / "data/videos/short_hamilton_clip.mp4"), yunet, every=2)
    shots = [(0, 19), (20, 81), (82, 210), (211, 274)]
    assert all(any(a <= span(t)[0] and span(t)[1] <= b for a, b in shots) for t in tracks)
    at = {s.index: [] for t in tracks for s in t.sightings}
    for track in tracks:
        for sighting in track.sightings:
            at[sighting.index].append((track.id, sighting.face.box))
    people = defaultdict(set)
    with (Path(__file__).parent / "labelled_faces.csv").open() as lines:
        rows = [r for r in csv.DictReader(lines) if r["file"].startswith("short") and r["kind"] == "clear"]
    for row in rows:
        x, y = (float(row["x0"]) + float(row["x1"])) / 2, (float(row["y0"]) + float(row["y1"])) / 2
        hit = {n for n, b in at.get(int(row["frame"]), []) if b[0] < x < b[2] and b[1] < y < b[3]}
        shot = next(n for n, (a, b) in enumerate(shots) if a <= int(row["frame"]) <= b)
        people[shot, round(x / 75) if shot == 3 else 0].update(hit)
    assert len(people[0, 0]) == 1
    assert len(people[2, 0]) == 1
    crowd = [found for (shot, _), found in people.items() if shot == 3]
    assert sorted(len(found) for found in crowd) == [1, 1, 1, 1]
    spans = {t.id: span(t) for t in tracks}
    assert spans[next(iter(people[0, 0]))] == (0, 19)
    assert spans[next(iter(people[2, 0]))] == (82, 210)
    assert {spans[next(iter(found))] for found in crowd} == {(211, 274)}
