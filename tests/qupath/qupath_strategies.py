"""Annotations as hypothesis strategies: what every QuPath version can hold."""

from __future__ import annotations

import numpy as np
import shapely
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.geometry import ellipse

_COORDINATE = st.integers(-20_000_00, 100_000_00).map(lambda n: float(np.float32(n / 100)))
_SIZE = st.integers(16, 5000).map(lambda n: n / 4)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_NAME = st.text(st.characters(exclude_categories=["Cs", "Cc", "Z"], exclude_characters=":"), min_size=1, max_size=8)
_COLOR = st.integers(-(1 << 24), -1)

path_classes = st.builds(PathClass, st.lists(_NAME.filter(str.strip), min_size=1, max_size=3).map(tuple), _COLOR)


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    x, y = draw(st.integers(-1000, 200_000)) / 4, draw(st.integers(-1000, 200_000)) / 4
    return x, y, x + draw(_SIZE), y + draw(_SIZE)


@st.composite
def stars(draw: st.DrawFn) -> shapely.Polygon:
    """A valid polygon of float32 vertices: a star around a point."""
    x, y = draw(st.integers(0, 50_000)), draw(st.integers(0, 50_000))
    radii = np.array(draw(st.lists(st.integers(20, 900), min_size=4, max_size=20)))
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    ring = np.stack([x + radii * np.cos(angle), y + radii * np.sin(angle)], axis=1)
    return shapely.Polygon(np.round(ring, 2).astype(np.float32).astype(np.float64))


@st.composite
def shapes(draw: st.DrawFn) -> tuple[shapely.Geometry, str]:
    kind = draw(st.sampled_from(["rectangle", "ellipse", "line", "polygon", "polyline", "points", "geometry"]))
    if kind in ("rectangle", "ellipse"):
        x, y, x2, y2 = draw(boxes())
        corners = [(x, y), (x2, y), (x2, y2), (x, y2)]
        return (shapely.Polygon(corners) if kind == "rectangle" else ellipse(x, y, x2, y2)), kind
    if kind == "polygon":
        return draw(stars()), kind
    if kind == "geometry":
        star = draw(stars())
        return star.buffer(40).difference(star.buffer(5)), kind
    count = {"line": (2, 2), "polyline": (3, 9), "points": (1, 9)}[kind]
    points = draw(st.lists(st.tuples(_COORDINATE, _COORDINATE), min_size=count[0], max_size=count[1], unique=True))
    if kind == "points":
        return (shapely.Point(points[0]) if len(points) == 1 else shapely.MultiPoint(points)), kind
    return shapely.LineString(points), kind


@st.composite
def annotations(draw: st.DrawFn) -> Annotation:
    geometry, shape = draw(shapes())
    kind = draw(st.sampled_from(["annotation", "detection", "cell", "tile"]))
    return Annotation(
        geometry=geometry,
        shape=shape,  # type: ignore[arg-type]  # one of RoiShape by construction
        path_class=draw(st.none() | path_classes),
        kind=kind,  # type: ignore[arg-type]  # one of Kind by construction
        id=str(draw(st.uuids())),
        plane=draw(st.builds(Plane, st.integers(-1, 4), st.integers(0, 9), st.integers(0, 9))),
        name=draw(st.none() | _TEXT),
        color=draw(st.none() | _COLOR),
        measurements=draw(st.dictionaries(_TEXT, st.floats(), max_size=4)),
        metadata=draw(st.dictionaries(_TEXT.filter(lambda key: key != "Object ID"), _TEXT, max_size=3)),
        locked=draw(st.booleans()),
        nucleus=draw(stars()) if kind == "cell" and draw(st.booleans()) else None,
    )


def lists() -> st.SearchStrategy[list[Annotation]]:
    return st.lists(annotations(), max_size=5, unique_by=lambda annotation: annotation.id)
