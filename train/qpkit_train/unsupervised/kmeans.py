"""k-means with several beginnings: where mixtures start from."""

from __future__ import annotations

import warnings
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.cluster.vq import kmeans2, vq

_STARTS: Final = 10
_STEPS: Final = 100


def kmeans(points: NDArray[np.float64], clusters: int, *, seed: int) -> NDArray[np.int64]:
    """Divide points so that they lie near the mean of their cluster; the best of ten beginnings (k-means++).

    Args:
        points: (n, d), at least as many as clusters.
        clusters: How many; fewer come out where fewer points differ.
        seed: Of the beginnings.

    Returns:
        (n,) numbers from 0, the largest cluster first.
    """
    best, least = np.zeros(len(points), np.int64), np.inf
    apart = min(clusters, len(np.unique(points, axis=0)))
    for start in range(_STARTS):
        with warnings.catch_warnings():
            # A cluster that got no point; another beginning will be better.
            warnings.simplefilter("ignore", UserWarning)
            rng = np.random.default_rng((seed, 2, start))
            means, _ = kmeans2(points, apart, iter=_STEPS, minit="++", rng=rng)
        labels, distances = vq(points, means)
        if (total := float((distances**2).sum())) < least:
            best, least = labels.astype(np.int64), total
    return by_size(best, clusters)


def by_size(labels: NDArray[np.int64], clusters: int) -> NDArray[np.int64]:
    """Number clusters anew, the largest first; of equal ones the lower number."""
    order = np.argsort(-np.bincount(labels, minlength=clusters), kind="stable")
    places = np.empty(clusters, np.int64)
    places[order] = np.arange(clusters)
    return places[labels]
