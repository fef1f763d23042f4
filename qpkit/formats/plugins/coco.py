"""COCO JSON: tables of images, categories and annotations; areas as polygons or run lengths, px of level 0.

Source: the data format page of the COCO data set (object detection), and what CVAT, Label Studio and pycocotools read
and write: polygons [x1, y1, ...] without holes, packed or plain run lengths, boxes alone; a category's "color" is what
COCO's panoptic tables have.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.core.geometry import polygons_of
from qpkit.errors import FormatError
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import ONLY_QUPATH, cannot_hold, count_losses
from qpkit.formats.shared.class_names import RESERVED, UNCLASSIFIED, parse_color, read_class, rgb_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import ANY, Fields, unread_json
from qpkit.formats.shared.json_files import finite, objects_in, read_json, write_json
from qpkit.formats.shared.other_values import as_metadata
from qpkit.formats.shared.outlines import CUT, TOO_FEW, area_shape, cut_open, join_cuts, open_ring, ring_polygon
from qpkit.formats.shared.run_lengths import read_rle, write_rle

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "own colour",
    "opacity",
    "name",
    "id",
    *ONLY_QUPATH,
    "metadata",
    "no shape",
    "line",
    "points",
    "ellipse",
    "mixed shapes",
    "box polygon",
    instead={"holes": "areas with holes written as pixels or as outlines with cuts (see --segmentation)"},
)

CROWD: Final = "iscrowd"
"""COCO's mark of a group of objects; kept as metadata."""

SCORE: Final = "score"
"""The field of detection results; kept as a measurement."""

AS_PIXELS: Final = "areas written as pixels (run lengths)"
NO_PIXEL: Final = "areas that cover no pixel's centre left out"


FIELDS: Final = Fields(
    read={
        "": "annotations images categories",
        "images": "id file_name width height",
        "categories": "id name color supercategory",
        "annotations": ANY,  # what has no other place is metadata
        "annotations/segmentation": "size counts",
    },
    idle={"annotations": "id area bbox"},  # the box beside a segmentation
)

