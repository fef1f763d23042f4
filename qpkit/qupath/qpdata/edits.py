"""Edits of a hierarchy on its tape: objects added, removed, moved, changed. Everything else is kept as it is."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final

import numpy as np

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError
from qpkit.qupath.java.emitter import Edits, Emitter, Kept, Piece
from qpkit.qupath.java.tape import Tape
from qpkit.qupath.qpdata.hierarchy import (
    COLOR,
    LAST,
    LOCKED,
    MEASUREMENTS,
    METADATA,
    NAME,
    NUCLEUS,
    PARENT,
    PATH_CLASS,
    ROI,
    ROW,
    SLOT,
    TAIL,
    PathObjects,
)
from qpkit.qupath.qpdata.java_classes import Vocabulary, block
from qpkit.qupath.qpdata.object_reader import read_classes_of
from qpkit.qupath.qpdata.object_writer import ObjectWriter, children_of

_COUNT: Final = struct.Struct(">i")


class HierarchyEdits:
    """Collects edits of one file; `written` gives the new one.

    Numbers of objects are those of `PathObjects`: 0 is the root.
    """

    def __init__(self, tape: Tape, objects: PathObjects) -> None:
        """Start without edits.

        Raises:
            FormatError: An object stands outside its parent in the file, as no QuPath writes it.
        """
        self.edits = Edits()
        self._tape = tape
        self._objects = objects
        self._table = objects.table
        self._more: Counter[int] = Counter()
        parents = self._table[1:, PARENT]
        above = self._table[parents, ROW]
        if np.any((self._table[1:, ROW] <= above) | (self._table[1:, ROW] >= tape.after[above])):
            raise FormatError("objects stand in an order that no QuPath writes; not edited")

    def written(self) -> bytes:
        """Write the file with all edits."""
        for number, more in self._more.items():
            if more:
                slot = int(self._table[number, SLOT])
                count = _COUNT.unpack(self._tape.bytes_of(slot))[0] + more
                self.edits.replace[slot] = [block(_COUNT.pack(count))]
        emitter = Emitter(self._tape, self.edits)
        self._writer = ObjectWriter(Vocabulary(emitter), classes=self._class_rows())
        made = emitter.whole()
        del self._writer  # and with it a buffer as large as the file
        return made

    def _class_rows(self) -> dict[PathClass, int]:
        """Class objects of the file, the first of each."""
        rows: dict[PathClass, int] = {}
        stored = self._objects.column(PATH_CLASS)
        for path_class, row in zip(read_classes_of(self._tape, self._objects), stored.tolist(), strict=True):
            if path_class is not None and path_class not in rows:
                rows[path_class] = self._tape.resolved(row)
        return rows

    def add(self, objects: Sequence[Annotation], *, parent: int = 0, nested: bool = False) -> None:
        """Put new objects behind the last child of an object."""
        count = len(children_of(objects).get(None, ())) if nested else len(objects)
        self._more[parent] += count
        self._behind(parent, [self._late(lambda writer: writer.write_all(objects, nested=nested))])

    def remove(self, numbers: Collection[int]) -> None:
        """Take objects out; what is below one takes its place."""
        gone = set(numbers)
        children: dict[int, list[int]] = {}
        for number, parent in enumerate(self._table[:, PARENT].tolist()):
            children.setdefault(parent, []).append(number)
        for number in sorted(gone):
            above = int(self._table[number, PARENT])
            while above in gone:
                above = int(self._table[above, PARENT])
            below = children.get(number, [])
            # If the parent goes too, this object was never counted in `above`, so nothing is taken off.
            kept = sum(child not in gone for child in below)
            self._more[above] += kept - (above == self._table[number, PARENT])
            # Rows, not Kept: a child that goes too is replaced by its own children in turn.
            self.edits.replace[int(self._table[number, ROW])] = [int(self._table[child, ROW]) for child in below]

    def move(self, numbers: Sequence[int], to: int) -> None:
        """Put objects, with everything below them, behind the last child of another.

        Raises:
            FormatError: An object would stand below itself.
        """
        above = to
        while above > 0:
            if above in numbers:
                raise FormatError("an object cannot be moved below itself")
            above = int(self._table[above, PARENT])
        for number in numbers:
            row = int(self._table[number, ROW])
            self._more[int(self._table[number, PARENT])] -= 1
            self._more[to] += 1
            self.edits.replace[row] = []
            # Kept: without the edit that takes it out of its old place.
            self._behind(to, [Kept(row)])

    def _behind(self, parent: int, pieces: Sequence[Piece]) -> None:
        self.edits.put_behind(int(self._table[parent, LAST]), pieces)

    def change(self, number: int, old: Annotation, new: Annotation) -> None:
        """Make an object what `new` says; what is equal is not touched.

        Raises:
            FormatError: `new` is of another kind.
        """
        if new.kind != old.kind:
            raise FormatError(f"an object of kind {old.kind} cannot become a {new.kind}; remove it and add the new one")
        row = self._table[number]
        self._put(row[NAME], old.name != new.name, lambda w: w.name(new.name))
        self._put(row[COLOR], old.color != new.color, lambda w: w.color(new.color))
        different = (dict(old.metadata), old.id) != (dict(new.metadata), new.id)
        # Metadata are left out by v0.2/v0.3 if empty, the lock is missing in the oldest files.
        self._put(row[METADATA], different, lambda w: w.metadata(new.metadata, new.id), behind=row[COLOR])
        different = not _same_numbers(old.measurements, new.measurements)
        self._put(row[MEASUREMENTS], different, lambda w: w.measurements(new.measurements))
        self._put(row[LOCKED], old.locked != new.locked, lambda w: w.lock(new.locked), behind=row[LAST])
        self._put(row[PATH_CLASS], old.path_class != new.path_class, lambda w: w.path_class(new.path_class))
        # Every ROI carries its plane, so a new plane needs ROI and nucleus anew.
        replaned = old.plane != new.plane
        different = replaned or old.shape != new.shape or old.geometry.wkb != new.geometry.wkb
        self._put(row[ROI], different, lambda w: w.roi(new.geometry, new.shape, new.plane))
        different = row[NUCLEUS] >= 0 and (replaned or _wkb(old) != _wkb(new))
        self._put(row[NUCLEUS], different, lambda w: w.roi(new.nucleus, None, new.plane))
        if old.is_missing != new.is_missing:
            # The class probability before the last byte stays.
            tail = self._tape.bytes_of(int(row[TAIL]))
            self.edits.replace[int(row[TAIL])] = [block(tail[:-1] + bytes([new.is_missing]))]

    def _put(self, row: int, different: bool, write: Callable[[ObjectWriter], None], *, behind: int = -1) -> None:
        """Write something in the place of a row, or, where the file has no such row, behind another."""
        if different and row >= 0:
            self.edits.replace[int(row)] = [self._late(write)]
        elif different:
            self.edits.put_behind(int(behind), [self._late(write)])

    def _late(self, write: Callable[[ObjectWriter], None]) -> Callable[[Emitter], None]:
        """Write something when its place in the file has come: handles are numbered in that order."""
        return lambda _: write(self._writer)


def _same_numbers(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether names, their order and values are equal; NaN equals NaN."""
    return list(one) == list(other) and bool(
        np.array_equal(np.array([*one.values()]), np.array([*other.values()]), equal_nan=True)
    )


def _wkb(annotation: Annotation) -> bytes | None:
    return None if annotation.nucleus is None else bytes(annotation.nucleus.wkb)
