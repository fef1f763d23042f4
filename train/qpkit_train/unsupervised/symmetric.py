"""Sparse symmetric matrices times dense ones: what learning on graphs spends its time with."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor


def symmetric_matrix(ends: NDArray[Any], weights: NDArray[Any], size: int, device: torch.device) -> Tensor:
    """Make a sparse (size, size) float32 of what lies above its diagonal.

    Args:
        ends: (m, 2) rows and columns, each pair once.
        weights: (m,).
        size: Rows and columns.
        device: Where it lies.
    """
    pairs = torch.from_numpy(ends).long().T
    values = torch.from_numpy(weights).float().repeat(2)
    places = torch.cat([pairs, pairs.flip(0)], dim=1)
    with warnings.catch_warnings():
        # Said by torch 2.11 even where check_invariants is given.
        warnings.filterwarnings("ignore", message="Sparse invariant checks")
        warnings.filterwarnings("ignore", message="Sparse CSR tensor support")
        whole = torch.sparse_coo_tensor(places, values, (size, size), check_invariants=False)
        return whole.coalesce().to(device).to_sparse_csr()


def times(matrix: Tensor, dense: Tensor) -> Tensor:
    """(n, n) from `symmetric_matrix` times (n, f); only the dense one gets a gradient.

    torch turns the matrix over for every gradient, which takes three times as long for 2 million edges; a symmetric one
    is its own.
    """
    product: Tensor = _Times.apply(matrix, dense)  # type: ignore[no-untyped-call] # torch leaves it untyped
    return product


class _Times(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, dense: Tensor) -> Tensor:
        ctx.matrix = matrix
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[None, Tensor]:
        return None, ctx.matrix @ gradients[0].contiguous()
