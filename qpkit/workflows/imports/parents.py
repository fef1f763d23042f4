"""Objects below the annotations that they lie in, as QuPath puts what it detects there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence

import shapely

from qpkit.core.annotation import Annotation
from qpkit.core.provenance import is_prediction
from qpkit.errors import ConfigError, or_else
from qpkit.qupath import Entry
from qpkit.qupath.qpdata.file import QpData


def put_below(entry: Entry, ids: Collection[str | None], parent: str) -> int:
    """Move objects below the annotation that a point inside them lies in; of several the smallest.

    Args:
        entry: The objects are in its data file.
        ids: Of the objects.
        parent: Class or name of annotations that people drew.

    Returns:
        How many objects lie in none; they stay where they are.
    """
    objects = entry.objects() if entry.has_data else []
    regions = _regions(objects, parent)
    chosen = [number for number, item in enumerate(objects) if item.id in ids]
    tree = shapely.STRtree([objects[number].geometry for number in regions])
    found = tree.query(shapely.point_on_surface([objects[n].geometry for n in chosen]), predicate="within")
    inside: dict[int, list[int]] = defaultdict(list)
    for point, place in zip(*found.tolist(), strict=True):
        inside[chosen[point]].append(place)
    moves: dict[int, list[str]] = defaultdict(list)
    for number, places in inside.items():
        place = min(places, key=lambda p: objects[regions[p]].geometry.area)
        if objects[number].parent != regions[place]:
            moves[place].append(str(objects[number].id))

    def change(data: QpData) -> None:
        for place, some in moves.items():
            # Numbers of objects change with every move, the order of the regions does not.
            data.move(some, to=_regions(data.objects(), parent)[place])

    if moves:
        entry.edit(change)
    return len(chosen) - len(inside)


def require_regions(entry: Entry, parent: str) -> None:
    """Raise ConfigError unless an entry has annotations of this class or name."""
    objects = entry.objects() if entry.has_data else []
    if not _regions(objects, parent):
        known = sorted({item.class_name for item in objects if item.class_name and not is_prediction(item)})
        raise ConfigError(f"--parent {parent}: entry {entry.name!r} has no such annotation, {or_else(parent, known)}")


def _regions(objects: Sequence[Annotation], parent: str) -> list[int]:
    return [
        number
        for number, item in enumerate(objects)
        if item.kind == "annotation" and not is_prediction(item) and parent in (item.class_name, item.name)
    ]
