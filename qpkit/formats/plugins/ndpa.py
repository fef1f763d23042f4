"""Hamamatsu NDP.view .ndpa: nanometres from the centre of the slide (the glass), not of the image.

x_px = (x_nm - XOffsetFromSlideCentre) / (1000 mpp_x) + width / 2, and so for y, with its own um per px: they differ by
0.3 % in real slides. So a file can be read only together with the image's size, um per px and offset, which stand in
the .ndpi.

Source: what public readers and writers of the format agree on: a <ndpviewstate> for each annotation with <title>
(read as the class) and <details> (read as the name); types freehand (closed or not; specialtype rectangle), circle,
pin, pointer, linearmeasure. The offsets are OpenSlide's hamamatsu.* properties, in nm.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, RoiShape
from qpkit.core.geometry import ellipse
from qpkit.core.pixel_size import PixelSize
from qpkit.errors import ConfigError, FormatError
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import NOT_IN_XML, cannot_hold, count_losses
from qpkit.formats.shared.class_names import (
    NO_COLOR,
    RESERVED,
    UNCLASSIFIED,
    color_of,
    parse_color,
    read_class,
    to_hex,
    written_class,
)
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.fields import Fields, unread_xml
from qpkit.formats.shared.outlines import CUT, TOO_FEW, Points, cut_open, join_cuts, open_ring, pieces, ring_polygon
from qpkit.formats.shared.xml_files import number, printable, read_xml, write_xml

ROOT: Final = "annotations"

CANNOT_HOLD: Final = cannot_hold(
    "odd class name",
    "no class colour",
    "own colour beside a class",
    "opacity",
    "blank name",
    *NOT_IN_XML,
    "metadata",
    "many points",
    "ellipse",
    instead={"holes": "holes written as cuts in the outline"},
)

ROUNDED: Final = "objects rounded to whole nanometres"

_NM_PER_UM: Final = 1000.0


@dataclass(frozen=True, slots=True)
class _Frame:
    """Slide px <-> nm from the slide's centre."""

    width: int
    height: int
    nm_per_px: tuple[float, float]
    centre_nm: tuple[float, float]

    @classmethod
    def of(cls, image: ImageFacts) -> _Frame:
        """Make it of what is known about the image.

        Raises:
            ConfigError: Something is not known.
        """
        size = image.pixel_size or (PixelSize(image.mpp, image.mpp) if image.mpp else None)
        if image.width is None or image.height is None or size is None or image.centre_nm is None:
            raise ConfigError(
                "an .ndpa counts nanometres from the centre of the glass: give --image SLIDE.ndpi, or --size WxH, "
                "--mpp (or --mpp-xy) and --offset-nm X,Y (hamamatsu.XOffsetFromSlideCentre and Y)"
            )
        return cls(image.width, image.height, (size.x * _NM_PER_UM, size.y * _NM_PER_UM), image.centre_nm)

    def to_px(self, nm: Points) -> Points:
        """Slide px of nm."""
        half = np.array([self.width / 2, self.height / 2])
        return np.asarray((nm - self.centre_nm) / self.nm_per_px + half, dtype=np.float64)

    def to_nm(self, px: Points) -> Points:
        """Whole nm of slide px."""
        half = np.array([self.width / 2, self.height / 2])
        return np.asarray(np.round((px - half) * np.array(self.nm_per_px) + self.centre_nm), dtype=np.float64)


FIELDS: Final = Fields(
    read={
        "ndpviewstate": "title details coordformat",
        "ndpviewstate/annotation": "@type @color x y x1 y1 x2 y2 radius closed specialtype",
        "ndpviewstate/annotation/pointlist/point": "x y",
    },
    idle={
        "ndpviewstate": "@id x y lens showtitle showhistogram showlineprofile",
        "ndpviewstate/annotation": "@displayname measuretype",
    },
    usual={"ndpviewstate/z": ("0",)},
)

UNTITLED: Final = "annotations without a title"
_SAME_COLOR: Final = "objects' own colours that are grey as those without a class left out"


def read(path: Path, image: ImageFacts, _: Choices) -> list[Drawing]:
    """Read an .ndpa.

    Raises:
        ConfigError: The image's size, um per px or offset is not known.
        FormatError: Not XML, not NDP.view's, in other units, or a coordinate that is no number.
    """
    root = read_xml(path, ROOT)
    frame = _Frame.of(image)
    notes = unread_xml(root, FIELDS)
    objects: list[Annotation] = []
    for index, view in enumerate(root.findall("ndpviewstate")):
        where = f"{path}: annotation {index}"
        unit = view.findtext("coordformat", "nanometers")
        if unit != "nanometers":
            raise FormatError(f"{where}: counts in {unit!r}, not in nanometers")
        for element in view.findall("annotation"):
            made = _shape(element, frame, where, notes)
            if made is not None:
                title, color = view.findtext("title") or "", parse_color(element.get("color"))
                path_class = read_class(title, color)
                notes[UNTITLED] += not title.strip()
                own = color if path_class is None and color != NO_COLOR else None
                name = view.findtext("details") or None
                item = Annotation(geometry=made[0], shape=made[1], path_class=path_class, name=name, color=own)
                objects.append(item)
    return [Drawing(objects=tuple(objects), image=image, notes=+notes)]


