"""The low-rank autoencoder against scikit-learn, and its limits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from sklearn.decomposition import PCA

from unfooled.synthesis.eigenfaces import PATCH, PATCH_SHAPE, Eigenfaces, patch
from unfooled.synthesis.photographs import Portrait


def test_patches_have_the_face_inside(portrait: Callable[..., Portrait]) -> None:
    assert patch(portrait(0)).shape == (PATCH, PATCH, 3)
    assert (PATCH_SHAPE > 0).all()
    assert (PATCH_SHAPE < PATCH).all()


def test_reconstruction_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    faces = rng.normal(100, 20, (12, 6, 6, 3)).astype(np.float32)
    known, new = faces[:11], faces[11]
    own = Eigenfaces.fit(known, 5)
    other = PCA(5).fit(known.reshape(11, -1))
    expected = other.inverse_transform(other.transform(new.reshape(1, -1))).reshape(new.shape)
    np.testing.assert_allclose(own.reconstruct(new), expected, atol=1e-2)


def test_rank_decides_and_a_known_face_comes_back() -> None:
    faces = np.random.default_rng(1).normal(100, 20, (10, 6, 6, 3)).astype(np.float32)
    errors = [np.abs(Eigenfaces.fit(faces, rank).reconstruct(faces[0]) - faces[0]).mean() for rank in (1, 4, 99)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.01


def test_a_strange_face_is_pulled_back_to_three_deviations() -> None:
    faces = np.random.default_rng(2).normal(100, 20, (10, 6, 6, 3)).astype(np.float32)
    model = Eigenfaces.fit(faces, 4)
    far = (model.mean + 1000 * model.components[0]).reshape(6, 6, 3)
    code = model.components @ (model.reconstruct(far).reshape(-1) - model.mean)
    np.testing.assert_allclose(code[0], 3 * model.spread[0], rtol=1e-3)
