"""Distorted conditions: scored on what they say, attacked once, compared with equally distorted samples, resumed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from unfooled import metrics
from unfooled.attacks import FGSM, PGD, Attack, CarliniWagner
from unfooled.data.frames import Frames
from unfooled.distortions import Blur, Contrast, Distortion, Noise, series
from unfooled.errors import ConfigError
from unfooled.evaluation import Condition, compare, compare_all, distorted, evaluate
from unfooled.evaluation.conditions import by_attack, with_clean
from unfooled.evaluation.tables import mix
from unfooled.models.detector import Detector
from unfooled.results import Evaluation
from unfooled.threats import L2, Linf

ATTACK = PGD(Linf(4 / 255), steps=3)
NAME = "pgd:eps=4/255,steps=3"
BLUR = Blur(level=1)


@dataclass(frozen=True)
class Counting(Attack):
    """FGSM that counts its calls."""

    calls: ClassVar[list[int]] = []

    def perturb(self, detector: Detector, x: Tensor, y: Tensor) -> Tensor:
        self.calls.append(len(x))
        return FGSM(self.threat).perturb(detector, x, y)


def run(detector: Detector, frames: Frames, conditions: list[Condition], **options: object) -> Evaluation:
    given = {"checks": False, "replicates": 0, "batch_size": 8, **options}
    return evaluate(detector, frames, conditions, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def evaluation(trained: Detector, frames: Frames) -> Evaluation:
    conditions = [Condition(ATTACK), *distorted([ATTACK], [*series("contrast"), BLUR])]
    return run(trained, frames, conditions, replicates=60, example_collections=("london",))


def test_names() -> None:
    assert Condition(distortion=BLUR).name == "blur:level=1"
    assert Condition(ATTACK, BLUR).name == f"{NAME} > blur:level=1"
    assert Condition(ATTACK, BLUR, name="mine").name == "mine"
    with pytest.raises(ConfigError, match="rename"):
        Condition(distortion=BLUR, name="clean")


def test_the_distortion_alone_is_always_there_and_before() -> None:
    names = [c.name for c in with_clean([Condition(ATTACK, BLUR), Condition(ATTACK)])]
    assert names == ["clean", "blur:level=1", f"{NAME} > blur:level=1", NAME]
    given = [Condition(ATTACK, BLUR), Condition(distortion=BLUR, name="soft")]
    assert [c.name for c in with_clean(given)] == ["clean", "soft", f"{NAME} > blur:level=1"]
    with pytest.raises(ConfigError, match="twice"):
        with_clean([Condition(distortion=BLUR), Condition(distortion=BLUR)])
    names = [c.name for c in distorted([ATTACK], [BLUR, Contrast(level=2)])]
    assert names == ["blur:level=1", "contrast:level=2", f"{NAME} > blur:level=1", f"{NAME} > contrast:level=2"]


def test_one_attack_is_one_group_what_it_has_learnt_included() -> None:
    twin = PGD(Linf(4 / 255), steps=3)
    conditions = [Condition(), Condition(ATTACK), Condition(twin, name="twin"), Condition(ATTACK, BLUR)]
    names = [[c.name for c in group] for group in by_attack(conditions)]
    assert names == [["clean"], [NAME, f"{NAME} > blur:level=1"], ["twin"]]


def test_a_distortion_is_what_the_detector_sees(evaluation: Evaluation, trained: Detector, frames: Frames) -> None:
    (batch,) = frames.test_loader(len(frames))
    found = evaluation.condition("blur:level=1")
    with torch.no_grad():
        np.testing.assert_allclose(found.logits, trained(BLUR(batch.x)), rtol=1e-4, atol=1e-4)
    assert (found.attack, found.distortion, found.applied_to) == (None, "blur:level=1", "crops")
    assert found.metrics["frame/auc"].value == pytest.approx(metrics.auc(found.logits, evaluation.samples.label))
    assert set(found.metrics) == set(evaluation.condition("clean").metrics)
    assert found.logits != evaluation.condition("clean").logits
    assert not found.examples
    assert found.projection is None


def test_attacked_then_distorted(evaluation: Evaluation, trained: Detector, frames: Frames) -> None:
    (batch,) = frames.test_loader(len(frames))
    found = evaluation.condition(f"{NAME} > blur:level=1")
    x_adv = ATTACK(trained, batch.x, batch.y).x
    with torch.no_grad():
        logits = trained(BLUR(x_adv))
    np.testing.assert_allclose(found.logits, logits, rtol=1e-3, atol=1e-3)
    assert (found.distortion, found.applied_to, found.eps, found.norm) == ("blur:level=1", "crops", 4 / 255, "linf")
    assert found.distance_max == pytest.approx(4 / 255, abs=1e-6)
    assert (found.distance, found.queries, found.logits_png, found.examples) == (None, None, None, [])
    y = np.array(evaluation.samples.label)
    assert found.success_share == pytest.approx(float(((np.array(found.logits) > 0) != (y == 1)).mean()))
    # Who is not attacked is distorted all the same.
    blurred = np.array(evaluation.condition("blur:level=1").logits)
    for mode in ("both", "fakes_only", "reals_only"):
        z = mix(mode, y, blurred, np.array(found.logits))
        assert found.metrics[f"robust/{mode}/frame_auc"].value == pytest.approx(metrics.auc(z, y))
    right = ((blurred > 0) == (y == 1)) & ((np.array(found.logits) > 0) == (y == 1))
    assert found.metrics["robust_accuracy"].value == pytest.approx(float(right.mean()))
    plain = evaluation.condition(NAME)
    assert plain.examples
    assert plain.distortion is None
    assert plain.distance is not None


def test_means_over_five_levels(evaluation: Evaluation) -> None:
    means = evaluation.level_means
    assert set(means) == {"contrast", f"{NAME} > contrast"}
    levels = [evaluation.condition(f"contrast:level={level}") for level in range(1, 6)]
    for name in ("frame/auc", "video/auc"):
        values = [c.metrics[name].value or 0.0 for c in levels]
        found = means["contrast"][name]
        assert found.value == pytest.approx(np.mean(values))
        assert found.low <= found.value <= found.high  # type: ignore[operator]
        assert found.note == "mean over 5 conditions"
    attacked = [evaluation.condition(f"{NAME} > contrast:level={level}") for level in range(1, 6)]
    for mode in ("both", "fakes_only", "reals_only"):
        for level in ("frame", "video"):
            name = f"robust/{mode}/{level}_auc"
            values = [c.metrics[name].value or 0.0 for c in attacked]
            assert means[f"{NAME} > contrast"][name].value == pytest.approx(np.mean(values))
    assert {c.series for c in levels} == {"contrast"}
    assert [c.level for c in levels] == [1, 2, 3, 4, 5]
    assert {c.series for c in attacked} == {f"{NAME} > contrast"}


def test_the_mean_over_all_types(trained: Detector, frames: Frames) -> None:
    found = run(trained, frames, distorted([], series("all")))
    assert len(found.conditions) == 36
    assert len(found.level_means) == 8
    values = [c.metrics["frame/auc"].value for c in found.conditions if c.distortion]
    assert found.level_means["all"]["frame/auc"].value == pytest.approx(np.mean(values))
    own = run(trained, frames, [Condition(distortion=Noise(variance=0.01)), *distorted([], series("noise")[:3])])
    assert own.level_means == {}
    assert own.conditions[1].series is None


def test_results_survive_a_file_and_do_not_depend_on_batches(
    evaluation: Evaluation, trained: Detector, frames: Frames, tmp_path: Path
) -> None:
    assert Evaluation.read(evaluation.write(tmp_path / "eval.json")) == evaluation
    noise = [Condition(ATTACK, BLUR), Condition(distortion=Noise(level=3))]
    a, b = (run(trained, frames, noise, batch_size=size) for size in (5, 24))
    for left, right in zip(a.conditions, b.conditions, strict=True):
        np.testing.assert_allclose(left.logits, right.logits, rtol=1e-3, atol=1e-3)


def test_an_attack_is_run_once_for_all_of_its_conditions(trained: Detector, frames: Frames, tmp_path: Path) -> None:
    attack = Counting(Linf(2 / 255))
    conditions = [Condition(attack), *distorted([attack], series("contrast"))]
    Counting.calls.clear()
    first = run(trained, frames, conditions, resume=tmp_path)
    assert Counting.calls == [8, 8, 8]
    again = run(trained, frames, conditions, resume=tmp_path)
    assert Counting.calls == [8, 8, 8], "what is kept is not computed anew"
    assert [c.logits for c in again.conditions] == [c.logits for c in first.conditions]
    more = run(trained, frames, [*conditions, Condition(attack, BLUR)], resume=tmp_path)
    assert Counting.calls == [8] * 6, "a condition more asks the attack again, once"
    assert more.condition("contrast:level=2").logits == first.condition("contrast:level=2").logits
    assert more.conditions[-1].logits != first.conditions[-1].logits


@dataclass(frozen=True)
class Breaking(Distortion):
    """Black, and killed in one of its batches."""

    amount: float | None = None
    name: ClassVar[str] = "breaking"
    levels: ClassVar[tuple[float, ...]] = (1, 2, 3, 4, 5)
    parameter: ClassVar[str] = "amount"
    calls: ClassVar[list[int]] = []

    def fits(self, value: float) -> bool:
        return True

    def distort(self, x: Tensor) -> Tensor:
        self.calls.append(len(x))
        if len(self.calls) == 2:
            raise KeyboardInterrupt
        return x * 0.5


def test_a_broken_evaluation_goes_on(trained: Detector, frames: Frames, tmp_path: Path) -> None:
    conditions = [Condition(distortion=Breaking(level=1))]
    Breaking.calls.clear()
    with pytest.raises(KeyboardInterrupt):
        run(trained, frames, conditions, resume=tmp_path)
    resumed = run(trained, frames, conditions, resume=tmp_path)
    assert Breaking.calls == [8, 8, 8, 8]
    assert resumed.conditions[1].logits == run(trained, frames, conditions).conditions[1].logits
    other = run(trained, frames, [Condition(distortion=Breaking(level=2))], resume=tmp_path)
    assert len(Breaking.calls) == 10, "another level is another job"
    assert other.conditions[1].name == "breaking:level=2"


def test_an_attack_without_radius_can_be_distorted_too(trained: Detector, frames: Frames) -> None:
    attack = CarliniWagner(L2(float("inf")), steps=3)
    found = run(trained, frames, distorted([attack], series("contrast")))
    assert set(found.level_means) == {"contrast"}
    assert not any("auc" in name for name in found.conditions[-1].metrics)


def test_two_runs_are_compared_under_equal_distortions(evaluation: Evaluation) -> None:
    other = evaluation.model_copy(update={"name": "other"}, deep=True)
    name = f"{NAME} > blur:level=1"
    for c in other.conditions:
        if c.distortion == "blur:level=1":
            c.logits = [z * (1 if y else 2) for z, y in zip(c.logits, other.samples.label, strict=True)]
    alone = compare(evaluation, other, "blur:level=1", replicates=20)
    assert set(alone.differences) == {"frame/auc", "video/auc"}
    both = compare(evaluation, other, name, replicates=20)
    y = np.array(evaluation.samples.label)
    z = mix("fakes_only", y, np.array(other.condition("blur:level=1").logits), np.array(other.condition(name).logits))
    assert both.differences["robust/fakes_only/frame_auc"].b == pytest.approx(metrics.auc(z, y))
    assert {c.condition for c in compare_all([evaluation, other], replicates=5)} == {"clean", NAME}
    other.conditions = [c for c in other.conditions if c.name != "blur:level=1"]
    with pytest.raises(Exception, match="without the attack"):
        compare(evaluation, other, name)
