"""How well clusters divide a graph: more edges inside of them than in a random graph with the same degrees."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qpkit_train.unsupervised.patch_graph import PatchGraph
from qpkit_train.unsupervised.symmetric import times


def modularity(memberships: Tensor, adjacency: Tensor) -> Tensor:
    """Tr(C^T B C) / (2 m) with B = A - d d^T / (2 m), which is never formed. Newman 2006.

    Args:
        memberships: (n, k), C; rows sum to 1.
        adjacency: (n, n) from `symmetric_matrix`, A: without a diagonal, with an edge.

    Returns:
        In -0.5..1; of memberships of 0 and 1 it is the modularity of that division.
    """
    degrees = times(adjacency, memberships.new_ones(len(memberships), 1))[:, 0]
    twice = degrees.sum()
    inside = (memberships * times(adjacency, memberships)).sum()
    expected = (degrees @ memberships).square().sum() / twice
    return (inside - expected) / twice


def modularity_loss(memberships: Tensor, adjacency: Tensor) -> Tensor:
    """- modularity + sqrt(k) / n ||sum_i C_i|| - 1: low if clusters divide the graph and are equally large.

    Args:
        memberships, adjacency: As of `modularity`.

    Source: Reddy et al. 2024, equation 8; the balance is that of Tsitsulin et al. 2023 (DMoN): 0 for equal clusters,
    sqrt(k) - 1 if all are in one.
    """
    nodes, clusters = memberships.shape
    balance: Tensor = clusters**0.5 / nodes * torch.linalg.vector_norm(memberships.sum(dim=0)) - 1
    return balance - modularity(memberships, adjacency)


def modularity_of(labels: NDArray[np.int64], graph: PatchGraph) -> float:
    """Modularity of a division, counted in whole numbers: (n,) clusters from 0."""
    one, other = labels[graph.edges.T]
    edges = len(graph.edges)
    total = np.bincount(labels, weights=graph.degrees).astype(np.float64)
    return float((one == other).sum() / edges - ((total / (2 * edges)) ** 2).sum())
