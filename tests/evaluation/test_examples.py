"""Which faces are kept, and how they look in the file."""

from __future__ import annotations

import base64
import io

import numpy as np
import torch
from PIL import Image

from unfooled.evaluation.examples import NOTE, STRIP, Gallery, picture, some_frames
from unfooled.results import Samples


def decode(uri: str) -> Image.Image:
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_picture_is_small_exact_and_marked_as_made_here() -> None:
    x = torch.rand(3, 20, 30, generator=torch.Generator().manual_seed(0))
    image = decode(picture(x))
    expected = (x * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(np.asarray(image), expected)
    assert image.text["Comment"] == NOTE
    assert decode(picture(torch.rand(3, 400, 300))).size == (96, 128)


def test_the_same_faces_are_shown_for_every_detector_in_any_order_of_batches() -> None:
    n = 20
    label = [i % 2 for i in range(n)]
    text = {k: [f"{k}{i}" for i in range(n)] for k in ("id", "video", "identity", "manipulation")}
    samples = Samples(label=label, collection=["london"] * n, **text)
    x = torch.rand(n, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    clean = torch.tensor([4.0 if y else -4.0 for y in label])
    found = []
    for order, after in ((list(range(n)), clean), (list(reversed(range(n))), -clean)):
        gallery = Gallery(samples, ("london",))
        for part in (order[:7], order[7:]):
            kept = [part[i] for i in gallery.best(part)]
            gallery.see(kept, x[kept], (x[kept] + 0.1).clamp(0, 1), clean[kept], after[kept])
        found.append(gallery.examples())
    assert [e.id for e in found[0]] == [e.id for e in found[1]]
    assert [e.label for e in found[0]] == [1, 1, 1, 0, 0, 0]
    assert found[0][0].score == found[0][0].score_adv > 0.5 > found[1][0].score_adv
    assert 4.9 < found[0][0].amplification < 5.5
    other = Gallery(samples, ("london",), seed=1)
    assert other.best(range(n)) != gallery.best(range(n))


def test_other_collections_are_passed_over() -> None:
    samples = Samples(id=["a"], label=[1], video=["v"], identity=[""], manipulation=["m"], collection=["celebrities"])
    gallery = Gallery(samples, ("london",))
    z = torch.zeros(1)
    gallery.see([0], torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), z, z)
    gallery.see([0], torch.rand(1, 3, 2, 4, 4), torch.rand(1, 3, 2, 4, 4), z, z, 2)
    assert gallery.examples() == []


def test_an_attack_that_changes_nothing_gives_a_grey_difference() -> None:
    samples = Samples(id=["a"], label=[1], video=["v"], identity=[""], manipulation=["m"], collection=["london"])
    gallery = Gallery(samples, ("london",))
    x = torch.rand(1, 3, 4, 4)
    gallery.see([0], x, x, torch.ones(1), torch.ones(1))
    (example,) = gallery.examples()
    assert set(np.asarray(decode(example.difference)).ravel().tolist()) == {128}


def test_a_clip_is_a_strip_of_frames_spread_over_it() -> None:
    samples = Samples(id=["a"], label=[0], video=["v"], identity=[""], manipulation=["Real"], collection=["london"])
    grey = torch.arange(25).div(50)[None, None, :, None, None].expand(1, 3, 25, 8, 6).contiguous()
    moved = grey.clone()
    moved[:, :, 12] += 2 / 255
    shown = some_frames(grey)
    assert shown.shape[2] == STRIP
    gallery = Gallery(samples, ("london",))
    gallery.see([0], shown, some_frames(moved), torch.ones(1), torch.zeros(1), 25)
    (example,) = gallery.examples()
    assert (example.clip, example.shown) == (25, STRIP)
    strip = np.asarray(decode(example.x))
    assert strip.shape == (8, STRIP * 8 - 2, 3)  # 6 pixels a frame, 2 between
    levels = [round(255 * k / 50) for k in (2, 7, 12, 17, 22)]
    assert [int(strip[0, 8 * k, 0]) for k in range(STRIP)] == levels
    assert strip[0, 6, 0] == 255
    change = np.asarray(decode(example.difference))
    assert [int(change[0, 8 * k, 0]) for k in range(STRIP)] == [128, 128, 255, 128, 128]
    assert set(change[:, 6:8].ravel().tolist()) == {255}


def test_a_short_clip_is_shown_whole_and_a_large_one_small() -> None:
    assert some_frames(torch.rand(2, 3, 4, 5, 5)).shape == (2, 3, 4, 5, 5)
    assert some_frames(torch.rand(2, 3, 5, 5)).shape == (2, 3, 5, 5)
    assert decode(picture(torch.rand(3, 4, 112, 112))).size == (4 * 66 - 2, 64)
