"""Batches: the same for any number of workers and after a resume, the share of fakes exact, nothing replaced."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfooled.data.clips import clips, tracks
from unfooled.data.frames import Batch, Frames
from unfooled.data.manifest import FAKE, REAL, Manifest
from unfooled.errors import ConfigError, DataError

REALS, FAKES = 6, 17
AUGMENT = ("flip", "jpeg:quality=60-95", "colour", "erasing")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """6 reals and 17 fakes; image n has the grey value 10 n everywhere but for a bright left edge."""
    root = tmp_path_factory.mktemp("frames")
    rows = []
    for number in range(REALS + FAKES):
        pixels = np.full((20, 20, 3), 10 * number, np.uint8)
        pixels[:, :4] = (250, 0, 120)
        cv2.imwrite(str(root / f"{number}.png"), pixels[..., ::-1])
        label = REAL if number < REALS else FAKE
        kind = "FaceSwap" if label else "Real"
        plain = {"id": f"s/{kind}/{number}", "path": f"{number}.png", "label": label, "split": "train"}
        rows.append(plain | {"video": f"s/{kind}/{number}", "identity": f"p{number}", "manipulation": kind})
    return Manifest.from_rows(rows, root)


def same(one: list[Batch], other: list[Batch]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a.x, b.x) and torch.equal(a.y, b.y) and torch.equal(a.index, b.index)
        for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("cache", [True, False])
def test_the_workers_do_not_matter_nor_does_a_resume(manifest: Manifest, cache: bool) -> None:
    plain = Frames(manifest, 16, AUGMENT, seed=3, cache=False)
    expected = {e: list(plain.train_loader(5, e, workers=0)) for e in (0, 1, 2)}
    frames = Frames(manifest, 16, AUGMENT, seed=3, cache=cache)
    for workers in (0, 1, 2):
        assert all(same(list(frames.train_loader(5, e, workers=workers)), expected[e]) for e in (0, 2))
    resumed = Frames(manifest, 16, AUGMENT, seed=3, cache=cache)
    assert same(list(resumed.train_loader(5, 2, workers=1)), expected[2])
    assert not same(expected[0], expected[1])
    assert not same(list(Frames(manifest, 16, AUGMENT, seed=4).train_loader(5, 0, workers=0)), expected[0])
    tests = [list(frames.test_loader(7, workers=w)) for w in (0, 2)]
    assert same(*tests)


def test_two_passes_at_once_do_not_mix(manifest: Manifest) -> None:
    frames = Frames(manifest, 16, seed=1)
    alone = list(frames.train_loader(5, 0, workers=1))
    pairs = list(zip(frames.train_loader(5, 0, workers=1), frames.train_loader(5, 0, workers=1), strict=True))
    assert same([a for a, _ in pairs], alone)
    assert same([b for _, b in pairs], alone)
    broken = iter(frames.train_loader(5, 1, workers=1))
    next(broken)
    assert same(list(frames.train_loader(5, 0, workers=1)), alone)


def test_test_loader_gives_every_frame_once_in_order(manifest: Manifest) -> None:
    batches = list(Frames(manifest, 20, AUGMENT).test_loader(10))
    assert [len(b) for b in batches] == [10, 10, 3]
    x, y, index = (torch.cat([getattr(b, n) for b in batches]) for n in ("x", "y", "index"))
    assert (x.dtype, y.dtype, index.dtype) == (torch.float32, torch.int64, torch.int64)
    assert index.tolist() == list(range(REALS + FAKES))
    assert y.tolist() == manifest.column("label").tolist()
    assert torch.equal(x[:, :, 10, 10], torch.arange(REALS + FAKES)[:, None].expand(-1, 3) * 10 / 255)
    assert torch.equal(x[0, :, 0, 0] * 255, torch.tensor([250.0, 0.0, 120.0]))


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.floats(0.05, 0.95), st.integers(0, 3))
def test_the_share_of_fakes_is_delivered_exactly(
    manifest_of: Callable[[], Manifest], batch_size: int, share: float, epoch: int
) -> None:
    frames = Frames(manifest_of(), 8, cache=True)
    fakes = min(max(round(batch_size * share), 1), batch_size - 1)
    batches = list(frames.train_loader(batch_size, epoch, share, workers=0))
    assert all(len(b) == batch_size and int(b.y.sum()) == fakes for b in batches)
    assert frames.fake_share(share, batch_size) == fakes / batch_size
    assert frames.fake_share(share) == share
    assert len(batches) == frames.batches_per_epoch(batch_size, share) == len(frames.train_loader(batch_size, 0, share))
    # Repeats are spread evenly: no sample is drawn twice more often than another of its class.
    for label in (REAL, FAKE):
        times = Counter(i for b in batches for i, y in zip(b.index.tolist(), b.y.tolist(), strict=True) if y == label)
        own = np.flatnonzero(manifest_of().column("label") == label)
        assert max(times.values()) - min(times.get(int(i), 0) for i in own) <= 1


@pytest.fixture(scope="module")
def manifest_of(manifest: Manifest) -> Callable[[], Manifest]:
    return lambda: manifest


def test_views_and_shares(manifest: Manifest) -> None:
    frames = Frames(manifest, 8)
    assert frames.batches_per_epoch(2) == FAKES  # twice the larger class, in batches of two
    assert frames.batches_per_epoch(2, None) == (REALS + FAKES) // 2
    assert frames.batches_per_epoch(4, views=40) == 10
    assert frames.batches_per_epoch(64, views=40) == 1
    assert frames.fake_share() == FAKES / (REALS + FAKES)
    assert frames.fake_share(None, 4) == 3 / 4
    assert all(len(b) == 64 for b in frames.train_loader(64, 0, views=40, workers=0))
    orders = [[i for b in frames.train_loader(4, e, workers=0) for i in b.index.tolist()] for e in (0, 1)]
    assert orders[0] != orders[1]
    assert any(b.y[0] == REAL for b in frames.train_loader(4, 0, workers=0))


def test_a_repeated_sample_gets_a_new_augmentation(manifest: Manifest) -> None:
    frames = Frames(manifest, 20, ("erasing:p=1",))
    views: dict[int, list[bytes]] = {}
    for batch in frames.train_loader(4, 0, workers=0):
        for x, i in zip(batch.x, batch.index.tolist(), strict=True):
            views.setdefault(i, []).append(x.numpy().tobytes())
    assert max(map(len, views.values())) >= 2
    assert all(len(set(v)) == len(v) for v in views.values())


def test_augmentation_belongs_to_the_sample_not_to_its_row(manifest: Manifest) -> None:
    mixed = manifest.take(np.random.default_rng(0).permutation(len(manifest)))
    one, other = (Frames(m, 20, ("erasing:p=1",)) for m in (manifest, mixed))
    where = {sample: n for n, sample in enumerate(mixed.column("id"))}
    for n, sample in enumerate(manifest.column("id")):
        assert torch.equal(one.view(n, 0, 5), other.view(where[sample], 0, 5))


def test_shards_part_the_epoch(manifest: Manifest) -> None:
    frames = Frames(manifest, 8)
    whole = list(frames.train_loader(3, 0, views=24, workers=0))
    parts = [list(frames.train_loader(3, 0, views=24, workers=0, shard=(i, 2))) for i in (0, 1)]
    assert len(whole) == 8
    assert same([b for pair in zip(*parts, strict=True) for b in pair], whole)


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_image_is_skipped_and_reported_never_replaced(
    manifest: Manifest, tmp_path: Path, cache: bool, workers: int
) -> None:
    for path in manifest.paths():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:60])
    (tmp_path / "5.png").unlink()
    (tmp_path / "9.png").write_bytes(b"")
    frames = Frames(Manifest(manifest.table, tmp_path), 8, cache=cache)
    batches = list(frames.test_loader(4, workers=workers))
    index = torch.cat([b.index for b in batches]).tolist()
    assert index == [n for n in range(REALS + FAKES) if n not in (2, 5, 9)]
    assert [Path(p).name for p, _ in frames.unreadable] == ["2.png", "5.png", "9.png"]
    assert ["cut short" in frames.unreadable[0][1], "empty" in frames.unreadable[2][1]] == [True, True]
    assert torch.cat([b.x for b in batches])[:, 0, 4, 6].mul(25.5).round().tolist() == index
    drawn = [i for b in frames.train_loader(4, 0, workers=workers) for i in b.index.tolist()]
    assert not {2, 5, 9} & set(drawn)
    with pytest.raises(DataError, match=r"2\.png"):
        frames[2]


def test_rows_that_are_not_ok_are_left_out_but_keep_the_row_numbers(manifest: Manifest) -> None:
    status = ["missing" if n in (0, 7) else "ok" for n in range(len(manifest))]
    frames = Frames(manifest.with_column("status", status), 8)
    assert (len(frames), frames.left_out) == (len(manifest) - 2, 2)
    assert torch.cat([b.index for b in frames.test_loader(8)]).tolist() == [
        n for n, s in enumerate(status) if s == "ok"
    ]
    with pytest.raises(DataError, match="none of the manifest's 23 rows"):
        Frames(manifest.with_column("status", ["unreadable"] * len(manifest)))


def test_one_class_trains_only_at_its_own_share(manifest: Manifest) -> None:
    reals = Frames(manifest.select(label=REAL), 8)
    assert reals.fake_share() == 0
    assert all(int(b.y.sum()) == 0 and len(b) == 4 for b in reals.train_loader(4, 0, None, workers=0))
    with pytest.raises(DataError, match=r"hold only reals; fake_share 0\.5 needs both"):
        reals.train_loader(4, 0)


def test_a_copy_travels_to_another_process(manifest: Manifest) -> None:
    frames = Frames(manifest, 8, AUGMENT)
    expected = list(frames.train_loader(4, 0, workers=1))
    copy = pickle.loads(pickle.dumps(frames))
    assert same(list(copy.train_loader(4, 0, workers=0)), expected)


def test_digest_follows_every_setting(manifest: Manifest) -> None:
    plain = Frames(manifest, 8).digest()
    assert plain == Frames(manifest, 8, cache=False).digest()
    other = [Frames(manifest, 9), Frames(manifest, 8, ("flip",)), Frames(manifest, 8, seed=1)]
    other.append(Frames(manifest.select(label=FAKE), 8))
    assert len({plain, *(f.digest() for f in other)}) == 5


def test_batch_moves_to_a_device(manifest: Manifest) -> None:
    batch = next(iter(Frames(manifest, 8).test_loader(4))).to("cpu")
    assert (len(batch), batch.x.shape) == (4, (4, 3, 8, 8))


LONG = 11


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """6 videos of 11 frames, half of them fake; frame n of video v has the grey value 40 v + 3 n and a bright edge."""
    root = tmp_path_factory.mktemp("videos")
    rows = []
    for video in range(6):
        for number in range(LONG):
            pixels = np.full((20, 20, 3), 40 * video + 3 * number, np.uint8)
            pixels[:, :4] = (250, 0, 120)
            path = f"v{video}/{number}.png"
            (root / path).parent.mkdir(exist_ok=True)
            cv2.imwrite(str(root / path), pixels[..., ::-1])
            kind = "FaceSwap" if video % 2 else "Real"
            plain = {"id": path, "path": path, "label": video % 2, "split": "train", "manipulation": kind}
            rows.append(plain | {"video": f"v{video}", "identity": f"p{video}"})
    return Manifest.from_rows(rows, root)


def numbers(x: torch.Tensor) -> list[list[int]]:
    """The frame numbers in each clip of ``videos``."""
    grey = (x[:, 0, :, 10, 12] * 255).round().to(torch.int64)
    return (grey % 40 // 3).tolist()


@pytest.mark.parametrize("cache", [True, False])
def test_clips_come_whole_in_order_and_at_their_place(videos: Manifest, cache: bool) -> None:
    frames = Frames(clips(videos, 4), 20, cache=cache)
    assert (frames.length, frames.shape, len(frames)) == (4, (3, 4, 20, 20), 12)
    batches = list(frames.test_loader(5))
    x = torch.cat([b.x for b in batches])
    assert x.shape == (12, 3, 4, 20, 20)
    assert numbers(x) == [[0, 1, 2, 3], [7, 8, 9, 10]] * 6
    assert torch.equal(x[0, :, :, 0, 0] * 255, torch.tensor([250.0, 0.0, 120.0])[:, None].expand(3, 4))
    assert torch.cat([b.y for b in batches]).tolist() == [0, 0, 1, 1] * 3
    assert torch.equal(frames[1].float() / 255, x[1])
    assert same(batches, list(frames.test_loader(5, workers=2)))


@pytest.mark.parametrize("cache", [True, False])
def test_training_clips_start_anywhere_the_same_for_any_workers(videos: Manifest, cache: bool) -> None:
    augment = ("flip", "erasing:p=1,fill=mean", "time_mask", "grayscale")
    plain = Frames(tracks(videos, 4), 20, augment, seed=2, cache=False, length=4)
    expected = {e: list(plain.train_loader(3, e, workers=0)) for e in (0, 1)}
    frames = Frames(tracks(videos, 4), 20, augment, seed=2, cache=cache, length=4)
    for workers in (0, 2):
        assert all(same(list(frames.train_loader(3, e, workers=workers)), expected[e]) for e in (0, 1))
    assert not same(expected[0], expected[1])
    bare = Frames(tracks(videos, 4), 20, length=4, cache=cache)
    found = [n for e in range(30) for b in bare.train_loader(3, e, workers=0) for n in numbers(b.x)]
    assert all(n == list(range(n[0], n[0] + 4)) for n in found)
    assert {n[0] for n in found} == set(range(LONG - 3))
    assert numbers(next(iter(bare.test_loader(1))).x) == [[3, 4, 5, 6]], "the middle"
    repeats = {tuple(numbers(bare.view(0, r, 0)[None] / 255)[0]) for r in range(20)}
    assert len(repeats) > 3


def test_a_draw_is_one_for_the_whole_clip(videos: Manifest) -> None:
    frames = Frames(clips(videos, 4, 1), 20, ("erasing:p=1,area=0.1-0.3,fill=mean",))
    for epoch in range(5):
        changed = (frames.view(0, 0, epoch) != frames[0]).any(0)
        assert all(torch.equal(changed[0], other) for other in changed)
        assert changed.any()


@pytest.mark.parametrize("cache", [True, False])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_clip_with_a_damaged_frame_fails_as_a_whole(
    videos: Manifest, tmp_path: Path, cache: bool, workers: int
) -> None:
    for path, source in zip(videos.column("path"), videos.paths(), strict=True):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(source.read_bytes())
    (tmp_path / "v0/8.png").write_bytes(b"")
    (tmp_path / "v3/5.png").unlink()
    there = Manifest(videos.table, tmp_path)
    frames = Frames(clips(there, 4), 20, cache=cache)
    index = torch.cat([b.index for b in frames.test_loader(4, workers=workers)]).tolist()
    assert index == [0, *range(2, 12)]
    assert [Path(p).name for p, _ in frames.unreadable] == ["7.png"]
    assert "clip v0#7: " in frames.unreadable[0][1]
    assert "v0/8.png" in frames.unreadable[0][1]
    drawn = Frames(tracks(there, 9), 20, cache=cache, length=9)
    seen = {i for b in drawn.train_loader(4, 0, views=40, workers=workers) for i in b.index.tolist()}
    assert seen == {1, 2, 4, 5}
    assert len(drawn.unreadable) == 2
    with pytest.raises(DataError, match="clip v0#7"):
        frames[1]


def test_a_part_of_the_clips(videos: Manifest) -> None:
    frames = Frames(clips(videos, 4), 20, seed=5)
    part = frames.take([7, 2])
    assert (part.length, part.size, part.seed, len(part)) == (4, 20, 5, 2)
    assert torch.equal(part[0], frames[7])
    drawn = Frames(tracks(videos, 4), 20, ("flip",), length=4).take([3])
    assert (drawn.shape, drawn.augment) == ((3, 4, 20, 20), ())
    images = Frames(videos, 20)
    assert torch.equal(images.take([30])[0], images[30])


def test_the_digest_of_clips_follows_their_frames(videos: Manifest) -> None:
    rows = tracks(videos, 4)
    digests = [Frames(rows, 20, length=n).digest() for n in (3, 4)]
    digests += [Frames(clips(videos, 4, n), 20).digest() for n in (None, 1)]
    digests.append(Frames(clips(videos.take(np.arange(1, len(videos))), 4, 1), 20).digest())
    assert len(set(digests)) == 5
    assert Frames(rows, 20, length=4, cache=False).digest() == digests[1]


def test_lengths_that_do_not_fit_are_refused(videos: Manifest) -> None:
    uneven = tracks(videos.take(np.arange(len(videos) - 2)), 4)
    with pytest.raises(ConfigError, match="the rows have 9 to 11 frames"):
        Frames(uneven, 20)
    with pytest.raises(DataError, match="a row has 9 frames, a clip of 10"):
        Frames(uneven, 20, length=10)
    with pytest.raises(ConfigError, match="length must be >= 1"):
        Frames(uneven, 20, length=0)
    with pytest.raises(ConfigError, match="needs rows of clips"):
        Frames(videos, 20, length=4)
    with pytest.raises(ConfigError, match="TimeMask needs clips"):
        Frames(videos, 20, ("time_mask",))


def test_wrong_settings_are_refused(manifest: Manifest) -> None:
    frames = Frames(manifest, 8)
    with pytest.raises(ConfigError, match="size must be >= 1"):
        Frames(manifest, 0)
    with pytest.raises(ConfigError, match=r"fake_share must be in \(0, 1\), got 1"):
        frames.train_loader(4, 0, 1.0)
    with pytest.raises(ConfigError, match="batch_size must be >= 1"):
        frames.test_loader(0)
    with pytest.raises(ConfigError, match="views must be >= 1"):
        frames.train_loader(4, 0, views=0)
    with pytest.raises(ConfigError, match="epoch and workers"):
        frames.train_loader(4, -1)
    video = manifest.take([0]).with_column("path", ["clip.mp4"])
    with pytest.raises(DataError, match=r"clip\.mp4 is a video"):
        Frames(video)
