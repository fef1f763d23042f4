"""What counts as an ellipse: every polygon that QuPath or qpkit makes of one, and nothing that was edited."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from shapely.affinity import rotate
from shapely.geometry.base import BaseGeometry

from qpkit.core.annotation import Annotation
from qpkit.core.geometry import ellipse, fine_ellipse, is_ellipse, round_for_qupath
from qpkit.qupath import QpData, new_qpdata
from shared_data import SHARED

FIXTURES = SHARED / "fixtures" / "qupath"
VERSIONS = ["0.2.3", "0.3.2", "0.4.4", "0.5.1", "0.6.0", "0.7.0"]
KAPPA = 0.5522847498307933

Box = tuple[float, float, float, float]


def as_stored(geometry: BaseGeometry) -> Annotation:
    """What comes back of a shape that is said to be an ellipse."""
    data = new_qpdata(objects=[Annotation(geometry=geometry, shape="ellipse")], image_type="UNSET", source="here")
    (found,) = QpData.parse(data.to_bytes(), source="here").objects()
    return found


# QuPath's own polygons


def exported(feature: dict[str, Any]) -> list[shapely.Polygon]:
    """The polygons of an ellipse: getGeometry() in full precision, and the ring in QuPath's GeoJSON if it wrote one."""
    exact = shapely.from_wkb(feature["oracle"]["roi"]["wkb"])
    record = feature["geometry"]
    return [exact] if record is None else [exact, shapely.Polygon(record["coordinates"][0])]


@pytest.mark.parametrize("version", VERSIONS)
def test_qupaths_own_polygons_of_ellipses_are_ellipses(version: str) -> None:
    if not FIXTURES.is_dir():
        pytest.skip("the shared fixtures are not there")
    found = 0
    for path in sorted((FIXTURES / f"v{version}" / "expected").glob("*.oracle.geojson")):
        for feature in json.loads(path.read_text())["features"]:
            roi = feature["oracle"].get("roi") or {}
            if roi.get("class") != "EllipseROI":
                continue
            x, y, width, height = roi["bounds"]
            for polygon in exported(feature):
                assert is_ellipse(polygon)
                stored = as_stored(polygon)
                assert stored.shape == "ellipse"
                assert stored.geometry.bounds == pytest.approx((x, y, x + width, y + height), abs=0.01)
            found += 1
    assert found >= 14


# Any ellipse, drawn and rounded in any of the ways there are


def java(box: Box, flatness: float) -> shapely.Polygon:
    """Ellipse2D through a FlatteningPathIterator: four Bezier curves, each halved until its arms are near the chord."""
    centre, half = np.array([box[0] + box[2], box[1] + box[3]]) / 2, np.array([box[2] - box[0], box[3] - box[1]]) / 2
    ends = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)], dtype=np.float64)
    arms = KAPPA * np.array([(0, 1), (-1, 0), (0, -1), (1, 0)], dtype=np.float64)
    ring: list[NDArray[np.float64]] = []
    for start, stop, out, back in zip(ends, np.roll(ends, -1, axis=0), arms, np.roll(arms, -1, axis=0), strict=True):
        curve = centre + half * np.array([start, start + out, stop - back, stop])
        ring += flattened(curve, flatness, depth=0)
    return shapely.Polygon(ring)


def flattened(curve: NDArray[np.float64], flatness: float, *, depth: int) -> list[NDArray[np.float64]]:
    if depth >= 10 or max(away(point, curve[0], curve[3]) for point in curve[1:3]) <= flatness:
        return [curve[0]]
    a, b, c = (curve[:-1] + curve[1:]) / 2
    left, right = (a + b) / 2, (b + c) / 2
    middle = (left + right) / 2
    halves = np.array([curve[0], a, left, middle]), np.array([middle, right, c, curve[3]])
    return [point for part in halves for point in flattened(part, flatness, depth=depth + 1)]


def away(point: NDArray[np.float64], start: NDArray[np.float64], stop: NDArray[np.float64]) -> float:
    along = stop - start
    place = np.clip(np.dot(point - start, along) / max(np.dot(along, along), 1e-300), 0, 1)
    return math.dist(point, start + place * along)


DRAWN: dict[str, Callable[..., shapely.Polygon]] = {
    "qpkit's 360 corners": ellipse,
    "qpkit's finer one": lambda *box: fine_ellipse(ellipse(*box), 0.5),
    "QuPath's 100 corners": lambda *box: ellipse(*box, vertices=100),
    "Java, flat to 0.5 px": lambda *box: java(box, 0.5),
    "Java, flat to 0.01 px": lambda *box: java(box, 0.01),
}
ROUNDED: dict[str, Callable[[shapely.Polygon], shapely.Polygon]] = {
    "doubles": lambda polygon: polygon,
    "0.01 px": lambda polygon: shapely.transform(polygon, lambda xy: np.round(xy, 2)),
    "float32": lambda polygon: shapely.transform(polygon, lambda xy: xy.astype(np.float32).astype(np.float64)),
    "both": round_for_qupath,
}


@st.composite
def boxes(draw: st.DrawFn, smallest: float = 1, largest: float = 100_000) -> Box:
    """Anywhere on a slide; width and height of their own, small ones as often as large ones."""
    size = st.floats(math.log(smallest), math.log(largest)).map(math.exp)
    x, y = draw(st.floats(-1000, 500_000)), draw(st.floats(-1000, 500_000))
    return x, y, x + draw(size), y + draw(size)


