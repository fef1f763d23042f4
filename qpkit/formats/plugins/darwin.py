"""Darwin JSON of V7: one image, or one for each slot of the item; areas as paths by the even-odd rule; px of level 0.

Source: V7's reference of Darwin JSON 2.0 (item with slots; polygon.paths, bounding_box, ellipse, line, keypoint, tag;
mask, whose pixels are in the raster_layer of its slot) and of the older 1.0 (image; polygon.path, complex_polygon), as
darwin-py reads them.
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
from qpkit.formats.shared.brush_masks import read_dense_rle
from qpkit.formats.shared.cannot_hold import ONLY_QUPATH, cannot_hold, count_losses
from qpkit.formats.shared.class_names import RESERVED, UNCLASSIFIED, read_class
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import ANY, Fields, unread_json
from qpkit.formats.shared.item_fields import other_values, written_values
from qpkit.formats.shared.item_slots import SAME_NAMES, Slot, read_slots, write_item
from qpkit.formats.shared.json_files import finite, objects_in, read_json, write_json
from qpkit.formats.shared.other_values import as_metadata
from qpkit.formats.shared.outlines import (
    TOO_FEW,
    Points,
    area_shape,
    boxed,
    nested,
    open_ring,
    ring_polygon,
    simple_parts,
)

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "class colour",
    "own colour",
    *ONLY_QUPATH,
    "blank metadata",
    "no shape",
    "many points",
    "mixed shapes",
    "box polygon",
)

TURNED: Final = "turned ellipses read as polygons"
LAYER_FIELDS: Final = "properties of raster layers left out"
MENDED: Final = "paths that cross mended"
ITEM_NAME: Final = "names of items of several images left out"
NO_PIXEL: Final = "brush masks without a pixel left out"
NO_ANNOTATION: Final = "brush masks without an annotation left out"
NOBODYS: Final = "pixels of brush masks that are no annotation's left out"
STRANGE_SLOT: Final = "annotations of slots that the item does not list left out"
NO_CLASS: Final = "annotations without the name of a class"
_NO_UUID: Final = "ids that are no UUID left out"
_SPLIT: Final = "objects of several lines split into one for each line"

_Made = tuple[BaseGeometry, RoiShape]


_IMAGE: Final = "name filename width height"
_POINT: Final = "x y"
_PATHS: Final = ("paths", "path", "additional_paths")
FIELDS: Final = Fields(
    read={
        "": "annotations",
        "item": _IMAGE,
        "item/slots": "slot_name width height",
        "item/slots/source_files": "file_name",
        "image": _IMAGE,
        "annotations": ANY,  # what has no other place is metadata
        **{f"annotations/{shape}/{key}": _POINT for shape in ("polygon", "complex_polygon") for key in _PATHS},
        "annotations/ellipse": "angle",
        "annotations/ellipse/center": _POINT,
        "annotations/ellipse/radius": _POINT,
        "annotations/line/path": _POINT,
        "annotations/keypoint": _POINT,
        "annotations/bounding_box": "x y w h",
        "annotations/text": "text",
        "annotations/mask": "",
        "annotations/raster_layer": "dense_rle",
        "annotations/raster_layer/mask_annotation_ids_mapping": ANY,
    },
    idle={
        "": "version schema_ref",
        "item/slots": "type thumbnail_url",
        "item/slots/source_files": "url",
        "image": "url thumbnail_url",
        "annotations/bounding_box": "x y w h",  # beside a shape
        "annotations/raster_layer": "total_pixels",
    },
    usual={"item/path": ("/",), "image/path": ("/",)},
)

MORE_SHAPES: Final = "second shapes of annotations left out"

_SHAPES: Final = ("polygon", "complex_polygon", "ellipse", "line", "keypoint", "bounding_box", "mask", "raster_layer")
_OWN_FIELDS: Final = frozenset(("name", "text", "slot_names", *_SHAPES))


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a Darwin file (2.0, or 1.0): one drawing for each slot, which is an image of its own.

    Raises:
        FormatError: Not Darwin's, or an annotation that cannot be understood (with its position).
        ConfigError: It has brush masks, and the image's size is not known.
    """
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("annotations"), list):
        raise FormatError(f"{path}: not Darwin JSON (no list of annotations)")
    slots, item_name = read_slots(record, image)
    notes: list[Counter[str]] = [Counter() for _ in slots]
    notes[0].update(unread_json(record, FIELDS))
    notes[0][ITEM_NAME] += item_name is not None and not any(item_name in str(slot.image.name) for slot in slots)
    objects: list[list[Annotation]] = [[] for _ in slots]
    items = objects_in(record, "annotations", str(path))
    masks = _masks(items, slots, path, notes)
    for index, item in enumerate(items):
        where = f"{path}: annotation {index}"
        if "raster_layer" in item:
            notes[0][LAYER_FIELDS] += len(as_metadata(other_values(_other_fields(item))).keys() - {"id"})
            continue
        for place in _places(item, slots, notes):
            mask = masks.get((place, str(item.get("id"))))
            made = _mask(mask, notes[place]) if "mask" in item else _shape(item, where, notes[place])
            if made is not None:
                objects[place].append(_annotation(item, made, where, notes[place]))
    drawn = zip(objects, slots, notes, strict=True)
    return [Drawing(objects=tuple(found), image=slot.image, notes=+said) for found, slot, said in drawn]


