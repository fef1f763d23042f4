"""A graph convolution with auto-regressive moving average filters. Bianchi et al. 2021, IEEE TPAMI (arXiv 1901.01343).

Each of K filters repeats T times: X' = relu(L X W + X0 V + b) with L = D^-1/2 A D^-1/2, X0 the features that came in,
and weights of their own for every filter and repetition; the answer is the mean of the filters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qpkit_train.unsupervised.symmetric import times


class ArmaConv(nn.Module):
    """K filters of T repetitions, as torch_geometric's ARMAConv with its defaults.

    Args:
        channels: Of the features of a node.
        out: Of the answer.
        stacks: Filters, K.
        layers: Repetitions, T.
        dropout: Of the features that enter each repetition anew.

    Attributes:
        first: (K, channels, out), W of the first repetition.
        further: (T - 1, K, out, out), W of the others.
        root: (T, K, channels, out), V.
        bias: (T, K, 1, out).
    """

    def __init__(self, channels: int, out: int, *, stacks: int, layers: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.first = nn.Parameter(_glorot(stacks, channels, out))
        self.further = nn.Parameter(_glorot(layers - 1, stacks, out, out))
        self.root = nn.Parameter(_glorot(layers, stacks, channels, out))
        self.bias = nn.Parameter(torch.zeros(layers, stacks, 1, out))
        self._dropout = dropout

    def forward(self, features: Tensor, normalized: Tensor) -> Tensor:
        """Filter the features of a graph.

        Args:
            features: (n, channels).
            normalized: (n, n) from `symmetric_matrix`, L; a row of 0 leaves a node with its own features.

        Returns:
            (n, out), none of it negative.
        """
        state = features.expand(len(self.first), -1, -1)
        for number, (root, bias) in enumerate(zip(self.root, self.bias, strict=True)):
            state = state @ (self.first if number == 0 else self.further[number - 1])
            entering = F.dropout(features, self._dropout, self.training)
            state = torch.relu(_neighbours(normalized, state) + entering @ root + bias)
        return state.mean(dim=0)


def _neighbours(normalized: Tensor, state: Tensor) -> Tensor:
    """(n, n) sparse times each of (K, n, f), in one product."""
    stacks, nodes, width = state.shape
    side_by_side = state.movedim(0, 1).reshape(nodes, stacks * width)
    return times(normalized, side_by_side).view(nodes, stacks, width).movedim(1, 0)


def _glorot(*shape: int) -> Tensor:
    """Uniform within sqrt(6 / (rows + columns)), for each matrix."""
    bound = (6 / (shape[-2] + shape[-1])) ** 0.5
    return torch.empty(shape).uniform_(-bound, bound)
