"""What annotations have that a format may not hold, counted object by object.

Each format names what it cannot hold; `count_losses` counts the objects that have it. So nothing is left out in
silence, and the list is the same in the code, on the command line and in docs/formats.md.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final

import shapely

from qpkit.core.annotation import Annotation, Plane
from qpkit.core.geometry import is_ellipse, is_rectangle, polygons_of
from qpkit.formats.shared.comments import comment_metadata
from qpkit.formats.shared.outlines import is_box
from qpkit.formats.shared.xml_files import printable, xml_metadata

ONLY_QUPATH: Final = ("type", "measurements", "plane", "lock", "hierarchy", "nucleus", "missing core")
"""What hardly any other program's files hold."""

NOT_IN_XML: Final = ("control characters", "id", *ONLY_QUPATH, "no shape", "parts", "mixed shapes")
"""What the XML files of other viewers do not hold; what they hold of metadata differs."""

CannotHold = Mapping[str, str]
"""What a format cannot hold, with what happens to it instead."""


def cannot_hold(*features: str, instead: CannotHold | None = None) -> CannotHold:
    """Name what a format cannot hold: features of which the usual happens, and those with a sentence of their own."""
    own = dict(instead or {})
    return {feature: _FEATURES[feature][0] for feature in (*features, *own)} | own


def count_losses(objects: Iterable[Annotation], left_out: CannotHold) -> Counter[str]:
    """Count the objects that have something which a format cannot hold.

    Returns:
        Objects by sentence; every object counts once for each thing it loses.
    """
    losses: Counter[str] = Counter()
    for item in objects:
        losses.update(left_out[feature] for feature in features_of(item) if feature in left_out)
    return losses


def features_of(item: Annotation) -> list[str]:
    """List what an object has."""
    return [feature for feature, (_, has) in _FEATURES.items() if has(item)]


def _has_odd_class_name(item: Annotation) -> bool:
    """Whether the class's names would be others, read from one text again."""
    names = [part.strip() for part in str(item.path_class).split(":") if part.strip()]
    return item.path_class is not None and tuple(names) != item.path_class.names


def _has_colorless_class(item: Annotation) -> bool:
    return item.path_class is not None and item.path_class.color is None


def _has_color_beside_class(item: Annotation) -> bool:
    return item.color is not None and item.path_class is not None


def _has_control_characters(item: Annotation) -> bool:
    texts = f"{item.name or ''}{item.class_name or ''}"
    return printable(texts) != texts


def _has_odd_metadata(item: Annotation) -> bool:
    return xml_metadata(item.metadata) != item.metadata


def _colors(item: Annotation) -> list[int]:
    own = [] if item.color is None else [item.color]
    return own if item.path_class is None or item.path_class.color is None else [*own, item.path_class.color]


def _has_holes(item: Annotation) -> bool:
    return any(polygon.interiors for polygon in polygons_of(item.geometry))


def _lines(item: Annotation) -> list[shapely.LineString]:
    parts = shapely.get_parts(shapely.get_parts(item.geometry))
    return [part for part in parts if isinstance(part, shapely.LineString) and not part.is_empty]


def _has_parts(item: Annotation) -> bool:
    """More than one polygon or line."""
    return len(polygons_of(item.geometry)) + len(_lines(item)) > 1


def _is_a(item: Annotation, *types: str) -> bool:
    return item.geometry.geom_type in types and not item.geometry.is_empty


def _has_many_points(item: Annotation) -> bool:
    return item.geometry.geom_type == "MultiPoint" and len(shapely.get_parts(item.geometry)) > 1


def _is_box_polygon(item: Annotation) -> bool:
    return item.shape == "polygon" and isinstance(item.geometry, shapely.Polygon) and is_box(item.geometry)


def _finite(item: Annotation) -> list[bool]:
    return [math.isfinite(value) for value in item.measurements.values()]


_FEATURES: Final[Mapping[str, tuple[str, Callable[[Annotation], bool]]]] = {
    "class": ("classes left out", lambda o: o.path_class is not None),
    "odd class name": ("class names with blanks at their ends or colons inside read differently", _has_odd_class_name),
    "class colour": ("class colours left out", lambda o: o.path_class is not None and o.path_class.color is not None),
    "no class colour": ("classes without a colour given one", _has_colorless_class),
    "own colour": ("objects' own colours left out", lambda o: o.color is not None),
    "own colour beside a class": ("own colours of objects of a class left out", _has_color_beside_class),
    "opacity": ("colours made opaque", lambda o: any((color >> 24) & 255 != 255 for color in _colors(o))),
    "name": ("names left out", lambda o: o.name is not None),
    "blank name": ("blank names left out", lambda o: o.name is not None and not printable(o.name)),
    "padded name": ("blanks at the ends of names left out", lambda o: (o.name or "").strip(" ") != (o.name or "")),
    "control characters": ("control characters left out of names and classes", _has_control_characters),
    "id": ("ids left out", lambda o: o.id is not None),
    "type": ("detections, cells, tiles and cores written as annotations", lambda o: o.kind != "annotation"),
    "measurements": ("measurements left out", lambda o: bool(o.measurements)),
    "not finite measurements": ("measurements that are not finite left out", lambda o: not all(_finite(o))),
    "metadata": ("metadata left out", lambda o: bool(o.metadata)),
    "metadata but comments": ("metadata but comments left out", lambda o: comment_metadata(o.metadata) != o.metadata),
    "blank metadata": ("metadata without a text left out", lambda o: "" in o.metadata.values()),
    "odd metadata": ("blank metadata and such with control characters left out", _has_odd_metadata),
    "plane": ("planes (z, t, channel) left out", lambda o: o.plane != Plane()),
    "lock": ("locks left out", lambda o: o.locked),
    "hierarchy": ("places in the hierarchy left out", lambda o: o.parent is not None),
    "nucleus": ("nuclei of cells left out", lambda o: o.nucleus is not None),
    "missing core": ("marks of missing cores left out", lambda o: o.is_missing),
    "no shape": ("objects without a shape left out", lambda o: o.geometry.is_empty),
    "holes": ("holes left out", _has_holes),
    "parts": ("objects of several parts split into one for each part", _has_parts),
    "ellipse": ("ellipses written as polygons", lambda o: o.shape == "ellipse" and is_ellipse(o.geometry)),
    "rectangle": ("rectangles written as polygons", lambda o: o.shape == "rectangle" and is_rectangle(o.geometry)),
    "line": ("lines left out", lambda o: bool(_lines(o))),
    "polyline": ("lines of more than two points left out", lambda o: any(len(line.coords) > 2 for line in _lines(o))),
    "points": ("points left out", lambda o: _is_a(o, "Point", "MultiPoint")),
    "many points": ("objects of several points split into one for each point", _has_many_points),
    "mixed shapes": ("objects of mixed shapes split into their parts", lambda o: _is_a(o, "GeometryCollection")),
    "box polygon": ("polygons that are boxes read as rectangles", _is_box_polygon),
}
"""What an object may have: what usually happens to it in a file that cannot hold it, and whether an object has it."""
