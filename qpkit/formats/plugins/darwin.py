"""Darwin JSON of V7: one image a file; areas as paths, holes and parts by the even-odd rule; px of level 0.

Source: V7's reference of Darwin JSON 2.0 (item with slots; polygon.paths, bounding_box, ellipse, line, keypoint, tag)
and of the older 1.0 (image; polygon.path, complex_polygon), as darwin-py reads them.
"""

from __future__ import annotations

import math
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.affinity import rotate
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, RoiShape
from qpkit.core.geometry import ellipse, is_ellipse, mend
from qpkit.errors import FormatError, listed
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import ONLY_QUPATH, cannot_hold, count_losses
from qpkit.formats.shared.class_names import UNCLASSIFIED, read_class
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.json_files import finite, objects_in, read_json, write_json
from qpkit.formats.shared.outlines import TOO_FEW, Points, area_shape, boxed, open_ring, ring_polygon, simple_parts

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "class colour",
    "own colour",
    *ONLY_QUPATH,
    "no shape",
    "many points",
    "mixed shapes",
    "box polygon",
)

TURNED: Final = "turned ellipses read as polygons"
MENDED: Final = "paths that cross mended"
_RESERVED: Final = f"classes called {UNCLASSIFIED!r} read as no class"
_NO_UUID: Final = "ids that are no UUID left out"
_SPLIT: Final = "objects of several lines split into one for each line"

_Made = tuple[BaseGeometry, RoiShape]


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a Darwin file (2.0, or 1.0).

    Raises:
        FormatError: Not Darwin's, or an annotation that cannot be understood (with its position).
    """
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("annotations"), list):
        raise FormatError(f"{path}: not Darwin JSON (no list of annotations)")
    notes: Counter[str] = Counter()
    objects = []
    for index, item in enumerate(objects_in(record, "annotations", str(path))):
        where = f"{path}: annotation {index}"
        made = _shape(item, where, notes)
        if made is not None:
            objects.append(_annotation(item, made, where))
    return [Drawing(objects=tuple(objects), image=image.filled(_image(record)), notes=+notes)]


def _image(record: Mapping[str, Any]) -> ImageFacts:
    item = record.get("item") or record.get("image") or {}
    slots = item.get("slots") if isinstance(item, dict) else None
    sized = slots[0] if isinstance(slots, list) and slots and isinstance(slots[0], dict) else item
    width, height = (sized.get(key) if isinstance(sized, dict) else None for key in ("width", "height"))
    name = item.get("name", item.get("filename")) if isinstance(item, dict) else None
    return ImageFacts.stated(name, width, height)


def _annotation(item: Mapping[str, Any], made: _Made, where: str) -> Annotation:
    name, text = item.get("name"), item.get("text")
    if not isinstance(name, str):
        raise FormatError(f"{where}: its name, the class, is {name!r}")
    written = text.get("text") if isinstance(text, dict) else None
    return Annotation(
        geometry=made[0],
        shape=made[1],
        path_class=read_class(name, None),
        id=_uuid(item.get("id")),
        name=written if isinstance(written, str) else None,
    )


def _uuid(text: object) -> str | None:
    try:
        return str(uuid.UUID(text)) if isinstance(text, str) else None
    except ValueError:
        return None


def _shape(item: Mapping[str, Any], where: str, notes: Counter[str]) -> _Made | None:
    found: _Made | None
    if (area := item.get("polygon", item.get("complex_polygon"))) is not None:
        found = _area(_paths(area, where), notes)
    elif (record := item.get("ellipse")) is not None:
        found = _ellipse(record, where, notes)
    elif (record := item.get("line")) is not None:
        points = _path(record.get("path") if isinstance(record, dict) else None, where)
        found = (shapely.LineString(points), "line" if len(points) == 2 else "polyline") if len(points) > 1 else None
    elif (record := item.get("keypoint")) is not None:
        found = (shapely.Point(_path([record], where)[0]), "points")
    elif (record := item.get("bounding_box")) is not None:
        x, y, width, height = (_field(record, key, where) for key in ("x", "y", "w", "h"))
        box = boxed(np.array([(x, y), (x + width, y + height)]), "rectangle")
        found = None if box is None else (box, "rectangle")
    else:
        kinds = sorted(set(item) - {"id", "name", "slot_names", "properties", "instance_id", "annotators", "reviewers"})
        notes[f"annotations without a shape ({listed(kinds)}) left out"] += 1
        return None
    notes[TOO_FEW] += found is None
    return found


def _paths(area: Any, where: str) -> list[Points]:
    if not isinstance(area, dict):
        raise FormatError(f"{where}: its polygon is not an object")
    paths = area.get("paths", area.get("path"))
    if isinstance(paths, list) and paths and isinstance(paths[0], dict):
        paths = [paths, *(area.get("additional_paths") or [])]
    if not isinstance(paths, list):
        raise FormatError(f"{where}: its polygon has no paths")
    return [_path(path, where) for path in paths]


def _path(record: Any, where: str) -> Points:
    if not isinstance(record, list):
        raise FormatError(f"{where}: a path is not a list of points")
    return np.array([[_field(point, key, where) for key in ("x", "y")] for point in record]).reshape(-1, 2)


def _field(record: Any, key: str, where: str) -> float:
    if not isinstance(record, dict):
        raise FormatError(f"{where}: {record!r} is not an object with {key}")
    return finite(record.get(key), f"{where}: {key}")


def _area(paths: Sequence[Points], notes: Counter[str]) -> _Made | None:
    rings = [ring for ring in map(ring_polygon, paths) if ring is not None]
    if not rings:
        return None
    notes[TOO_FEW] += len(paths) - len(rings)
    geometry = rings[0] if len(rings) == 1 else _nested(rings)
    if geometry is None:
        notes[MENDED] += 1
        geometry, _ = mend(rings[0])
        for ring in rings[1:]:
            geometry = geometry.symmetric_difference(mend(ring)[0])
    return geometry, area_shape(geometry)


def _nested(rings: Sequence[shapely.Polygon]) -> BaseGeometry | None:
    """Make polygons of rings by how many others each lies in; None if that is not what they are."""
    if not all(ring.is_valid for ring in rings):
        return None
    inside = shapely.STRtree(rings).query(list(rings), predicate="covered_by")
    around = [[int(o) for i, o in inside.T.tolist() if i == index and o != index] for index in range(len(rings))]
    holes: dict[int, list[shapely.Polygon]] = {i: [] for i, owners in enumerate(around) if len(owners) % 2 == 0}
    for index, owners in enumerate(around):
        if index in holes:
            continue
        holes.setdefault(min(owners, key=lambda o: rings[o].area), []).append(rings[index])
    parts = [shapely.Polygon(rings[i].exterior, [hole.exterior for hole in found]) for i, found in holes.items()]
    geometry = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)
    return geometry if geometry.is_valid else None


def _ellipse(record: Any, where: str, notes: Counter[str]) -> _Made | None:
    if not isinstance(record, dict):
        raise FormatError(f"{where}: its ellipse is not an object")
    (x, y), (across, down) = (_path([record.get(key)], where)[0].tolist() for key in ("center", "radius"))
    angle = finite(record.get("angle", 0.0), f"{where}: angle")
    if across <= 0 or down <= 0:
        return None
    drawn = ellipse(x - across, y - down, x + across, y + down)
    # Half a turn leaves an ellipse as it is, too.
    if math.isclose(math.sin(angle), 0.0, abs_tol=1e-9):
        return drawn, "ellipse"
    notes[TURNED] += 1
    return rotate(drawn, angle, origin=(x, y), use_radians=True), "polygon"


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects as Darwin JSON 2.0; returns what was lost."""
    (drawing,) = drawings
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    annotations = []
    for item in drawing.objects:
        shapes = _written(item)
        losses[_RESERVED] += item.class_name == UNCLASSIFIED
        losses[_SPLIT] += len(shapes) > 1 and item.geometry.geom_type == "MultiLineString"
        losses[_NO_UUID] += item.id is not None and _uuid(item.id) != item.id
        for shape in shapes:
            record: dict[str, Any] = {"name": item.class_name or UNCLASSIFIED, "slot_names": ["0"], "properties": []}
            if _uuid(item.id) is not None and len(shapes) == 1:
                record["id"] = item.id
            if item.name is not None:
                record["text"] = {"text": item.name}
            annotations.append(record | shape)
    image = drawing.image
    slot = {"type": "image", "slot_name": "0", "width": image.width, "height": image.height}
    item_ = {"name": image.name or path.stem, "path": "/", "slots": [{k: v for k, v in slot.items() if v is not None}]}
    write_json(path, {"version": "2.0", "item": item_, "annotations": annotations})
    return +losses


