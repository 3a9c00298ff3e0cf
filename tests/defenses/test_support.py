"""The support set: drawn evenly, embedded once, remembered with the run, never a tested sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.defenses import PostTraining
from unfooled.defenses.support import Support, balanced, contents, cosines
from unfooled.errors import DataError
from unfooled.models.detector import Detector


def test_a_random_set_is_balanced_seeded_and_reads_what_decodes(pool: Any) -> None:
    rows = balanced(pool, 16, 0)
    assert len(set(rows)) == 32
    assert pool.labels[rows].sum() == 16
    assert rows == balanced(pool, 16, 0) != balanced(pool, 16, 1)
    broken = replace(pool, broken=tuple(rows[:5]))
    again = balanced(broken, 16, 0)
    assert len(again) == 32
    assert not set(again) & set(rows[:5])
    few = replace(pool, x=pool.x[:7], labels=pool.labels[:7])
    assert sorted(pool.labels[balanced(few, 16, 0)].tolist()) == [0] * 3 + [1] * 3


def test_whole_leaves_out_what_does_not_decode(detector: Detector, pool: Any) -> None:
    found = Support.of(detector, replace(pool, broken=(3, 4)), range(80))
    assert found.rows.tolist() == [row for row in range(80) if row not in (3, 4)]


def test_near_is_the_cosine_strictly_above_tau(detector: Detector, pool: Any) -> None:
    found = Support.of(detector, pool, range(20))
    anchors = found.features[:3]
    exact = torch.nn.functional.cosine_similarity(anchors[:, None].double(), found.features[None].double(), dim=2)
    assert torch.equal(found.near(anchors, 0.3), exact > 0.3)
    assert not found.near(anchors, 1.0).any()
    assert cosines(torch.zeros(1, 2), torch.ones(1, 2)).item() == 0


def test_percentile_is_that_of_the_pairs(detector: Detector, pool: Any) -> None:
    found = Support.of(detector, pool, range(40))
    first, second = torch.triu_indices(40, 40, 1)
    pairs = cosines(found.features, found.features)[first, second].numpy()
    assert found.usual(30.0, 0) == pytest.approx(np.percentile(pairs, 30), abs=1e-5)
    fitted = PostTraining(percentile=30.0, support="whole").fit(detector, pool)
    assert fitted.limit == pytest.approx(fitted.found.usual(30.0, 0))  # type: ignore[union-attr]


def test_a_draw_belongs_to_the_sample(detector: Detector, pool: Any, x: torch.Tensor) -> None:
    found = Support.of(detector, pool, range(80))
    drawn = found.drawn(x, 5, 0)
    assert (drawn[:, found.y == 0].sum(1) == 5).all()
    assert (drawn[:, found.y == 1].sum(1) == 5).all()
    assert torch.equal(found.drawn(x[3:4], 5, 0), drawn[3:4])
    assert not torch.equal(found.drawn(x, 5, 1), drawn)


def test_it_is_kept_and_read_again(detector: Detector, pool: Any, tmp_path: Path) -> None:
    first = Support.of(detector, pool, range(80), keep=tmp_path / "support")
    (file,) = (tmp_path / "support").iterdir()
    pool.read = 0
    again = Support.of(detector, pool, range(80), keep=tmp_path / "support")
    assert pool.read == 32, "a look at some, and nothing is embedded"
    assert torch.equal(first.features, again.features)
    assert torch.equal(first.contents, contents(pool.x.float() / 255))
    whole = file.read_bytes()
    file.write_bytes(whole[:-20])
    assert torch.equal(Support.of(detector, pool, range(80), keep=tmp_path / "support").features, first.features)
    assert file.read_bytes() == whole
    other = replace(pool, x=pool.x.flip(0), labels=pool.labels[::-1].copy())
    Support.of(detector, other, range(80), keep=tmp_path / "support")
    Support.of(detector, pool, range(40), keep=tmp_path / "support")
    with torch.no_grad():
        detector.head.bias.add_(1)
        Support.of(detector, pool, range(80), keep=tmp_path / "support")
        detector.head.bias.sub_(1)
    assert len(list((tmp_path / "support").iterdir())) == 4
    (tmp_path / "taken").write_text("no folder")
    Support.of(detector, pool, range(80), keep=tmp_path / "taken")


def test_other_pixels_under_the_same_names_are_embedded_anew(detector: Detector, pool: Any, tmp_path: Path) -> None:
    class Named(type(pool)):  # type: ignore[misc]
        def digest(self) -> str:
            return "by name"

    before = Support.of(detector, Named(pool.x, pool.labels), range(80), keep=tmp_path)
    after = Support.of(detector, Named(255 - pool.x, pool.labels), range(80), keep=tmp_path)
    assert not torch.allclose(before.features, after.features)
    assert torch.equal(after.features, Support.of(detector, Named(255 - pool.x, pool.labels), range(80)).features)


def test_frames_are_a_pool(detector: Detector, pool: Any, tmp_path: Path) -> None:
    from PIL import Image

    rows = []
    for number, (pixels, label) in enumerate(zip(pool.x[:12], pool.labels, strict=False)):
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(tmp_path / f"{number}.png")
        rows.append(
            {"id": str(number), "path": f"{number}.png", "label": int(label), "video": str(number), "manipulation": ""}
        )
    frames = Frames(Manifest.from_rows(rows, tmp_path), 12)
    found = Support.of(detector, frames, range(12))
    assert torch.equal(found.features, Support.of(detector, pool, range(12)).features)
    with pytest.raises(DataError, match="leak"):
        found.refuse(next(iter(frames.test_loader(4))).x)
