"""Many numbers of each thing as two: where it lies among the others in a plane."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.extras import extra

_FLAT: Final = 1e-9
_FEW: Final = 4
"""Points of which t-SNE makes nothing."""


def principal_plane(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], tuple[float, float]]:
    """Project onto the two directions in which things differ most (PCA).

    Args:
        features: (n, f); each is scaled to a standard deviation of 1, constant ones count nowhere.

    Returns:
        (n, 2) places, and the fractions of the whole variance that both directions have. An axis points to where its
        largest weight is positive.
    """
    points = _scaled(features)
    if not points.size:
        return np.zeros((len(features), 2)), (0.0, 0.0)
    _, sizes, axes = np.linalg.svd(points, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(len(axes[:2])), np.abs(axes[:2]).argmax(axis=1)])[:, np.newaxis]
    places = np.zeros((len(points), 2))
    places[:, : len(axes)] = points @ axes.T
    fractions = np.zeros(2)
    fractions[: len(axes)] = sizes[:2] ** 2 / (sizes**2).sum()
    return places, (float(fractions[0]), float(fractions[1]))


def neighbour_plane(features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Place things so that near ones stay near (t-SNE, van der Maaten and Hinton 2008; begins with PCA, seed 0).

    Args:
        features: (n, f); scaled as for `principal_plane`.

    Returns:
        (n, 2) places; distances between far groups mean nothing.

    Raises:
        MissingExtraError: scikit-learn is not installed.
    """
    with extra("tsne", why="t-SNE; --map pca needs nothing"):
        from sklearn.manifold import TSNE
    points = _scaled(features)
    if len(points) < _FEW or not points.size:
        return principal_plane(features)[0]
    perplexity = min(30.0, (len(points) - 1) / 3)
    found = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
    return np.asarray(found, np.float64)


def _scaled(features: NDArray[np.float64]) -> NDArray[np.float64]:
    spread = features.std(axis=0) if len(features) else np.zeros(features.shape[1])
    varied = spread > _FLAT
    return np.asarray((features[:, varied] - features[:, varied].mean(axis=0)) / spread[varied])
