"""Annotations -> QuPath's PathObjects in the stream, in the layout that v0.3 to v0.7 write by default."""

from __future__ import annotations

import dataclasses
import struct
import uuid
from collections import Counter
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass, Plane, RoiShape
from qpkit.core.annotation_fields import AnnotationFields
from qpkit.core.lazy_annotations import LazyAnnotations, ids_of
from qpkit.core.shape_columns import AT_ONCE
from qpkit.qupath.object_values import OBJECT_ID
from qpkit.qupath.qpdata.hierarchy import KINDS
from qpkit.qupath.qpdata.java_classes import END, MEASUREMENTS, NULL, OBJECTS, Vocabulary, block, counted
from qpkit.qupath.qpdata.pattern import OwnContents, Pattern, shared_by
from qpkit.qupath.qpdata.roi_writer import RoiWriter

_CLASS_OF: Final = {kind: name for name, kind in KINDS.items()}
_NO_PROBABILITY: Final = bytes.fromhex("7ff8000000000000")
"""Class probability "unset": Java's NaN. (A probability that is set stays in objects that are not replaced.)"""
_TAIL: Final = block(_NO_PROBABILITY)
_NO_CHILDREN: Final = block(bytes(4))
_NO_SHAPE: Final = shapely.Polygon()

_NAMESPACE: Final = uuid.UUID("8f3d5c0e-6a0b-5d1c-9e57-3f4c8a2b7d10")


def identified(objects: Sequence[Annotation], taken: Collection[str]) -> Sequence[Annotation]:
    """Give every object without an id one that follows from its content (no randomness), free in `taken`."""
    if None not in ids_of(objects):
        return objects
    used = {*taken, *(annotation.id for annotation in objects if annotation.id is not None)}
    copies: Counter[str] = Counter()
    ready = []
    for annotation in objects:
        if annotation.id is None:
            made = _content_id(annotation, used, copies)
            used.add(made)
            ready.append(dataclasses.replace(annotation, id=made))
        else:
            ready.append(annotation)
    return ready


def _content_id(annotation: Annotation, used: Collection[str], copies: Counter[str]) -> str:
    content = (
        f"{annotation.kind} {annotation.class_name} {annotation.plane} {shapely.to_wkb(annotation.geometry, hex=True)}"
    )
    while True:
        made = str(uuid.uuid5(_NAMESPACE, f"{content} {copies[content]}"))
        copies[content] += 1
        if made not in used:
            return made


class _Shapes:
    """ROIs or nuclei of a list of objects, made ready some at a time: all at once would take too much memory."""

    def __init__(self, objects: Sequence[Annotation], *, nuclei: bool) -> None:
        self._objects = objects
        self._nuclei = nuclei
        self._ready: tuple[int, RoiWriter] | None = None

    def write(self, number: int, plane: Plane, words: Vocabulary) -> None:
        """Write the shape of an object, which lies in a plane."""
        first = number // AT_ONCE * AT_ONCE
        if self._ready is None or self._ready[0] != first:
            some = self._objects[first : first + AT_ONCE]
            if self._nuclei:
                writer = RoiWriter([item.nucleus or _NO_SHAPE for item in some], [None] * len(some))
            else:
                writer = RoiWriter([item.geometry for item in some], [item.shape for item in some])
            self._ready = first, writer
        self._ready[1].write(number - first, plane, words)


_RoisAndNuclei: TypeAlias = tuple[_Shapes | RoiWriter, _Shapes | RoiWriter]


