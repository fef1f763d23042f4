"""What annotations have that a format may not hold, counted object by object.

Each format names what it cannot hold; `count_losses` counts the objects that have it. So nothing is left out in
silence, and the list is the same in the code, on the command line and in docs/formats.md.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal, get_args

import shapely

from qpkit.core.annotation import Annotation, Plane
from qpkit.core.geometry import is_ellipse, is_rectangle, polygons_of
from qpkit.formats.shared.outlines import is_box

Feature = Literal[
    "class",
    "odd class name",
    "class colour",
    "no class colour",
    "own colour",
    "opacity",
    "name",
    "blank name",
    "padded name",
    "control characters",
    "id",
    "type",
    "measurements",
    "not finite measurements",
    "metadata",
    "plane",
    "lock",
    "hierarchy",
    "nucleus",
    "missing core",
    "no shape",
    "holes",
    "parts",
    "ellipse",
    "rectangle",
    "line",
    "polyline",
    "points",
    "many points",
    "mixed shapes",
    "box polygon",
]
"""One thing that an object may have."""

ONLY_QUPATH: Final[tuple[Feature, ...]] = (
    "type", "measurements", "metadata", "plane", "lock", "hierarchy", "nucleus", "missing core",
)  # fmt: skip
"""What hardly any other program's files hold."""

CannotHold = Mapping[Feature, str]
"""What a format cannot hold, with what happens to it instead."""

_BAD_XML: Final = re.compile("[\x00-\x08\x0b-\x1f\ufffe\uffff\ud800-\udfff]")
"""What XML cannot hold, and the carriage return, which it turns into a line feed."""

_USUALLY: Final[CannotHold] = {
    "class": "classes left out",
    "odd class name": "class names with blanks at their ends or colons inside read differently",
    "class colour": "class colours left out",
    "no class colour": "classes without a colour given one",
    "own colour": "objects' own colours left out",
    "opacity": "colours made opaque",
    "name": "names left out",
    "blank name": "blank names left out",
    "padded name": "blanks at the ends of names left out",
    "control characters": "control characters left out of names and classes",
    "id": "ids left out",
    "type": "detections, cells, tiles and cores written as annotations",
    "measurements": "measurements left out",
    "not finite measurements": "measurements that are not finite left out",
    "metadata": "metadata left out",
    "plane": "planes (z, t, channel) left out",
    "lock": "locks left out",
    "hierarchy": "places in the hierarchy left out",
    "nucleus": "nuclei of cells left out",
    "missing core": "marks of missing cores left out",
    "no shape": "objects without a shape left out",
    "holes": "holes left out",
    "parts": "objects of several parts split into one for each part",
    "ellipse": "ellipses written as polygons",
    "rectangle": "rectangles written as polygons",
    "line": "lines left out",
    "polyline": "lines of more than two points left out",
    "points": "points left out",
    "many points": "objects of several points split into one for each point",
    "mixed shapes": "objects of mixed shapes split into their parts",
    "box polygon": "polygons that are boxes read as rectangles",
}
"""What usually happens."""


def cannot_hold(*features: Feature, instead: CannotHold | None = None) -> CannotHold:
    """Name what a format cannot hold: features of which the usual happens, and those with a sentence of their own."""
    return {feature: _USUALLY[feature] for feature in features} | dict(instead or {})


def count_losses(objects: Iterable[Annotation], left_out: CannotHold) -> Counter[str]:
    """Count the objects that have something which a format cannot hold.

    Returns:
        Objects by sentence; every object counts once for each thing it loses.
    """
    losses: Counter[str] = Counter()
    for item in objects:
        losses.update(left_out[feature] for feature in features_of(item) if feature in left_out)
    return losses


def features_of(item: Annotation) -> list[Feature]:
    """List what an object has."""
    return [feature for feature in get_args(Feature) if _HAS[feature](item)]


def printable(text: str) -> str:
    """Take out the characters that XML 1.0 cannot hold."""
    return _BAD_XML.sub("", text)


def _names(item: Annotation) -> list[str]:
    """The class's names as they are read from one text again."""
    return [part.strip() for part in str(item.path_class).split(":") if part.strip()]


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


def _finite(item: Annotation) -> list[bool]:
    return [math.isfinite(value) for value in item.measurements.values()]


_HAS: Final[Mapping[Feature, Callable[[Annotation], bool]]] = {
    "class": lambda o: o.path_class is not None,
    "odd class name": lambda o: o.path_class is not None and tuple(_names(o)) != o.path_class.names,
    "class colour": lambda o: o.path_class is not None and o.path_class.color is not None,
    "no class colour": lambda o: o.path_class is not None and o.path_class.color is None,
    "own colour": lambda o: o.color is not None,
    "opacity": lambda o: any((color >> 24) & 255 != 255 for color in _colors(o)),
    "name": lambda o: o.name is not None,
    "blank name": lambda o: o.name is not None and not printable(o.name),
    "padded name": lambda o: o.name is not None and o.name != o.name.strip(" "),
    "control characters": lambda o: _BAD_XML.search(f"{o.name or ''}{o.class_name or ''}") is not None,
    "id": lambda o: o.id is not None,
    "type": lambda o: o.kind != "annotation",
    "measurements": lambda o: bool(o.measurements),
    "not finite measurements": lambda o: not all(_finite(o)),
    "metadata": lambda o: bool(o.metadata),
    "plane": lambda o: o.plane != Plane(),
    "lock": lambda o: o.locked,
    "hierarchy": lambda o: o.parent is not None,
    "nucleus": lambda o: o.nucleus is not None,
    "missing core": lambda o: o.is_missing,
    "no shape": lambda o: o.geometry.is_empty,
    "holes": _has_holes,
    "parts": _has_parts,
    "ellipse": lambda o: o.shape == "ellipse" and is_ellipse(o.geometry),
    "rectangle": lambda o: o.shape == "rectangle" and is_rectangle(o.geometry),
    "line": lambda o: bool(_lines(o)),
    "polyline": lambda o: any(len(line.coords) > 2 for line in _lines(o)),
    "points": lambda o: o.geometry.geom_type in ("Point", "MultiPoint") and not o.geometry.is_empty,
    "many points": lambda o: o.geometry.geom_type == "MultiPoint" and len(shapely.get_parts(o.geometry)) > 1,
    "mixed shapes": lambda o: o.geometry.geom_type == "GeometryCollection" and not o.geometry.is_empty,
    "box polygon": lambda o: o.shape == "polygon" and isinstance(o.geometry, shapely.Polygon) and is_box(o.geometry),
}