def _shape(element: ET.Element, frame: _Frame, where: str, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape] | None:
    kind = element.get("type")
    if kind == "pin":
        return shapely.Point(frame.to_px(_numbers(element, where, ("x", "y")))[0]), "points"
    if kind in ("linearmeasure", "pointer"):
        return shapely.LineString(frame.to_px(_numbers(element, where, ("x1", "y1", "x2", "y2")))), "line"
    if kind == "circle":
        centre = frame.to_px(_numbers(element, where, ("x", "y")))[0]
        radius_nm = number(element.findtext("radius"), f"{where}: radius")
        radii = radius_nm / np.array(frame.nm_per_px)
        return (ellipse(*(centre - radii), *(centre + radii)), "ellipse") if radius_nm > 0 else None
    if kind != "freehand":
        notes[f"annotations of type {kind!r} left out"] += 1
        return None
    found = [_numbers(point, where, ("x", "y")) for point in element.iter("point")]
    points = frame.to_px(np.array(found).reshape(-1, 2))
    if element.findtext("closed") == "0" and len(points) > 1:
        return shapely.LineString(points), "polyline"
    return _area(points, element.findtext("specialtype") == "rectangle", notes)


def _area(points: Points, is_rectangle: bool, notes: Counter[str]) -> tuple[BaseGeometry, RoiShape] | None:
    polygon = ring_polygon(points)
    if polygon is None:
        notes[TOO_FEW] += 1
        return None
    joined = join_cuts(polygon)
    if joined is not None:
        notes[CUT] += 1
        return joined, "geometry"
    return polygon, "rectangle" if is_rectangle else "polygon"


def _numbers(element: ET.Element, where: str, keys: Sequence[str]) -> Points:
    return np.array([number(element.findtext(key), f"{where}: {key}") for key in keys]).reshape(-1, 2)


def write(path: Path, drawings: Sequence[Drawing], _: Choices) -> Counter[str]:
    """Write one image's objects; returns what was lost.

    Raises:
        ConfigError: The image's size, um per px or offset is not known.
    """
    (drawing,) = drawings
    frame = _Frame.of(drawing.image)
    losses = count_losses(drawing.objects, CANNOT_HOLD)
    root = ET.Element(ROOT)
    for item in drawing.objects:
        px = shapely.get_coordinates(item.geometry)
        losses[RESERVED] += item.class_name == UNCLASSIFIED
        losses[_SAME_COLOR] += item.path_class is None and item.color == NO_COLOR
        losses[ROUNDED] += not np.array_equal(frame.to_px(frame.to_nm(px)), px)
        for geometry, shape in pieces(item, split_points=True):
            _add(root, item, geometry, shape, frame)
    write_xml(path, root)
    return +losses


def _add(root: ET.Element, item: Annotation, geometry: BaseGeometry, shape: RoiShape, frame: _Frame) -> None:
    view = ET.SubElement(root, "ndpviewstate", id=str(len(root) + 1))
    texts = {"title": written_class(item.path_class), "details": item.name or "", "coordformat": "nanometers"}
    _add_texts(view, {tag: printable(text) for tag, text in texts.items()})
    own = item.color if item.path_class is None else None
    color = to_hex(color_of(item.path_class) if own is None else own)
    if shape == "points":
        _numbered(view, "pin", "AnnotatePin", color, ("x", "y"), frame.to_nm(shapely.get_coordinates(geometry)))
    elif shape == "line":
        ends = frame.to_nm(shapely.get_coordinates(geometry))
        _numbered(view, "linearmeasure", "AnnotateRuler", color, ("x1", "y1", "x2", "y2"), ends)
    elif isinstance(geometry, shapely.Polygon):
        ring = open_ring(geometry) if shape == "rectangle" else cut_open(geometry)
        _freehand(view, color, frame.to_nm(ring), closed=True, is_rectangle=shape == "rectangle")
    else:
        _freehand(view, color, frame.to_nm(shapely.get_coordinates(geometry)), closed=False, is_rectangle=False)


def _numbered(view: ET.Element, kind: str, displayed: str, color: str, keys: Sequence[str], nm: Points) -> None:
    element = ET.SubElement(view, "annotation", type=kind, displayname=displayed, color=color)
    _add_texts(element, dict(zip(keys, map(int, nm.ravel().tolist()), strict=True)))


def _add_texts(element: ET.Element, texts: Mapping[str, object]) -> None:
    for tag, text in texts.items():
        ET.SubElement(element, tag).text = str(text)


def _freehand(view: ET.Element, color: str, nm: Points, *, closed: bool, is_rectangle: bool) -> None:
    displayed = "AnnotateRectangle" if is_rectangle else "AnnotateFreehand" if closed else "AnnotateFreehandLine"
    element = ET.SubElement(view, "annotation", type="freehand", displayname=displayed, color=color)
    _add_texts(element, {"measuretype": 0, "closed": int(closed)})
    points = ET.SubElement(element, "pointlist")
    for x, y in nm.tolist():
        _add_texts(ET.SubElement(points, "point"), {"x": int(x), "y": int(y)})
    if is_rectangle:
        _add_texts(element, {"specialtype": "rectangle"})


def _recognises(root: ET.Element, _: Path) -> bool:
    return root.tag == ROOT and root.find("ndpviewstate") is not None


FORMAT: Final = Format(
    name="ndpa",
    title="Hamamatsu NDPA",
    order=60,
    suffixes=(".ndpa",),
    recognises_xml=_recognises,
    read=read,
    write=write,
    cannot_hold=CANNOT_HOLD,
    fields=FIELDS,
    needs_centre=True,
    rule="nanometres from the centre of the glass: needs the slide (`--image`), or `--size`, `--mpp` and "
    "`--offset-nm`; um/px along x and along y are taken each for itself (`--mpp-xy`). Class = title, name = details; "
    "without a title the colour is the object's own. Holes as in ASAP. Rounded to whole nm.",
    source="public readers and writers; OpenSlide's `hamamatsu.*`",
)
