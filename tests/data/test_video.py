"""Video files: every frame upright with its time, whatever the container does; one clear line where there is none."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame

from unfooled.data import containers
from unfooled.data.video import decode, evenly, probe
from unfooled.errors import ConfigError, DataError

MadeVideo = Callable[..., Path]


def times(path: Path, **span: float) -> list[float]:
    return [round(frame.time, 6) for frame in decode(path, **span)]


def greys(path: Path, **span: float) -> list[int]:
    """The number that each frame of a made video carries in its brightness."""
    return [round((float(frame.pixels.mean()) - 20) / 4) for frame in decode(path, **span)]


def zeroed(path: Path, start: float, share: float) -> Path:
    data = bytearray(path.read_bytes())
    a = int(len(data) * start)
    b = a + int(len(data) * share)
    data[a:b] = bytes(b - a)
    damaged = path.with_name(f"zeroed{path.suffix}")
    damaged.write_bytes(data)
    return damaged


def truncated(path: Path, share: float) -> Path:
    short = path.with_name(f"short{path.suffix}")
    short.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return short


@pytest.mark.parametrize(
    ("name", "frames", "size", "audio"),
    [
        ("WDA_KatieHill_000.mp4", 200, (512, 512), True),
        ("WDA_AlexandriaOcasioCortez_000.mp4", 200, (512, 512), True),
        ("short_hamilton_clip.mp4", 275, (640, 360), True),
    ],
)
def test_real_clips_decode_as_the_library_does(
    shared: Path, name: str, frames: int, size: tuple[int, int], audio: bool
) -> None:
    path = shared / "data" / "videos" / name
    info = probe(path)
    assert (info.width, info.height, info.frames, info.has_audio, info.rotation) == (*size, frames, audio, 0)
    with av.open(str(path)) as container, decode(path) as found:
        for ours, theirs in zip(found, container.decode(video=0), strict=True):
            assert ours.time == theirs.time
            if ours.index % 40 == 0:
                np.testing.assert_array_equal(ours.pixels, theirs.to_ndarray(format="rgb24"))
        assert ours.index == frames - 1
    assert (found.damaged, found.cut_short) == (0, False)
    spread = evenly(path, 4)
    assert [f.index for f in spread] == [(2 * i + 1) * frames // 8 for i in range(4)]


def test_a_made_video_gives_its_facts_and_frames(video: MadeVideo) -> None:
    path = video("plain.mp4", frames=12, sound=True)
    info = probe(path)
    assert (info.path, info.width, info.height, info.fps, info.frames) == (path, 64, 48, 25.0, 12)
    assert info.duration == pytest.approx(0.48, abs=0.05)
    assert (info.codec, info.has_audio, info.streams) == ("h264", True, 1)
    assert times(path) == [round(k / 25, 6) for k in range(12)]
    assert greys(path) == list(range(12))
    first = next(decode(path))
    assert first.pixels.dtype == np.uint8
    assert first.pixels.flags.writeable


def test_a_span_of_time_is_what_lies_in_it(video: MadeVideo) -> None:
    for name in ("span.mp4", "span.mkv", "span.h264", "span.ts"):
        path = video(name, frames=30, gop=10)
        every = [frame.time for frame in decode(path)]
        for a, b in ((7, 15), (0, 3), (10, 11), (29, 30)):
            stop = every[b] if b < 30 else None
            assert [f.time for f in decode(path, start=every[a], stop=stop)] == every[a:b], name
            assert greys(path, start=every[a], stop=stop) == list(range(a, b)), name
        assert times(path, start=every[-1] + 1) == []


def test_frames_are_chosen_over_the_whole_file(video: MadeVideo) -> None:
    for name, gop in (("even.mp4", 5), ("even.mkv", 40), ("even.h264", 5)):
        path = video(name, frames=40, gop=gop)
        for count in (1, 4, 5, 13, 40, 100):
            found = evenly(path, count)
            middles = [(2 * i + 1) * 40 // (2 * count) for i in range(count)] if count < 40 else list(range(40))
            assert [f.index for f in found] == middles, (name, count)
            assert [round((float(f.pixels.mean()) - 20) / 4) for f in found] == middles, (name, count)
    with pytest.raises(ConfigError, match="count must be >= 1, got 0"):
        evenly(path, 0)


def test_variable_frame_rate_keeps_its_times(video: MadeVideo) -> None:
    stamps = [0, 40, 45, 300, 301, 900]
    for name in ("vfr.mp4", "vfr.mkv"):
        path = video(name, stamps=stamps)
        assert times(path) == [round(s / 1000, 6) for s in stamps]
        assert [f.index for f in evenly(path, 3)] == [1, 3, 5]


def test_missing_frames_leave_a_gap(video: MadeVideo) -> None:
    path = video("gap.mp4", stamps=[0, 40, 80, 2000, 2040])
    assert times(path) == [0, 0.04, 0.08, 2, 2.04]
    assert times(path, start=0.5) == [2, 2.04]


@pytest.mark.parametrize(("degrees", "corner"), [(0, (0, 0)), (90, (1, 0)), (180, (1, 1)), (-90, (0, 1))])
def test_rotation_of_the_container_is_applied(video: MadeVideo, degrees: int, corner: tuple[int, int]) -> None:
    path = video(f"turned{degrees}.mp4", frames=2, rotation=(degrees, False), corner=True)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0))
        assert (stored.width, stored.height, stored.rotation % 360) == (64, 48, degrees % 360)
        expected = np.rot90(stored.to_ndarray(format="rgb24"), degrees // 90)
    info, frame = probe(path), next(decode(path))
    np.testing.assert_array_equal(frame.pixels, expected)
    assert (info.height, info.width) == frame.pixels.shape[:2] == ((48, 64) if degrees % 180 == 0 else (64, 48))
    assert info.rotation == degrees % 360
    corners = frame.pixels[[[4, 4], [-5, -5]], [[4, -5], [4, -5]]].mean(axis=-1)
    assert np.unravel_index(corners.argmax(), (2, 2)) == corner


def test_a_mirrored_container_is_mirrored_back(video: MadeVideo) -> None:
    path = video("mirrored.mp4", frames=1, rotation=(0, True), corner=True)
    with av.open(str(path)) as container:
        stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
    np.testing.assert_array_equal(next(decode(path)).pixels, stored[:, ::-1])


@pytest.mark.parametrize(
    ("codec", "layout", "size"),
    [
        ("libx264", "yuv420p10le", (64, 48)),
        ("libx264", "yuv444p", (63, 47)),
        ("ffv1", "yuv420p", (63, 47)),
        ("ffv1", "gray", (33, 17)),
        ("libvpx-vp9", "yuv420p", (64, 48)),
        ("mpeg4", "yuv420p", (50, 38)),
    ],
)
def test_depths_layouts_and_odd_sizes(video: MadeVideo, codec: str, layout: str, size: tuple[int, int]) -> None:
    path = video("any.mkv", frames=4, codec=codec, layout=layout, size=size)
    assert (probe(path).width, probe(path).height) == size
    shapes = {f.pixels.shape for f in decode(path)}
    assert shapes == {(size[1], size[0], 3)}
    assert greys(path) == [0, 1, 2, 3]


def test_interlaced_frames_keep_one_field(video: MadeVideo) -> None:
    path = video("fields.mkv", frames=3, codec="mpeg2video", size=(64, 48), interlaced=True)
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    for frame in decode(path):
        rows = frame.pixels.astype(int).mean(axis=(1, 2))
        assert np.abs(np.diff(rows)).max() < 12  # the two fields differ by 80


def test_a_stream_without_a_container_has_times_too(video: MadeVideo) -> None:
    path = video("bare.h264", frames=20)
    info = probe(path)
    assert (info.duration, info.frames) == (None, None)
    found = times(path)
    assert len(found) == 20
    assert all(b > a for a, b in pairwise(found))


def test_attached_pictures_are_no_video_and_the_larger_stream_is_read(video: MadeVideo, tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as out:
        streams = []
        for side in (32, 64):
            stream = out.add_stream("ffv1", rate=25, pix_fmt="bgr0")
            stream.width = stream.height = side
            streams.append(stream)
        for k in range(3):
            for stream in streams:
                picture = np.full((stream.height, stream.width, 3), 20 + 4 * k, np.uint8)
                out.mux(stream.encode(VideoFrame.from_ndarray(picture)))
        for stream in streams:
            out.mux(stream.encode(None))
    assert (probe(path).width, probe(path).streams) == (64, 2)
    assert greys(path) == [0, 1, 2]

    cover = tmp_path / "cover.mp4"
    with av.open(str(cover), "w") as out:
        picture = out.add_stream("mjpeg", rate=1, pix_fmt="yuvj420p")
        picture.width, picture.height = 640, 480
        picture.disposition = av.stream.Disposition.attached_pic
        tone = out.add_stream("aac", rate=16000)
        out.mux(picture.encode(VideoFrame.from_ndarray(np.zeros((480, 640, 3), np.uint8)).reformat(format="yuvj420p")))
        out.mux(picture.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        out.mux(tone.encode(silence))
        out.mux(tone.encode(None))
    with pytest.raises(DataError, match=r"cover\.mp4 has no video stream \(only audio\)"):
        probe(cover)


def test_a_corrupt_middle_costs_only_what_is_corrupt(video: MadeVideo) -> None:
    path = zeroed(video("middle.mkv", frames=60, gop=5, noise=8), 0.5, 0.02)
    frames = decode(path)
    found = list(frames)
    assert 40 <= len(found) < 60
    assert found[-1].time == pytest.approx(59 / 25)
    assert [f.index for f in found] == list(range(len(found)))
    assert not frames.cut_short
    mp4 = zeroed(video("middle.mp4", frames=60, gop=60, noise=8), 0.5, 0.01)
    frames = decode(mp4)
    assert 50 <= len(list(frames)) <= 60


def test_packets_that_do_not_decode_are_counted(video: MadeVideo) -> None:
    path = video("intra.mkv", frames=20, codec="ffv1", layout="bgr0")
    with av.open(str(path)) as container:
        broken = [bytes(p) for p in container.demux(video=0)][10]
    data = path.read_bytes()
    assert data.count(broken) == 1
    path.write_bytes(data.replace(broken, b"\xa5" * len(broken)))
    frames = decode(path)
    assert len(list(frames)) == 20 - frames.damaged
    assert 1 <= frames.damaged <= 2


def test_truncation_is_noticed_against_the_stated_length(video: MadeVideo) -> None:
    for name, options in (("cut.mkv", {}), ("cut.mp4", {"movflags": "faststart"})):
        whole = video(name, frames=60, gop=10, noise=8, options=options)
        frames = decode(whole)
        assert len(list(frames)) == 60
        assert not frames.cut_short
        frames = decode(truncated(whole, 0.6))
        assert 10 < len(list(frames)) < 55
        assert frames.cut_short
    # What was asked for has come: the rest is nobody's business.
    frames = decode(truncated(whole, 0.6), stop=0.2)
    assert len(list(frames)) == 5
    assert not frames.cut_short


def test_a_playlist_or_list_of_files_opens_nothing(video: MadeVideo, tmp_path: Path) -> None:
    secret = video("secret.mp4", frames=3)
    lists = {
        "concat.mp4": f"ffconcat version 1.0\nfile {secret.name}\n",
        "hls.mp4": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{secret.name}\n#EXT-X-ENDLIST\n",
        "dash.mp4": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"></MPD>',
        "session.mp4": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(DataError, match=r"\.mp4 (is no video file of a known format|does not open)"):
            probe(tmp_path / name)
    with av.open(str(tmp_path / "concat.mp4")) as opened:  # the trap: the library alone follows the list
        assert opened.format.name == "concat"
    for name in (f"concat:{secret}", "http://127.0.0.1:1/a.mp4", "pipe:0", "-"):
        with pytest.raises(DataError, match="not there"):
            decode(name)
    odd = tmp_path / "concat:a|b.mp4"
    odd.write_bytes(secret.read_bytes())
    assert len(times(odd)) == 3


def test_pictures_and_other_files_are_no_video(tmp_path: Path, video: MadeVideo) -> None:
    picture = tmp_path / "picture.mp4"
    VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8)).to_image().save(picture, "JPEG")
    (tmp_path / "gif.mp4").write_bytes(b"GIF89a" + bytes(200))
    (tmp_path / "text.mp4").write_text("not a video\n" * 100)
    (tmp_path / "zip.mp4").write_bytes(b"PK\x03\x04" + bytes(1000))
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    for name in ("picture", "gif", "text", "zip", "noise"):
        with pytest.raises(DataError, match=rf"{name}\.mp4 (is no|does not open|has no)") as caught:
            list(decode(tmp_path / f"{name}.mp4"))
        assert "\n" not in str(caught.value)


def test_every_bad_file_has_one_clear_line(video: MadeVideo, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder.mp4").mkdir()
    whole = video("whole.mp4", frames=30, noise=8)
    data = whole.read_bytes()
    (tmp_path / "moovless.mp4").write_bytes(data[: data.rfind(b"moov") - 4])
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        tone = out.add_stream("aac", rate=16000)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        silence.sample_rate = 16000
        out.mux(tone.encode(silence))
        out.mux(tone.encode(None))
    reasons = {
        "empty.mp4": "is empty (0 bytes)",
        "folder.mp4": "is no file; name a video file",
        "absent.mp4": "is not there",
        "moovless.mp4": "does not open as a video: it is cut short",
        "sound.mp4": "has no video stream (only audio)",
    }
    for name, reason in reasons.items():
        for call in (probe, decode, lambda p: evenly(p, 3)):
            with pytest.raises(DataError) as caught:
                call(tmp_path / name)
            assert str(caught.value).startswith(f"{tmp_path / name} {reason}"), str(caught.value)
    renamed = tmp_path / "renamed.avi"
    renamed.write_bytes(data)
    assert len(times(renamed)) == 30


def test_the_smallest_and_the_largest_pictures(video: MadeVideo) -> None:
    assert greys(video("one.mp4", frames=1)) == [0]
    tiny = video("tiny.mp4", frames=3, size=(16, 16))
    assert next(decode(tiny)).pixels.shape == (16, 16, 3)


@pytest.mark.slow
def test_8k_is_read(video: MadeVideo) -> None:
    large = video("8k.mkv", frames=2, size=(7680, 4320), codec="mjpeg", layout="yuvj420p")
    assert [f.pixels.shape for f in decode(large)] == [(4320, 7680, 3)] * 2


def test_pictures_beyond_8k_are_refused_before_they_take_memory(
    video: MadeVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert 7680 * 4320 < containers.MAX_PIXELS < 10_000 * 10_000
    path = video("beyond.mp4", frames=1)
    monkeypatch.setattr(containers, "MAX_PIXELS", 3000)
    with pytest.raises(DataError, match=r"64 x 48; at most 3000 pixels|damaged, or larger than 8K"):
        probe(path)


def test_frames_of_another_size_are_scaled_to_the_first(video: MadeVideo, tmp_path: Path) -> None:
    joined = tmp_path / "joined.h264"
    parts = [video(f"part{k}.h264", frames=3, size=size) for k, size in enumerate([(64, 48), (96, 80)])]
    joined.write_bytes(b"".join(p.read_bytes() for p in parts))
    assert {f.pixels.shape for f in decode(joined)} == {(48, 64, 3)}


def test_memory_does_not_grow_with_the_file(video: MadeVideo) -> None:
    path = video("long.mp4", frames=400, size=(160, 120))
    tracemalloc.start()
    for _ in decode(path):
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20 * 160 * 120 * 3


def test_leaving_early_closes_the_file(video: MadeVideo) -> None:
    with decode(video("early.mp4", frames=10)) as frames:
        next(frames)
    assert list(frames) == []


@pytest.mark.slow
def test_no_mutation_of_a_file_crashes_or_hangs(shared: Path, video: MadeVideo, tmp_path: Path) -> None:
    seeds = [
        video("seed.mp4", frames=6, sound=True), video("seed.mkv", frames=6, codec="ffv1", layout="bgr0"),
        video("seed.webm", frames=6, codec="libvpx-vp9"), video("seed.avi", frames=6, codec="mpeg4"),
        video("seed.ts", frames=6), video("seed.mpg", frames=6, codec="mpeg2video"),
        shared / "data" / "videos" / "short_hamilton_clip.mp4",
    ]  # fmt: skip
    script = Path(__file__).parent / "mutate_videos.py"
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "mutated.bin"), "550", *map(str, seeds)],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    decoded, refused = map(int, done.stdout.splitlines()[-1].split())
    assert decoded + refused == 550
    assert decoded > 100
    assert refused > 100


def test_an_unreadable_rate_does_not_matter(video: MadeVideo) -> None:
    assert probe(video("fast.mkv", frames=3, rate=Fraction(30000, 1001))).fps == pytest.approx(29.97, abs=0.02)
