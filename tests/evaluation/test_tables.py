"""Names, notes and intervals of the metrics of a condition."""

from __future__ import annotations

import numpy as np
import pytest

from unfooled import metrics
from unfooled.evaluation.tables import Tables, mix, people
from unfooled.results import Samples


def make(n_people: int = 30, seed: int = 0) -> tuple[Samples, np.ndarray]:
    rng = np.random.default_rng(seed)
    rows = [(p, kind, f) for p in range(n_people) for kind in ("Real", "A", "B") for f in range(3)]
    label = [int(kind != "Real") for _, kind, _ in rows]
    samples = Samples(
        id=[f"{p}/{k}/{f}" for p, k, f in rows],
        label=label,
        video=[f"d/{k}/{p}" for p, k, _ in rows],
        identity=[f"p{p}" for p, _, _ in rows],
        manipulation=[k for _, k, _ in rows],
        collection=["x" if p % 2 else "y" for p, _, _ in rows],
    )
    return samples, rng.normal(size=len(rows)) + np.array(label)


def test_every_value_lies_in_its_interval() -> None:
    samples, z = make()
    tables = Tables(samples, replicates=200)
    for found in (tables.clean(z), tables.attacked(z, z - 1, {"png": z - 0.9})):
        for name, metric in found.items():
            if metric.value is not None:
                assert metric.low is not None, name
                assert metric.low - 0.05 <= metric.value <= metric.high + 0.05, name


def test_an_interval_is_that_of_the_public_bootstrap_over_people() -> None:
    samples, z = make()
    found = Tables(samples, replicates=300, seed=5).clean(z)["frame/auc"]
    assert (found.low, found.high) == metrics.bootstrap(metrics.auc, z, samples.label, people(samples), 300, 5)


def test_without_people_videos_are_the_groups() -> None:
    samples, z = make()
    nameless = samples.model_copy(update={"identity": [""] * len(samples.id)})
    assert len(set(people(nameless))) == 90
    assert (
        Tables(nameless, replicates=200).clean(z)["frame/auc"] != Tables(samples, replicates=200).clean(z)["frame/auc"]
    )


def test_threshold_and_rule_are_used() -> None:
    samples, z = make()
    plain = Tables(samples, replicates=0).clean(z)
    moved = Tables(samples, threshold=2.0, replicates=0).clean(z)
    assert moved["accuracy"].value == pytest.approx(np.mean((z > 2) == np.array(samples.label)))
    assert moved["frame/auc"].value == plain["frame/auc"].value
    assert Tables(samples, rule="max", replicates=0).clean(z)["video/auc"].value != plain["video/auc"].value


def test_what_is_not_defined_has_a_note_and_no_value() -> None:
    samples, z = make(4)
    found = Tables(samples, threshold=100.0, replicates=20).clean(z)
    assert (found["precision"].value, found["precision"].note) == (None, "n/a: nothing is called fake")
    assert "12 reals are too few" in found["frame/tpr_at_fpr_0.01"].note
    attacked = Tables(samples, threshold=0.0, replicates=20).attacked(-z * 0 + 1 - 2 * np.array(samples.label), z)
    assert attacked["attack_success_rate"].value is None
    assert "no sample was right" in attacked["attack_success_rate"].note


def test_one_person_has_no_interval() -> None:
    samples, z = make(1)
    found = Tables(samples, replicates=50).clean(z)["frame/auc"]
    assert found.value is not None
    assert (found.low, found.high) == (None, None)
    assert "fewer than 2 people" in found.note


def test_a_single_collection_or_class_in_it_is_left_out() -> None:
    samples, z = make(4)
    place = ["real only" if y == 0 else "" for y in samples.label]
    found = Tables(samples.model_copy(update={"collection": place}), replicates=0).clean(z)
    assert not [name for name in found if name.startswith("collection/")]


def test_fakes_only_images_report_only_that_mode() -> None:
    samples, z = make()
    found = Tables(samples, replicates=0).attacked(z, z - 1, modes=("fakes_only",))
    assert "robust/fakes_only/frame_auc" in found
    assert not [name for name in found if "both" in name or "reals_only" in name]
    assert found["attack_success_rate"].n_real == 0


def test_mix() -> None:
    y, clean, attacked = np.array([0, 1]), np.array([1.0, 2.0]), np.array([10.0, 20.0])
    assert mix("both", y, clean, attacked).tolist() == [10, 20]
    assert mix("fakes_only", y, clean, attacked).tolist() == [1, 20]
    assert mix("reals_only", y, clean, attacked).tolist() == [10, 2]
