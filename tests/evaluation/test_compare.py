"""Two evaluations are compared on the same samples or not at all."""

from __future__ import annotations

import numpy as np
import pytest

from unfooled import metrics
from unfooled.attacks import PGD
from unfooled.data.frames import Frames
from unfooled.errors import DataError
from unfooled.evaluation import Condition, compare, compare_all, evaluate
from unfooled.evaluation.tables import people
from unfooled.models.detector import Detector
from unfooled.results import Evaluation
from unfooled.threats import Linf

NAME = "pgd:eps=2/255,steps=3"


def run(detector: Detector, frames: Frames, name: str) -> Evaluation:
    conditions = [Condition(PGD(Linf(2 / 255), steps=3))]
    return evaluate(detector, frames, conditions, name=name, checks=False, replicates=0)


@pytest.fixture(scope="module")
def good(trained: Detector, frames: Frames) -> Evaluation:
    return run(trained, frames, "good")


@pytest.fixture
def poor(tiny_detector: Detector, frames: Frames) -> Evaluation:
    return run(tiny_detector, frames, "poor")


def test_a_difference_is_paired(good: Evaluation, poor: Evaluation) -> None:
    found = compare(good, poor, "clean")
    assert (found.a, found.b, found.condition, found.n_people) == ("good", "poor", "clean", 4)
    auc = found.differences["frame/auc"]
    z = [e.conditions[0].logits for e in (good, poor)]
    expected = metrics.paired_difference(metrics.auc, *z, good.samples.label, people(good.samples))
    assert (auc.value, auc.low, auc.high) == pytest.approx(expected)
    assert auc.value == pytest.approx(auc.a - auc.b)
    attacked = compare(good, poor, NAME).differences
    assert set(attacked) == {
        f"robust/{m}/{v}" for m in ("both", "fakes_only", "reals_only") for v in ("frame_auc", "video_auc")
    }
    assert attacked["robust/fakes_only/frame_auc"].a == good.conditions[1].metrics["robust/fakes_only/frame_auc"].value
    same = compare(good, good, NAME).differences["robust/both/video_auc"]
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_rows_in_another_order_are_the_same_samples(
    good: Evaluation, tiny_detector: Detector, frames: Frames, poor: Evaluation
) -> None:
    order = np.random.default_rng(0).permutation(len(frames))
    shuffled = run(tiny_detector, Frames(frames.manifest.take(order), frames.size), "poor")
    one, two = (compare(good, other, NAME).differences for other in (poor, shuffled))
    for name, difference in one.items():
        assert difference.value == pytest.approx(two[name].value), name
        assert difference.low == pytest.approx(two[name].low), name


def test_what_differs_is_named(good: Evaluation, poor: Evaluation, trained: Detector, frames: Frames) -> None:
    fewer = run(trained, Frames(frames.manifest.take(np.arange(1, 24)), 16), "fewer")
    with pytest.raises(DataError, match="1 only in the first, 0 only in the second"):
        compare(good, fewer, "clean")
    with pytest.raises(DataError, match="has no condition 'cw'"):
        compare(good, poor, "cw")
    with pytest.raises(DataError, match="use one rule"):
        compare(good, poor.model_copy(update={"video_rule": "max"}), "clean")
    label = [1 - good.samples.label[0], *good.samples.label[1:]]
    relabelled = poor.model_copy(update={"samples": poor.samples.model_copy(update={"label": label})})
    with pytest.raises(DataError, match="label 1 samples differently"):
        compare(good, relabelled, "clean")
    stronger = poor.conditions[1].model_copy(update={"steps": 100})
    other = poor.model_copy(update={"conditions": [poor.conditions[0], stronger]})
    with pytest.raises(DataError, match="not the same attack"):
        compare(good, other, NAME)


def test_other_pictures_under_the_same_ids_are_no_pair(good: Evaluation, trained: Detector, frames: Frames) -> None:
    smaller = run(trained, Frames(frames.manifest, 12), "smaller")
    with pytest.raises(DataError, match="other pictures"):
        compare(good, smaller, "clean")


def test_compare_all_leaves_out_what_does_not_fit(
    good: Evaluation, poor: Evaluation, trained: Detector, frames: Frames
) -> None:
    fewer = run(trained, Frames(frames.manifest.take(np.arange(1, 24)), 16), "fewer")
    found = compare_all([good, poor, fewer], replicates=20)
    assert [(c.a, c.b, c.condition) for c in found] == [("good", "poor", "clean"), ("good", "poor", NAME)]
