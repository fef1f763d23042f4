from __future__ import annotations

import dataclasses
import gzip
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely
from hypothesis import given, settings
from qupath_files import VERSIONS, oracle
from qupath_strategies import lists

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.errors import FormatError, GeometryError, OutputError, ProjectError
from qpkit.qupath import QpData, read_geojson, write_geojson

# What QuPath 0.5.1 reads and qpkit refuses, with a reason: nothing is dropped or guessed without a word.
STRICTER = {
    "wrap-empty-file.geojson": "an empty file is more likely an accident than no objects",
    "wrap-empty-object.geojson": "no GeoJSON",
    "wrap-features-null.geojson": "no list of features",
}
# What QuPath 0.5.1 refuses and qpkit reads, as the meaning is plain.
MILDER = {
    "class-color-int.geojson",
    "class-empty-string.geojson",
    "class-name-only.geojson",
    "class-names-only.geojson",
    "class-newline.geojson",
    "geom-empty-object.geojson",  # QuPath's own export of an object without a ROI
    "geom-multipolygon-single.geojson",
    "id-null.geojson",
    "meas-list-null-value.geojson",
    "name-null.geojson",
    "plane-extra-key.geojson",
    "plane-null.geojson",
    "props-null.geojson",
    "type-cell-nucleus-null.geojson",
    "type-null.geojson",
}
# QuPath adds and subtracts the areas of rings that cross each other, as no valid shape has them.
RINGS_ADDED_UP = {
    "geom-hole-crossing.geojson",
    "geom-hole-outside.geojson",
    "geom-multipolygon-overlapping.geojson",
}


def expected_objects(shared: Path, name: str) -> list[dict[str, Any]] | None:
    record = oracle(shared / "fixtures/qupath/geojson/expected/v0.5.1" / f"{name}.json")
    if "error" in record:
        return None
    return [item for item in record.get("objects", []) if item["kind"] != "root"]


def test_every_import_test_file_reads_as_in_qupath_or_is_refused_for_a_reason(shared: Path) -> None:
    for path in sorted((shared / "fixtures/qupath/geojson/in").iterdir()):
        expected = expected_objects(shared, path.name)
        if path.name in STRICTER or (expected is None and path.name not in MILDER):
            with pytest.raises(FormatError) as caught:
                read_geojson(path)
            assert str(caught.value).startswith(str(path)) and "\n" not in str(caught.value), path.name
            continue
        objects = read_geojson(path)
        if path.name.startswith("big") or expected is None:
            continue
        assert len(objects) == len(expected), path.name
        for found, theirs in zip(objects, expected, strict=True):
            assert_equal(found, theirs, path.name)


def assert_equal(found: Annotation, theirs: dict[str, Any], name: str) -> None:
    assert found.kind == {"tmaCore": "tma_core"}.get(theirs["kind"], theirs["kind"]), name
    assert found.class_name == theirs.get("class"), name
    assert found.name == theirs.get("name"), name
    assert found.locked == theirs["locked"], name
    assert found.color == theirs.get("colorRGB") or name == "color-array4.geojson", name
    roi = theirs["roi"]
    assert found.plane == Plane(roi["c"], roi["z"], roi["t"]), name
    assert (found.nucleus is None) == (theirs.get("nucleus") is None), name
    expected = {key: float(value) for key, value in theirs.get("measurements", {}).items()}
    ours = {
        k: float(np.float32(v)) if not abs(v) >= 3e38 else math.copysign(math.inf, v)
        for k, v in found.measurements.items()
    }
    assert ours == pytest.approx(expected, nan_ok=True), name
    if found.shape == "ellipse":
        assert list(found.geometry.bounds[:2]) == roi["bounds"][:2], name
    elif found.geometry.is_valid and roi["type"] == "AREA" and name not in RINGS_ADDED_UP:
        assert found.geometry.area == pytest.approx(float(roi["area"]), rel=1e-3), name