_OWN_FIELDS: Final = frozenset(("id", "image_id", "category_id", "segmentation", "bbox", "area", CROWD, SCORE))
_NO_SUPER: Final = ("", "none")
NAMELESS_CATEGORIES: Final = "categories without a name called by their id"
EMPTY_CATEGORIES: Final = "categories without annotations left out"


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a COCO file: one drawing for each image that it lists, also those without annotations.

    Raises:
        FormatError: Not COCO, or an annotation that cannot be understood (with its position).
    """
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("annotations"), list):
        raise FormatError(f"{path}: not COCO (no list of annotations)")
    _require_ids(record, path)
    classes = {c.get("id"): _category(c) for c in objects_in(record, "categories", str(path))}
    images = {i.get("id"): _image(i, str(path)) for i in objects_in(record, "images", str(path))}
    above = {c.get("id"): str(c.get("supercategory") or "") for c in objects_in(record, "categories", str(path))}
    objects: dict[Any, list[Annotation]] = defaultdict(list)
    notes: dict[Any, Counter[str]] = defaultdict(Counter)
    for index, item in enumerate(objects_in(record, "annotations", str(path))):
        where, owner = f"{path}: annotation {index}", item.get("image_id")
        if owner not in images:
            raise FormatError(f"{where}: there is no image with id {owner!r}")
        if item.get("category_id") not in classes:
            raise FormatError(f"{where}: there is no category with id {item.get('category_id')!r}")
        geometry = _geometry(item, where, notes[owner])
        if geometry is not None:
            category = item["category_id"]
            objects[owner].append(_annotation(item, geometry, classes[category], above[category], where))
    used = {item.get("category_id") for item in objects_in(record, "annotations", str(path))}
    for_all = unread_json(record, FIELDS) + Counter({EMPTY_CATEGORIES: len(classes.keys() - used)})
    categories = objects_in(record, "categories", str(path))
    for_all[NAMELESS_CATEGORIES] += sum(_is_nameless(one) and one.get("id") in used for one in categories)
    notes[next(iter(images), None)].update(for_all)
    # What the user says of the image comes first only where there is one that it can be said of.
    alone = len(images) == 1
    return [
        Drawing(
            objects=tuple(objects[key]), image=image.filled(facts) if alone else facts.filled(image), notes=+notes[key]
        )
        for key, facts in images.items()
    ]


def _require_ids(record: Mapping[str, Any], path: Path) -> None:
    for table, keys in (("images", ("id",)), ("categories", ("id",)), ("annotations", ("image_id", "category_id"))):
        for index, one in enumerate(objects_in(record, table, str(path))):
            for key in keys:
                if isinstance(one.get(key), list | dict):
                    raise FormatError(f"{path}: {table} {index}: its {key} is neither a number nor a text")


def _category(record: Mapping[str, Any]) -> PathClass | None:
    color = record.get("color")
    name = f"Category {record.get('id')}" if _is_nameless(record) else str(record["name"])
    if isinstance(color, list) and len(color) == 3 and all(isinstance(n, int) and 0 <= n <= 255 for n in color):
        return read_class(name, argb(*color))
    return read_class(name, parse_color(color) if isinstance(color, str) else None)


def _is_nameless(record: Mapping[str, Any]) -> bool:
    return record.get("name") is None or not str(record["name"]).strip()


def _image(record: Mapping[str, Any], where: str) -> ImageFacts:
    width, height = record.get("width"), record.get("height")
    if not all(size is None or isinstance(size, int) for size in (width, height)):
        raise FormatError(f"{where}: image {record.get('id')!r} has a size of {width!r} x {height!r}")
    return ImageFacts(
        name=None if record.get("file_name") is None else str(record["file_name"]), width=width, height=height
    )


def _annotation(
    item: Mapping[str, Any], area: BaseGeometry, path_class: PathClass | None, above: str, where: str
) -> Annotation:
    score, crowd = item.get(SCORE), item.get(CROWD)
    rest = [(key, value) for key, value in item.items() if key not in _OWN_FIELDS]
    if above.strip().lower() not in _NO_SUPER:
        rest.insert(0, ("supercategory", above))
    if crowd not in (None, 0):
        rest.insert(0, (CROWD, int(crowd) if isinstance(crowd, bool) else crowd))
    return Annotation(
        geometry=area,
        shape=area_shape(area),
        path_class=path_class,
        measurements={} if score is None else {SCORE: finite(score, f"{where}: score")},
        metadata=as_metadata(rest),
    )


def _geometry(item: Mapping[str, Any], where: str, notes: Counter[str]) -> BaseGeometry | None:
    segmentation = item.get("segmentation")
    if isinstance(segmentation, dict):
        geometry = read_rle(segmentation, where)
    elif isinstance(segmentation, list) and segmentation:
        geometry = _polygons(segmentation, where, notes)
    else:
        geometry = _box(item.get("bbox"), where)
    if geometry.is_empty:
        notes[TOO_FEW] += 1
        return None
    return geometry


def _polygons(rings: list[Any], where: str, notes: Counter[str]) -> BaseGeometry:
    parts: list[shapely.Polygon] = []
    for ring in rings:
        if not isinstance(ring, list) or len(ring) % 2:
            raise FormatError(f"{where}: a polygon is not a list of x, y, x, y ...")
        polygon = ring_polygon(np.array([finite(value, where) for value in ring]).reshape(-1, 2))
        if polygon is not None:
            joined = join_cuts(polygon)
            notes[CUT] += joined is not None
            parts.append(joined or polygon)
    notes[TOO_FEW] += len(rings) - len(parts) if parts else 0
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _box(box: Any, where: str) -> BaseGeometry:
    if not isinstance(box, list) or len(box) != 4:
        raise FormatError(f"{where}: has neither a segmentation nor a bbox of x, y, width, height")
    x, y, width, height = (finite(value, f"{where}: bbox") for value in box)
    if width <= 0 or height <= 0:
        return shapely.Polygon()
    return shapely.Polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)])


def write(path: Path, drawings: Sequence[Drawing], choices: Choices) -> Counter[str]:
    """Write all images into one file.

    Returns:
        What was lost, with the areas written as pixels and those that cover no pixel.

    Raises:
        ConfigError: Run lengths are needed, and the image's size is not known.
    """
    losses: Counter[str] = Counter()
    categories: dict[PathClass | None, int] = {}
    annotations: list[dict[str, Any]] = []
    for image_id, drawing in enumerate(drawings, start=1):
        losses.update(count_losses(map(_without_own_fields, drawing.objects), CANNOT_HOLD))
        for item in drawing.objects:
            losses[RESERVED] += item.class_name == UNCLASSIFIED
            made = _written(item, drawing.image, choices, losses)
            if made is not None:
                category = categories.setdefault(item.path_class, len(categories) + 1)
                ids = {"id": len(annotations) + 1, "image_id": image_id, "category_id": category}
                annotations.append(ids | made | _own_fields(item))
    document = {
        "images": [_image_record(number, drawing.image) for number, drawing in enumerate(drawings, start=1)],
        "categories": [_category_record(number, path_class) for path_class, number in categories.items()],
        "annotations": annotations,
    }
    write_json(path, document)
    return +losses


def _without_own_fields(item: Annotation) -> Annotation:
    """Leave out the measurement and the metadata that COCO has fields for."""
    return replace(
        item,
        measurements={name: value for name, value in item.measurements.items() if name != SCORE},
        metadata={key: value for key, value in item.metadata.items() if (key, value) != (CROWD, "1")},
    )


def _own_fields(item: Annotation) -> dict[str, Any]:
    score = item.measurements.get(SCORE)
    fields: dict[str, Any] = {CROWD: int(item.metadata.get(CROWD) == "1")}
    return fields if score is None or not math.isfinite(score) else fields | {SCORE: score}


def _written(item: Annotation, image: ImageFacts, choices: Choices, losses: Counter[str]) -> dict[str, Any] | None:
    polygons = polygons_of(item.geometry)
    if not polygons:
        return None
    area = polygons[0] if len(polygons) == 1 else shapely.MultiPolygon(polygons)
    holed = any(polygon.interiors for polygon in polygons)
    x, y, x2, y2 = area.bounds
    box = {"bbox": [x, y, x2 - x, y2 - y]}
    if choices.segmentation == "polygon" or (choices.segmentation == "auto" and not holed):
        rings = [cut_open(polygon) if polygon.interiors else open_ring(polygon) for polygon in polygons]
        return {"segmentation": [ring.ravel().tolist() for ring in rings], "area": area.area, **box}
    width, height = image.size("COCO's run lengths (areas with holes)")
    record, pixels = write_rle(area, width=width, height=height)
    losses[AS_PIXELS if pixels else NO_PIXEL] += 1
    return {"segmentation": record, "area": pixels, **box} if pixels else None


def _image_record(number: int, image: ImageFacts) -> dict[str, Any]:
    known = {"file_name": image.name, "width": image.width, "height": image.height}
    return {"id": number, **{key: value for key, value in known.items() if value is not None}}


def _category_record(number: int, path_class: PathClass | None) -> dict[str, Any]:
    record: dict[str, Any] = {"id": number, "name": UNCLASSIFIED if path_class is None else str(path_class)}
    if path_class is not None and path_class.color is not None:
        record["color"] = list(rgb_of(path_class.color))
    return record


def _recognises(record: object, _: Path) -> bool:
    if not isinstance(record, Mapping):
        return False
    return isinstance(record.get("annotations"), list) and isinstance(record.get("images"), list)


FORMAT: Final = Format(
    name="coco",
    title="COCO JSON",
    order=70,
    suffixes=(".json",),
    recognises_json=_recognises,
    fields=FIELDS,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    several=True,
    rule="areas with holes become run lengths (`--segmentation auto`), all of them (`rle`), or none (`polygon`: cuts "
    "as in ASAP). Run lengths need the image's size. `score` is a measurement; `iscrowd`, the "
    "supercategory and fields of other programs (`attributes` ...) are metadata. No class is "
    "`Unclassified`.",
    source="COCO's format page; pycocotools in the tests",
)
