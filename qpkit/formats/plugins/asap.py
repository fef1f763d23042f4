"""ASAP XML: annotations of one ring each, in groups; px of level 0.

Source: ASAP itself (XmlRepository.cpp: types, groups that lie in groups, "None" for no group) and what public readers
and writers of the format agree on (CAMELYON, dlup), which add the type PolyLine; the group is what others call the
class. A file that names a group which it does not list is refused by ASAP, so each class is listed.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass, RoiShape
from qpkit.errors import FormatError
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import NOT_IN_XML, cannot_hold, count_losses
from qpkit.formats.shared.class_names import color_of, parse_color, read_class, to_hex
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields, unread_xml
from qpkit.formats.shared.outlines import CUT, TOO_FEW, Points, cut_open, join_cuts, open_ring, pieces, ring_polygon
from qpkit.formats.shared.splines import closed_spline
from qpkit.formats.shared.xml_files import as_text, attribute, points_of, printable, read_xml, write_xml

ROOT: Final = "ASAP_Annotations"
NO_GROUP: Final = "None"

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "no class colour",
    "opacity",
    "blank name",
    *NOT_IN_XML,
    "metadata",
    "ellipse",
    instead={"holes": "holes written as cuts in the outline"},
)

SPLINE: Final = "splines read as polygons along their curves"
_CLASH: Final = "classes of two colours given the first one"
_RESERVED: Final = f"classes called {NO_GROUP!r} read as no class"
_SAME_COLOR: Final = "objects' own colours that are their class's left out"
_OPEN: Final[dict[str, RoiShape]] = {"Measurement": "line", "PolyLine": "polyline"}


FIELDS: Final = Fields(
    read={
        "Annotations/Annotation": "@Name @Type @PartOfGroup @Color",
        "Annotations/Annotation/Coordinates/Coordinate": "@Order @X @Y",
        "AnnotationGroups/Group": "@Name @Color @PartOfGroup",
        "AnnotationGroups/Group/Attributes": "",
    },
)

NAMELESS_GROUPS: Final = "groups without a name, whose annotations keep only their colours"
EMPTY_GROUPS: Final = "groups without annotations left out"
SAME_GROUPS: Final = "groups of one name read as the last of them"


class _Group(NamedTuple):
    """A group: the class that it is, and its colour."""

    class_name: str
    color: int | None


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read an ASAP file; a group in a group is a class below the other's: "Tumor: Nest".

    Raises:
        FormatError: Not XML, not ASAP's, a coordinate that is no number, or a group that lies in itself.
    """
    root = read_xml(path, ROOT)
    groups = _groups(list(root.iter("Group")), path)
    notes = unread_xml(root, FIELDS)
    used = {element.get("PartOfGroup") for element in root.iter("Annotation")}
    notes[NAMELESS_GROUPS] += sum(not name.strip() and name in used for name in groups)
    notes[EMPTY_GROUPS] += sum(group.get("Name") not in used for group in root.iter("Group"))
    notes[SAME_GROUPS] += sum(1 for _ in root.iter("Group")) - len(groups)
    found = (
        _annotation(element, groups, f"{path}: annotation {index}", notes)
        for index, element in enumerate(root.iter("Annotation"))
    )
    objects = tuple(item for item in found if item is not None)
    return [Drawing(objects=objects, image=image, notes=+notes)]


def _groups(elements: Sequence[ET.Element], path: Path) -> dict[str, _Group]:
    """The groups by their names, with the names of the groups around them in front unless they have them already."""
    above = {element.get("Name", ""): element.get("PartOfGroup", NO_GROUP) for element in elements}

    def class_name(name: str) -> str:
        around = [name]
        while (parent := above.get(around[-1], NO_GROUP)).strip() not in ("", NO_GROUP):
            if parent in around:
                raise FormatError(f"{path}: the group {parent!r} lies in itself; change its PartOfGroup")
            around.append(parent)
        full = around.pop()
        for inner in reversed(around):
            full = inner if inner.startswith(f"{full}:") else f"{full}: {inner}"
        return full

    colors = {element.get("Name", ""): parse_color(element.get("Color")) for element in elements}
    return {name: _Group(class_name(name), color) for name, color in colors.items()}


def _annotation(
    element: ET.Element, groups: Mapping[str, _Group], where: str, notes: Counter[str]
) -> Annotation | None:
    kind = element.get("Type", "Polygon")
    made = _shape(kind, _points(element, where), notes)
    if made is None:
        return None
    name, own = element.get("PartOfGroup", NO_GROUP), parse_color(element.get("Color"))
    group = groups.get(name, _Group(name, own)) if name.strip() != NO_GROUP else _Group(NO_GROUP, own)
    path_class = read_class(group.class_name, group.color, none=NO_GROUP)
    if path_class is None and own is None:
        own = group.color  # of a group without a name
    same = own == (path_class.color if path_class is not None else color_of(None))
    geometry, shape = made
    return Annotation(
        geometry=geometry,
        shape=shape,
        path_class=path_class,
        name=element.get("Name") or None,
        color=None if same else own,
    )


