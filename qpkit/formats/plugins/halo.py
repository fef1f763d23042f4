"""HALO .annotations: layers of regions, whole px of level 0; a hole is a region with NegativeROA="1" in the layer.

Source: what public readers and writers of the format agree on (dlup; pyhaloxml for comments): Region Type
Polygon, Rectangle, Ellipse (two corners), Ruler, Pin; HasEndcaps="1" is an open line; holes stand anywhere in their
layer; LineColor is a decimal COLORREF.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass, RoiShape
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import NOT_IN_XML, cannot_hold, count_losses
from qpkit.formats.shared.class_names import (
    EMPTY_LAYERS,
    NAMELESS,
    NO_COLOR,
    RESERVED,
    UNCLASSIFIED,
    color_of,
    parse_bgr,
    read_class,
    to_bgr,
    written_class,
)
from qpkit.formats.shared.comments import read_comments, write_comments
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields, unread_xml
from qpkit.formats.shared.negative_regions import NEGATIVE_LINES, TEXTS, NegativeRegion, with_holes
from qpkit.formats.shared.outlines import TOO_FEW, Points, boxed, open_ring, pieces, ring_polygon
from qpkit.formats.shared.xml_files import points_of, printable, read_xml, write_xml

ROOT: Final = "Annotations"

_ENDING: Final = ".annotations"

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "no class colour",
    "own colour",
    "opacity",
    "name",
    *NOT_IN_XML,
    "metadata but comments",
    "many points",
)

ROUNDED: Final = "objects rounded to whole px"
VANISHED: Final = "outlines of which rounding to whole px left nothing"

_Found = tuple[BaseGeometry, RoiShape]


FIELDS: Final = Fields(
    read={
        "Annotation": "@Name @LineColor",
        "Annotation/Regions/Region": "@Type @HasEndcaps @NegativeROA",
        "Annotation/Regions/Region/Vertices/V": "@X @Y",
        "Annotation/Regions/Region/Comments/Comment": "@Author @Body @CreatedTime @ModifiedTime",
    },
    idle={"Annotation": "@Visible"},
)


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read a HALO file; the layer's name is the class, or its number; comments are the description in QuPath.

    Raises:
        FormatError: Not XML, not HALO's, or a coordinate that is no number.
    """
    root = read_xml(path, ROOT)
    notes = unread_xml(root, FIELDS)
    objects: list[Annotation] = []
    for index, layer in enumerate(root.findall("Annotation")):
        name = layer.get("Name") or ""
        color = parse_bgr(layer.get("LineColor"))
        path_class = read_class(name if name.strip() else f"Layer {index + 1}", color)
        own = color if path_class is None and color != NO_COLOR else None
        found = _layer(layer, f"{path}: layer {index}", notes)
        notes[NAMELESS] += bool(found) and not name.strip()
        notes[EMPTY_LAYERS] += layer.find(".//Region") is None
        objects += [
            Annotation(geometry=geometry, shape=shape, path_class=path_class, color=own, metadata=comments)
            for (geometry, shape), comments in found
        ]
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def _layer(layer: ET.Element, where: str, notes: Counter[str]) -> list[tuple[_Found, dict[str, str]]]:
    found: list[_Found] = []
    comments: list[dict[str, str]] = []
    negatives: list[NegativeRegion] = []
    areas = 0
    for number_, element in enumerate(layer.iter("Region")):
        made = _region(element, f"{where}, region {number_}", notes)
        if made is None:
            continue
        said = read_comments([comment.attrib for comment in element.iterfind("Comments/Comment")])
        if element.get("NegativeROA") == "1" and isinstance(made[0], shapely.Polygon):
            negatives.append(NegativeRegion(made[0], areas))
            notes[TEXTS] += bool(said)
            continue
        notes[NEGATIVE_LINES] += element.get("NegativeROA") == "1"
        areas += isinstance(made[0], shapely.Polygon)
        found.append(made)
        comments.append(said)
    cut = zip(with_holes(found, negatives, notes), comments, strict=True)
    return [(item, said) for item, said in cut if not item[0].is_empty]