@pytest.mark.parametrize("drawn", DRAWN)
@pytest.mark.parametrize("rounded", ROUNDED)
@given(boxes())
def test_an_ellipse_is_one_of_any_size_and_ratio_however_it_was_drawn(drawn: str, rounded: str, box: Box) -> None:
    polygon = ROUNDED[rounded](DRAWN[drawn](*box))
    assert is_ellipse(polygon)
    assert is_ellipse(shapely.Polygon(np.roll(shapely.get_coordinates(polygon)[:-1], 7, axis=0)[::-1]))


@given(boxes(smallest=1e-6, largest=1e-3))
def test_an_ellipse_that_is_hardly_there_stays_one(box: Box) -> None:
    assert is_ellipse(ellipse(*box))
    flat = ellipse(box[0], box[1], box[2], box[1])
    assert is_ellipse(flat)
    assert as_stored(flat).geometry.bounds == flat.bounds


# What is none


def seen(box: Box) -> float:
    """A depth in px that one sees: more than a pixel, and more than the width of the outline of a large one."""
    return 1.5 + 2e-3 * max(box[2] - box[0], box[3] - box[1])


@given(boxes(smallest=10), st.integers(0, 99), st.sampled_from(sorted(DRAWN)))
def test_an_ellipse_with_a_bite_is_none(box: Box, corner: int, drawn: str) -> None:
    whole = DRAWN[drawn](*box)
    ring = shapely.get_coordinates(whole)
    bitten = whole.difference(shapely.Point(ring[corner % len(ring)]).buffer(seen(box)))
    assume(not bitten.is_empty)
    assert not is_ellipse(bitten)


@given(boxes(smallest=10), st.floats(0, 2 * math.pi))
def test_an_ellipse_of_which_a_piece_is_cut_off_is_none(box: Box, angle: float) -> None:
    whole = ellipse(*box)
    toward = np.array([math.cos(angle), math.sin(angle)])
    reach = (shapely.get_coordinates(whole) @ toward).max() - seen(box)
    left = whole.intersection(half_plane(toward, reach))
    assume(not left.is_empty)
    assert not is_ellipse(left)


def half_plane(toward: NDArray[np.float64], reach: float) -> shapely.Polygon:
    """Everything whose coordinate along a direction is below `reach`, as far as slides go."""
    edge, across, far = reach * toward, np.array([-toward[1], toward[0]]), 1e7
    near = [edge + far * across, edge - far * across]
    return shapely.Polygon([*near, near[1] - far * toward, near[0] - far * toward])


@given(boxes(smallest=4), st.integers(0, 359), st.sampled_from([-1, 1]))
def test_an_ellipse_with_one_corner_moved_visibly_is_none(box: Box, corner: int, sign: int) -> None:
    ring = shapely.get_coordinates(ellipse(*box))[:-1]
    centre, half = (ring.min(axis=0) + ring.max(axis=0)) / 2, np.ptp(ring, axis=0) / 2
    ring[corner] = centre + (ring[corner] - centre) * (1 + sign * max(0.004, 0.5 / half.min()))
    assert not is_ellipse(shapely.Polygon(ring))


@given(boxes(smallest=10))
def test_another_shape_of_the_same_area_is_none_and_keeps_its_corners(box: Box) -> None:
    x, y, x2, y2 = (float(np.float32(value)) for value in box)
    cut = math.sqrt(1 - math.pi / 4) * (x2 - x), math.sqrt(1 - math.pi / 4) * (y2 - y)
    octagon = shapely.Polygon(
        [(x, y), (x2 - cut[0], y), (x2, y + cut[1]), (x2, y2), (x + cut[0], y2), (x, y2 - cut[1])]
    )
    assert octagon.area == pytest.approx(math.pi / 4 * (x2 - x) * (y2 - y), rel=1e-6)
    assert not is_ellipse(octagon)
    assert as_stored(octagon).geometry.equals_exact(octagon, 0.02)


@pytest.mark.parametrize(
    "geometry",
    [
        rotate(ellipse(0, 0, 100, 50), 20),
        ellipse(0, 0, 100, 50).difference(ellipse(40, 20, 60, 30)),
        shapely.MultiPolygon([ellipse(0, 0, 100, 50)]),
        shapely.box(0, 0, 100, 50),
        shapely.Polygon([(50, 0), (100, 25), (50, 50), (0, 25)]),
        shapely.Polygon(np.tile(shapely.get_coordinates(ellipse(0, 0, 100, 50))[:-1], (2, 1))),
        shapely.Polygon(np.array([(0, 0), (1e308, 0), (1e308, 1e308)])),
        shapely.Polygon(),
        shapely.Point(1, 1),
        shapely.LineString(ellipse(0, 0, 100, 50).exterior),
    ],
    ids=["turned", "holed", "parts", "box", "diamond", "twice around", "huge", "empty", "point", "line"],
)
def test_what_is_no_ellipse(geometry: BaseGeometry) -> None:
    assert not is_ellipse(geometry)


def test_an_edited_ellipse_is_stored_with_the_edit() -> None:
    """The bite is less than 2 % of the box, so the area alone would not tell."""
    whole = ellipse(1000, 1000, 2000, 1500)
    bitten = whole.difference(shapely.box(1450, 1480, 1550, 1510))
    assert whole.area - bitten.area < 0.02 * 1000 * 500
    found = as_stored(bitten)
    assert found.shape == "polygon"
    assert found.geometry.equals_exact(bitten, 0.001)
    assert as_stored(whole).shape == "ellipse"
