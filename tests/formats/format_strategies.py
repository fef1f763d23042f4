"""Annotations with everything that an object may have, and what is left of them in a format."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation, PathClass, Plane, argb
from qpkit.core.geometry import ellipse
from qpkit.formats.format import Format
from qpkit.formats.shared.class_names import NO_COLOR
from qpkit.formats.shared.comments import comment_metadata
from qpkit.formats.shared.drawing import ImageFacts
from qpkit.formats.shared.outlines import area_shape, simple_parts
from qpkit.formats.shared.xml_files import xml_metadata

IMAGE = ImageFacts(name="slide 1.ndpi", width=4000, height=3000, mpp=0.25, centre_nm=(12_538_720.0, -96_063.0))

CLASSES = (
    None,
    PathClass(("Tumor",), argb(200, 0, 0)),
    PathClass(("Tumor", "Positive"), argb(250, 62, 62)),
    PathClass(("Stroma",), argb(150, 200, 150)),
    PathClass(("Region*",), argb(0, 0, 180)),
    PathClass(('Ödem <&> "2"',), None),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = TEXT | st.sampled_from(
    [
        *(
            "ANNOTATION_DESCRIPTION",
            "comment: Author",
            "comment 1: Author",
            "comment 2: CreatedTime",
            "comment 100: Author",
        ),
        *("layer: Grade", "layer: ", "Grade", "Grade: frame_index", "instance_id", "attributes", "name", "properties"),
    ]
)
"""Keys of metadata, some of which a format has a place for."""
WORD = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8)


def runnable(formats: Iterable[Format]) -> list[Any]:
    """Formats as parameters of a test; one whose library is not there is skipped with the reason."""
    heavy = {"spatialdata": "spatialdata is not installed (extra: spatialdata; not in dev)"}
    gone = {name: why for name, why in heavy.items() if importlib.util.find_spec(name) is None}
    marks = {name: [pytest.mark.skip(reason=why)] for name, why in gone.items()}
    # It warns of numpy's and pandas' ways, and leaves files open.
    loud = [pytest.mark.filterwarnings("ignore")]
    return [pytest.param(i, marks=marks.get(i.name, loud if i.name in heavy else [])) for i in formats]


@st.composite
def outlines(draw: st.DrawFn) -> shapely.Polygon:
    """A star of whole px, large enough that every ring stays one; sometimes with one or two holes."""
    x, y = draw(st.integers(300, 3500)), draw(st.integers(300, 2500))
    count = draw(st.integers(4, 12))
    radii = np.array(draw(st.lists(st.integers(120, 260), min_size=count, max_size=count)))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False)
    ring = np.round(np.stack([x + radii * np.cos(angle), y + radii * np.sin(angle)], axis=1))
    star = shapely.Polygon(ring)
    size = draw(st.integers(3, 20))
    spots = draw(st.lists(st.sampled_from([(-30, -30), (30, -30), (0, 25)]), max_size=2, unique=True))
    holes = [shapely.box(x + dx, y + dy, x + dx + size, y + dy + size) for dx, dy in spots]
    made = shapely.Polygon(ring, [hole.exterior for hole in holes])
    return made if made.is_valid else star if star.is_valid else shapely.box(x, y, x + 10, y + 7)


@st.composite
def shapes(draw: st.DrawFn) -> tuple[BaseGeometry, str | None]:
    kind = draw(st.sampled_from(["rectangle", "ellipse", "line", "polygon", "polyline", "points", "parts", "none"]))
    x, y = draw(st.integers(0, 3000)), draw(st.integers(0, 2000))
    width, height = 2 * draw(st.integers(1, 200)), 2 * draw(st.integers(1, 200))
    if kind == "none":
        return shapely.Polygon(), None
    if kind == "rectangle":
        return shapely.Polygon([(x, y), (x + width, y), (x + width, y + height), (x, y + height)]), kind
    if kind == "ellipse":
        return ellipse(x, y, x + width, y + height), kind
    if kind == "polygon":
        area = draw(outlines())
        return area, "geometry" if area.interiors else kind
    if kind == "parts":
        first = draw(outlines())
        both = shapely.MultiPolygon([first, shapely.box(0, 0, width, height)])
        assume(both.is_valid)  # parts that overlap have no one meaning: Darwin's paths cancel out, QuPath's add up
        return both, "geometry"
    count = {"line": (2, 2), "polyline": (3, 6), "points": (1, 4)}[kind]
    place = st.tuples(st.integers(0, 4000), st.integers(0, 3000))
    points = draw(st.lists(place, min_size=count[0], max_size=count[1], unique=True))
    if kind == "points":
        return (shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)), kind
    return shapely.LineString(points), kind


@st.composite
def annotations(draw: st.DrawFn) -> Annotation:
    geometry, shape = draw(shapes())
    kind = draw(st.sampled_from(["annotation", "annotation", "detection", "cell"]))
    return Annotation(
        geometry=geometry,
        shape=shape,  # type: ignore[arg-type]  # one of RoiShape by construction
        path_class=draw(st.sampled_from(CLASSES)),
        kind=kind,  # type: ignore[arg-type]  # one of Kind by construction
        id=str(draw(st.uuids())) if draw(st.booleans()) else None,
        plane=draw(st.sampled_from([Plane(), Plane(), Plane(c=0, z=2, t=1)])),
        name=draw(st.none() | TEXT),
        color=draw(st.none() | st.just(argb(1, 2, 3))),
        measurements=draw(st.dictionaries(TEXT | WORD, st.floats(), max_size=3)),
        metadata=draw(st.dictionaries(KEYS, TEXT, max_size=3)),
        locked=draw(st.booleans()),
        nucleus=shapely.box(1, 2, 3, 4) if kind == "cell" and draw(st.booleans()) else None,
    )


@st.composite
def drawings(draw: st.DrawFn) -> list[Annotation]:
    """Up to five objects, some of them below another."""
    objects = draw(st.lists(annotations(), max_size=5))
    parents = [draw(st.none() | st.integers(0, index - 1)) if index else None for index in range(len(objects))]
    return [replace(item, parent=parent) for item, parent in zip(objects, parents, strict=True)]


PLAIN = Annotation(geometry=shapely.Point(0, 0))

ATTRIBUTES = {
    "own colour": "color",
    "name": "name",
    "id": "id",
    "type": "kind",
    "measurements": "measurements",
    "metadata": "metadata",
    "plane": "plane",
    "lock": "locked",
    "hierarchy": "parent",
    "nucleus": "nucleus",
    "missing core": "is_missing",
}
"""Attributes by the feature that a format may not hold."""


def left_of(item: Annotation, lost: Mapping[str, str]) -> list[Annotation]:
    """What a format that cannot hold these gives back of an object, worked out from the list alone."""
    kept = replace(item, **{name: getattr(PLAIN, name) for what, name in ATTRIBUTES.items() if what in lost})
    if "class colour" in lost and kept.path_class is not None:
        kept = replace(kept, path_class=PathClass(kept.path_class.names))
    if "own colour beside a class" in lost and item.path_class is not None:
        kept = replace(kept, color=None)
    if "no class colour" in lost and item.path_class is not None and item.path_class.color is None:
        kept = replace(kept, path_class=PathClass(item.path_class.names, NO_COLOR))
    kept = replace(kept, metadata=metadata_left(kept.metadata, lost))
    parts = [item.geometry] if not item.geometry.is_empty or "no shape" not in lost else []
    if item.geometry.geom_type == "MultiPolygon" and "parts" in lost:
        parts = simple_parts(item.geometry)
    if item.geometry.geom_type == "MultiPoint" and "many points" in lost:
        parts = list(shapely.get_parts(item.geometry))
        kept = replace(kept, id=None) if len(parts) > 1 else kept
    gone = {"LineString": "line", "Point": "points", "MultiPoint": "points"}
    parts = [part for part in parts if gone.get(part.geom_type) not in lost]
    if "polyline" in lost:
        parts = [part for part in parts if part.geom_type != "LineString" or len(part.coords) == 2]
    if lost.get("holes") == "holes left out":  # some formats write them in another way
        parts = [shapely.Polygon(p.exterior) if isinstance(p, shapely.Polygon) else p for p in parts]
    return [replace(kept, geometry=part, shape=_shape(part, item, lost)) for part in parts]


def metadata_left(metadata: Mapping[str, str], lost: Mapping[str, str]) -> Mapping[str, str]:
    """What a format that cannot hold these gives back of metadata."""
    if "blank metadata" in lost:
        metadata = {key: text for key, text in metadata.items() if text}
    if "odd metadata" in lost:
        metadata = xml_metadata(metadata)
    return comment_metadata(metadata) if "metadata but comments" in lost else metadata


def _shape(part: BaseGeometry, item: Annotation, lost: Mapping[str, str]) -> str | None:
    if item.shape in lost and item.shape in ("ellipse", "rectangle"):
        return "polygon"
    return area_shape(part) if item.shape == "geometry" and "box polygon" in lost else item.shape
