"""The objects of a hierarchy -> the flat list of Annotations, depth first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, Kind, PathClass
from qpkit.core.shape_columns import AT_ONCE
from qpkit.qupath.java.grammar import (
    SERIALIZABLE,
    TC_ARRAY,
    TC_BLOCKDATA,
    TC_LONGSTRING,
    TC_NULL,
    TC_OBJECT,
    TC_STRING,
)
from qpkit.qupath.java.tape import StreamValue, Tape
from qpkit.qupath.java.values import elements, fail, field, int_or_none, text_or_none
from qpkit.qupath.object_values import OBJECT_ID
from qpkit.qupath.qpdata.hierarchy import (
    COLOR,
    LOCKED,
    MEASUREMENTS,
    METADATA,
    NAME,
    NUCLEUS,
    PARENT,
    PATH_CLASS,
    ROI,
    ROLE,
    ROW,
    TAIL,
    PathObjects,
)
from qpkit.qupath.qpdata.roi_reader import Rois, read_rois

_MAX_CLASS_NAMES: Final = 100
_NO_STRING: Final = "a MetadataMap holds something that is no string"
_MANY_KEYS: Final = 8
_LISTS: Final = "qupath.lib.measurements."
_NUMERIC: Final = tuple(f"{_LISTS}NumericMeasurementList${name}List" for name in ("Float", "Double"))

_T = TypeVar("_T")
_Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class ObjectColumns:
    """Some objects, read and checked: (n,) of everything that they have. Annotations are made of those asked for."""

    rois: Rois
    path_classes: list[PathClass | None]
    kinds: list[Kind]
    ids: list[str | None]
    names: list[str | None]
    colors: list[int | None]
    measurements: list[dict[str, float]]
    metadata: list[dict[str, str]]
    parents: list[int]
    locks: list[bool | None]
    nuclei: list[BaseGeometry | None]
    are_missing: list[bool]

    @classmethod
    def of(cls, tape: Tape, objects: PathObjects) -> ObjectColumns:
        """Read the objects.

        Raises:
            FormatError: An unknown ROI, measurement list or class object.
        """
        nuclei = read_rois(tape, objects.column(NUCLEUS)).geometries
        # -1 looks at the last row, which the first condition takes back.
        has_nucleus = (objects.column(NUCLEUS) >= 0) & (tape.kind[objects.column(NUCLEUS)] != TC_NULL)
        nuclei[~has_nucleus] = None
        metadata, kinds = read_metadata(tape, objects.column(METADATA)), objects.kinds()
        tails = tape.stop[objects.column(TAIL)].tolist()
        return cls(
            rois=read_rois(tape, objects.column(ROI)),
            path_classes=read_classes_of(tape, objects),
            kinds=kinds,
            ids=[texts.pop(OBJECT_ID, None) for texts in metadata],
            names=_texts(tape, objects.column(NAME), objects.column(ROW), "a name that is no string"),
            colors=_once(tape, objects.column(COLOR), _read_color),
            measurements=read_measurements(tape, objects.column(MEASUREMENTS)),
            metadata=metadata,
            parents=objects.column(PARENT).tolist(),
            locks=_once(tape, objects.column(LOCKED), _read_lock),
            nuclei=nuclei.tolist(),
            are_missing=[
                kind == "tma_core" and tape.data[tail - 1] != 0 for kind, tail in zip(kinds, tails, strict=True)
            ],
        )

    def annotations(self, places: Iterable[int] | None = None) -> list[Annotation]:
        """The objects in these places; None: all of them."""
        return [
            Annotation(
                geometry=self.rois.geometries[place],
                shape=self.rois.shapes[place],
                path_class=self.path_classes[place],
                kind=self.kinds[place],
                id=self.ids[place],
                plane=self.rois.planes[place],
                name=self.names[place],
                color=self.colors[place],
                measurements=self.measurements[place],
                metadata=self.metadata[place],
                parent=self.parents[place] - 1 if self.parents[place] > 0 else None,
                locked=bool(self.locks[place]),
                nucleus=self.nuclei[place],
                is_missing=self.are_missing[place],
            )
            for place in (range(len(self.ids)) if places is None else places)
        ]


def read_annotations(tape: Tape, objects: PathObjects) -> list[Annotation]:
    """Convert all objects below the root, in the same order; `parent` is an index into the result.

    Args:
        tape: The file.
        objects: Its objects.

    Raises:
        FormatError: An unknown ROI, measurement list or class object.
    """
    return [item for some in read_in_batches(tape, objects) for item in some.annotations()]


def read_in_batches(tape: Tape, objects: PathObjects) -> Iterator[ObjectColumns]:
    """Read `AT_ONCE` objects at a time: so what is made in between stays small."""
    for first in range(1, len(objects.table), AT_ONCE):
        yield ObjectColumns.of(tape, objects.part(first, first + AT_ONCE))


def read_classes_of(tape: Tape, objects: PathObjects) -> list[PathClass | None]:
    """Read the class of each object; objects of one class share it."""
    return _once(tape, objects.column(PATH_CLASS), read_path_class)


def count_objects(tape: Tape, objects: PathObjects) -> Counter[tuple[Kind, PathClass | None]]:
    """Count the objects by kind and class, as they come; the rest of them is not read."""
    classes, numbers = _numbered(tape, objects.column(PATH_CLASS), read_path_class)
    _, places, counts = np.unique(objects.column(ROLE) * len(classes) + numbers, return_index=True, return_counts=True)
    found: Counter[tuple[Kind, PathClass | None]] = Counter()
    for place, count in sorted(zip(places.tolist(), counts.tolist(), strict=True)):
        found[objects.kind(place), classes[numbers[place]]] += count
    return found


def _once(tape: Tape, rows: _Rows, read: Callable[[StreamValue], _T | None]) -> list[_T | None]:
    """Read the value of each row, and each original only once; -1 and null give None."""
    values, numbers = _numbered(tape, rows, read)
    return [values[number] for number in numbers.tolist()]


def _numbered(
    tape: Tape, rows: _Rows, read: Callable[[StreamValue], _T | None]
) -> tuple[list[_T | None], NDArray[np.int64]]:
    """The different values, and which of them each row has."""
    originals = tape.originals(np.maximum(rows, 0))
    originals[(rows < 0) | (tape.kind[originals] == TC_NULL)] = -1
    unique, numbers = np.unique(originals, return_inverse=True)
    return [None if row < 0 else read(tape.view(row)) for row in unique.tolist()], numbers


def _read_color(view: StreamValue) -> int | None:
    return int_or_none(view, view)


def _read_lock(view: StreamValue) -> bool:
    return bool(view.fields().get("value", False))


def read_metadata(tape: Tape, rows: _Rows) -> list[dict[str, str]]:
    """Read MetadataMaps; -1 has none. "Object ID" is among the keys.

    Raises:
        FormatError: Keys and values do not fit together.
    """
    found: list[dict[str, str]] = [{} for _ in range(len(rows))]
    places = np.flatnonzero(rows >= 0)
    maps = tape.originals(rows[places])
    keys, key_end = _array_in_map(tape, maps, 1)
    values, value_end = _array_in_map(tape, maps, 2)
    # The n-th keys of all maps in one go; what is left after a few rounds is read map by map.
    for _ in range(_MANY_KEYS):
        active = (keys < key_end) & (values < value_end)
        places, maps, keys, values = places[active], maps[active], keys[active], values[active]
        key_end, value_end = key_end[active], value_end[active]
        texts = zip(_texts(tape, keys, maps, _NO_STRING), _texts(tape, values, maps, _NO_STRING), strict=True)
        for place, (key, value) in zip(places.tolist(), texts, strict=True):
            if key is not None and value is not None:
                found[place][key] = value
        keys, values = tape.after[keys].astype(np.int64), tape.after[values].astype(np.int64)
        odd = (keys < key_end) != (values < value_end)
        if odd.any():
            raise tape.fail("a MetadataMap whose keys and values do not fit together", int(maps[odd][0]))
    for place, row in zip(places[keys < key_end].tolist(), maps[keys < key_end].tolist(), strict=True):
        found[place] = _read_map(tape.view(row))
    return found


def _array_in_map(tape: Tape, maps: _Rows, number: int) -> tuple[_Rows, _Rows]:
    """Find the keys (1) or the values (2) of MetadataMaps: first element and end, rows (n,) each."""
    item = tape.after[maps + 1].astype(np.int64)
    end = tape.after[maps]
    for _ in range(number):
        if np.any(item >= end):
            raise tape.fail("a MetadataMap of an unknown version", int(maps[item >= end][0]))
        item = tape.after[item].astype(np.int64)
    good = item < end
    array = tape.originals(np.where(good, item, 0))
    good &= tape.kind[array] == TC_ARRAY
    if not good.all():
        raise tape.fail("a MetadataMap of an unknown version", int(maps[~good][0]))
    return tape.after[array + 1].astype(np.int64), tape.after[array].astype(np.int64)


def _texts(tape: Tape, rows: _Rows, owners: _Rows, fault: str) -> list[str | None]:
    """Read strings or nulls, once for each original; what is neither is a fault of its owner."""
    originals = tape.originals(rows)
    kinds = tape.kind[originals]
    good = np.isin(kinds, (TC_STRING, TC_LONGSTRING, TC_NULL))
    if not good.all():
        raise tape.fail(fault, int(owners[~good][0]))
    unique, places = np.unique(originals, return_inverse=True)
    texts = tape.texts(unique)
    return [texts[place] for place in places.tolist()]


def _read_map(view: StreamValue) -> dict[str, str]:
    """Read a map of very many keys."""
    own = view.own()
    keys, values = own[1].elements(), own[2].elements()
    if len(keys) != len(values):
        raise fail("a MetadataMap whose keys and values do not fit together", view)
    pairs = ((text_or_none(k, view), text_or_none(v, view)) for k, v in zip(keys, values, strict=True))
    return {key: value for key, value in pairs if key is not None and value is not None}


def read_path_class(view: StreamValue) -> PathClass | None:
    """Read a class with its parents; a class without a name is QuPath's "no class".

    Raises:
        FormatError: Not a PathClass, a blank name, or parents in a circle.
    """
    names: list[str] = []
    color: int | None = None
    current: StreamValue | None = view
    while current is not None:
        if not current.is_object or current.class_name != "qupath.lib.objects.classes.PathClass":
            raise fail(f"a PathClass is expected, not {current.class_name}", view)
        if current is view and (stored := field(current, "colorRGB")) is not None:
            color = int_or_none(stored, view)
        stored = field(current, "name")
        name = None if stored is None else text_or_none(stored, view)
        if name is not None:
            names.append(name)
        current = field(current, "parentClass")
        if len(names) > _MAX_CLASS_NAMES or (name is None and current is not None):
            raise fail("a PathClass with parents that make no sense", view)
    if not names:
        return None
    try:
        return PathClass(tuple(reversed(names)), color)
    except ValueError as err:
        raise fail(str(err), view) from err


def read_measurements(tape: Tape, rows: _Rows) -> list[dict[str, float]]:
    """Read any of QuPath's measurement lists, in its order; null and -1 have none.

    Raises:
        FormatError: An unknown list class.
    """
    found: list[dict[str, float]] = [{} for _ in range(len(rows))]
    originals = tape.originals(np.maximum(rows, 0))
    places = np.flatnonzero((rows >= 0) & (tape.kind[originals] != TC_NULL))
    lists = originals[places]
    if np.any(tape.kind[lists] != TC_OBJECT):
        raise tape.fail("a measurement list is expected", int(lists[tape.kind[lists] != TC_OBJECT][0]))
    classes = tape.class_of(lists)
    for number in np.unique(classes):
        own = classes == number
        read = _read_numeric if tape.classes[number].name in _NUMERIC else _read_others
        for place, measurements in zip(places[own].tolist(), read(tape, lists[own]), strict=True):
            found[place] = measurements
    return found


def _read_numeric(tape: Tape, lists: _Rows) -> list[dict[str, float]]:
    """Read FloatLists or DoubleLists: names and values stand apart, the names are often shared."""
    desc = tape.java_class(int(lists[0]))
    above = tape.classes[desc.superclass] if desc.superclass >= 0 else desc
    if (above.objects, desc.objects) != (("map", "names"), ("values",)) or (above.flags | desc.flags) != SERIALIZABLE:
        raise tape.fail(f"a {desc.name} that is laid out in an unknown way", int(lists[0]))
    names_at = tape.after[tape.after[lists + 1]].astype(np.int64)
    values_at = tape.originals(tape.after[names_at])
    names = _read_names(tape, names_at)
    code = "F" if desc.name.endswith("FloatList") else "D"
    blobs = tape.arrays(values_at, code, owners=lists)
    with np.errstate(invalid="ignore"):  # a signalling NaN becomes a quiet one
        values = np.frombuffer(b"".join(blobs), ">f4" if code == "F" else ">f8").astype(np.float64)
    width = len(names[0])
    if all(own is names[0] for own in names) and len(set(map(len, blobs))) == 1 and len(values) == width * len(names):
        return [dict(zip(names[0], row, strict=True)) for row in values.reshape(len(names), width).tolist()]
    made, at, numbers = [], 0, values.tolist()
    for own, blob in zip(names, blobs, strict=True):
        count = len(blob) // (4 if code == "F" else 8)
        # Not strict: QuPath's arrays may be longer than the list of names.
        made.append(dict(zip(own, numbers[at : at + count], strict=False)))
        at += count
    return made


def _read_names(tape: Tape, rows: _Rows) -> list[list[str]]:
    """Read lists of names; QuPath shares one list among objects, qpkit gives each its own of the same strings."""
    known: dict[bytes, list[str]] = {}
    originals, places = np.unique(tape.originals(rows), return_inverse=True)
    stops = tape.after[originals].astype(np.int64)
    sizes = stops - originals
    # The ranges originals[i]..stops[i], one behind the other.
    inside = np.repeat(originals - np.cumsum(sizes) + sizes, sizes) + np.arange(int(sizes.sum()))
    inside = tape.originals(inside)  # what each row in each list means: equal for lists of the same strings
    inside[tape.kind[inside] == TC_BLOCKDATA] = -1  # the capacity
    if len(set(sizes.tolist())) == 1:
        heads = inside.reshape(len(sizes), -1)[:, 1:]
        if (heads == heads[0]).all():  # most often all lists are of the same strings
            originals, sizes, places = originals[:1], sizes[:1], np.zeros_like(places)
    lists, at = [], 0
    for row, size in zip(originals.tolist(), sizes.tolist(), strict=True):
        key = inside[at + 1 : at + size].tobytes()
        at += size
        if key not in known:
            view = tape.view(row)
            known[key] = [_name(item, view) for item in elements(view, view)]
        lists.append(known[key])
    return [lists[place] for place in places.tolist()]


def _read_others(tape: Tape, lists: _Rows) -> list[dict[str, float]]:
    """Read DefaultMeasurementLists, one after the other."""
    made = []
    for row in lists.tolist():
        view = tape.view(row)
        items = field(view, "list")
        if not view.class_name.startswith(_LISTS) or items is None:
            raise fail(f"unknown measurement list {view.class_name}", view)
        made.append(dict(_read_measurement(item, view) for item in elements(items, view)))
    return made


def _read_measurement(item: StreamValue, owner: StreamValue) -> tuple[str, float]:
    value, name = (item.fields().get(key) if item.is_object else None for key in ("value", "name"))
    if not isinstance(value, float) or not isinstance(name, StreamValue):
        raise fail(f"a measurement is expected, not {item.class_name}", owner)
    return _name(name, owner), value


def _name(item: StreamValue, owner: StreamValue) -> str:
    name = text_or_none(item, owner)
    if name is None:
        raise fail("a measurement without a name", owner)
    return name
