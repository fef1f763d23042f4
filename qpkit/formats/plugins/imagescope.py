"""Aperio ImageScope XML: layers of regions, px of level 0; a hole is a region with NegativeROA="1".

Source: what public readers and writers of the format agree on: Region Type 0 is a closed outline, 1 a rectangle, 2 an
ellipse (corners of its box), 3 an arrow, 4 a ruler, 5 counted points; LineColor is a decimal COLORREF; a negative
region names the Id of the region that it lies in as InputRegionId. A layer without a Name is shown by the text of its
attribute ("Description" until somebody writes another), e.g. in the annotations that come with HistoQC.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import count
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
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields, unread_xml
from qpkit.formats.shared.negative_regions import NEGATIVE_LINES, TEXTS, NegativeRegion, with_holes
from qpkit.formats.shared.other_values import as_metadata
from qpkit.formats.shared.outlines import TOO_FEW, Points, boxed, open_ring, pieces
from qpkit.formats.shared.xml_files import as_text, number, points_of, printable, read_xml, write_xml, xml_metadata

ROOT: Final = "Annotations"

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "no class colour",
    "own colour",
    "opacity",
    "blank name",
    *NOT_IN_XML,
    "odd metadata",
    instead={"polyline": "lines of more than two points left out (ImageScope would close them)"},
)

_OUTLINE, _BOX, _ELLIPSE, _ARROW, _RULER, _COUNTED = "0", "1", "2", "3", "4", "5"
_TYPE: Final[dict[RoiShape, str]] = {"rectangle": _BOX, "ellipse": _ELLIPSE, "line": _RULER, "points": _COUNTED}


FIELDS: Final = Fields(
    read={
        "": "@MicronsPerPixel",
        "Annotation": "@Name @LineColor",
        "Annotation/Attributes/Attribute": "@Name @Value",
        "Annotation/Regions/RegionAttributeHeaders/AttributeHeader": "@Id @Name",
        "Annotation/Regions/Region": "@Id @Type @Text @NegativeROA @InputRegionId",
        "Annotation/Regions/Region/Attributes/Attribute": "@Id @Name @Value",
        "Annotation/Regions/Region/Vertices/Vertex": "@X @Y",
    },
    idle={
        "Annotation": "@Id @ReadOnly @NameReadOnly @LineColorReadOnly @Incremental @Type @Visible @Selected",
        "Annotation/Attributes/Attribute": "@Id",
        "Annotation/Plots": "",
        "Annotation/Regions/RegionAttributeHeaders/AttributeHeader": "@ColumnWidth",
        "Annotation/Regions/Region": "@Zoom @Selected @Length @Area @LengthMicrons @AreaMicrons @DisplayId",
    },
    usual={
        "Annotation/Regions/Region/@Analyze": ("0", "1"),
        "Annotation/Regions/Region/@ImageFocus": ("-1", "0"),
        "Annotation/Regions/Region/Vertices/Vertex/@Z": ("0",),
    },
)

_UNWRITTEN: Final = ("", "Description")
"""Names of a layer's attribute before somebody writes one."""

LAYER: Final = "layer: "
"""Before the keys of metadata that are a layer's attributes, not the region's own."""

_Attributes = list[tuple[str, str]]
"""Names and texts, in order; a name may come twice."""

_Named = tuple[BaseGeometry, RoiShape, str | None, _Attributes]
"""A region: its shape, its text and its attributes."""

