"""How many pixels of a large mask have each value."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled

_LARGE: Final = 1 << 20


def histogram(mask: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the pixels of each value: (256,) int64. Long runs of one value, as masks have them, cost little."""
    pixels = np.ascontiguousarray(mask).reshape(-1)
    if pixels.size < _LARGE:
        return np.bincount(pixels, minlength=256)
    counts = np.zeros(256, np.int64)
    whole = pixels.size // 8 * 8
    compiled(_count)(pixels[:whole].view(np.uint64), pixels[:whole], counts)
    return counts + np.bincount(pixels[whole:], minlength=256)


def _count(words, pixels, counts):
    """Eight pixels of one value at once."""
    for i in range(len(words)):
        first = pixels[8 * i]
        if words[i] == np.uint64(first) * np.uint64(0x0101010101010101):
            counts[first] += 8
        else:
            for k in range(8 * i, 8 * i + 8):
                counts[pixels[k]] += 1
