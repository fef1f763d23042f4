"""A QuPath hierarchy in the stream -> the flat list of Annotations, depth first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qpkit.core.annotation import Annotation, PathClass
from qpkit.qupath.javanodes import Obj
from qpkit.qupath.javavalues import fail
from qpkit.qupath.objects import KINDS, OBJECT_ID, ROOT, Body, read_body, read_measurements, read_path_class
from qpkit.qupath.rois import Roi, read_rois


@dataclass(slots=True)
class Placed:
    """An object and its place: `parent` is an index into the same list, None below the root."""

    body: Body
    parent: int | None


@dataclass(slots=True)
class Hierarchy:
    """Root and all objects below it, depth first in QuPath's order; `unknown` says what was not understood."""

    root: Body
    objects: list[Placed]
    unknown: list[str]


def read_hierarchy(node: Obj) -> Hierarchy:
    """Walk a PathObjectHierarchy.

    Raises:
        FormatError: It is not laid out as in v0.2 to v0.7. Children of an unknown class are left out and named
            in `unknown`.
    """
    root = node.fields().get("rootObject")
    if not isinstance(root, Obj) or root.class_name != ROOT:
        raise fail("the hierarchy has no root object", node)
    found = Hierarchy(read_body(root), [], [])
    _note_rest(found.root, found.unknown)
    seen = {id(root)}
    waiting: list[tuple[Obj, int | None]] = [(child, None) for child in reversed(found.root.children)]
    while waiting:
        child, parent = waiting.pop()
        if id(child) in seen:
            raise fail(f"the same {child.class_name} is in the hierarchy twice", child)
        seen.add(id(child))
        if child.class_name not in KINDS:
            found.unknown.append(f"object class {child.class_name} at byte {child.offset}")
            continue
        body = read_body(child)
        _note_rest(body, found.unknown)
        waiting.extend((below, len(found.objects)) for below in reversed(body.children))
        found.objects.append(Placed(body, parent))
    return found


def _note_rest(body: Body, unknown: list[str]) -> None:
    if body.rest:
        unknown.append(f"{len(body.rest)} values behind a {body.node.class_name} at byte {body.node.offset}")


def read_annotations(objects: Sequence[Placed]) -> list[Annotation]:
    """Convert all objects, in the same order.

    Raises:
        FormatError: An unknown ROI, measurement list or class object.
    """
    rois = read_rois([placed.body.roi for placed in objects])
    nuclei = read_rois([placed.body.nucleus for placed in objects])
    classes: dict[int, PathClass | None] = {}
    for placed in objects:
        node = placed.body.path_class
        if id(node) not in classes:
            classes[id(node)] = read_path_class(node)
    return [
        _annotation(placed, roi, nucleus, classes[id(placed.body.path_class)])
        for placed, roi, nucleus in zip(objects, rois, nuclei, strict=True)
    ]


def _annotation(placed: Placed, roi: Roi, nucleus: Roi, path_class: PathClass | None) -> Annotation:
    body = placed.body
    metadata = dict(body.metadata)
    return Annotation(
        geometry=roi.geometry,
        shape=roi.shape,
        path_class=path_class,
        kind=KINDS[body.node.class_name],
        id=metadata.pop(OBJECT_ID, None),
        plane=roi.plane,
        name=body.name,
        color=body.color,
        measurements=read_measurements(body.measurements),
        metadata=metadata,
        parent=placed.parent,
        locked=body.locked,
        nucleus=None if body.nucleus is None else nucleus.geometry,
        is_missing=body.is_missing,
    )
