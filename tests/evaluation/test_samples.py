"""A subset is balanced, spread over people, and the same whatever the order of rows."""

from __future__ import annotations

import numpy as np
import pytest

from unfooled.data.manifest import Manifest
from unfooled.errors import DataError
from unfooled.evaluation.samples import balanced_rows, samples_of


@pytest.mark.parametrize("limit", [2, 6, 8, 100])
def test_a_subset_is_balanced_and_of_as_many_people_as_possible(manifest: Manifest, limit: int) -> None:
    rows = balanced_rows(manifest, np.arange(len(manifest)), limit)
    chosen = manifest.take(rows)
    label, identity = chosen.column("label"), chosen.column("identity")
    assert list(rows) == sorted(set(rows))
    assert (label == 0).sum() == min(limit // 2, 8)
    assert (label == 1).sum() == min(limit // 2, 16)
    assert len(set(identity)) == min(limit // 2, 4)
    if limit <= 8:
        assert set(identity[label == 0]) == set(identity[label == 1])


def test_a_subset_does_not_depend_on_the_order_of_rows(manifest: Manifest) -> None:
    order = np.random.default_rng(0).permutation(len(manifest))
    shuffled = manifest.take(order)
    one, two = (m.take(balanced_rows(m, np.arange(len(m)), 6)) for m in (manifest, shuffled))
    assert set(one.column("id")) == set(two.column("id"))


def test_columns_and_one_class(manifest: Manifest) -> None:
    people = [None, *manifest.column("identity")[1:]]
    samples = samples_of(manifest.with_column("identity", people), [0, 1, 4])
    assert samples.identity == ["", "p0", "p0"]
    assert samples.label == [0, 0, 1]
    assert samples.manipulation == ["Real", "Real", "FaceSwap"]
    with pytest.raises(DataError, match="2 reals only"):
        samples_of(manifest, [0, 1])
    with pytest.raises(DataError, match="no readable row"):
        samples_of(manifest, [])
