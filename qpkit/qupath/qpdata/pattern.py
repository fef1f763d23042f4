"""Objects that differ in texts, numbers and corners alone: what they share is written once and then filled in."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qpkit.core.annotation import Annotation
from qpkit.core.annotation_fields import AnnotationFields
from qpkit.qupath.qpdata.java_classes import counted, records
from qpkit.qupath.qpdata.roi_writer import RoiWriter


@dataclass(frozen=True, slots=True)
class Pattern:
    """The bytes that alike objects share.

    Args:
        shared: What stands before, between and behind the contents of their own.
        handles: How many each of them takes.
    """

    shared: list[bytes]
    handles: int

    @classmethod
    def of(cls, pieces: Sequence[bytes | memoryview], own: Collection[int], handles: int) -> Pattern:
        """Learn from an object that was written, all that it refers to being there already.

        Args:
            pieces: It, in pieces.
            own: Which of them are its own.
            handles: How many it took.
        """
        bounds = [-1, *own, len(pieces)]
        between = itertools.pairwise(bounds)
        return cls([b"".join(pieces[before + 1 : behind]) for before, behind in between], handles)

    def filled(self, columns: Sequence[Iterable[bytes]]) -> Iterator[bytes]:
        """Other objects, of which these columns are the contents of their own, in the order of the file."""
        *before, last = self.shared
        pairs = [(itertools.repeat(data), column) for data, column in zip(before, columns, strict=True)]
        return (b"".join((*pieces, last)) for pieces in zip(*itertools.chain.from_iterable(pairs), strict=False))


def shared_by(item: Annotation) -> Hashable:
    """What objects have to have in common to be alike, apart from a PolygonROI; None for kinds with more to them."""
    if item.kind in ("cell", "tma_core"):
        return None
    texts = item.name is None, item.id is None, tuple(item.metadata), tuple(item.measurements)
    return item.kind, item.color, *texts, item.locked, item.path_class, item.plane


class OwnContents:
    """What objects do not share with those that are alike, made ready for all of them.

    Args:
        fields: The objects; those that are no ring, or that lack a measurement that others have, are not `alike`.

    Attributes:
        rois: Writes their ROIs.
    """

    def __init__(self, fields: AnnotationFields) -> None:
        self._fields = fields
        self.rois = RoiWriter(fields.geometries.tolist(), fields.shapes)
        values = np.column_stack([np.empty((len(fields.ids), 0)), *fields.measurements.values()])
        is_there = ~np.isnan(values)
        measured = is_there.any(axis=0)
        self._is_whole = np.logical_and.reduce(is_there[:, measured], axis=1).tolist()
        self._width = 8 * int(measured.sum())
        self._doubles = values[:, measured].astype(">f8").tobytes()

    def alike(self) -> Iterator[list[int]]:
        """Places of objects that are alike."""
        groups: dict[Hashable, list[int]] = {}
        keys = zip(map(id, self._fields.path_classes), self._fields.colors, self._is_whole, strict=True)
        for place, (address, color, is_whole) in enumerate(keys):
            if is_whole and self.rois.is_ring(place):
                groups.setdefault((address, color), []).append(place)
        yield from groups.values()

    def columns(self, places: Sequence[int]) -> list[Iterable[bytes]]:
        """The contents of some that are alike, in the order of the file."""
        fields, width = self._fields, self._width
        texts = [fields.metadata[key] for key in fields.metadata]
        rings = [self.rois.ring(place) for place in places]
        numbers = [counted(self._doubles[place * width : (place + 1) * width], 8) for place in places]
        return [
            [records([fields.names[place]]) for place in places],
            [records([*(column[place] for column in texts), fields.ids[place]]) for place in places],
            *([numbers] if width else []),
            [x for x, _ in rings],
            [y for _, y in rings],
        ]