def _points(element: ET.Element, where: str) -> Points:
    """The points in the order of their Order, which is mostly the one in the file."""
    found = list(element.iter("Coordinate"))
    points = points_of(found, where)
    order = [attribute(c, "Order", where) if "Order" in c.attrib else i for i, c in enumerate(found)]
    return points[np.argsort(np.array(order, dtype=np.float64), kind="stable")]


def _shape(kind: str, points: Points, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape] | None:
    if kind in ("Dot", "PointSet") and len(points):
        return (shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)), "points"
    if kind in _OPEN and len(points) > 1:
        return shapely.LineString(points), _OPEN[kind]
    if kind not in ("Polygon", "Rectangle", "Spline"):
        notes[f"annotations of type {kind!r} left out"] += 1
        return None
    polygon = ring_polygon(closed_spline(points) if kind == "Spline" else points)
    if polygon is None:
        notes[TOO_FEW] += 1
        return None
    if kind == "Spline":
        notes[SPLINE] += 1
    joined = join_cuts(polygon)
    if joined is not None:
        notes[CUT] += 1
        return joined, "geometry"
    return polygon, "rectangle" if kind == "Rectangle" else "polygon"


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects; returns what was lost."""
    (drawing,) = drawings
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    root = ET.Element(ROOT)
    annotations = ET.SubElement(root, "Annotations")
    colors: dict[str, int] = {}
    for item in drawing.objects:
        color = colors.setdefault(str(item.path_class), color_of(item.path_class)) if item.path_class else None
        losses.update(_class_losses(item, color))
        for geometry, shape in pieces(item, split_points=False):
            _add(annotations, item, geometry, shape)
    _add_groups(root, colors)
    write_xml(path, root)
    return losses


def _add_groups(root: ET.Element, colors: Mapping[str, int]) -> None:
    """Add a group for each class, in that of the class above it if there is one; names are whole, so they differ."""
    groups = ET.SubElement(root, "AnnotationGroups")
    for name, color in colors.items():
        above = name.rpartition(": ")[0]
        inside = printable(above) if above in colors else NO_GROUP
        group = {"Name": printable(name), "PartOfGroup": inside, "Color": to_hex(color)}
        ET.SubElement(ET.SubElement(groups, "Group", group), "Attributes")


def _class_losses(item: Annotation, color: int | None) -> list[str]:
    losses = [_RESERVED] if item.class_name == NO_GROUP else []
    if color is not None and color != color_of(item.path_class):
        losses.append(_CLASH)
    if item.color is not None and to_hex(item.color) == to_hex(color_of(item.path_class)):
        losses.append(_SAME_COLOR)
    return losses


def _add(annotations: ET.Element, item: Annotation, geometry: BaseGeometry, shape: RoiShape) -> None:
    kind, points = _written(geometry, shape)
    element = ET.SubElement(
        annotations,
        "Annotation",
        Name=printable(item.name or ""),
        Type=kind,
        PartOfGroup=_group(item.path_class),
        Color=to_hex(color_of(item.path_class) if item.color is None else item.color),
    )
    coordinates = ET.SubElement(element, "Coordinates")
    for order, (x, y) in enumerate(points.tolist()):
        ET.SubElement(coordinates, "Coordinate", Order=str(order), X=as_text(x), Y=as_text(y))


def _group(path_class: PathClass | None) -> str:
    return NO_GROUP if path_class is None else printable(str(path_class))


def _written(geometry: BaseGeometry, shape: RoiShape) -> tuple[str, Points]:
    if isinstance(geometry, shapely.Polygon):
        return ("Rectangle", open_ring(geometry)) if shape == "rectangle" else ("Polygon", cut_open(geometry))
    points = shapely.get_coordinates(geometry)
    if isinstance(geometry, shapely.LineString):
        return ("Measurement" if shape == "line" else "PolyLine"), points
    return ("Dot" if len(points) == 1 else "PointSet"), points


def _recognises(root: ET.Element, _: Path) -> bool:
    return root.tag == ROOT


FORMAT: Final = Format(
    name="asap",
    title="ASAP XML",
    order=30,
    suffixes=(".xml",),
    recognises_xml=_recognises,
    fields=FIELDS,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    rule="class = group, `None` is no class; a group in a group is a class below the other's (`Tumor: Nest`), and is "
    "written as one. Each annotation has a colour of its own. A hole is written as a cut: the "
    "ring goes to the hole and back along the same line, so every program fills the same area; read back as a hole, "
    "vertex for vertex. Splines are read as polygons along the curve that ASAP draws, within 0.1 px. Decimal commas "
    "are read.",
    source="ASAP's source; public readers and writers (CAMELYON, dlup)",
)
