"""Shapes as text: valid GeoJSON of two decimals, the same whoever reads it; a file is the same in any pieces."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_strategies import lists
from qupath_strategies import shapes as exact_shapes

from qpkit.core.annotation import DEFAULT_PLANE, Annotation, Plane
from qpkit.errors import GeometryError
from qpkit.qupath.geojson.geometry_reader import read_shape
from qpkit.qupath.geojson.geometry_writer import MAX_COORDINATE, safe_shapes
from qpkit.qupath.geojson.writer import GeoJsonWriter, write_geojson
from strategies import shapes

odd = shapes() | st.sampled_from(
    [
        shapely.Polygon(),
        shapely.box(0, 0, 0.001, 5),
        shapely.LineString([(1, 1), (1.001, 1.001)]),
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]),
        shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (2, 2)]]),
        shapely.LinearRing([(0, 0), (5, 0), (5, 5)]),
        shapely.Point(-0.001, 3),
    ]
)


@given(st.lists(odd, max_size=6))
def test_every_shape_that_is_written_is_valid_and_has_two_decimals(geometries: list[shapely.Geometry]) -> None:
    found = safe_shapes(geometries, [None] * len(geometries), [DEFAULT_PLANE] * len(geometries))
    assert len(found) == len(geometries)
    for safe, geometry in zip(found, geometries, strict=True):
        if safe is None:
            assert geometry.is_empty or min(np.ptp(shapely.get_coordinates(geometry), axis=0)) < 0.02
            continue
        written = shapely.from_geojson(safe.text)
        assert written.is_valid and not written.is_empty
        assert (written.geom_type[:5] != "Multi") or len(written.geoms) > 1
        xy = shapely.get_coordinates(written)
        assert np.array_equal(np.round(xy, 2), xy) and not np.signbit(xy[xy == 0]).any()
        if geometry.is_valid and geometry.area > 1 and not safe.was_mended:
            assert shapely.hausdorff_distance(written, geometry) < 0.02
        again = safe_shapes([written], [None], [DEFAULT_PLANE])[0]
        assert again is not None and (again.text, again.was_mended) == (safe.text, False)


@given(st.lists(exact_shapes(), max_size=5), st.builds(Plane, st.integers(-1, 2), st.integers(0, 2)))
def test_shape_and_plane_are_read_again(drawn: list[tuple[shapely.Geometry, str]], plane: Plane) -> None:
    found = safe_shapes([g for g, _ in drawn], [s for _, s in drawn], [plane] * len(drawn))  # type: ignore[misc]
    for safe, (geometry, shape) in zip(found, drawn, strict=True):
        assert safe is not None
        roi = read_shape(json.loads(safe.text))
        assert roi.plane == plane
        assert (roi.shape == "ellipse") == (shape == "ellipse")
        assert shapely.hausdorff_distance(roi.geometry, geometry) < 0.02


@pytest.mark.parametrize(
    "bad",
    [
        shapely.Point(math.nan, 1),
        shapely.LineString([(0, 0), (math.inf, 1)]),
        shapely.Point(2 * MAX_COORDINATE, 0),
        shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(0, 0, 1, 1)]),
    ],
)
def test_what_qupath_cannot_import_is_refused_with_its_number(bad: shapely.Geometry) -> None:
    good = shapely.box(0, 0, 1, 1)
    with pytest.raises(GeometryError, match=r"^object 12: "):
        safe_shapes([good, good, bad], [None] * 3, [DEFAULT_PLANE] * 3, first=10)
    assert safe_shapes([shapely.GeometryCollection()], [None], [DEFAULT_PLANE]) == [None]


@given(lists(), st.lists(st.integers(0, 5), max_size=3), st.sampled_from(["a.geojson", "a.geojson.gz"]))
@settings(max_examples=25)
def test_a_file_written_piece_by_piece_is_the_file_written_at_once(
    tmp_path_factory: pytest.TempPathFactory, objects: list[Annotation], cuts: list[int], name: str
) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    objects = [*objects, Annotation(geometry=shapely.Polygon())]
    report = write_geojson(folder / name, objects)
    (folder / "pieces").mkdir()
    with GeoJsonWriter(folder / "pieces" / name) as writer:
        places = [0, *sorted(min(cut, len(objects)) for cut in cuts), len(objects)]
        left_out = [
            first + number for first, last in itertools.pairwise(places) for number in writer.add(objects[first:last])
        ]
    assert (folder / "pieces" / name).read_bytes() == (folder / name).read_bytes()
    assert writer.report == report and left_out == [len(objects) - 1]
    assert (report.written, report.left_out) == (len(objects) - 1, 1)


def test_no_objects_are_an_empty_collection(tmp_path: Path) -> None:
    assert write_geojson(tmp_path / "a.geojson", []).written == 0
    assert json.loads((tmp_path / "a.geojson").read_bytes()) == {"type": "FeatureCollection", "features": []}


@given(st.lists(odd, max_size=6))
def test_shapes_that_are_known_to_be_valid_are_written_as_all_are(drawn: list[shapely.Geometry]) -> None:
    valid = [shape for shape in drawn if shape.is_valid]
    rest = [None] * len(valid), [DEFAULT_PLANE] * len(valid)
    assert safe_shapes(valid, *rest, are_valid=True) == safe_shapes(valid, *rest)
