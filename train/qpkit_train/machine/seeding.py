"""torch's own random numbers: initial weights, and what dropout draws."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from qpkit_train.machine.processes import rank


@contextmanager
def seeded(seed: int, part: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators (initial weights, dropout) for a block and put them back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Initial weights (part 0) are those of one process in all; the dropout of the others has numbers of its own.
        key = (seed, part, 2, rank()) if part and rank() else (seed, part, 2)
        torch.manual_seed(int(np.random.default_rng(key).integers(2**62)))
        yield