def _places(item: Mapping[str, Any], slots: Sequence[Slot], notes: Sequence[Counter[str]]) -> list[int]:
    """In which slots an annotation lies; without a name of one it is the first."""
    names = item.get("slot_names")
    if len(slots) == 1 or not isinstance(names, list) or not names:
        return [0]
    known = [index for index, slot in enumerate(slots) if slot.name in names]
    notes[0][STRANGE_SLOT] += not known
    return known


def _masks(
    items: Sequence[Mapping[str, Any]], slots: Sequence[Slot], path: Path, notes: Sequence[Counter[str]]
) -> dict[tuple[int, str], BaseGeometry]:
    """Trace the raster layers: the area of each mask by slot and id of its annotation."""
    masks: dict[tuple[int, str], BaseGeometry] = {}
    known = {str(item.get("id")) for item in items if "mask" in item}
    for index, item in enumerate(items):
        layer = item.get("raster_layer")
        if layer is None:
            continue
        where = f"{path}: annotation {index}"
        ids = layer.get("mask_annotation_ids_mapping") if isinstance(layer, dict) else None
        if not isinstance(ids, dict) or not all(isinstance(number, int) for number in ids.values()):
            raise FormatError(f"{where}: its raster layer says of no number which annotation it is")
        for place in _places(item, slots, [Counter() for _ in notes]):
            width, height = slots[place].image.size("a brush mask")
            areas = read_dense_rle(layer.get("dense_rle"), width=width, height=height, where=where)
            notes[place][NO_ANNOTATION] += len(ids.keys() - known)
            named = {key: number for key, number in ids.items() if key in known and number in areas}
            masks |= {(place, key): areas[number] for key, number in named.items()}
            notes[place][NOBODYS] += sum(int(a.area) for number, a in areas.items() if number not in named.values())
    return masks


def _mask(area: BaseGeometry | None, notes: Counter[str]) -> _Made | None:
    notes[NO_PIXEL] += area is None
    return None if area is None else (area, area_shape(area))


def _annotation(item: Mapping[str, Any], made: _Made, where: str, notes: Counter[str]) -> Annotation:
    name, text = item.get("name"), item.get("text")
    if not isinstance(name, str):
        raise FormatError(f"{where}: its name, the class, is {name!r}")
    written = text.get("text") if isinstance(text, dict) else None
    notes[NO_CLASS] += not name.strip()
    return Annotation(
        geometry=made[0],
        shape=made[1],
        path_class=read_class(name, None),
        id=_uuid(item.get("id")),
        name=written if isinstance(written, str) else None,
        metadata=as_metadata(other_values(_other_fields(item))),
    )


def _other_fields(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """What an annotation has beyond shape, class, text and slots."""
    is_own = {"id"} if _uuid(item.get("id")) else set()
    return {key: value for key, value in item.items() if key not in _OWN_FIELDS | is_own}


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
    notes[MORE_SHAPES] += len(set(item) & set(_SHAPES) - {"bounding_box"}) > 1
    return found


def _paths(area: Any, where: str) -> list[Points]:
    if not isinstance(area, dict):
        raise FormatError(f"{where}: its polygon is not an object")
    paths = area.get("paths", area.get("path"))
    if isinstance(paths, list) and paths and isinstance(paths[0], dict):
        more = area.get("additional_paths") or []
        paths = [paths, *more] if isinstance(more, list) else None
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
    geometry = rings[0] if len(rings) == 1 else nested(rings)
    if geometry is None:
        notes[MENDED] += 1
        geometry, _ = mend(rings[0])
        for ring in rings[1:]:
            geometry = geometry.symmetric_difference(mend(ring)[0])
    return geometry, area_shape(geometry)


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
    """Write objects as Darwin JSON 2.0, one item with a slot for each image; returns what was lost."""
    losses = count_losses((item for drawing in drawings for item in drawing.objects), CANNOT_HOLD)
    item, nameless = write_item([drawing.image for drawing in drawings], path.stem)
    losses[SAME_NAMES] += nameless
    annotations = [
        record
        for drawing, slot in zip(drawings, item["slots"], strict=True)
        for found in drawing.objects
        for record in _records(found, slot["slot_name"], losses)
    ]
    write_json(path, {"version": "2.0", "item": item, "annotations": annotations})
    return +losses


def _records(item: Annotation, slot_name: str, losses: Counter[str]) -> list[dict[str, Any]]:
    shapes = _written(item)
    losses[RESERVED] += item.class_name == UNCLASSIFIED
    losses[_SPLIT] += len(shapes) > 1 and item.geometry.geom_type == "MultiLineString"
    losses[_NO_UUID] += item.id is not None and _uuid(item.id) != item.id
    record = {"name": item.class_name or UNCLASSIFIED, "slot_names": [slot_name], **written_values(item.metadata)}
    if _uuid(item.id) is not None and len(shapes) == 1:
        record["id"] = item.id
    if item.name is not None:
        record["text"] = {"text": item.name}
    return [record | shape for shape in shapes]


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
    fields=FIELDS,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    several=True,
    one_in_folders=True,
    rule="paths by the even-odd rule: holes and parts are exact. Brush masks (`raster_layer`) are read as areas along "
    "pixel edges, and written as paths along them. Each slot of an item is an image: one file with several images is "
    "an item with a slot for each, in a folder each image is an item. Properties, instance ids and other fields of an "
    "annotation are metadata; metadata is written as properties, `instance_id` and `attributes`. Version 1.0 is read "
    "too. Class colours are not in the file.",
    source="V7's reference of Darwin JSON 2.0",
)