def _written(item: Annotation) -> list[dict[str, Any]]:
    parts = simple_parts(item.geometry)
    areas = [part for part in parts if isinstance(part, shapely.Polygon)]
    made = [_written_area(areas, is_round=item.shape == "ellipse" and is_ellipse(item.geometry))] if areas else []
    for part in parts:
        if isinstance(part, shapely.LineString):
            made.append({"line": {"path": _points(shapely.get_coordinates(part))}})
        elif not isinstance(part, shapely.Polygon):
            made += [{"keypoint": point} for point in _points(shapely.get_coordinates(part))]
    return made


def _written_area(areas: Sequence[shapely.Polygon], *, is_round: bool) -> dict[str, Any]:
    x, y, x2, y2 = shapely.total_bounds(np.array(areas)).tolist()
    box = {"x": x, "y": y, "w": x2 - x, "h": y2 - y}
    if is_round:
        centre, radius = {"x": (x + x2) / 2, "y": (y + y2) / 2}, {"x": (x2 - x) / 2, "y": (y2 - y) / 2}
        return {"ellipse": {"center": centre, "radius": radius, "angle": 0.0}, "bounding_box": box}
    rings = [ring for area in areas for ring in (area.exterior, *area.interiors)]
    return {"polygon": {"paths": [_points(open_ring(shapely.Polygon(ring))) for ring in rings]}, "bounding_box": box}


def _points(points: Points) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points.tolist()]


def _recognises(record: object, _: Path) -> bool:
    if not isinstance(record, Mapping):
        return False
    return isinstance(record.get("annotations"), list) and ("item" in record or "image" in record)


FORMAT: Final = Format(
    name="darwin",
    title="Darwin JSON (V7)",
    order=80,
    suffixes=(".json",),
    recognises_json=_recognises,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule="paths by the even-odd rule: holes and parts are exact. Version 1.0 is read too. Class colours are not in the "
    "file.",
    source="V7's reference of Darwin JSON 2.0",
)
