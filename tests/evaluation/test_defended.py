"""Defenses as conditions: the attack is made on the plain detector or through the defense, and says which."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from unfooled.attacks import PGD, Ensemble, StatAttack, Transfer, Universal
from unfooled.codecs import quantise
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.defenses import Defended, Jpeg, PostTraining, Resize
from unfooled.distortions import Blur
from unfooled.errors import ConfigError, DataError
from unfooled.evaluation import Condition, compare, defended, evaluate
from unfooled.evaluation.conditions import by_attack, with_clean
from unfooled.evaluation.defense_warnings import defending_warnings
from unfooled.models.detector import Detector
from unfooled.reports import render
from unfooled.results import Evaluation
from unfooled.threats import Linf

ATTACK = PGD(Linf(4 / 255), steps=3)
NAME = "pgd:eps=4/255,steps=3"
TUNED = PostTraining(freeze=True, lr=0.5, tau=0.5, per_class=8)
TUNED_NAME = "post-training:algorithm=2,freeze=true,tau=0.5,per_class=8,lr=0.5"


@pytest.fixture(scope="module")
def support(faces: Callable[..., Manifest], tmp_path_factory: pytest.TempPathFactory) -> Frames:
    manifest = faces(tmp_path_factory.mktemp("support"), people=6, seed=5)
    ids = [f"train-{name}" for name in manifest.column("id")]
    table = manifest.table.set_column(manifest.table.column_names.index("id"), "id", [ids])
    return Frames(Manifest(table, manifest.root), 16)


@pytest.fixture(scope="module")
def evaluation(
    trained: Detector, frames: Frames, support: Frames, tmp_path_factory: pytest.TempPathFactory
) -> Evaluation:
    conditions = [Condition(ATTACK), *defended([ATTACK], [TUNED, Jpeg(30)], adaptive=True)]
    keep = tmp_path_factory.mktemp("kept")
    found = evaluate(trained, frames, conditions, checks=False, support=support, keep=keep, name="tiny", replicates=50)
    assert len(list(keep.iterdir())) == 1
    return found


def test_names_and_order() -> None:
    assert [c.name for c in with_clean(defended([ATTACK], [Jpeg(30)], adaptive=True))] == [
        "clean", "jpeg:quality=30", f"{NAME} > jpeg:quality=30", f"{NAME} through jpeg:quality=30",
    ]  # fmt: skip
    both = Condition(ATTACK, Blur(1), defense=Jpeg(30), retune=2)
    assert both.name == f"{NAME} through jpeg:quality=30 > blur:level=1"
    assert [c.name for c in with_clean([both])] == ["clean", "blur:level=1 > jpeg:quality=30", both.name]
    one = [Condition(ATTACK), *defended([ATTACK], [Jpeg(30), Resize()], adaptive=True)]
    assert [len(group) for group in by_attack(with_clean(one))] == [3, 3, 1, 1]


def test_each_is_scored_as_it_says(evaluation: Evaluation, trained: Detector, frames: Frames, support: Frames) -> None:
    (batch,) = frames.test_loader(len(frames))
    static = ATTACK(trained, batch.x, batch.y).x
    assert len(evaluation.conditions) == 8
    for defense, name in ((TUNED.fit(trained, support), TUNED_NAME), (Jpeg(30), "jpeg:quality=30")):
        alone, attacked, adaptive = (
            evaluation.condition(n) for n in (name, f"{NAME} > {name}", f"{NAME} through {name}")
        )
        through = ATTACK(Defended(defense, trained), batch.x, batch.y)
        torch.testing.assert_close(torch.tensor(alone.logits).float(), defense(trained, batch.x), rtol=0, atol=1e-4)
        torch.testing.assert_close(torch.tensor(attacked.logits).float(), defense(trained, static), rtol=0, atol=1e-4)
        torch.testing.assert_close(torch.tensor(adaptive.logits).float(), through.logits, rtol=0, atol=1e-4)
        assert [c.defense for c in (alone, attacked, adaptive)] == [name] * 3
        assert [c.adaptive for c in (alone, attacked, adaptive)] == [False, False, True]
        assert attacked.distance is None
        assert adaptive.distance is not None
        # Judged in a file as well, by whoever was attacked.
        assert attacked.logits_png is None
        saved = defense(trained, quantise(through.x))
        torch.testing.assert_close(torch.tensor(adaptive.logits_png).float(), saved, rtol=0, atol=1e-4)
        assert alone.metrics["frame/auc"].value is not None
        before, after = np.array(alone.logits) > 0, np.array(attacked.logits) > 0
        y = np.array(evaluation.samples.label) == 1
        flipped = ((before == y) & (after != y)).sum() / (before == y).sum()
        assert attacked.metrics["attack_success_rate"].value == pytest.approx(flipped)
    assert evaluation.condition("clean").defense is None


def test_it_can_be_resumed_compared_and_shown(
    evaluation: Evaluation, trained: Detector, frames: Frames, support: Frames, tmp_path: Path
) -> None:
    conditions = defended([ATTACK], [TUNED], adaptive=True)
    given = {"checks": False, "support": support, "replicates": 0, "batch_size": 7}
    first, second = (evaluate(trained, frames, conditions, resume=tmp_path / "parts", **given) for _ in range(2))
    assert [c.logits for c in first.conditions] == [c.logits for c in second.conditions]
    assert [c.seconds for c in first.conditions] == [c.seconds for c in second.conditions]
    found = compare(evaluation, evaluation, f"{NAME} through {TUNED_NAME}", replicates=0)
    assert found.differences["robust/both/frame_auc"].value == 0
    assert Evaluation.read(evaluation.write(tmp_path / "eval.json")) == evaluation
    page = render([evaluation])
    assert "Defenses at the time of the question" in page
    assert "adaptive" in page
    plain = evaluation.model_copy(update={"conditions": [c for c in evaluation.conditions if not c.defense]})
    assert "Defenses at the time of the question" not in render([plain])


def test_warnings(evaluation: Evaluation) -> None:
    results = evaluation.conditions
    static = [c for c in results if not c.adaptive]
    assert [w for w in defending_warnings(static) if "add --adaptive" in w] != []
    assert not [w for w in evaluation.warnings if "add --adaptive" in w]
    worse = evaluation.condition(f"{NAME} through jpeg:quality=30").model_copy(deep=True)
    worse.metrics["robust/both/frame_auc"].value = 0.9999
    (warning,) = defending_warnings([evaluation.condition(f"{NAME} > jpeg:quality=30"), worse])
    assert "the lower number is the one that counts" in warning
    assert defending_warnings([evaluation.condition("clean")]) == []


def test_bad_conditions(trained: Detector, frames: Frames) -> None:
    with pytest.raises(ConfigError, match="needs an attack and a defense"):
        Condition(ATTACK, retune=1)
    unable = [
        Transfer(Linf(0.01), ATTACK, trained), Ensemble(Linf(0.01)), StatAttack(Linf(0.2)), Universal(Linf(0.01)),
        PGD(Linf(0.01), loss="features"),
    ]  # fmt: skip
    for attack in unable:
        with pytest.raises(ConfigError, match="can not be adaptive"):
            Condition(attack, defense=Jpeg(), retune=1)
    assert [c.retune for c in defended([*unable, ATTACK], [Jpeg()], adaptive=True)] == [None] * 7 + [1]
    with pytest.raises(ConfigError, match="adaptive needs an attack that follows a logit"):
        defended(unable[:1], [Jpeg()], adaptive=True)
    with pytest.raises(ConfigError, match="post-training needs training samples"):
        evaluate(trained, frames, [Condition(defense=TUNED)], checks=False)
    with pytest.raises(DataError, match="leak: 24 tested samples"):
        evaluate(trained, frames, [Condition(defense=TUNED)], checks=False, support=frames)
