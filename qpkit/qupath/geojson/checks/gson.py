"""What Gson, the JSON library of QuPath, makes of plain values: which can be asked for a text, a number, an integer."""

from __future__ import annotations

import math
import re
import sys
from typing import Any, Final

_DOUBLE: Final = re.compile(r"\s*[+-]?(NaN|Infinity|((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?)[fFdD]?)\s*", re.ASCII)
_INTEGER: Final = re.compile(r"[+-]?\d+", re.ASCII)
_SPECIAL: Final = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)
_INT_END: Final = 1 << 31


def is_plain(value: Any) -> bool:
    """Whether getAsString works: a text, number or boolean, or a list with only one such value."""
    if isinstance(value, list):
        return len(value) == 1 and is_plain(value[0])
    return value is not None and not isinstance(value, dict)


def is_double(value: Any) -> bool:
    """Whether getAsDouble works: a number, or a text that Java reads as one."""
    if isinstance(value, str):
        return _DOUBLE.fullmatch(value) is not None
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_finite(value: float | str) -> bool:
    """Whether a value for which is_double holds is a finite number."""
    if isinstance(value, str):
        value = math.inf if _SPECIAL.search(value) else float(value.strip().rstrip("fFdD"))
    # Not math.isfinite, which fails for integers beyond all doubles.
    return abs(value) <= sys.float_info.max


def is_integer(value: Any) -> bool:
    """Whether getAsInt works: any finite number (it is cut), or a text of digits."""
    if isinstance(value, str):
        if _INTEGER.fullmatch(value) is None:
            return False
        # Cut, as Python refuses to read thousands of digits; twenty are too many for an int already.
        size = int(value.lstrip("+-").lstrip("0")[:20] or 0)
        return size < _INT_END or (size == _INT_END and value.startswith("-"))
    return isinstance(value, int | float) and not isinstance(value, bool) and is_finite(value)


def is_whole(value: Any) -> bool:
    """Whether JsonReader.nextInt works: a whole number, also as a text."""
    if isinstance(value, str):
        if not is_double(value) or not is_finite(value):
            return False
        value = float(value.strip().rstrip("fFdD"))
    if not isinstance(value, int | float) or isinstance(value, bool):
        return False
    return abs(value) < _INT_END and value % 1 == 0


def is_measurement(value: str) -> bool:
    """Whether a text in a map of measurements is a number for QuPath 0.5 and later ("nan" and "inf" are)."""
    return _DOUBLE.fullmatch(value) is not None or _SPECIAL.fullmatch(value.strip()) is not None