@pytest.mark.parametrize("version", VERSIONS)
def test_qupaths_own_exports_are_read_with_all_fields(shared: Path, version: str) -> None:
    base = shared / "fixtures/qupath" / version
    for export in sorted((base / "expected").glob("*.export.geojson")):
        entry = export.name.split("-")[1].split(".")[0]
        data = QpData.parse((base / f"project/data/{entry}/data.qpdata").read_bytes(), source=entry).objects()
        exported = read_geojson(export)
        if len(exported) != len(data):
            continue  # this version left out what it cannot export
        for ours, theirs in zip(data, exported, strict=True):
            assert (theirs.kind, theirs.class_name, theirs.name) == (ours.kind, ours.class_name, ours.name)
            assert theirs.id == ours.id and theirs.plane == ours.plane
            assert set(theirs.measurements) <= set(ours.measurements)
            if version >= "v0.5":
                assert dict(theirs.metadata) == dict(ours.metadata)
            if not ours.geometry.is_empty and not theirs.geometry.is_empty and ours.geometry.is_valid:
                assert shapely.hausdorff_distance(ours.geometry, theirs.geometry) < 0.6


def test_thirty_thousand_polygons_are_read(shared: Path) -> None:
    objects = read_geojson(shared / "fixtures/qupath/geojson/in/big-30000.geojson.gz")
    assert len(objects) == 30_000 and objects[0].class_name == "Tumor"


def test_a_nested_export_keeps_its_tree(shared: Path) -> None:
    objects = read_geojson(shared / "fixtures/qupath/geojson/in/children-nested.geojson")
    assert [item.parent for item in objects] == [None, None, 1, None]


def test_a_bad_feature_is_named_by_its_index(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    good = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [1, 2]}}
    path.write_text(json.dumps([good, {**good, "geometry": {"type": "Circle"}}]))
    with pytest.raises(FormatError, match="feature 1: its geometry is of type 'Circle'"):
        read_geojson(path)


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ('{"type": "Point", "coordinates": []}', "a point needs x and y"),
        ('{"type": "MultiLineString", "coordinates": [[[0, 0], [1, 1]], []]}', "a line needs points"),
    ],
)
def test_parts_without_coordinates_are_refused(tmp_path: Path, shape: str, why: str) -> None:
    file = tmp_path / "x.geojson"
    for geometry in (shape, '{"type": "GeometryCollection", "geometries": [' + shape + "]}"):
        file.write_text('{"type": "Feature", "geometry": ' + geometry + ', "properties": {}}')
        with pytest.raises(FormatError, match=why):
            read_geojson(file)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="cannot be read"):
        read_geojson(tmp_path / "no.geojson")


@pytest.mark.parametrize(
    "content", [b"\x1f\x8bxx", b"\xff\xfe", b"[" * 100_000, b"{", gzip.compress(b"{", mtime=0)[:-4], b"5"]
)
def test_damaged_files_end_in_a_format_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(FormatError):
        read_geojson(path)


def rounded(annotation: Annotation) -> tuple[object, ...]:
    finite = {key: value for key, value in annotation.measurements.items() if math.isfinite(value)}
    color = annotation.color if annotation.color is None else annotation.color | -(1 << 24)
    alone = dataclasses.replace(
        annotation, geometry=shapely.Point(), nucleus=None, measurements=finite, color=color, shape=None
    )
    return (repr(alone), annotation.nucleus is None)


@settings(max_examples=60, deadline=None)
@given(lists())
def test_annotations_survive_geojson_to_two_decimals(
    tmp_path_factory: pytest.TempPathFactory, objects: list[Annotation]
) -> None:
    path = tmp_path_factory.mktemp("geojson") / "a.geojson"
    report = write_geojson(path, objects)
    assert report.written == len(objects) and report.left_out == 0
    again = read_geojson(path)
    assert [rounded(item) for item in again] == [rounded(item) for item in objects]
    for ours, theirs in zip(objects, again, strict=True):
        assert shapely.hausdorff_distance(ours.geometry, theirs.geometry) < 0.012
        if ours.shape in ("ellipse", "polyline", "points"):
            assert theirs.shape == ours.shape
    second = path.with_name("b.geojson")
    write_geojson(second, again)
    assert second.read_bytes() == path.read_bytes()


