"""What makes a training come out the same each time: torch's own random numbers, and a GPU that adds in one order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import numpy as np
import torch

from qpkit.errors import ConfigError
from qpkit_train.machine.processes import rank

_REFUSED: Final = " does not have a deterministic implementation"
"""How torch says that, after the name of what it was asked for."""


@contextmanager
def seeded(seed: int, part: int, device: torch.device) -> Iterator[None]:
    """Seed torch's own generators (initial weights, dropout) for a block and put them back afterwards."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        # Initial weights (part 0) are those of one process in all; the dropout of the others has numbers of its own.
        key = (seed, part, 2, rank()) if part and rank() else (seed, part, 2)
        torch.manual_seed(int(np.random.default_rng(key).integers(2**62)))
        yield


@contextmanager
def same_bits(wanted: bool, device: torch.device) -> Iterator[None]:
    """Where it is wanted, let a GPU compute in a block only what gives the same bits each time; a CPU always does.

    Raises:
        ConfigError: Something in the block cannot be computed like that.
    """
    if not wanted or device.type != "cuda":
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # torch refuses cuBLAS without
    torch.use_deterministic_algorithms(True)
    try:
        yield
    except RuntimeError as err:
        if _REFUSED not in str(err):
            raise
        what = str(err).split(_REFUSED)[0]
        raise ConfigError(f"{what} does not give the same bits each time on a GPU: deterministic=false") from err
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
