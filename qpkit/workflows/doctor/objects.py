"""qpkit doctor on the objects of one entry: shapes, ids, copies, the image's edge, classes that cover each other."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.ops.vectors.areas import filled_area
from qpkit.ops.vectors.overlaps import Overlap, find_overlaps
from qpkit.ops.vectors.shape_faults import (
    SLIVER_AREA_PX2,
    SLIVER_THICKNESS_PX,
    ShapeFaults,
    find_duplicates,
    find_outside,
    find_repeated_ids,
    find_shape_faults,
    says_no_more,
)
from qpkit.qupath import Entry
from qpkit.workflows.doctor.findings import EXAMPLES, EditObjects, Finding, Spot

_NAMESPACE: Final = uuid.UUID("5d1b7c9e-30f4-5b1a-8a55-0f0f6f6a7c21")
_IN_QUPATH: Final = "look at it in QuPath"


def object_findings(entry: Entry, objects: Sequence[Annotation]) -> list[Finding]:
    """Examine the objects of an entry."""
    faults = find_shape_faults(objects)
    return [
        *_ids(objects),
        *_duplicates(objects),
        *_useless(objects, faults),
        *_invalid(objects, faults),
        *_small(objects, faults),
        *_places(entry, objects),
        *_overlaps(objects, find_overlaps(objects)),
        *_unclassified(objects),
    ]


def spots(
    objects: Sequence[Annotation], numbers: Iterable[int], texts: Mapping[int, str] | None = None
) -> tuple[Spot, ...]:
    """Describe the first few of some objects."""
    found = []
    for number, _ in zip(numbers, range(EXAMPLES), strict=False):
        item, text = objects[number], (texts or {}).get(number, "")
        if item.geometry.is_empty:
            found.append(Spot(item.id, None, None, text))
            continue
        x, y, x2, y2 = item.geometry.bounds
        found.append(Spot(item.id, round((x + x2) / 2, 1), round((y + y2) / 2, 1), text))
    return tuple(found)


def placed(
    finding: Finding, objects: Sequence[Annotation], numbers: Collection[int], texts: Mapping[int, str] | None = None
) -> Finding:
    """Say of a finding which objects it is about."""
    return replace(finding, count=len(numbers), spots=spots(objects, numbers, texts))


def counted(count: int, what: str, many: str = "") -> str:
    """ "1 object", "3 objects"."""
    return f"{count:,} {what if count == 1 else many or what + 's'}"


def _kinds(objects: Sequence[Annotation], numbers: Sequence[int]) -> str:
    """ "2 annotations", "3 objects"."""
    kinds = {objects[number].kind for number in numbers}
    return counted(len(numbers), kinds.pop().replace("tma_core", "TMA core") if len(kinds) == 1 else "object")


def _told(
    objects: Sequence[Annotation],
    numbers: Sequence[int],
    kind: str,
    what: str,
    *,
    remedy: str = "",
    fix: str = "",
    repair: EditObjects | None = None,
) -> list[Finding]:
    """One finding about some objects, "2 annotations" before what they are; none if there are none."""
    if not numbers:
        return []
    found = Finding(kind=kind, what=f"{_kinds(objects, numbers)} {what}", remedy=remedy, fix=fix, repair=repair)
    return [placed(found, objects, numbers)]


def _ids(objects: Sequence[Annotation]) -> list[Finding]:
    repeated = find_repeated_ids(objects)
    if not repeated:
        return []
    taken = {item.id for item in objects}
    new: dict[int, Callable[[Annotation], Annotation]] = {}
    for number in repeated:
        made = next(
            made for n in range(len(repeated) + 1) if (made := _new_id(objects[number], number, n)) not in taken
        )
        taken.add(made)
        new[number] = _with_id(made)
    what = f"{counted(len(repeated), 'object')} with the id of another one; nothing can tell them apart"
    fix = "give all but the first of each a new id"
    return [placed(Finding(kind="object-id", what=what, fix=fix, repair=EditObjects(new)), objects, repeated)]


def _new_id(item: Annotation, number: int, attempt: int) -> str:
    return str(uuid.uuid5(_NAMESPACE, f"{item.id} {number} {attempt}"))


def _with_id(made: str) -> Callable[[Annotation], Annotation]:
    return lambda item: replace(item, id=made)


def _duplicates(objects: Sequence[Annotation]) -> list[Finding]:
    safe: list[int] = []
    others: list[int] = []
    for first, *copies in find_duplicates(objects):
        for copy in copies:
            (safe if says_no_more(objects[copy], objects[first]) else others).append(copy)
    what, fix = "drawn twice: same class, same shape, nothing that the first does not have", "keep the first of each"
    found = _told(objects, sorted(safe), "duplicate", what, fix=fix, repair=EditObjects(remove=frozenset(safe)))
    what = "drawn twice: same class and shape, but other names, measurements or metadata"
    return found + _told(objects, sorted(others), "duplicate", what, remedy=_IN_QUPATH)


def _useless(objects: Sequence[Annotation], faults: ShapeFaults) -> list[Finding]:
    remedy, what = "delete in QuPath, or draw anew", "without area: a click, or a line that should be a polygon"
    found = _told(objects, faults.empty, "no-shape", "without a shape", remedy=remedy)
    return found + _told(objects, faults.flat, "flat-shape", what, remedy=remedy)


def _invalid(objects: Sequence[Annotation], faults: ShapeFaults) -> list[Finding]:
    found = []
    shapes, nuclei = _mendable(faults.invalid), _mendable(faults.nuclei)
    if shapes or nuclei:
        change: dict[int, Callable[[Annotation], Annotation]] = {}
        for number in sorted({*shapes, *nuclei}):
            change[number] = _with_shapes(shapes.get(number), nuclei.get(number))
        areas = {n: f"{filled_area(objects[n].geometry):,.0f} -> {shape.area:,.0f} px2" for n, shape in shapes.items()}
        before = sum(filled_area(objects[n].geometry) for n in shapes)
        after = sum(shape.area for shape in shapes.values())
        what = f"{_crossing(len(shapes), len(nuclei))}; QuPath 0.6 refuses such shapes in GeoJSON"
        what += f"; area {before:,.0f} px2 as drawn, {after:,.0f} px2 mended" if shapes else ""
        fix = "mend: lobes become parts, as QuPath itself counts them"
        mended = Finding(kind="invalid-shape", what=what, fix=fix, repair=EditObjects(change))
        found.append(placed(mended, objects, change, areas))
    lost = sorted({n for part in (faults.invalid, faults.nuclei) for n, shape in part.items() if shape is None})
    what = "that cross themselves and cannot be mended without losing area"
    return found + _told(objects, lost, "invalid-shape", what, remedy="draw anew in QuPath")


def _mendable(shapes: Mapping[int, BaseGeometry | None]) -> dict[int, BaseGeometry]:
    return {number: shape for number, shape in shapes.items() if shape is not None}


def _crossing(shapes: int, nuclei: int) -> str:
    parts = [counted(shapes, "polygon")] if shapes else []
    parts += [counted(nuclei, "nucleus", "nuclei")] if nuclei else []
    return f"{' and '.join(parts)} with borders that cross or touch themselves"


def _with_shapes(shape: BaseGeometry | None, nucleus: BaseGeometry | None) -> Callable[[Annotation], Annotation]:
    def change(item: Annotation) -> Annotation:
        mended = item if shape is None else replace(item, geometry=shape, shape=None)
        return mended if nucleus is None else replace(mended, nucleus=nucleus)

    return change


def _small(objects: Sequence[Annotation], faults: ShapeFaults) -> list[Finding]:
    found = []
    if faults.slivers:
        areas = {n: f"{filled_area(objects[n].geometry):.3g} px2" for n in faults.slivers}
        what = (
            f"{counted(len(faults.slivers), 'annotation')} smaller than {SLIVER_AREA_PX2:g} px2 "
            f"or thinner than {SLIVER_THICKNESS_PX:g} px"
        )
        sliver = Finding(kind="sliver", what=what, remedy="delete in QuPath")
        found.append(placed(sliver, objects, faults.slivers, areas))
    if faults.fragments:
        parts = sum(faults.fragments.values())
        where = counted(len(faults.fragments), "annotation")
        what = f"{where} with {counted(parts, 'fragment')} smaller than {SLIVER_AREA_PX2:g} px2"
        near, remedy = spots(objects, faults.fragments), "QuPath: Objects > Remove fragments & holes"
        found.append(Finding(kind="fragments", what=what, remedy=remedy, count=parts, spots=near))
    return found


def _places(entry: Entry, objects: Sequence[Annotation]) -> list[Finding]:
    """Objects that leave the image or its planes."""
    found: list[Finding] = []
    if entry.image_size is not None:
        width, height = entry.image_size
        wholly, partly, farthest = find_outside(objects, width=width, height=height)
        what, remedy = f"wholly outside the image of {width} x {height} px", "see whether they are of another image"
        found += _told(objects, wholly, "outside", what, remedy=remedy)
        found += _told(objects, partly, "over-edge", f"over the edge of the image, by {farthest:,.1f} px at most")
    what = "on a plane that the image does not have"
    return found + _told(objects, _off_plane(entry, objects), "off-plane", what, remedy=_IN_QUPATH)


def _off_plane(entry: Entry, objects: Sequence[Annotation]) -> list[int]:
    depth, times = (entry.server.metadata.get(key) for key in ("sizeZ", "sizeT"))
    if not isinstance(depth, int) or not isinstance(times, int):
        return []
    return [n for n, item in enumerate(objects) if not (0 <= item.plane.z < depth and 0 <= item.plane.t < times)]


def _overlaps(objects: Sequence[Annotation], overlaps: Sequence[Overlap]) -> list[Finding]:
    """One finding for each pair of classes, nested and crossing apart."""
    groups: dict[tuple[bool, str, str], list[Overlap]] = defaultdict(list)
    for item in overlaps:
        inner, outer = str(objects[item.inner].class_name), str(objects[item.outer].class_name)
        pair = (inner, outer) if item.is_nested else (min(inner, outer), max(inner, outer))
        groups[item.is_nested, *pair].append(item)
    return [_overlap(objects, *key, items) for key, items in groups.items()]


def _overlap(objects: Sequence[Annotation], is_nested: bool, one: str, other: str, items: Sequence[Overlap]) -> Finding:
    area, fraction = sum(item.area for item in items), max(item.fraction for item in items)
    texts = {item.inner: f"{item.area:,.0f} px2, {item.fraction:.0%}" for item in items}
    near = spots(objects, dict.fromkeys(item.inner for item in items), texts)
    if is_nested:
        what = f"{counted(len(items), 'annotation')} of {one!r} inside {other!r}, {area:,.0f} px2"
        about = f"annotations of {one!r} inside {other!r}"
        return Finding(kind="nested", what=what, about=about, count=len(items), spots=near)
    what = f"{one!r} and {other!r} overlap {counted(len(items), 'time')}, {area:,.0f} px2"
    what += f", at most {fraction:.0%} of the smaller one"
    remedy = "the label map's order decides which class wins; redraw if that is wrong"
    return Finding(kind="overlap", what=what, remedy=remedy, count=len(items), spots=near)


def _unclassified(objects: Sequence[Annotation]) -> list[Finding]:
    numbers = [
        n for n, item in enumerate(objects) if item.kind == "annotation" and item.path_class is None and _is_area(item)
    ]
    if not numbers:
        return []
    what = f"{counted(len(numbers), 'annotation')} without a class"
    return [placed(Finding(kind="unclassified", what=what, about="annotations without a class"), objects, numbers)]


def _is_area(item: Annotation) -> bool:
    return bool(shapely.get_dimensions(item.geometry) == 2)