_LayerOf = tuple[PathClass | None, tuple[tuple[str, str], ...]]
"""What objects of one layer have in common: class and attributes."""


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read an ImageScope file.

    The layer's name is the class, else the text of its attribute, else its number; a region's text is its name, other
    attributes are metadata, those of its layer with `LAYER` before their names. MicronsPerPixel becomes the image's
    mpp if nothing else says it.

    Raises:
        FormatError: Not XML, not ImageScope's, or a coordinate that is no number.
    """
    root = read_xml(path, ROOT)
    notes = unread_xml(root, FIELDS)
    objects: list[Annotation] = []
    for index, layer in enumerate(root.findall("Annotation")):
        name, attributes = _layer_name(layer, index + 1)
        color = parse_bgr(layer.get("LineColor"))
        path_class = read_class(name, color)
        own = color if path_class is None and color != NO_COLOR else None
        found = _layer(layer, f"{path}: layer {index}", notes)
        notes[NAMELESS] += bool(found) and not (layer.get("Name") or "").strip()
        notes[EMPTY_LAYERS] += layer.find(".//Region") is None
        for geometry, shape, text, said in found:
            metadata = as_metadata([*said, *((f"{LAYER}{key}", value) for key, value in attributes)])
            objects.append(
                Annotation(
                    geometry=geometry, shape=shape, path_class=path_class, name=text, color=own, metadata=metadata
                )
            )
    text = root.get("MicronsPerPixel")
    mpp = number(text, f"{path}: MicronsPerPixel") if text else 0.0
    known = image.filled(ImageFacts(mpp=mpp)) if mpp > 0 else image
    return [Drawing(objects=tuple(objects), image=known, notes=+notes)]


def _layer_name(layer: ET.Element, number_: int) -> tuple[str, _Attributes]:
    """What ImageScope shows for a layer, and its other attributes."""
    name = layer.get("Name") or ""
    attributes: _Attributes = []
    for element in layer.iterfind("Attributes/Attribute"):
        key, value = element.get("Name") or "", element.get("Value") or ""
        # The text may have been written over the attribute's name.
        text, key = (
            (value, key or "Description") if value.strip() or key.strip() in _UNWRITTEN else (key, "Description")
        )
        if not name.strip() and key == "Description" and text.strip():
            name = text
        elif text.strip():
            attributes.append((key, text))
    return name if name.strip() else f"Layer {number_}", attributes


def _layer(layer: ET.Element, where: str, notes: Counter[str]) -> list[_Named]:
    found: list[tuple[BaseGeometry, RoiShape]] = []
    texts: list[tuple[str | None, _Attributes]] = []
    negatives: list[tuple[NegativeRegion, str | None]] = []
    numbers: dict[str | None, int] = {}
    headers = {e.get("Id"): e.get("Name") for e in layer.iterfind("Regions/RegionAttributeHeaders/AttributeHeader")}
    for element in layer.iter("Region"):
        made = _region(element, f"{where}, region {element.get('Id')}", notes)
        if made is None:
            continue
        text, attributes = element.get("Text") or None, _attributes(element, headers)
        if element.get("NegativeROA") == "1" and isinstance(made[0], shapely.Polygon):
            negatives.append((NegativeRegion(made[0], len(numbers)), element.get("InputRegionId")))
            notes[TEXTS] += text is not None or bool(attributes)
            continue
        notes[NEGATIVE_LINES] += element.get("NegativeROA") == "1"
        if isinstance(made[0], shapely.Polygon):
            numbers[element.get("Id") or f"nameless {len(found)}"] = len(numbers)
        found.append(made)
        texts.append((text, attributes))
    named = [replace(negative, owner=numbers.get(owner)) for negative, owner in negatives]
    cut = zip(with_holes(found, named, notes), texts, strict=True)
    return [(geometry, shape, *said) for (geometry, shape), said in cut if not geometry.is_empty]


def _attributes(region: ET.Element, headers: Mapping[str | None, str | None]) -> _Attributes:
    """Attributes of a region by their names, which may stand in the headers of the layer."""
    found = []
    for element in region.iterfind("Attributes/Attribute"):
        name, id_ = element.get("Name") or "", element.get("Id")
        if (element.get("Value") or "").strip() or name.strip() not in _UNWRITTEN:
            found.append((name or headers.get(id_) or f"Attribute {id_}", element.get("Value") or name))
    return found


def _region(element: ET.Element, where: str, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape] | None:
    points = points_of(element.iter("Vertex"), where)
    kind = element.get("Type", _OUTLINE)
    if kind == _COUNTED and len(points):
        return (shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)), "points"
    if kind in (_ARROW, _RULER) and len(points) > 1:
        return shapely.LineString(points), "line" if len(points) == 2 else "polyline"
    if kind not in (_OUTLINE, _BOX, _ELLIPSE):
        notes[f"regions of type {kind!r} left out"] += 1
        return None
    shape: RoiShape = "rectangle" if kind == _BOX else "ellipse" if kind == _ELLIPSE else "polygon"
    polygon = boxed(points, shape)
    notes[TOO_FEW] += polygon is None
    return None if polygon is None else (polygon, shape)


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects, a layer for each class and attributes of a layer; returns what was lost."""
    (drawing,) = drawings
    root = ET.Element(ROOT, MicronsPerPixel="" if drawing.image.mpp is None else as_text(drawing.image.mpp))
    layers: dict[_LayerOf, ET.Element] = {}
    numbers = count(1)
    for item in drawing.objects:
        attributes, layer_attributes = _split(item.metadata)
        key = (item.path_class, layer_attributes)
        if key not in layers:
            layers[key] = _new_layer(root, key, len(layers) + 1)
        for geometry, shape in pieces(item, split_points=False):
            if shape != "polyline":
                region = _add(layers[key], item, geometry, shape, numbers)
                _add_attributes(region, layers[key], attributes)
    write_xml(path, root)
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    losses[RESERVED] += sum(item.class_name == UNCLASSIFIED for item in drawing.objects)
    return +losses


