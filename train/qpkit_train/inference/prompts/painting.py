"""The objects of a slide into its rasters: which object each pixel belongs to, block by block."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qpkit_train.inference.prompts.objects import FoundObject

BLOCK: Final = 512
"""Side of what is held at a time, raster px."""

Numbers = NDArray[np.int32]
"""(BLOCK, BLOCK): of the objects, from 1; 0 elsewhere."""


def painted(objects: Sequence[FoundObject]) -> Iterator[tuple[int, int, Numbers]]:
    """Say block by block which object each pixel belongs to: the one that is the surest of it, of equal ones the first.

    Args:
        objects: Number i + 1 is objects[i].

    Returns:
        (x, y, numbers) of the blocks that hold any, from the top; x and y of their upper left corners.
    """
    in_block: dict[tuple[int, int], list[int]] = defaultdict(list)
    for number, item in enumerate(objects, start=1):
        height, width = item.probabilities.shape
        for row in range(item.y // BLOCK, (item.y + height - 1) // BLOCK + 1):
            for col in range(item.x // BLOCK, (item.x + width - 1) // BLOCK + 1):
                in_block[row, col].append(number)
    for (row, col), numbers in sorted(in_block.items()):
        x, y = col * BLOCK, row * BLOCK
        yield x, y, _block({number: objects[number - 1] for number in numbers}, x, y)


def _block(objects: Mapping[int, FoundObject], x: int, y: int) -> Numbers:
    found, surest = np.zeros((BLOCK, BLOCK), np.int32), np.zeros((BLOCK, BLOCK), np.float32)
    for number, item in objects.items():
        height, width = item.probabilities.shape
        top, left = max(y, item.y), max(x, item.x)
        bottom, right = min(y + BLOCK, item.y + height), min(x + BLOCK, item.x + width)
        own = item.probabilities[top - item.y : bottom - item.y, left - item.x : right - item.x]
        there = np.s_[top - y : bottom - y, left - x : right - x]
        wins = own > surest[there]
        found[there][wins], surest[there][wins] = number, own[wins]
    return found
