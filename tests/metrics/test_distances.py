"""Accuracy over eps from the distances of one run."""

from __future__ import annotations

import numpy as np
import pytest

from unfooled.errors import DataError
from unfooled.metrics import accuracy_over_eps

DISTANCE, SUCCESS = [0.0, 0.1, 0.3, 0.0], [True, True, True, False]


def test_the_share_for_which_nothing_up_to_the_radius_was_found() -> None:
    found = accuracy_over_eps(DISTANCE, SUCCESS, [0, 0.05, 0.1, 0.2, 0.3, np.inf])
    np.testing.assert_array_equal(found, [0.75, 0.75, 0.5, 0.5, 0.25, 0.25])


def test_it_never_rises_and_order_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    distance, success, radii = rng.random(50), rng.random(50) < 0.8, np.linspace(0, 1, 30)
    found = accuracy_over_eps(distance, success, radii)
    assert (np.diff(found) <= 0).all()
    order = rng.permutation(50)
    np.testing.assert_array_equal(found, accuracy_over_eps(distance[order], success[order], radii))


@pytest.mark.parametrize(
    ("distance", "success", "radii", "message"),
    [
        ([], [], [0.1], "two rows of equal length"),
        ([0.1], [True, False], [0.1], "two rows of equal length"),
        ([-0.1], [True], [0.1], "distance must be >= 0"),
        ([np.nan], [True], [0.1], "distance must be >= 0"),
        ([0.1], [True], [-0.1], "radii"),
        ([0.1], [True], 0.1, "radii"),
    ],
)
def test_bad_input_is_refused(distance: list[float], success: list[bool], radii: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        accuracy_over_eps(distance, success, radii)  # type: ignore[arg-type]


def test_what_was_not_found_has_no_distance_to_read() -> None:
    np.testing.assert_array_equal(accuracy_over_eps([np.nan], [False], [1.0]), [1.0])
