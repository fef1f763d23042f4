"""Annotations in columns, of which single ones are made when somebody asks: half a million would take gigabytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, overload

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from qpkit.core.annotation import Annotation, Kind, PathClass
from qpkit.core.annotation_fields import AnnotationFields
from qpkit.core.shape_columns import AT_ONCE, ShapeColumns
from qpkit.memory import gc_paused

_BYTES_EACH: Final = 2000
"""About, of an annotation with a shape of 50 corners."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnotationColumns:
    """What is often asked for of annotations.

    Args:
        numbers: (n,) int64: which rows of `shapes` and `measurements` they are.
        ids: (n,) str.
        path_classes: (n,) PathClass or None.
        kind: Of all of them.
        shapes: Of these and others.
        measurements: By name, of these and others; NaN where it was not measured.
    """

    numbers: NDArray[np.int64]
    ids: NDArray[np.object_]
    path_classes: NDArray[np.object_]
    kind: Kind
    shapes: ShapeColumns
    measurements: Mapping[str, NDArray[np.float64]]

    def chosen(self, places: Any) -> AnnotationColumns:
        """Some of them: whatever selects from an array."""
        some = {name: getattr(self, name)[places] for name in ("numbers", "ids", "path_classes")}
        return replace(self, **some)


class LazyAnnotations(Sequence[Annotation]):
    """A list of annotations of which `AT_ONCE` neighbours exist at a time; go through it from first to last.

    Args:
        columns: Of all of them.
        make: Makes all fields of some of the annotations.
    """

    def __init__(self, columns: AnnotationColumns, make: Callable[[AnnotationColumns], AnnotationFields]) -> None:
        self.columns, self._make = columns, make
        self._held: tuple[int, list[Annotation]] = -1, []

    def chosen(self, places: ArrayLike) -> LazyAnnotations:
        """Some of them, in that order: positions in this list."""
        return LazyAnnotations(self.columns.chosen(np.asarray(places, np.int64)), self._make)

    def fields(self) -> Iterator[AnnotationFields]:
        """All of them field by field, `AT_ONCE` at a time."""
        return (self._fields(first) for first in range(0, len(self), AT_ONCE))

    def _fields(self, first: int) -> AnnotationFields:
        return self._make(self.columns.chosen(slice(first, first + AT_ONCE)))

    def __len__(self) -> int:
        return len(self.columns.numbers)

    @overload
    def __getitem__(self, key: int) -> Annotation: ...
    @overload
    def __getitem__(self, key: slice) -> list[Annotation]: ...
    def __getitem__(self, key: int | slice) -> Annotation | list[Annotation]:
        places = range(len(self))[key]
        if isinstance(places, range):
            return [self._one(place) for place in places]
        return self._one(places)

    def __iter__(self) -> Iterator[Annotation]:
        yield from map(self._one, range(len(self)))
        self._held = -1, []

    def _one(self, place: int) -> Annotation:
        first = place - place % AT_ONCE
        if self._held[0] != first:
            with gc_paused(AT_ONCE * _BYTES_EACH):
                self._held = first, self._fields(first).annotations()
        return self._held[1][place - first]


# Columns of lists of either kind; lazy annotations are not made for them.


def ids_of(objects: Sequence[Annotation]) -> Sequence[str | None]:
    """The id of each object."""
    return [*objects.columns.ids] if isinstance(objects, LazyAnnotations) else [item.id for item in objects]


def path_classes_of(objects: Sequence[Annotation]) -> Sequence[PathClass | None]:
    """The class of each object."""
    return [*objects.columns.path_classes] if isinstance(objects, LazyAnnotations) else [o.path_class for o in objects]


def kinds_of(objects: Sequence[Annotation]) -> Sequence[Kind]:
    """The kind of each object."""
    if isinstance(objects, LazyAnnotations):
        return [objects.columns.kind] * len(objects)
    return [item.kind for item in objects]


def measured_of(objects: Sequence[Annotation], name: str) -> Sequence[float | None]:
    """A measurement of each object, None or NaN where it has none."""
    if isinstance(objects, LazyAnnotations):
        return list(map(float, objects.columns.measurements[name][objects.columns.numbers]))
    return [item.measurements.get(name) for item in objects]


def shapes_of(objects: Sequence[Annotation]) -> Iterator[NDArray[np.object_]]:
    """The geometries of the objects, `AT_ONCE` at a time."""
    for first in range(0, len(objects), AT_ONCE):
        if isinstance(objects, LazyAnnotations):
            yield objects.columns.shapes.take(objects.columns.numbers[first : first + AT_ONCE])
        else:
            yield np.array([item.geometry for item in objects[first : first + AT_ONCE]], object)


def wkb_of(objects: Sequence[Annotation]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.int64]]]:
    """Well-known binary of the geometries of the objects, as `ShapeColumns.wkb` gives it."""
    if isinstance(objects, LazyAnnotations):
        yield from objects.columns.shapes.wkb(objects.columns.numbers)
        return
    for shapes in shapes_of(objects):
        texts = shapely.to_wkb(shapes).tolist()
        yield np.frombuffer(b"".join(texts), np.uint8), np.cumsum([0, *map(len, texts)])
