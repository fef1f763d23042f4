"""Which of many candidates to take: the best ones that are not all alike."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

_FLAT: Final = 1e-9


def spread_out(
    features: NDArray[np.float64], scores: NDArray[np.float64], covered: NDArray[np.float64] | None = None
) -> Iterator[tuple[int, float]]:
    """Order candidates greedily by score times distance to the nearest one that is taken or covered already.

    With equal scores this is the k-centre algorithm of Gonzalez 1985, the core-set of Sener and Savarese 2018. Where
    nothing is covered, the best-scored candidate is the first, of equal ones the most typical.

    Args:
        features: (n, f); each is scaled to a standard deviation of 1 over the candidates, constant ones count nowhere.
        scores: (n,) above 0: how much each is worth.
        covered: (m, f) features of what needs no more attention.

    Yields:
        Each candidate with its distance, all of them in the end; a distance of 1 is that of a typical candidate from
        the mean of all.
    """
    count = len(features)
    if not count:
        return
    mean, spread = features.mean(axis=0), features.std(axis=0)
    varied = spread > _FLAT
    scale = spread[varied] * math.sqrt(max(1, int(np.count_nonzero(varied))))
    points = (features[:, varied] - mean[varied]) / scale
    taken = np.zeros(count, np.bool_)
    far = np.full(count, np.inf)
    for row in () if covered is None else (covered[:, varied] - mean[varied]) / scale:
        far = np.minimum(far, np.linalg.norm(points - row, axis=1))
    for _ in range(count):
        if np.isinf(far).all():
            typical = np.linalg.norm(points, axis=1)
            best = int(np.lexsort((np.arange(count), typical, -scores))[0])
            distance = 1.0
        else:
            worth = np.where(taken, -1.0, scores * far)
            best = int(np.argmax(worth))
            distance = float(far[best])
        taken[best] = True
        yield best, distance
        far = np.minimum(far, np.linalg.norm(points - points[best], axis=1))
