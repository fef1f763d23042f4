"""Which patches a clustering learns from, in an order that depends on what they show and not on how they came.

So the same patches in another order make the same clusters, bit for bit.
"""

from __future__ import annotations

import hashlib
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from qpkit.errors import ConfigError

_AT_ONCE: Final = 256
"""Patches that are floats at the same time."""

_IN_USE: Final = 0.01
"""Of all things, that a cluster has at least if it counts as in use."""


def clusters_in_use(memberships: NDArray[np.float32]) -> int:
    """Clusters that are the most probable one of at least 1 % of the things: of (n, k) memberships."""
    sizes = np.bincount(memberships.argmax(axis=1), minlength=memberships.shape[1])
    return int((sizes >= _IN_USE * len(memberships)).sum())


def check_clusters(things: int, clusters: int, *, what: str = "patches with tissue") -> None:
    """Raise unless there is something to divide.

    Raises:
        ConfigError: Fewer than two clusters, or fewer things than clusters.
    """
    if clusters < 2:
        raise ConfigError(f"clusters = {clusters} divides nothing; say 2 or more")
    if things < clusters:
        raise ConfigError(f"{things} {what} are less than {clusters} clusters; ask for fewer, or give more tissue")


def check_not_alike(things: NDArray[np.generic], *, what: str = "patches") -> None:
    """Raise if all things are the same.

    Args:
        things: (n, ...) of any type.
        what: Their name.

    Raises:
        ConfigError: They are.
    """
    if all(np.array_equal(things[0], other) for other in things[1:]):
        raise ConfigError(f"all {len(things):,} {what} are the same, so nothing divides them; give slides with tissue")


def content_order(patches: NDArray[np.uint8], *, seed: int) -> NDArray[np.int64]:
    """Number patches in an order that their pixels and a seed decide: as random, whatever order they came in.

    The first m of it are a sample of m patches.

    Args:
        patches: (n, h, w, 3).
        seed: Another one gives another order.

    Returns:
        (n,) places of the patches; equal ones keep their order.
    """
    key = seed.to_bytes(8, "little")
    digests = [hashlib.blake2b(patch.tobytes(), digest_size=16, key=key).digest() for patch in patches]
    return np.array(sorted(range(len(digests)), key=digests.__getitem__), dtype=np.int64)


def resized(patches: NDArray[np.uint8], side_px: int) -> NDArray[np.uint8]:
    """Resize patches, bilinear with smoothing as Pillow and torchvision do; those of the right size stay as they are.

    Args:
        patches: (n, h, w, 3).
        side_px: Of what comes out.

    Returns:
        (n, side_px, side_px, 3).
    """
    if patches.shape[1:3] == (side_px, side_px):
        return patches
    found = np.empty((len(patches), side_px, side_px, 3), np.uint8)
    for start in range(0, len(patches), _AT_ONCE):
        part = torch.from_numpy(np.ascontiguousarray(patches[start : start + _AT_ONCE])).movedim(-1, 1).float()
        small = F.interpolate(part, size=(side_px, side_px), mode="bilinear", antialias=True)
        found[start : start + _AT_ONCE] = small.round().clamp(0, 255).byte().movedim(1, -1).numpy()
    return found


def principal_components(patches: NDArray[np.uint8], count: int, *, seed: int) -> NDArray[np.float64]:
    """Describe patches by the directions in which their raw pixels differ most, in memory of a few patches.

    Args:
        patches: (n, h, w, 3).
        count: Directions, at most; there are no more than patches or values.
        seed: Of the directions that are tried first.

    Returns:
        (n, directions) in grey levels, largest variance first.

    Source: Halko, Martinsson and Tropp 2011, algorithm 4.4 with two iterations.
    """
    flat = patches.reshape(len(patches), -1)
    mean = flat.mean(axis=0, dtype=np.float64)
    wanted = min(count, *flat.shape)
    width = min(wanted + 10, *flat.shape)
    directions = np.random.default_rng((seed, 1)).standard_normal((flat.shape[1], width))
    for _ in range(3):
        basis = np.linalg.qr(_times(flat, mean, directions))[0]
        directions = np.linalg.qr(_turned_times(flat, mean, basis))[0]
    left, sizes, _ = np.linalg.svd(_times(flat, mean, directions), full_matrices=False)
    return np.asarray((left * sizes)[:, :wanted])


def _times(flat: NDArray[np.uint8], mean: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.float64]:
    """(flat - mean) @ right, some patches at a time."""
    parts = [(flat[start : start + _AT_ONCE] - mean) @ right for start in range(0, len(flat), _AT_ONCE)]
    return np.concatenate(parts)


def _turned_times(
    flat: NDArray[np.uint8], mean: NDArray[np.float64], right: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(flat - mean).T @ right, some patches at a time."""
    total = np.zeros((flat.shape[1], right.shape[1]))
    for start in range(0, len(flat), _AT_ONCE):
        total += (flat[start : start + _AT_ONCE] - mean).T @ right[start : start + _AT_ONCE]
    return total
