"""A video with changed pictures: everything else stays, and the file is whole or absent."""

from __future__ import annotations

import resource
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from unfooled.codecs import NOTE
from unfooled.data.rewriting import rewrite
from unfooled.data.video import Frame, decode, probe
from unfooled.errors import ConfigError, DataError

MadeVideo = Callable[..., Path]


def same(frame: Frame) -> np.ndarray:
    return frame.pixels


def inverted(frame: Frame) -> np.ndarray:
    return 255 - frame.pixels


def audio(path: Path) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as container:
        return [(p.pts * p.time_base, bytes(p)) for p in container.demux(audio=0) if p.size]


def times(path: Path) -> list[float]:
    return [frame.time for frame in decode(path)]


@pytest.mark.parametrize(
    ("codec", "name"), [("h264", "a.mp4"), ("h264", "a.mkv"), ("h264", "a.mov"), ("ffv1", "a.mkv")]
)
def test_pictures_change_and_the_rest_stays(video: MadeVideo, tmp_path: Path, codec: str, name: str) -> None:
    source = video("source.mp4", frames=20, sound=True)
    target = tmp_path / "new" / name
    assert rewrite(source, target, inverted, codec=codec) == 20
    for ours, theirs in zip(decode(target), decode(source), strict=True):
        assert ours.time == theirs.time
        off = np.abs(ours.pixels.astype(int) - (255 - theirs.pixels))
        assert off.max() == 0 if codec == "ffv1" else off.mean() < 3
    was, now = audio(source), audio(target)
    assert [data for _, data in now] == [data for _, data in was]
    assert max(abs(a - b) for (a, _), (b, _) in zip(now, was, strict=True)) <= Fraction(1, 1000)
    with av.open(str(target)) as container:
        assert {k.lower(): v for k, v in container.metadata.items()}["comment"] == NOTE
    info = probe(target)
    assert info.fps == pytest.approx(25, abs=0.1)
    assert info.duration == pytest.approx(probe(source).duration, abs=0.05)
    assert [p.name for p in target.parent.iterdir()] == [name]


def test_variable_rate_and_gaps_stay(video: MadeVideo, tmp_path: Path) -> None:
    source = video("source.mkv", stamps=[0, 40, 45, 300, 301, 2900])
    for name, codec in (("a.mp4", "h264"), ("a.mkv", "h264"), ("b.mkv", "ffv1")):
        assert rewrite(source, tmp_path / name, same, codec=codec) == 6
        np.testing.assert_allclose(times(tmp_path / name), times(source), atol=1e-6)


@pytest.mark.slow
def test_real_clips_keep_sound_and_times(shared: Path, tmp_path: Path) -> None:
    source = shared / "data" / "videos" / "short_hamilton_clip.mp4"
    target = tmp_path / "a.mp4"
    assert rewrite(source, target, lambda frame: frame.pixels // 255, codec="h264", crf=40) == 275
    assert times(target) == times(source)
    assert audio(target) == audio(source)


def test_pictures_come_out_upright_and_progressive(video: MadeVideo, tmp_path: Path) -> None:
    source = video("turned.mp4", frames=2, rotation=(90, False), corner=True)
    rewrite(source, tmp_path / "a.mkv", same)
    info = probe(tmp_path / "a.mkv")
    assert (info.width, info.height, info.rotation) == (48, 64, 0)
    for ours, theirs in zip(decode(tmp_path / "a.mkv"), decode(source), strict=True):
        np.testing.assert_array_equal(ours.pixels, theirs.pixels)


def test_odd_sizes_gain_a_line_in_h264_only(video: MadeVideo, tmp_path: Path) -> None:
    source = video("odd.mkv", frames=2, codec="ffv1", layout="bgr0", size=(63, 47))
    rewrite(source, tmp_path / "a.mp4", same, codec="h264")
    rewrite(source, tmp_path / "a.mkv", same)
    assert (probe(tmp_path / "a.mp4").width, probe(tmp_path / "a.mp4").height) == (64, 48)
    assert (probe(tmp_path / "a.mkv").width, probe(tmp_path / "a.mkv").height) == (63, 47)


def test_a_better_crf_is_nearer(video: MadeVideo, tmp_path: Path) -> None:
    source = video("noisy.mp4", frames=4, noise=20)
    sizes = []
    for crf in (0, 23, 51):
        rewrite(source, tmp_path / "a.mp4", same, codec="h264", crf=crf)
        sizes.append((tmp_path / "a.mp4").stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]
    once = (tmp_path / "a.mp4").read_bytes()
    rewrite(source, tmp_path / "a.mp4", same, codec="h264", crf=51)
    assert (tmp_path / "a.mp4").read_bytes() == once


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("a.mp4", {}, r"ffv1 goes into \.mkv, got a\.mp4; write a\.mkv, or choose codec h264"),
        ("a.avi", {"codec": "h264"}, r"h264 goes into \.mp4 \.mkv \.mov, got a\.avi; write a\.mp4$"),
        ("a", {}, r"ffv1 goes into \.mkv, got a; write a\.mkv$"),
        ("a.mkv", {"codec": "hevc"}, "codec must be ffv1 or h264, got 'hevc'"),
        ("a.mkv", {"crf": 52, "codec": "h264"}, r"crf must be 0 \(best\) to 51 \(worst\), got 52"),
    ],
)
def test_what_does_not_fit_is_refused_before_the_work(
    video: MadeVideo, tmp_path: Path, name: str, settings: dict[str, object], message: str
) -> None:
    source = video("source.mp4", frames=2)
    with pytest.raises(ConfigError, match=message):
        rewrite(source, tmp_path / "out" / name, same, **settings)
    assert not (tmp_path / "out").exists()


