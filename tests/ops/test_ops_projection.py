"""Places in a plane: PCA as scikit-learn has it, and neighbours that stay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.ops.projection import neighbour_plane, principal_plane


@settings(max_examples=20)
@given(st.integers(3, 40), st.integers(2, 6), st.integers(0, 99))
def test_pca_is_that_of_scikit_learn(count: int, width: int, seed: int) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    rng = np.random.default_rng(seed)
    features = rng.normal(0, rng.uniform(0.1, 9, width), (count, width)) @ rng.normal(0, 1, (width, width))
    places, fractions = principal_plane(features)
    known = decomposition.PCA(2).fit((features - features.mean(axis=0)) / features.std(axis=0))
    assert np.allclose(fractions, known.explained_variance_ratio_[:2])
    scaled = known.transform((features - features.mean(axis=0)) / features.std(axis=0))
    in_other_units = principal_plane(3 * features + 5)[0]
    for same in (scaled, in_other_units):
        for own, other in zip(places.T, same.T, strict=True):
            assert np.allclose(own, other, atol=1e-6) or np.allclose(own, -other, atol=1e-6)


def test_what_does_not_vary_counts_nowhere() -> None:
    features = np.array([[1.0, 5, 0], [2, 5, 0], [3, 5, 0]])
    places, fractions = principal_plane(features)
    assert np.allclose(places[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)]) and np.allclose(places[:, 1], 0)
    assert fractions == (1.0, 0.0)
    assert np.array_equal(principal_plane(np.ones((4, 3)))[0], np.zeros((4, 2)))


def test_groups_stay_together_and_the_map_is_the_same_each_time() -> None:
    pytest.importorskip("sklearn.manifold")
    rng = np.random.default_rng(1)
    features = np.concatenate([rng.normal(middle, 0.3, (30, 8)) for middle in (0, 5, 10)])
    places = neighbour_plane(features)
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + np.eye(90) * 1e9
    assert (distances.argmin(axis=1) // 30 == np.arange(90) // 30).all()
    assert np.array_equal(places, neighbour_plane(features))
    assert neighbour_plane(features[:3]).shape == (3, 2)
