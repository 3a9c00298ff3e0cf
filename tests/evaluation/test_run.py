"""Evaluation end to end on files: consistent modes, no dependence on batches or order, honest about what failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from unfooled import metrics
from unfooled.attacks import PGD, Noise, Transfer
from unfooled.data.frames import Frames
from unfooled.data.manifest import Manifest
from unfooled.errors import ConfigError, DataError
from unfooled.evaluation import Condition, evaluate, over_eps
from unfooled.models.detector import Detector, LinearHead
from unfooled.results import Evaluation
from unfooled.threats import L2, Linf

ATTACK = PGD(Linf(2 / 255))
NAME = "pgd:eps=2/255,steps=10"


@pytest.fixture(scope="module")
def evaluation(trained: Detector, frames: Frames) -> Evaluation:
    return evaluate(trained, frames, [Condition(ATTACK)], name="tiny", provenance={"recipe": "none"})


def test_end_to_end(evaluation: Evaluation, trained: Detector, frames: Frames, tmp_path: Path) -> None:
    assert [c.name for c in evaluation.conditions] == ["clean", NAME]
    assert evaluation.samples.id == frames.manifest.column("id").tolist()
    clean, attacked = evaluation.conditions
    (batch,) = frames.test_loader(len(frames))
    with torch.no_grad():
        np.testing.assert_allclose(clean.logits, trained(batch.x), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(attacked.logits, ATTACK(trained, batch.x, batch.y).logits, rtol=1e-4, atol=1e-4)
    assert (attacked.eps, attacked.norm, attacked.steps, attacked.seed) == (2 / 255, "linf", 10, 0)
    assert attacked.distance_max == pytest.approx(2 / 255, abs=1e-6)
    assert attacked.queries_mean == 12
    found = clean.metrics["frame/auc"]
    assert found.value == pytest.approx(metrics.auc(clean.logits, evaluation.samples.label))
    assert found.value > 0.7
    assert found.low <= found.value <= found.high
    assert (found.n_real, found.n_fake) == (8, 16)
    assert (clean.metrics["video/auc"].n_real, clean.metrics["video/auc"].n_fake) == (4, 8)
    assert clean.metrics["frame/tpr_at_fpr_0.01"].value is None
    assert "8 reals" in clean.metrics["frame/tpr_at_fpr_0.01"].note
    assert attacked.metrics["robust/both/frame_auc"].value < found.value
    assert Evaluation.read(evaluation.write(tmp_path / "eval.json")) == evaluation
    facts = evaluation.provenance
    assert facts["recipe"] == "none"
    assert facts["detector"] == {"name": "tiny"}
    assert facts["data_digest"] == frames.manifest.digest()
    assert set(facts["seconds"]) == {"clean", NAME}
    assert any("4 people" in w for w in evaluation.warnings)


def test_three_modes_come_from_one_run(evaluation: Evaluation) -> None:
    clean, attacked = (np.array(c.logits) for c in evaluation.conditions)
    y = np.array(evaluation.samples.label)
    found = evaluation.conditions[1].metrics
    mixed = {
        "both": attacked,
        "fakes_only": np.where(y == 1, attacked, clean),
        "reals_only": np.where(y, clean, attacked),
    }
    for mode, z in mixed.items():
        assert found[f"robust/{mode}/frame_auc"].value == pytest.approx(metrics.auc(z, y))
        videos = metrics.by_video(z, y, evaluation.samples.video)
        assert found[f"robust/{mode}/video_auc"].value == pytest.approx(metrics.auc(videos.logits, videos.y))
    assert found["robust/both/frame_auc"].value <= found["robust/fakes_only/frame_auc"].value


def test_accuracies_and_success(evaluation: Evaluation) -> None:
    clean, attacked = (np.array(c.logits) for c in evaluation.conditions)
    y = np.array(evaluation.samples.label) == 1
    right, right_adv = (clean > 0) == y, (attacked > 0) == y
    found = {name: metric.value for name, metric in evaluation.conditions[1].metrics.items()}
    assert found["accuracy"] == pytest.approx(right.mean())
    assert found["accuracy_adv"] == pytest.approx(right_adv.mean())
    assert found["robust_accuracy"] == pytest.approx((right & right_adv).mean())
    assert found["attack_success_rate"] == pytest.approx((right & ~right_adv).sum() / right.sum())
    assert found["attack_success_rate/fakes"] == pytest.approx((right & ~right_adv & y).sum() / (right & y).sum())
    assert evaluation.conditions[1].success_share == pytest.approx((~right_adv).mean())


def test_manipulations_and_collections(evaluation: Evaluation) -> None:
    z, s = np.array(evaluation.conditions[0].logits), evaluation.samples
    y, kind, place = np.array(s.label), np.array(s.manipulation), np.array(s.collection)
    found = evaluation.conditions[0].metrics
    parts = []
    for name in ("Deepfakes", "FaceSwap"):
        rows = (y == 0) | (kind == name)
        parts.append(metrics.auc(z[rows], y[rows]))
        assert found[f"manipulation/{name}/auc"].value == pytest.approx(parts[-1])
        assert found[f"manipulation/{name}/auc"].n_fake == 8
    assert found["manipulation/macro/auc"].value == pytest.approx(np.mean(parts))
    for name in ("gpo", "london"):
        rows = place == name
        assert found[f"collection/{name}/auc"].value == pytest.approx(metrics.auc(z[rows], y[rows]))
    assert "robust/fakes_only/manipulation/FaceSwap/auc" in evaluation.conditions[1].metrics


def test_batches_and_order_do_not_matter(evaluation: Evaluation, trained: Detector, frames: Frames) -> None:
    order = np.random.default_rng(0).permutation(len(frames))
    shuffled = Frames(frames.manifest.take(order), frames.size)
    for other, place in ((frames, np.arange(len(frames))), (shuffled, order)):
        again = evaluate(trained, other, [Condition(ATTACK)], batch_size=7, checks=False)
        for one, two in zip(evaluation.conditions, again.conditions, strict=True):
            np.testing.assert_allclose(np.array(one.logits)[place], two.logits, atol=1e-4)
            assert one.metrics.keys() == two.metrics.keys()
            for name, metric in one.metrics.items():
                assert metric.value == pytest.approx(two.metrics[name].value, abs=1e-5), name


def test_the_detector_is_left_as_it_was(trained: Detector, frames: Frames) -> None:
    trained.train()
    try:
        before = {k: v.clone() for k, v in trained.state_dict().items()}
        evaluate(trained, frames, [Condition(ATTACK)], replicates=0, checks=False)
        assert trained.training
        assert all(p.requires_grad for p in trained.parameters())
        assert all(torch.equal(v, before[k]) for k, v in trained.state_dict().items())
    finally:
        trained.eval()


def test_robust_auc_falls_to_zero_as_eps_grows(trained: Detector, frames: Frames) -> None:
    radii = [1 / 255, 2 / 255, 4 / 255, 64 / 255]
    curve = evaluate(trained, frames, over_eps(ATTACK, radii), checks=False, replicates=0)
    found = [c.metrics["robust/both/frame_auc"].value for c in curve.conditions[1:]]
    assert found == sorted(found, reverse=True)
    assert found[-1] == 0
    assert curve.conditions[1].metrics["robust/both/frame_auc"].low is None


class Masked(nn.Module):
    """Hides its gradient behind rounding, as a masked defense does; the information stays."""

    def __init__(self, inner: Detector) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(((x * 64).round() / 64).detach() + 0 * x)[:, None]


def test_planted_gradient_masking_is_warned_of(trained: Detector, frames: Frames) -> None:
    masked = Detector(Masked(trained), LinearHead(1))
    with torch.no_grad():
        masked.head.weight.fill_(1)
        masked.head.bias.zero_()
    doubted = evaluate(masked, frames, [Condition(ATTACK)], replicates=0)
    assert any("no input gradient" in w for w in doubted.warnings)
    assert any("AUC is still" in w for w in doubted.warnings)
    trusted = evaluate(masked, frames, [Condition(ATTACK)], replicates=0, checks=False)
    assert not trusted.checks
    assert not any("gradient" in w for w in trusted.warnings)


def test_an_honest_detector_passes_the_checks(evaluation: Evaluation) -> None:
    assert {c.name for c in evaluation.checks} >= {"zero gradients", "eps sweep", "random noise", "more effort"}
    assert not any("no input gradient" in w or "AUC is still" in w for w in evaluation.warnings)


def test_unreadable_samples_are_listed_and_never_scored(
    trained: Detector, faces: Callable[..., Manifest], tmp_path: Path
) -> None:
    manifest = faces(tmp_path)
    (tmp_path / "FaceSwap/000/0000.png").write_bytes(b"")
    status = ["ok"] * len(manifest)
    status[0] = "missing"
    evaluation = evaluate(
        trained, Frames(manifest.with_column("status", status), 16), [Condition(ATTACK)], checks=False
    )
    assert len(evaluation.samples.id) == len(manifest) - 2
    assert not {"made/FaceSwap/raw/000/0000", manifest.column("id")[0]} & set(evaluation.samples.id)
    assert len(evaluation.unreadable) == 2
    assert evaluation.unreadable[0] == "Real/000/0000.png: missing"
    assert evaluation.unreadable[1].startswith("FaceSwap/000/0000.png")
    assert str(tmp_path) not in evaluation.model_dump_json()
    assert "2 samples could not be read" in evaluation.warnings[0]


def test_a_limit_is_balanced_and_told(trained: Detector, frames: Frames) -> None:
    small = evaluate(trained, frames, limit=8, replicates=0)
    assert sum(small.samples.label) == 4
    assert len(small.samples.id) == 8
    assert len(set(small.samples.identity)) == 4
    assert small.provenance["limit"]["asked"] == 8
    assert small.provenance["limit"]["of"] == 24
    assert small.samples.id != evaluate(trained, frames, limit=8, replicates=0, seed=1).samples.id
    with pytest.raises(ConfigError, match="limit must be at least 2"):
        evaluate(trained, frames, limit=1)


def test_examples_come_from_allowed_collections_only(evaluation: Evaluation, trained: Detector, frames: Frames) -> None:
    shown = evaluation.conditions[1].examples
    assert [e.label for e in shown] == [1, 1, 1, 0, 0, 0]
    collection = dict(zip(evaluation.samples.id, evaluation.samples.collection, strict=True))
    assert {collection[e.id] for e in shown} == {"london"}
    logits = dict(zip(evaluation.samples.id, evaluation.conditions[1].logits, strict=True))
    assert shown[0].score_adv == pytest.approx(1 / (1 + np.exp(-logits[shown[0].id])))
    none = evaluate(trained, frames, [Condition(ATTACK)], example_collections=(), checks=False, replicates=0)
    assert none.conditions[1].examples == []


def test_progress_counts_every_sample_of_every_condition(trained: Detector, frames: Frames) -> None:
    seen: list[tuple[int, int]] = []
    conditions = [Condition(Noise(Linf(0.1))), Condition(PGD(L2(0.5), steps=1))]
    evaluate(trained, frames, conditions, checks=False, replicates=0, progress=lambda *a: seen.append(a), batch_size=16)
    assert seen[-1] == (72, 72)
    assert [done for done, _ in seen] == [16, 24, 40, 48, 64, 72]


def test_transfer_names_its_inner_attack(trained: Detector, tiny_detector: Detector, frames: Frames) -> None:
    transfer = Transfer(Linf(2 / 255), PGD(Linf(2 / 255), steps=2), tiny_detector)
    found = evaluate(trained, frames, [Condition(transfer, name="transfer")], replicates=0).conditions[1]
    assert (found.steps, found.seed, found.queries_mean) == (2, 0, 0)


def test_bad_calls_are_one_line(trained: Detector, frames: Frames) -> None:
    with pytest.raises(ConfigError, match="twice"):
        evaluate(trained, frames, [Condition(ATTACK), Condition(ATTACK)])
    with pytest.raises(DataError, match="16 fakes only"):
        evaluate(trained, Frames(frames.manifest.select(label=1), 16))
    with pytest.raises(ConfigError, match="use cpu"):
        evaluate(trained, frames, device="cuda:9")
    broken = Detector(nn.Flatten(), LinearHead(3 * 16 * 16))
    nn.init.constant_(broken.head.weight, float("nan"))
    with pytest.raises(DataError, match="answered NaN"):
        evaluate(broken, frames)


class Called(nn.Module):
    """Can be asked but not differentiated, as a detector behind a service."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.mean((1, 2, 3))[:, None]


class Bare(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features


def test_a_detector_without_gradients_can_be_measured_and_is_warned_of(frames: Frames) -> None:
    nameless = Frames(frames.manifest.with_column("identity", [None] * len(frames)), frames.size)
    found = evaluate(Detector(Called(), Bare()), nameless, [Condition(Noise(Linf(2 / 255)))], replicates=50)
    assert any("needs a detector with gradients" in w for w in found.warnings)
    assert any("24 of 24 samples name no person" in w for w in found.warnings)
    assert found.conditions[1].metrics["robust/both/frame_auc"].low is not None
    with pytest.raises(ConfigError, match="needs a detector with gradients"):
        evaluate(Detector(Called(), Bare()), frames, [Condition(ATTACK)])
