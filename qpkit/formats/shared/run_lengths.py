"""COCO's run lengths: pixels of a mask column by column, counts of 0 and 1 in turn, as numbers or as a packed text.

Source: the text packs each count (from the fourth on as the difference to the one two before) into characters of five
bits and a continuation bit, plus 48, as maskApi of the COCO API does; compared with pycocotools in the tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import FormatError
from qpkit.ops.masks.rasterize import rasterize
from qpkit.ops.vectors.arcs import Arcs, moved, transposed
from qpkit.ops.vectors.sweep import trace
from qpkit.ops.vectors.vectorize import outlines_of

_INSIDE: Final = PathClass(("inside",))
_LABELS: Final = LabelMap(classes=(LabelClass("inside", 1, ("inside",)),))
_OFFSET: Final = 48
_MOST_PX: Final = 1 << 34
_LONGEST_SIDE: Final = 1 << 20
_STRIP_PX: Final = 1 << 22


def unpack(text: str | bytes, where: str) -> list[int]:
    """Read packed counts.

    Raises:
        FormatError: A character that cannot be in it, or an end in the middle.
    """
    counts: list[int] = []
    value = shift = 0
    for code in text.encode("latin-1", "replace") if isinstance(text, str) else text:
        bits = code - _OFFSET
        if not 0 <= bits < 64 or shift > 60:
            raise FormatError(f"{where}: run lengths hold {chr(code)!r}")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise FormatError(f"{where}: run lengths end in the middle of a number")
    return counts


def pack(counts: Sequence[int]) -> str:
    """Write packed counts (see `unpack`)."""
    made: list[str] = []
    for index, count in enumerate(counts):
        left = count - (counts[index - 2] if index > 2 else 0)
        more = True
        while more:
            # Shifts keep the sign: negative differences end where all bits left are ones.
            bits = left & 31
            left >>= 5
            more = left != (-1 if bits & 16 else 0)
            made.append(chr((bits | (32 if more else 0)) + _OFFSET))
    return "".join(made)


def require_traceable(width: int, height: int, where: str) -> None:
    """Refuse a mask of more pixels than any slide has: its run lengths may be a few bytes, its pixels are not.

    Args:
        width, height: Of the mask, px.
        where: For messages.

    Raises:
        FormatError: A side is under 1 or over 2^20 px, or there are more than 2^34 px.
    """
    if not (0 < width <= _LONGEST_SIDE and 0 < height <= _LONGEST_SIDE) or width * height > _MOST_PX:
        raise FormatError(f"{where}: a mask of {width:.7g} x {height:.7g} px is larger than any slide")


def read_rle(record: dict[str, Any], where: str) -> BaseGeometry:
    """Trace the pixels of a run-length mask.

    Args:
        record: {"size": [height, width], "counts": list or text}.
        where: For messages.

    Returns:
        Polygons along pixel edges, holes kept, in px of the mask; empty for an empty mask.

    Raises:
        FormatError: Sizes or counts that are none, or do not fit together.
    """
    size, raw = record.get("size"), record.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(isinstance(n, int) and n > 0 for n in size):
        raise FormatError(f"{where}: run lengths need a size of [height, width], not {size!r}")
    counts = unpack(raw, where) if isinstance(raw, str) else raw
    if not isinstance(counts, list) or not all(isinstance(n, int) and n >= 0 for n in counts):
        raise FormatError(f"{where}: run lengths are not counts")
    height, width = size
    require_traceable(width, height, where)
    if sum(counts) != height * width:
        raise FormatError(f"{where}: run lengths of {sum(counts)} px do not fill {width} x {height} px")
    values = (np.arange(len(counts)) % 2).astype(np.uint8)
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    # Its lines are columns.
    polygons = list(outlines_of(transposed(traced_runs(values, ends, line_px=height))).polygons)
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


def traced_runs(values: NDArray[np.uint8], ends: NDArray[np.int64], *, line_px: int) -> Arcs:
    """Trace runs, so many lines at a time that memory stays small; what is 0 around them is left out.

    Args:
        values: Of each run; 0 is background.
        ends: How many pixels each run and all before it have.
        line_px: Pixels of a line.

    Returns:
        The borders, y being the line, and x the pixel in it.
    """
    starts = np.concatenate([[0], ends[:-1]])
    inked = np.flatnonzero((values != 0) & (ends > starts))
    if not len(inked):
        return trace((), skip=(0,))
    begins, stops = starts[inked], ends[inked] - 1
    is_wide = (begins // line_px != stops // line_px).any()
    left, right = (0, line_px) if is_wide else (int((begins % line_px).min()), int((stops % line_px).max()) + 1)
    first, last = int(begins[0]) // line_px, int(stops[-1]) // line_px + 1

    def strips() -> Iterator[tuple[int, NDArray[np.uint8], None]]:
        lines = max(1, _STRIP_PX // line_px)
        for top in range(first, last, lines):
            begin, end = top * line_px, min(top + lines, last) * line_px
            run, last_run = np.searchsorted(ends, (begin, end - 1), side="right").tolist()
            here = slice(run, last_run + 1)
            if values[here].any():
                cut = np.clip(ends[here], begin, end)
                lengths = cut - np.concatenate([[begin], cut[:-1]])
                strip = np.repeat(values[here], lengths).reshape(-1, line_px)
                yield top - first, np.ascontiguousarray(strip[:, left:right]), None

    return moved(trace(strips(), skip=(0,)), left, first)


def write_rle(geometry: BaseGeometry, *, width: int, height: int) -> tuple[dict[str, Any], int]:
    """Draw an area (a pixel belongs to it if its centre lies inside) and write its runs.

    Args:
        geometry: Slide frame; what lies outside the image is left out.
        width, height: Of the image, px.

    Returns:
        (record, pixels): the record with packed counts, and how many pixels the area has.
    """
    x, y, x2, y2 = geometry.bounds
    left, top = min(max(0, int(x)), width), min(max(0, int(y)), height)
    right, bottom = max(left, min(width, int(x2) + 1)), max(top, min(height, int(y2) + 1))
    if right == left or bottom == top:
        return {"size": [height, width], "counts": pack([width * height])}, 0
    tile = Tile(col=0, row=0, x=left, y=top, width=right - left, height=bottom - top)
    mask = rasterize([Annotation(geometry=geometry, path_class=_INSIDE)], tile, _LABELS)
    padded = np.zeros((right - left, height), dtype=np.int8)
    padded[:, top:bottom] = mask.T
    steps = np.flatnonzero(np.diff(padded.ravel(), prepend=0, append=0)) + left * height
    edges = np.concatenate([[0], steps, [width * height]])
    counts = np.diff(edges).tolist()
    if counts[-1] == 0:
        counts.pop()
    return {"size": [height, width], "counts": pack(counts)}, int(mask.sum())
