"""The objects of a slide as they were when it was exported: annotations/SLIDE.parquet, shapes bit for bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import shapely

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.errors import FormatError


def write_snapshot(path: Path, objects: Sequence[Annotation]) -> None:
    """Write what masks are drawn from: shape, class, kind, plane and id of every object; nothing else of it."""
    nuclei = [o.nucleus for o in objects]
    columns = {
        "id": pa.array([o.id for o in objects], pa.string()),
        "kind": pa.array([o.kind for o in objects], pa.string()),
        "class": pa.array([list(o.path_class.names) if o.path_class else None for o in objects], pa.list_(pa.string())),
        "color": pa.array([o.path_class.color if o.path_class else None for o in objects], pa.int64()),
        "shape": pa.array([o.shape for o in objects], pa.string()),
        "c": pa.array([o.plane.c for o in objects], pa.int32()),
        "z": pa.array([o.plane.z for o in objects], pa.int32()),
        "t": pa.array([o.plane.t for o in objects], pa.int32()),
        "geometry": pa.array([shapely.to_wkb(o.geometry) for o in objects], pa.binary()),
        "nucleus": pa.array([None if n is None else shapely.to_wkb(n) for n in nuclei], pa.binary()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def read_snapshot(path: Path) -> list[Annotation]:
    """Read what write_snapshot wrote.

    Raises:
        FormatError: It is gone or damaged.
    """
    try:
        return [_object(row) for row in pq.read_table(path).to_pylist()]
    except (OSError, pa.ArrowException, KeyError, shapely.errors.ShapelyError) as err:
        raise FormatError(f"{path}: the objects cannot be read ({err}); export the tiles again") from err


def _object(row: dict[str, Any]) -> Annotation:
    return Annotation(
        id=row["id"],
        kind=row["kind"],
        path_class=PathClass(tuple(row["class"]), row["color"]) if row["class"] else None,
        shape=row["shape"],
        plane=Plane(c=row["c"], z=row["z"], t=row["t"]),
        geometry=shapely.from_wkb(row["geometry"]),
        nucleus=None if row["nucleus"] is None else shapely.from_wkb(row["nucleus"]),
    )