def test_an_error_leaves_the_old_file(video: MadeVideo, tmp_path: Path) -> None:
    source, target = video("source.mp4", frames=9), tmp_path / "out" / "a.mkv"
    rewrite(source, target, same)
    before = target.read_bytes()

    def fails(frame: Frame) -> np.ndarray:
        if frame.index == 5:
            raise RuntimeError("no more")
        return frame.pixels

    with pytest.raises(RuntimeError, match="no more"):
        rewrite(source, target, fails)
    with pytest.raises(DataError, match=r"change must give \(48, 64, 3\) uint8 pixels, got \(24, 64, 3\)"):
        rewrite(source, target, lambda frame: frame.pixels[::2])
    with pytest.raises(DataError, match="is not there"):
        rewrite(tmp_path / "absent.mp4", target, same)
    assert target.read_bytes() == before
    assert [p.name for p in target.parent.iterdir()] == ["a.mkv"]


def test_a_full_disk_is_an_oserror_and_leaves_nothing(video: MadeVideo, tmp_path: Path) -> None:
    source = video("source.mp4", frames=12, noise=30, sound=True)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    for name, codec in (("a.mkv", "ffv1"), ("a.mp4", "h264")):
        target = tmp_path / "out" / name
        rewrite(source, target, same, codec=codec, crf=30)
        whole = target.stat().st_size
        target.unlink()
        # The header, the middle, and the last bytes, which are written when the file is closed.
        for room in (100, whole // 2, whole - 40):
            try:
                resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
                with pytest.raises(OSError, match=str(target)):
                    rewrite(source, target, same, codec=codec, crf=30)
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            assert list(target.parent.iterdir()) == []


def test_a_file_may_replace_itself(video: MadeVideo) -> None:
    path = video("self.mkv", frames=5, codec="ffv1", layout="bgr0")
    before = [frame.pixels for frame in decode(path)]
    assert rewrite(path, path, inverted) == 5
    for frame, old in zip(decode(path), before, strict=True):
        np.testing.assert_array_equal(frame.pixels, 255 - old)


def test_damaged_sound_and_pictures_do_not_stop_it(video: MadeVideo, tmp_path: Path) -> None:
    data = bytearray(video("source.mkv", frames=40, sound=True, noise=8).read_bytes())
    a = len(data) // 2
    data[a : a + 1500] = bytes(1500)
    source = tmp_path / "damaged.mkv"
    source.write_bytes(data)
    written = rewrite(source, tmp_path / "a.mkv", same)
    assert 5 <= written <= 40
    assert len(times(tmp_path / "a.mkv")) == written


def test_sound_that_does_not_fit_says_so(video: MadeVideo, tmp_path: Path) -> None:
    source = video("source.mkv", frames=5, sound=True, audio_codec="libopus")
    with pytest.raises(DataError, match=r"the sound of .*source\.mkv \((lib)?opus\) does not go into mov; write \.mkv"):
        rewrite(source, tmp_path / "a.mov", same, codec="h264")
    assert rewrite(source, tmp_path / "a.mkv", same, codec="h264") == 5
    assert audio(tmp_path / "a.mkv") == audio(source)


def test_the_frame_given_to_change_may_be_written_into(video: MadeVideo, tmp_path: Path) -> None:
    def scribble(frame: Frame) -> np.ndarray:
        frame.pixels[:8] = 0
        return frame.pixels

    rewrite(video("source.mp4", frames=3), tmp_path / "a.mkv", scribble)
    assert all((frame.pixels[:8] == 0).all() and frame.pixels[8:].any() for frame in decode(tmp_path / "a.mkv"))
