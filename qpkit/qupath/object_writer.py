"""Annotations -> QuPath's PathObjects in the stream, in the layout that v0.3 to v0.7 write by default."""

from __future__ import annotations

import dataclasses
import struct
import uuid
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import numpy as np
import shapely

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.qupath.javanodes import Block, Content, Obj, Value
from qpkit.qupath.objects import KINDS, OBJECT_ID, read_path_class
from qpkit.qupath.roi_writer import write_roi
from qpkit.qupath.vocabulary import MEASUREMENTS, OBJECTS, Vocabulary

_CLASS_OF: Final = {kind: name for name, kind in KINDS.items()}
_NO_PROBABILITY: Final = bytes.fromhex("7ff8000000000000")
"""Class probability "unset": Java's NaN. (A probability that is set stays in objects that are not replaced.)"""

_NAMESPACE: Final = uuid.UUID("8f3d5c0e-6a0b-5d1c-9e57-3f4c8a2b7d10")


def identified(objects: Sequence[Annotation], taken: Collection[str]) -> list[Annotation]:
    """Give every object without an id one that follows from its content (no randomness), free in `taken`."""
    used = {*taken, *(annotation.id for annotation in objects if annotation.id is not None)}
    ready = []
    for annotation in objects:
        if annotation.id is None:
            made = _content_id(annotation, used)
            used.add(made)
            ready.append(dataclasses.replace(annotation, id=made))
        else:
            ready.append(annotation)
    return ready


def _content_id(annotation: Annotation, used: Collection[str]) -> str:
    content = (
        f"{annotation.kind} {annotation.class_name} {annotation.plane} {shapely.to_wkb(annotation.geometry, hex=True)}"
    )
    copies = 0
    while (made := str(uuid.uuid5(_NAMESPACE, f"{content} {copies}"))) in used:
        copies += 1
    return made


class ObjectWriter:
    """Makes PathObjects for one file; class objects are shared as in QuPath."""

    def __init__(self, words: Vocabulary) -> None:
        self._words = words
        self._classes: dict[PathClass, Obj] = {}

    def know(self, node: Obj | None) -> None:
        """Use a class object of the file again."""
        known = read_path_class(node)
        if known is not None and node is not None:
            self._classes.setdefault(known, node)

    def write_all(self, objects: Sequence[Annotation]) -> list[Obj]:
        """Make the objects, without children.

        Raises:
            GeometryError: A shape that QuPath has no ROI for.
        """
        return [self._write(annotation) for annotation in objects]

    def _write(self, annotation: Annotation) -> Obj:
        words = self._words
        contents: list[Content] = [
            None if annotation.name is None else words.text(annotation.name),
            None if annotation.color is None else words.integer(annotation.color),
            self._metadata(annotation),
            self._measurements(annotation.measurements),
            Block(struct.pack(">i", 0)),
            words.boolean(annotation.locked),
            self._path_class(annotation.path_class),
            write_roi(annotation.geometry, annotation.shape, annotation.plane, words),
            Block(_NO_PROBABILITY + (bytes([annotation.is_missing]) if annotation.kind == "tma_core" else b"")),
        ]
        if annotation.kind == "cell":
            contents.append(self._nucleus(annotation, annotation.plane))
        return words.external(_CLASS_OF[annotation.kind], contents)

    def _nucleus(self, annotation: Annotation, plane: Plane) -> Value:
        return None if annotation.nucleus is None else write_roi(annotation.nucleus, None, plane, self._words)

    def _metadata(self, annotation: Annotation) -> Obj:
        words = self._words
        items = {key: value for key, value in annotation.metadata.items() if key != OBJECT_ID}
        if annotation.id is not None:
            items[OBJECT_ID] = annotation.id
        keys = words.object_array([words.string(key) for key in items])
        values = words.object_array([words.text(value) for value in items.values()])
        return words.external(OBJECTS + "MetadataMap", [words.integer(1), keys, values])

    def _measurements(self, measurements: Mapping[str, float]) -> Obj | None:
        """Write a DoubleList: open, names of its own (QuPath changes the list of an open one)."""
        if not measurements:
            return None
        words = self._words
        values = np.fromiter(measurements.values(), ">f8", len(measurements))
        fields: dict[str, Value | int | float | bool] = {
            "isClosed": False,
            "map": None,
            "names": words.array_list([words.string(name) for name in measurements]),
            "values": words.primitive_array("D", values.tobytes()),
        }
        return words.obj(MEASUREMENTS + "NumericMeasurementList$DoubleList", fields)

    def _path_class(self, path_class: PathClass | None) -> Obj | None:
        if path_class is None:
            return None
        if path_class not in self._classes:
            *above, name = path_class.names
            parent = self._path_class(PathClass(tuple(above))) if above else None
            color = None if path_class.color is None else self._words.integer(path_class.color)
            fields: dict[str, Value | int | float | bool] = {
                "colorRGB": color,
                "name": self._words.string(name),
                "parentClass": parent,
            }
            self._classes[path_class] = self._words.obj(OBJECTS + "classes.PathClass", fields)
        return self._classes[path_class]
