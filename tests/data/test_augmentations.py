"""Augmentations: the type stays, the draw decides all, every option changes something."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from unfooled.data.augmentations import AUGMENTATIONS, MEAN, Augmentation, parse
from unfooled.errors import ConfigError

CLIP = np.random.default_rng(1).integers(0, 256, (6, 48, 40, 3), dtype=np.uint8)
PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8), (0, 0), 1)


def apply(text: str, seed: int = 0) -> np.ndarray:
    (augmentation,) = parse([text])
    return augmentation(PIXELS, np.random.default_rng(seed))


def always(name: str) -> Augmentation:
    return AUGMENTATIONS[name](p=1.0)


ONE_FRAME = [name for name, kind in AUGMENTATIONS.items() if not kind().clips_only]


@pytest.mark.parametrize("name", ONE_FRAME)
def test_shape_type_and_input_stay_and_the_draw_decides(name: str) -> None:
    before = PIXELS.copy()
    results = [always(name)(PIXELS, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert all(r.shape == PIXELS.shape and r.dtype == np.uint8 and r.flags.c_contiguous for r in results)
    np.testing.assert_array_equal(results[0], results[1])
    assert not np.array_equal(results[0], before)
    assert name in ("flip", "grayscale") or not np.array_equal(results[0], results[2])
    np.testing.assert_array_equal(PIXELS, before)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_p_is_the_share_of_changed_samples(name: str) -> None:
    pixels = PIXELS if name in ONE_FRAME else CLIP
    assert AUGMENTATIONS[name](p=0.0)(pixels, np.random.default_rng(0)) is pixels
    rng = np.random.default_rng(0)
    changed = sum(AUGMENTATIONS[name](p=0.25)(pixels, rng) is not pixels for _ in range(400))
    assert 70 <= changed <= 130


@pytest.mark.parametrize("name", [name for name in ONE_FRAME if name != "noise"])
def test_a_clip_is_changed_by_one_draw(name: str) -> None:
    before = CLIP.copy()
    for seed in range(5):
        whole = always(name)(CLIP, np.random.default_rng(seed))
        alone = [always(name)(frame, np.random.default_rng(seed)) for frame in CLIP]
        np.testing.assert_array_equal(whole, np.stack(alone))
        still = always(name)(CLIP[[0] * 6], np.random.default_rng(seed))
        assert all(np.array_equal(frame, still[0]) for frame in still), "a still clip stays one"
    np.testing.assert_array_equal(CLIP, before)
    # What follows draws the same, however long the clip is.
    rest = []
    for count in (1, 6):
        rng = np.random.default_rng(3)
        always(name)(CLIP[:count], rng)
        rest.append(rng.random())
    assert rest[0] == rest[1]


def test_noise_is_that_of_smoothing() -> None:
    grey = np.full((6, 64, 64, 3), 128, np.uint8)
    noisy = AUGMENTATIONS["noise"](p=1.0, sigma=0.1)(grey, np.random.default_rng(0)).astype(float)
    assert noisy.std() == pytest.approx(25.5, rel=0.02)
    assert noisy.mean() == pytest.approx(128, abs=0.3)
    assert np.abs(np.corrcoef(noisy.reshape(6, -1))[0, 1:]).max() < 0.05, "each frame has its own"
    with pytest.raises(ConfigError, match="sigma must be in"):
        parse(["noise:sigma=0"])


def test_the_time_mask_hides_consecutive_frames() -> None:
    sizes: set[int] = set()
    for seed in range(300):
        mask = AUGMENTATIONS["time_mask"](p=1.0)(CLIP, np.random.default_rng(seed))
        hidden = np.flatnonzero((mask != CLIP).any((1, 2, 3)))
        assert (mask[hidden] == MEAN).all()
        assert hidden.tolist() == list(range(hidden[0], hidden[-1] + 1))
        sizes.add(len(hidden))
    assert sizes == {1, 2, 3}, "never more than half"
    (few,) = parse(["time_mask:p=1,most=1"])
    starts = set()
    for seed in range(100):
        mask = few(CLIP, np.random.default_rng(seed))
        (at,) = np.flatnonzero((mask != CLIP).any((1, 2, 3)))
        starts.add(int(at))
    assert starts == set(range(6))
    assert np.array_equal(few(CLIP[:1], np.random.default_rng(0)), CLIP[:1])
    assert few(PIXELS, np.random.default_rng(0)) is PIXELS
    long = np.zeros((40, 2, 2, 3), np.uint8)
    most = max(int((always("time_mask")(long, np.random.default_rng(s)) > 0).any((1, 2, 3)).sum()) for s in range(300))
    assert most == 11


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("jpeg:p=1,quality=20-30", "jpeg:p=1,quality=90-95"),
        ("blur:p=1,sigma=0.3", "blur:p=1,sigma=3"),
        ("colour:p=1,amount=0.1", "colour:p=1,amount=0.5"),
        ("erasing:p=1,area=0.02-0.05", "erasing:p=1,area=0.5-0.6"),
        ("jitter:p=1,amount=0.01", "jitter:p=1,amount=0.4"),
    ],
)
def test_a_stronger_option_changes_more(one: str, other: str) -> None:
    changes = [np.abs(apply(t).astype(int) - PIXELS).mean() for t in (one, other)]
    assert changes[0] != changes[1]
    assert (changes[0] < changes[1]) == ("jpeg" not in one)


def test_closed_forms() -> None:
    np.testing.assert_array_equal(apply("flip:p=1"), PIXELS[:, ::-1])
    np.testing.assert_array_equal(apply("colour:p=1,amount=0"), PIXELS)
    np.testing.assert_array_equal(apply("jitter:p=1,amount=0"), PIXELS)
    data = cv2.imencode(".jpg", PIXELS[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 77])[1]
    np.testing.assert_array_equal(apply("jpeg:p=1,quality=77"), cv2.imdecode(data, 1)[..., ::-1])
    np.testing.assert_array_equal(apply("blur:p=1,sigma=1"), cv2.GaussianBlur(PIXELS, (0, 0), 1))
    np.testing.assert_array_equal(apply("grayscale:p=1")[..., 1], cv2.cvtColor(PIXELS, cv2.COLOR_RGB2GRAY))
    filled = apply("erasing:p=1,area=0.3,fill=mean")
    assert (filled[(filled != PIXELS).any(2)] == MEAN).all()
    erased = (apply("erasing:p=1,area=0.1") != PIXELS).any(2).mean()
    assert 0.08 <= erased <= 0.12


def test_parse_keeps_the_order() -> None:
    assert [type(a).__name__ for a in parse(["jpeg:quality=60-95", "flip"])] == ["Jpeg", "Flip"]
    assert parse([]) == ()


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["flap"], "no augmentation named 'flap' .did you mean 'flip'"),
        (["flip:q=1"], "has no option 'q'"),
        (["flip:p=2"], r"flip: p must be in \[0, 1\], got 2"),
        (["jpeg:quality=0-95"], r"jpeg: quality must be LOW-HIGH within 1\.\.100, got '0-95'"),
        (["jpeg:quality=95-60"], "LOW-HIGH"),
        (["blur:sigma=wide"], "must be a number"),
        (["colour:amount=2"], "amount must be in"),
        (["jitter:amount=2"], r"jitter: amount must be in \[0, 0.5\], got 2"),
        (["time_mask:most=0"], "most must be >= 1"),
        (["erasing:fill=red"], "must be one of noise, mean, got 'red'"),
        ("flip", "must be a list"),
    ],
)
def test_wrong_names_and_options_are_refused(names: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse(names)