def test_every_written_feature_is_what_all_versions_import(tmp_path: Path) -> None:
    bowtie = shapely.Polygon([(0, 0), (10, 10), (10, 0), (0, 10)])
    objects = [
        Annotation(geometry=bowtie, path_class=PathClass(("Tumor", "Positive"))),
        Annotation(geometry=shapely.MultiPolygon([shapely.box(0, 0, 1, 1)]), kind="tma_core"),
        Annotation(geometry=shapely.Polygon()),
        Annotation(geometry=shapely.box(0, 0, 0.001, 5)),
        Annotation(geometry=shapely.Point(1, 2), measurements={"a": math.nan, "b": 1.5}, plane=Plane(0, 1, 2)),
    ]
    report = write_geojson(tmp_path / "a.geojson", objects)
    assert (report.written, report.mended, report.left_out) == (3, 1, 2)
    bow, core, point = orjson.loads((tmp_path / "a.geojson").read_bytes())["features"]
    assert bow["geometry"]["type"] == "MultiPolygon" and len(bow["geometry"]["coordinates"]) == 2
    assert bow["properties"]["classification"] == {
        "name": "Tumor: Positive",
        "color": [128, 128, 128],
        "colorRGB": -8355712,
    }
    assert core["geometry"]["type"] == "Polygon"
    assert (core["properties"]["objectType"], core["properties"]["object_type"]) == ("tmaCore", "tma_core")
    assert point["properties"] == {
        "objectType": "annotation",
        "object_type": "annotation",
        "measurements": [{"name": "b", "value": 1.5}],
    }
    assert point["geometry"]["plane"] == {"c": 0, "z": 1, "t": 2} and "id" not in point
    assert b"null" not in (tmp_path / "a.geojson").read_bytes()


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Annotation(geometry=shapely.GeometryCollection([shapely.Point(1, 1)])), GeometryError),
        (Annotation(geometry=shapely.Point(math.nan, 1)), GeometryError),
        (Annotation(geometry=shapely.Point(1e12, 1)), GeometryError),
        (Annotation(geometry=shapely.Point(1, 1), path_class=PathClass(("a\nb",))), FormatError),
        (Annotation(geometry=shapely.Point(1, 1), id="7"), FormatError),
    ],
)
def test_what_qupath_cannot_import_is_not_written(tmp_path: Path, bad: Annotation, error: type[Exception]) -> None:
    with pytest.raises(error):
        write_geojson(tmp_path / "a.geojson", [bad])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        write_geojson(tmp_path / "no" / "a.geojson", [])


def test_a_compressed_file_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    write_geojson(path, [Annotation(geometry=shapely.box(0, 0, 4, 4), name="µ")])
    assert path.read_bytes()[:2] == b"\x1f\x8b" and read_geojson(path)[0].name == "µ"


def test_random_damage_ends_in_a_format_error_or_a_reading(shared: Path, tmp_path: Path) -> None:
    """Values of any JSON type in any place."""
    document = json.loads((shared / "fixtures/qupath/v0.5.1/expected/entry-3.export.geojson").read_text())
    rng = random.Random(5)
    odd: list[Any] = [None, True, -1, 1e300, 10**400, "x", "", [], {}, [[]], [None], {"a": 1}, "\ud800"]
    features = document["features"][:4]
    for _ in range(1500):
        damaged = json.loads(json.dumps(features))
        place: Any = damaged
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.3:
                place[key] = rng.choice(odd)
                break
            place = place[key]
        (tmp_path / "a.json").write_text(json.dumps(damaged))
        try:
            read_geojson(tmp_path / "a.json")
        except FormatError as err:
            assert "\n" not in str(err)
