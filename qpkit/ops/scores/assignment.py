"""Which class each cluster stands for: clusters have numbers, and numbers mean nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment


def best_assignment(counts: NDArray[np.int64]) -> list[int]:
    """Assign clusters to classes so that the sum of Dice over the pairs is largest (Kuhn 1955, the Hungarian method).

    Of as many clusters as classes each class gets one; for two of each it is the better of both ways. Where there are
    more clusters, each that is left over goes to the class with which it shares most px.

    Args:
        counts: (clusters, classes) px.

    Returns:
        The class of each cluster, from 0; of equal ones the first.
    """
    sizes = counts.sum(axis=1, keepdims=True) + counts.sum(axis=0, keepdims=True)
    dice = 2 * counts / np.maximum(sizes, 1)
    chosen = counts.argmax(axis=1)
    clusters, classes = linear_sum_assignment(dice, maximize=True)
    chosen[clusters] = classes
    return [int(number) for number in chosen]


def assigned(counts: NDArray[np.int64], assignment: Sequence[int]) -> NDArray[np.int64]:
    """A confusion matrix, rows true and columns predicted, of clusters that have been given classes.

    Args:
        counts: (clusters, classes) px.
        assignment: The class of each cluster.
    """
    confusion = np.zeros((counts.shape[1], counts.shape[1]), np.int64)
    np.add.at(confusion.T, np.array(assignment, np.int64), counts)
    return confusion
