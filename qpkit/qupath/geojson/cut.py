"""Find where whole objects end in the text of a JSON array, a chunk at a time with numpy.

Only quotes, backslashes and braces are looked at, some 25 a feature; the brackets of all its points are not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_QUOTE, _BACKSLASH, _COMMA, _OPEN, _CLOSE = b'"\\,{}'
_NEXT: Final = re.compile(rb"[ \t\r\n]*(.?)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Cut:
    """How far whole objects reach, whether the array closes behind them, or something odd follows."""

    end: int
    closed: bool
    is_odd: bool


def cut_objects(text: bytes) -> Cut:
    """Find the whole objects at the start of the rest of an array.

    Args:
        text: From an element, or from behind one, on; outside of any string.
    """
    codes = np.frombuffer(text, dtype=np.uint8)
    braces = np.flatnonzero((codes == _OPEN) | (codes == _CLOSE))
    outside = np.searchsorted(_quotes(text, codes), braces) % 2 == 0  # as many quotes open as close before it
    braces = braces[outside]
    depth = np.cumsum(np.where(codes[braces] == _OPEN, 1, -1))
    below = np.flatnonzero(depth < 0)
    if below.size:  # the object around the array ends here
        braces, depth = braces[: below[0]], depth[: below[0]]
    ends = braces[depth == 0] + 1
    inside = _first_inside_array(text, braces[(depth == 1) & (codes[braces] == _OPEN)], ends)
    ends = ends[:inside]
    # A zero, as the last object may end with the text.
    follows = np.append(codes, 0)[ends]
    for index in np.flatnonzero(follows != _COMMA):
        end = int(ends[index])
        match = _NEXT.match(text, end)
        if match is not None and match[1] == b"]":
            return Cut(end, True, False)
    return Cut(int(ends[-1]) if ends.size else 0, False, below.size > 0 or inside is not None)


def _first_inside_array(text: bytes, starts: NDArray[np.intp], ends: NDArray[np.intp]) -> int | None:
    """Find the first object that is in a list inside the array, not an element; what is between elements tells."""
    before = np.concatenate([[0], ends])[: len(starts)]
    # Nearly always there is one byte between elements, the comma.
    for index in np.flatnonzero(starts - before != 1):
        if b"[" in text[before[index] : starts[index]]:
            return int(index)
    return None


def _quotes(text: bytes, codes: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Positions of the quotes that begin or end a string."""
    quotes = np.flatnonzero(codes == _QUOTE)
    if b"\\" not in text or not quotes.size:
        return quotes
    slashes = np.flatnonzero(codes == _BACKSLASH)
    begins = np.flatnonzero(np.diff(slashes, prepend=-2) != 1)  # of runs of backslashes
    run = np.searchsorted(slashes, quotes) - 1  # the last backslash before each quote
    before = slashes[run]
    behind_slash = (run >= 0) & (before == quotes - 1)
    start = slashes[begins[np.searchsorted(begins, run, side="right") - 1]]
    # By the last slash of a run of odd length; of an even one each slash escapes another.
    escaped = behind_slash & ((before - start) % 2 == 0)
    found: NDArray[np.intp] = quotes[~escaped]
    return found