class ObjectWriter:
    """Writes PathObjects into one file; class objects are shared as in QuPath.

    Args:
        words: Of the file.
        classes: Class objects of the file that is edited (rows), to be used again.
    """

    def __init__(self, words: Vocabulary, *, classes: Mapping[PathClass, int] | None = None):
        self._words = words
        self._rows = dict(classes or {})
        self._classes: dict[PathClass, bytes] = {}
        self._patterns: dict[Hashable, Pattern | None] = {}

    def write_all(self, objects: Sequence[Annotation], *, nested: bool = False) -> None:
        """Write objects one behind the other.

        Args:
            objects: In QuPath's order.
            nested: Write each below its `parent`, an index into `objects` that comes before it; flat otherwise.

        Raises:
            GeometryError: A shape that QuPath has no ROI for.
        """
        if isinstance(objects, LazyAnnotations) and not nested:
            for fields in objects.fields():
                self._write_some(fields)
                del fields  # before the next are made
            return
        shapes = _Shapes(objects, nuclei=False), _Shapes(objects, nuclei=True)
        if not nested:
            for number, item in enumerate(objects):
                self._begin(item, 0)
                self._end(item, number, shapes)
                self._words.emitter.settle()
            return
        children = children_of(objects)
        waiting = [*reversed(children.get(None, ()))]
        while waiting:  # a number begins an object, its complement ends it
            number = waiting.pop()
            if number < 0:
                self._end(objects[~number], ~number, shapes)
                self._words.emitter.settle()
                continue
            below = children.get(number, ())
            self._begin(objects[number], len(below))
            waiting += [~number, *reversed(below)]

    def _write_some(self, fields: AnnotationFields) -> None:
        """Write objects without children; by a pattern where it is known of those that are alike."""
        emitter, own = self._words.emitter, OwnContents(fields)
        made: dict[int, tuple[bytes, int]] = {}
        like: dict[int, Hashable] = {}
        for places in own.alike():
            shared = shared_by(*fields.annotations(places[:1]))
            pattern = self._patterns.get(shared)
            if pattern is None:
                like.update(dict.fromkeys(places, shared))
            else:
                filled = pattern.filled(own.columns(places))
                made.update((place, (data, pattern.handles)) for place, data in zip(places, filled, strict=True))
        rest = iter(fields.annotations(place for place in range(len(fields.ids)) if place not in made))
        for place in range(len(fields.ids)):
            if place in made:
                data, handles = made[place]
                emitter.out.append(data)
                emitter.next += handles
            else:
                self._write_learning(next(rest), place, own.rois, like.get(place))
            emitter.settle()

    def _write_learning(self, item: Annotation, number: int, rois: RoiWriter, shared: Hashable) -> None:
        """Write an object without children, and learn the pattern of all that share this with it; None: of none."""
        emitter = self._words.emitter
        pieces, handles = len(emitter.out), emitter.next
        self._begin(item, 0)
        self._end(item, number, (rois, rois))  # fields have no nuclei
        if shared is not None and shared not in self._patterns:
            self._patterns[shared] = None  # definitions stand in the first
        elif shared is not None and self._patterns[shared] is None:
            own = [place - pieces for place in self._words.own_places]
            self._patterns[shared] = Pattern.of(emitter.out[pieces:], own, emitter.next - handles)

    def _begin(self, annotation: Annotation, children: int) -> None:
        """Write what stands before the children."""
        words = self._words
        words.own_places.clear()
        words.begin(_CLASS_OF[annotation.kind])
        self.name(annotation.name)
        self.color(annotation.color)
        self.metadata(annotation.metadata, annotation.id)
        self.measurements(annotation.measurements)
        words.raw(block(struct.pack(">i", children)) if children else _NO_CHILDREN)

    def _end(self, annotation: Annotation, number: int, shapes: _RoisAndNuclei) -> None:
        """Write what stands behind the children."""
        words = self._words
        words.boolean(annotation.locked)
        self.path_class(annotation.path_class)
        shapes[0].write(number, annotation.plane, words)
        words.raw(block(_NO_PROBABILITY + bytes([annotation.is_missing])) if annotation.kind == "tma_core" else _TAIL)
        if annotation.kind == "cell":
            if annotation.nucleus is None:
                words.raw(NULL)
            else:
                shapes[1].write(number, annotation.plane, words)
        words.raw(END)

    def name(self, name: str | None) -> None:
        """Write an object's name or null."""
        if name is None:
            self._words.raw(NULL)
        else:
            self._words.text(name)

    def color(self, color: int | None) -> None:
        """Write an object's own colour or null."""
        if color is None:
            self._words.raw(NULL)
        else:
            self._words.integer(color)

    def roi(self, geometry: BaseGeometry | None, shape: RoiShape | None, plane: Plane) -> None:
        """Write a shape, null for None."""
        if geometry is None:
            self._words.raw(NULL)
        else:
            RoiWriter([geometry], [shape]).write(0, plane, self._words)

    def lock(self, locked: bool) -> None:
        """Write whether an object is locked."""
        self._words.boolean(locked)

    def metadata(self, metadata: Mapping[str, str], identity: str | None) -> None:
        """Write a MetadataMap, the id behind everything else."""
        words = self._words
        items = {key: value for key, value in metadata.items() if key != OBJECT_ID}
        if identity is not None:
            items[OBJECT_ID] = identity
        keys = tuple(items)
        words.repeat(("metadata", keys), lambda: self._metadata_head(keys))
        words.strings(list(items.values()), shared=False)
        words.raw(END)

    def measurements(self, measurements: Mapping[str, float]) -> None:
        """Write a DoubleList: open, names of its own (QuPath changes the list of an open one); null without any."""
        words = self._words
        if not measurements:
            words.raw(NULL)
            return
        names = tuple(measurements)
        words.repeat(("measurements", names), lambda: self._measurements_head(names))
        words.array("D", counted(np.fromiter(measurements.values(), ">f8", len(measurements)).tobytes(), 8))

    def _metadata_head(self, keys: Sequence[str]) -> None:
        """Write a MetadataMap up to its values."""
        self._words.begin(OBJECTS + "MetadataMap")
        self._words.integer(1)
        self._words.strings(keys, shared=True)

    def _measurements_head(self, names: Sequence[str]) -> None:
        """Write a measurement list up to its values."""
        self._words.begin(MEASUREMENTS + "NumericMeasurementList$DoubleList")
        self._words.raw(b"\0" + NULL)  # not closed; no map
        self._words.list_of_strings(names)

    def path_class(self, path_class: PathClass | None) -> None:
        """Write a class, or a reference to it."""
        words = self._words
        if path_class is None:
            words.raw(NULL)
        elif path_class in self._classes:
            words.raw(self._classes[path_class])
        elif path_class in self._rows:
            self._classes[path_class] = words.emitter.reference(words.emitter.keep(self._rows[path_class]))
        else:
            *above, name = path_class.names
            words.begin(OBJECTS + "classes.PathClass")
            self._classes[path_class] = words.emitter.reference(words.emitter.next - 1)
            self.color(path_class.color)
            words.string(name)
            self.path_class(PathClass(tuple(above)) if above else None)


def children_of(objects: Sequence[Annotation]) -> dict[int | None, list[int]]:
    """Numbers of the objects below each object; a parent that does not come before its child counts as none."""
    found: dict[int | None, list[int]] = {}
    for number, annotation in enumerate(objects):
        parent = annotation.parent
        found.setdefault(parent if parent is not None and 0 <= parent < number else None, []).append(number)
    return found
