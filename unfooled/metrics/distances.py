"""From the distances of a minimum-norm attack to accuracy under attack at every radius."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unfooled.errors import DataError

Array = NDArray[np.float64]


def accuracy_over_eps(distance: ArrayLike, success: ArrayLike, radii: ArrayLike) -> Array:
    """(R,) robust accuracy at each radius: the share of samples for which no perturbation up to it was found.

    An upper bound, as every attack's is. At radius 0 it is the clean accuracy, at inf the share never fooled.

    Args:
        distance: (N,) of the shortest perturbation found, >= 0, in the attack's norm; 0 where the sample was wrong
            already. Not read where ``success`` is False.
        success: (N,) whether one was found.
        radii: (R,) >= 0, in the same norm.

    Raises:
        DataError: shapes differ, nothing there, or a distance or radius is negative or NaN.
    """
    d, found, eps = np.asarray(distance, np.float64), np.asarray(success, bool), np.asarray(radii, np.float64)
    if d.ndim != 1 or d.shape != found.shape or not len(d):
        shapes = f"{d.shape} and {found.shape}"
        raise DataError(f"distance and success must be two rows of equal length, got shapes {shapes}")
    if eps.ndim != 1 or not (eps >= 0).all():
        raise DataError(f"radii must be a row of numbers >= 0, got {eps.tolist()}")
    if not (d[found] >= 0).all():
        raise DataError(f"a distance must be >= 0, got {d[found].min():g}")
    least = np.where(found, d, np.inf)
    # A radius of inf fools whoever can be fooled, and nobody else.
    fooled = (least <= eps[:, None]) & found
    accuracy: Array = 1 - fooled.mean(1)
    return accuracy
