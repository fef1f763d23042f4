"""Polygons as well-known binary straight from columns of numbers: through shapely each becomes an object in between."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from qpkit.compiled import compiled

_HEAD: Final = 9
"""Bytes of a polygon or a multipolygon before its rings or polygons: order of bytes, type, how many."""


def polygons_as_wkb(
    corners: NDArray[np.float64],
    rings: NDArray[np.integer[Any]],
    parts: NDArray[np.integer[Any]],
    shapes: NDArray[np.integer[Any]],
    is_single: NDArray[np.bool_],
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Write polygons and multipolygons, the bytes of `shapely.to_wkb(..., byte_order=1)`.

    Args:
        corners: (corners, 2) of all rings, each closed.
        rings, parts, shapes: Where each ring, polygon and shape begins among corners, rings and polygons, and where the
            last ends, as `shapely.to_ragged_array` has it.
        is_single: (shapes,): whether a shape is a polygon, and no multipolygon of one.

    Returns:
        All bytes; and where each shape begins in them, and where the last ends, (shapes + 1,).
    """
    of_rings = sums(4 + 16 * np.diff(rings))
    of_parts = sums(_HEAD + np.diff(of_rings[parts]))
    of_shapes = sums(np.where(is_single, 0, _HEAD) + np.diff(of_parts[shapes]))
    content = np.empty(of_shapes[-1], np.uint8)
    numbers = np.ascontiguousarray(corners, "<f8").view(np.uint8).ravel()
    compiled(_fill, _put_head, _put_count)(numbers, rings, parts, shapes, is_single, content)
    return content, of_shapes


def normalized(
    corners: NDArray[np.floating[Any]],
    rings: NDArray[np.integer[Any]],
    parts: NDArray[np.integer[Any]],
    shapes: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Give valid polygons the form that `shapely.normalize` gives them, which is the same for the same shape.

    Rings begin at their leftmost, lowest corner; shells go clockwise and holes the other way (y upwards); holes and
    polygons are in descending order of how many corners they have, and then of these.

    Args:
        corners, rings, parts, shapes: As in `polygons_as_wkb`.

    Returns:
        The corners, and where rings and parts begin now; shapes stay where they are.
    """
    is_shell = np.zeros(len(rings) - 1, np.bool_)
    is_shell[parts[:-1]] = True
    turned = np.array(corners, np.float64)
    compiled(_turn)(turned, rings, is_shell)
    part_of = np.repeat(np.arange(len(parts) - 1), np.diff(parts))
    order = _descending(turned, rings, np.arange(len(rings) - 1), part_of, is_shell)
    shell_of = parts[:-1]
    part_order = _descending(turned, rings, shell_of, np.repeat(np.arange(len(shapes) - 1), np.diff(shapes)))
    if (part_order != np.arange(len(part_order))).any():
        order = np.concatenate([order[parts[part] : parts[part + 1]] for part in part_order.tolist()])
    lengths, counts = np.diff(rings), np.diff(parts)
    if (order == np.arange(len(order))).all():
        return turned, rings.astype(np.int64), parts.astype(np.int64)
    starts = sums(lengths[order])
    places = np.arange(len(turned)) + np.repeat(rings[:-1][order] - starts[:-1], lengths[order])
    return turned[places], starts, sums(counts[part_order])


def _descending(
    corners: NDArray[np.float64],
    rings: NDArray[np.integer[Any]],
    chosen: NDArray[np.integer[Any]],
    group: NDArray[np.integer[Any]],
    is_first: NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Order rings within each group by how many corners they have, then by these, from great to small."""
    first = np.zeros(len(chosen), np.bool_) if is_first is None else is_first
    keys = np.column_stack([-corners[rings[:-1][chosen]][:, ::-1], -np.diff(rings)[chosen], ~first, group])
    order = np.lexsort(keys.T)
    same = (np.diff(keys[order], axis=0) == 0).all(axis=1) & ~first[order][:-1]
    for run in np.split(np.arange(len(order)), np.flatnonzero(~same) + 1) if same.any() else ():
        if len(run) > 1:  # rings that touch where they begin
            own = order[run].tolist()
            order[run] = sorted(own, key=lambda n: corners[slice(*rings[chosen[n] :][:2])].tolist(), reverse=True)
    return order


def _turn(corners: Any, rings: Any, is_shell: Any) -> None:
    """Let each ring begin at its least corner, and go round in its direction."""
    for ring in range(len(is_shell)):
        first, count = rings[ring], rings[ring + 1] - rings[ring] - 1
        if count < 1:
            continue
        least = first
        for at in range(first + 1, first + count):
            x, y = corners[at]
            if x < corners[least, 0] or (x == corners[least, 0] and y < corners[least, 1]):
                least = at
        old = corners[first : first + count].copy()
        start, step = least - first, 1
        before, behind = 1, 1
        while before < count and (old[start - before] == old[start]).all():  # corners may be there twice
            before += 1
        while behind < count and (old[(start + behind) % count] == old[start]).all():
            behind += 1
        from_x, from_y = old[start] - old[start - before]
        to_x, to_y = old[(start + behind) % count] - old[start]
        cross = from_x * to_y - from_y * to_x
        if (cross > 0) == is_shell[ring]:
            step = -1
        for number in range(count + 1):
            corners[first + number] = old[(start + step * number) % count]


def sums(counts: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Where each of some begins, one behind the other, and where the last ends."""
    starts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=starts[1:])
    return starts


def _fill(numbers: Any, rings: Any, parts: Any, shapes: Any, is_single: Any, content: Any) -> None:
    """Write shape behind shape; `numbers` are the bytes of the corners."""
    at = 0
    for shape in range(len(is_single)):
        if not is_single[shape]:
            at = _put_head(content, at, 6, shapes[shape + 1] - shapes[shape])
        for part in range(shapes[shape], shapes[shape + 1]):
            at = _put_head(content, at, 3, parts[part + 1] - parts[part])
            for ring in range(parts[part], parts[part + 1]):
                first, last = rings[ring], rings[ring + 1]
                at = _put_count(content, at, last - first)
                content[at : at + 16 * (last - first)] = numbers[16 * first : 16 * last]
                at += 16 * (last - first)


def _put_head(content: Any, at: int, kind: int, count: int) -> int:
    content[at] = 1  # little endian
    return _put_count(content, _put_count(content, at + 1, kind), count)


def _put_count(content: Any, at: int, count: int) -> int:
    for byte in range(4):
        content[at + byte] = count >> 8 * byte & 255
    return at + 4
