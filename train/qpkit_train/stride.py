"""Which sizes networks take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

STRIDE: Final = 32
"""Images are padded to multiples of this: encoders halve at most five times. Foreign models may need others."""


def stride_for(factors: Sequence[int]) -> int:
    """What tiles are multiples of, so that the px of surroundings line up with theirs and nothing is padded."""
    return math.lcm(STRIDE, *(2 * factor for factor in factors if factor > 1))