def _split(metadata: Mapping[str, str]) -> tuple[_Attributes, tuple[tuple[str, str], ...]]:
    """What of metadata is the region's, and what is its layer's."""
    texts = xml_metadata(metadata).items()
    of_layer = tuple((key.removeprefix(LAYER), text) for key, text in texts if key.startswith(LAYER) and key != LAYER)
    return [(key, text) for key, text in texts if key == LAYER or not key.startswith(LAYER)], of_layer


def _new_layer(root: ET.Element, of: _LayerOf, number_: int) -> ET.Element:
    path_class, attributes = of
    name = printable(written_class(path_class))
    layer = ET.SubElement(root, "Annotation", Id=str(number_), Name=name, ReadOnly="0", Type="4", Visible="1")
    layer.set("LineColor", to_bgr(color_of(path_class)))
    holder = ET.SubElement(layer, "Attributes")
    for id_, (key, text) in enumerate(attributes):
        ET.SubElement(holder, "Attribute", Name=key, Id=str(id_), Value=text)
    ET.SubElement(ET.SubElement(layer, "Regions"), "RegionAttributeHeaders")
    ET.SubElement(layer, "Plots")
    return layer


def _add(
    layer: ET.Element, item: Annotation, geometry: BaseGeometry, shape: RoiShape, numbers: count[int]
) -> ET.Element:
    """Add a shape and its holes; gives its region."""
    owner = next(numbers)
    if shape == "ellipse":
        x, y, x2, y2 = geometry.bounds
        points = np.array([(x, y), (x2, y2)])
    else:
        points = open_ring(geometry) if isinstance(geometry, shapely.Polygon) else shapely.get_coordinates(geometry)
    region = _add_region(layer, owner, _TYPE.get(shape, _OUTLINE), points, text=printable(item.name or ""))
    for hole in geometry.interiors if isinstance(geometry, shapely.Polygon) else ():
        ring = open_ring(shapely.Polygon(hole))
        _add_region(layer, next(numbers), _OUTLINE, ring, text="", inside=owner)
    return region


def _add_region(
    layer: ET.Element, number_: int, kind: str, points: Points, *, text: str, inside: int | None = None
) -> ET.Element:
    regions = layer.find("Regions")
    assert regions is not None
    region = ET.SubElement(regions, "Region", Id=str(number_), Type=kind, Zoom="1", Text=text, Analyze="1")
    region.set("NegativeROA", "0" if inside is None else "1")
    region.set("InputRegionId", "0" if inside is None else str(inside))
    region.set("DisplayId", str(number_))
    ET.SubElement(region, "Attributes")
    vertices = ET.SubElement(region, "Vertices")
    for x, y in points.tolist():
        ET.SubElement(vertices, "Vertex", X=as_text(x), Y=as_text(y), Z="0")
    return region


def _add_attributes(region: ET.Element, layer: ET.Element, attributes: _Attributes) -> None:
    """Add attributes of a region, each with the Id of its column in the layer's table of regions."""
    holder, headers = region.find("Attributes"), layer.find("Regions/RegionAttributeHeaders")
    assert holder is not None
    assert headers is not None
    ids = {header.get("Name"): header.get("Id", "") for header in headers}
    for name, text in attributes:
        if name not in ids:
            ids[name] = str(len(ids) + 1)
            ET.SubElement(headers, "AttributeHeader", Id=ids[name], Name=name, ColumnWidth="-1")
        ET.SubElement(holder, "Attribute", Name=name, Id=ids[name], Value=text)


def _recognises(root: ET.Element, _: Path) -> bool:
    """HALO's root has the same name; its vertices are called V."""
    if root.tag != ROOT or root.find(".//V") is not None:
        return False
    return root.get("MicronsPerPixel") is not None or root.find(".//Vertex") is not None


FORMAT: Final = Format(
    name="imagescope",
    title="Aperio ImageScope XML",
    order=40,
    suffixes=(".xml",),
    recognises_xml=_recognises,
    fields=FIELDS,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule="class = layer; one without a name is called by the text of its attribute, else Layer 2 or whichever it is. "
    "Name = text of the region, metadata = its attributes and, as `layer: NAME`, the layer's; both are written back. "
    'Holes are `NegativeROA="1"` regions that name theirs as '
    "`InputRegionId`; without it as in HALO. `LineColor` is blue-green-red.",
    source="public readers and writers",
)
