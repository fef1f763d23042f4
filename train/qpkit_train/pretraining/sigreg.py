"""Descriptions spread as a standard normal distribution: what keeps a joint embedding from becoming all alike.

Source: Balestriero and LeCun 2025, LeJEPA: sketched isotropic Gaussian regularization. The statistic along each
direction is that of Epps and Pulley 1983: how far the empirical characteristic function is from the normal one.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

_KNOTS: Final = 17
_REACH: Final = 5.0
"""The integral is a sum at 17 places from -5 to 5, as published."""


def epps_pulley(values: Tensor) -> Tensor:
    """How far samples are from standard normal.

    Args:
        values: (n, directions) float32.

    Returns:
        (directions,): n times the integral of |difference of the characteristic functions| ** 2, weighed by a normal
        density without its constant; about 1 for normal samples, in the order of n for samples that are all alike.
    """
    places = torch.linspace(-_REACH, _REACH, _KNOTS, dtype=values.dtype, device=values.device)
    window = torch.exp(-0.5 * places**2)
    angles = values.unsqueeze(-1) * places
    real, imaginary = angles.cos().mean(dim=0) - window, angles.sin().mean(dim=0)
    return len(values) * torch.trapezoid((real**2 + imaginary**2) * window, places, dim=-1)


def sigreg(embeddings: Tensor, directions: Tensor) -> Tensor:
    """The mean statistic along random directions.

    Args:
        embeddings: (n, width).
        directions: (width, count); scaled to length 1 here.
    """
    return epps_pulley(embeddings @ (directions / directions.norm(dim=0, keepdim=True))).mean()
