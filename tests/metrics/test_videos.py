"""One logit per video, by a named rule."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from unfooled import metrics as m
from unfooled.errors import ConfigError, DataError


def test_golden_videos(golden: Callable[[str], Path]) -> None:
    content = json.loads(golden("metrics.json").read_text())
    given, expected = content["inputs"], content["expected"]
    z, y, keys = np.array(given["logit"]), np.array(given["label"]), given["video_key"]
    videos = m.by_video(z, y, keys)
    table = {row["key"]: row for row in expected["video_table"]}
    assert videos.keys == sorted(table)
    assert len(videos.keys) == expected["n_videos"]
    for key, logit, label in zip(videos.keys, videos.logits, videos.y, strict=True):
        assert (logit, label) == (pytest.approx(table[key]["mean_logit"], abs=1e-12), table[key]["label"])
    assert m.auc(videos.logits, videos.y) == pytest.approx(expected["video_auc_mean_logit"], abs=1e-12)
    assert m.eer(videos.logits, videos.y) == pytest.approx(expected["video_eer_interpolated"], abs=1e-12)
    assert m.average_precision(videos.logits, videos.y) == pytest.approx(expected["video_ap_mean_logit"], abs=1e-12)
    for q in (0.01, 0.05, 0.1):
        wanted = expected[f"video_tpr_at_fpr_{q}_step"]
        assert m.tpr_at_fpr(videos.logits, videos.y, q, min_real=0) == pytest.approx(wanted, abs=1e-12)
    probable = m.by_video(z, y, keys, "mean_probability")
    for key, logit in zip(probable.keys, probable.logits, strict=True):
        assert m.sigmoid(logit) == pytest.approx(table[key]["mean_prob"], abs=1e-12)
    assert m.auc(probable.logits, probable.y) == pytest.approx(expected["video_auc_mean_prob"], abs=1e-12)
    for name in ("Deepfakes", "Face2Face"):
        rows = [key.startswith(("Real", name)) for key in videos.keys]
        wanted = expected[f"video_auc_mean_logit_real_vs_{name}"]
        assert m.auc(videos.logits[rows], videos.y[rows]) == pytest.approx(wanted, abs=1e-12)


def test_merging_by_bare_names_gives_the_figure_of_the_trap(golden: Callable[[str], Path]) -> None:
    content = json.loads(golden("metrics.json").read_text())
    given, expected = content["inputs"], content["expected"]
    merged = m.by_video(given["logit"], given["label"], given["video"])
    assert len(merged.keys) == expected["n_videos_merged_by_basename"]
    assert m.auc(merged.logits, merged.y) == pytest.approx(expected["video_auc_merged_by_basename_mean_logit"])


def test_real_and_fake_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="dataset/manipulation/name"):
        m.by_video([0.0, 1.0], [0, 1], ["000", "000"])
    with pytest.raises(DataError, match="each of the 2 frames"):
        m.by_video([0.0, 1.0], [0, 1], ["000"])


def test_rules() -> None:
    z, y, keys = [100.0, -100.0, 3.0, 1.0], [1, 1, 0, 0], ["b", "b", "a", "a"]
    assert m.by_video(z, y, keys, "max").logits.tolist() == [3.0, 100.0]
    assert m.by_video(z, y, keys, "mean_logit").logits.tolist() == [2.0, 0.0]
    assert m.by_video(z, y, keys, "mean_probability").logits[1] == pytest.approx(0)
    assert m.by_video([900.0, 900.0], [1, 1], ["v", "v"], "mean_probability").logits.tolist() == [900.0]
    with pytest.raises(ConfigError, match="did you mean 'mean_logit'"):
        m.by_video(z, y, keys, "mean_logits")


@pytest.mark.parametrize("rule", sorted(m.RULES))
def test_order_of_frames_does_not_matter_to_the_last_bit(rule: str) -> None:
    rng = np.random.default_rng(0)
    z, keys = rng.normal(size=300), rng.integers(0, 20, 300)
    y = keys % 2
    order = rng.permutation(300)
    one = m.by_video(z, y, keys.astype(str), rule)
    two = m.by_video(z[order], y[order], keys[order].astype(str), rule)
    assert one.logits.tolist() == two.logits.tolist()
    assert one.keys == two.keys