def _region(element: ET.Element, where: str, notes: Counter[str]) -> _Found | None:
    points = points_of(element.iter("V"), where)
    kind = element.get("Type", "Polygon")
    if kind == "Pin" and len(points):
        return shapely.Point(points[0]), "points"
    if len(points) > 1 and (kind == "Ruler" or (kind == "Polygon" and element.get("HasEndcaps") == "1")):
        return shapely.LineString(points), "line" if kind == "Ruler" and len(points) == 2 else "polyline"
    if kind not in ("Polygon", "Rectangle", "Ellipse"):
        notes[f"regions of type {kind!r} left out"] += 1
        return None
    shape: RoiShape = "rectangle" if kind == "Rectangle" else "ellipse" if kind == "Ellipse" else "polygon"
    polygon = boxed(points, shape)
    notes[TOO_FEW] += polygon is None
    return None if polygon is None else (polygon, shape)


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects, a layer for each class.

    Returns:
        What was lost, with the objects that were rounded and the outlines of which nothing was left.
    """
    (drawing,) = drawings
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    root = ET.Element(ROOT)
    layers: dict[PathClass | None, ET.Element] = {}
    for item in drawing.objects:
        if item.path_class not in layers:
            layers[item.path_class] = _new_layer(root, item.path_class)
        made = pieces(item, split_points=True)
        boxes = [geometry.envelope if shape == "ellipse" else geometry for geometry, shape in made]
        coordinates = shapely.get_coordinates(boxes)
        losses[ROUNDED] += not np.array_equal(coordinates, np.round(coordinates))
        comments = write_comments(item.metadata)
        for geometry, shape in made:
            region = _add(layers[item.path_class], geometry, shape, losses)
            if region is not None and comments:
                holder = ET.SubElement(region, "Comments")
                holder.extend(ET.Element("Comment", comment) for comment in comments)
    losses[RESERVED] += sum(item.class_name == UNCLASSIFIED for item in drawing.objects)
    write_xml(path, root)
    return +losses


def _new_layer(root: ET.Element, path_class: PathClass | None) -> ET.Element:
    name = printable(written_class(path_class))
    layer = ET.SubElement(root, "Annotation", Name=name, Visible="True", LineColor=to_bgr(color_of(path_class)))
    return ET.SubElement(layer, "Regions")


def _add(layer: ET.Element, geometry: BaseGeometry, shape: RoiShape, losses: Counter[str]) -> ET.Element | None:
    """Add a shape; gives its region, None if rounding left nothing of it."""
    if not isinstance(geometry, shapely.Polygon):
        kind = {"points": "Pin", "line": "Ruler"}.get(shape, "Polygon")
        return _add_region(layer, kind, np.round(shapely.get_coordinates(geometry)), open_line=shape == "polyline")
    if shape in ("rectangle", "ellipse"):
        corners = np.round(np.array(geometry.bounds, dtype=np.float64).reshape(2, 2))
        if (np.ptp(corners, axis=0) > 0).all():
            return _add_region(layer, shape.capitalize(), corners)
        losses[VANISHED] += 1
        return None
    outline, *holes = (_rounded(ring) for ring in (geometry.exterior, *geometry.interiors))
    losses[VANISHED] += 1 if outline is None else holes.count(None)
    if outline is None:
        return None
    region = _add_region(layer, "Polygon", open_ring(outline))
    for hole in holes:
        if hole is not None:
            _add_region(layer, "Polygon", open_ring(hole), negative=True)
    return region


def _rounded(ring: shapely.LinearRing) -> shapely.Polygon | None:
    return ring_polygon(np.round(np.asarray(ring.coords)[:, :2], 0))


def _add_region(
    layer: ET.Element, kind: str, points: Points, *, open_line: bool = False, negative: bool = False
) -> ET.Element:
    region = ET.SubElement(layer, "Region", Type=kind, HasEndcaps="01"[open_line], NegativeROA="01"[negative])
    vertices = ET.SubElement(region, "Vertices")
    for x, y in points.tolist():
        ET.SubElement(vertices, "V", X=str(int(x)), Y=str(int(y)))
    return region


def _recognises(root: ET.Element, path: Path) -> bool:
    """ImageScope's root has the same name; without a region only the ending tells the two apart."""
    if root.tag != ROOT:
        return False
    is_imagescope = root.get("MicronsPerPixel") is not None or root.find(".//Vertex") is not None
    return root.find(".//V") is not None or (not is_imagescope and path.suffix.lower() == _ENDING)


FORMAT: Final = Format(
    name="halo",
    title="HALO annotations",
    order=50,
    suffixes=(_ENDING,),
    ending_is_enough=False,  # files of ImageScope have it, too
    fields=FIELDS,
    recognises_xml=_recognises,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule="whole px. Class = layer; one without a name is called Layer 2 or whichever it is. Comments of a region are "
    "the description that QuPath shows, who wrote them and when is metadata; both are written back as comments. A "
    "negative region is a hole of the last region before it that covers it, else of the smallest behind it; one that "
    "crosses outlines is cut out of all of them and counted.",
    source="public readers and writers (dlup)",
)
