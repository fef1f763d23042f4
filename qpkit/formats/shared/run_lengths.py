"""COCO's run lengths: pixels of a mask column by column, counts of 0 and 1 in turn, as numbers or as a packed text.

Source: the text packs each count (from the fourth on as the difference to the one two before) into characters of five
bits and a continuation bit, plus 48, as maskApi of the COCO API does; compared with pycocotools in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
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
from qpkit.ops.vectors.merge import merge
from qpkit.ops.vectors.vectorize import vectorize

_INSIDE: Final = PathClass(("inside",))
_LABELS: Final = LabelMap(classes=(LabelClass("inside", 1, ("inside",)),))
_OFFSET: Final = 48


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
    if sum(counts) != height * width:
        raise FormatError(f"{where}: run lengths of {sum(counts)} px do not fill {width} x {height} px")
    ends = np.cumsum(np.asarray(counts, dtype=np.int64))
    starts, stops = ends[0::2], ends[1::2]
    starts = starts[: len(stops)]
    full = stops > starts
    if not full.any():
        return shapely.Polygon()
    return _trace(starts[full], stops[full], height)


def _trace(starts: NDArray[np.int64], stops: NDArray[np.int64], height: int) -> BaseGeometry:
    left, right = int(starts.min() // height), int((stops.max() - 1) // height) + 1
    columns = np.zeros((right - left) * height, dtype=np.int8)
    np.add.at(columns, starts - left * height, 1)
    ends = stops - left * height
    np.add.at(columns, ends[ends < len(columns)], -1)
    mask = np.cumsum(columns, dtype=np.int8).astype(np.uint8).reshape(right - left, height).T
    rows = np.flatnonzero(mask.any(axis=1))
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    found = merge([vectorize(np.ascontiguousarray(mask[top:bottom]), skip=(0,), x=left, y=top)])
    polygons = found.get(1, [])
    return polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)


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
