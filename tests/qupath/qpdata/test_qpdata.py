from __future__ import annotations

import dataclasses
import gzip
import random
import struct
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from javatree_nodes import Block, JavaString, Obj, Stream
from javatree_reader import parse, write
from qupath_files import VERSIONS, comparable, data_files, oracle
from qupath_strategies import lists

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.geometry import mend
from qpkit.errors import FormatError, GeometryError
from qpkit.qupath import QpData, new_qpdata, read_geojson
from qpkit.qupath.java.grammar import TC_OBJECT
from qpkit.qupath.java.tape import Tape
from shared_data import SHARED

ENTRIES = (1, 2, 3, 4, 5, 7, 8, 9, 10, 11)
SHAPES = {
    "RectangleROI": "rectangle",
    "EllipseROI": "ellipse",
    "LineROI": "line",
    "PolygonROI": "polygon",
    "PolylineROI": "polyline",
    "PointsROI": "points",
    "GeometryROI": "geometry",
    "AreaROI": "geometry",
}

# Deliberate differences from what QuPath answers:
# 1. QuPath 0.2/0.3 show "Object ID" as metadata; here it is always the id.
# 2. QuPath 0.6+ round GeometryROI to 0.01 px and float32 while reading; here they are as stored.
# 3. A zero-size rectangle and an empty ROI keep their corners here, QuPath's geometry of them is empty.
# 4. An annotation of class "null" colour etc. needs no exception: there are none.


def read(path: Path) -> QpData:
    content = path.read_bytes()
    return QpData.parse(gzip.decompress(content) if path.suffix == ".gz" else content, source=path.name)


def number(value: object) -> float:
    return float(value)  # type: ignore[arg-type]  # also "NaN", "Infinity"


def assert_same_shape(geometry: shapely.Geometry, shape: str | None, roi: dict[str, Any], version: str) -> None:
    assert shape == SHAPES[roi["class"]]
    points = [(number(x), number(y)) for x, y in roi.get("points", [])]
    if roi["class"] in ("RectangleROI", "EllipseROI"):
        x, y, width, height = roi["bounds"]
        assert geometry.bounds[:2] == (x, y)
        assert (geometry.bounds[2] - x, geometry.bounds[3] - y) == (width, height)
    elif roi["class"] == "PolygonROI" and points:
        assert shapely.get_coordinates(geometry)[:-1].tolist() == [list(point) for point in points]
    elif roi["class"] in ("LineROI", "PolylineROI", "PointsROI") and points:
        assert shapely.get_coordinates(geometry).tolist() == [list(point) for point in points]
    elif roi["class"] in ("GeometryROI", "AreaROI") and "wkb" in roi:
        theirs = shapely.from_wkb(roi["wkb"])
        tolerance = 0.02 if version >= "v0.6" else 1e-9
        assert geometry.geom_type == theirs.geom_type
        assert shapely.hausdorff_distance(geometry, theirs) <= tolerance
        assert geometry.area == pytest.approx(theirs.area, rel=5e-4 if version >= "v0.6" else 1e-12)
    if roi["type"] == "AREA":
        expected = pytest.approx(number(roi["area"]), rel=2e-4, abs=1e-6)
        assert mend(geometry)[0].area == expected


def assert_same_object(found: Annotation, feature: dict[str, Any], version: str) -> None:
    theirs = feature["oracle"]
    assert found.kind == {"tmaCore": "tma_core"}.get(theirs["kind"], theirs["kind"])
    assert found.id == theirs.get("id")
    assert found.parent == theirs.get("parentIndex")
    assert found.name == theirs.get("name")
    assert found.class_name == theirs.get("class")
    assert (found.path_class.color if found.path_class else None) == theirs.get("classColorRGB")
    assert found.color == theirs.get("colorRGB")
    assert found.locked == theirs["locked"]
    assert found.is_missing == theirs.get("isMissing", False)
    metadata = {key: value for key, value in theirs.get("metadata", {}).items() if key != "Object ID"}
    assert dict(found.metadata) == metadata
    assert list(found.measurements) == list(theirs.get("measurements", {}))
    for name, value in theirs.get("measurements", {}).items():
        assert found.measurements[name] == pytest.approx(number(value), rel=0, nan_ok=True)
    roi = theirs["roi"]
    if roi is None:
        assert found.geometry.is_empty and found.shape is None
        return
    assert found.plane == Plane(roi["c"], roi["z"], roi["t"])
    assert_same_shape(found.geometry, found.shape, roi, version)
    assert (found.nucleus is None) == (theirs.get("nucleus") is None)
    if found.nucleus is not None and "points" in theirs["nucleus"]:
        assert shapely.get_coordinates(found.nucleus)[:-1].tolist() == theirs["nucleus"]["points"]


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_every_object_is_what_qupath_says_it_is(shared: Path, version: str, entry: int) -> None:
    folder = shared / "fixtures/qupath" / version
    expected = oracle(folder / f"expected/entry-{entry}.oracle.geojson")
    data = read(folder / f"project/data/{entry}/data.qpdata")
    objects = data.objects()
    assert len(objects) == len(expected["features"])
    for found, feature in zip(objects, expected["features"], strict=True):
        assert_same_object(found, feature, version)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_around_the_hierarchy_is_read(shared: Path, version: str, entry: int) -> None:
    folder = shared / "fixtures/qupath" / version
    theirs = oracle(folder / f"expected/entry-{entry}.oracle.geojson")["oracle"]
    data = read(folder / f"project/data/{entry}/data.qpdata")
    assert data.unknown == []
    assert f"Data file version {data.data_version}" == theirs["qpdata"]["header"]
    assert data.image_type == theirs["imageTypeName"]
    assert set(data.properties) == set(theirs["properties"])
    server = theirs["qpdata"].get("server")
    assert data.server == (server["server"] if isinstance(server, dict) else None)
    assert (data.stains is None) == (theirs["stains"] is None)
    grid = theirs.get("tmaGrid")
    assert data.tma_grid == (None if grid is None else (grid["height"], grid["width"]))
    ours = [(step.name, step.script) for step in data.workflow if "runPlugin" not in str(step.script)]
    steps = [(step["name"], step.get("script")) for step in theirs["workflow"] if "Plugin" not in step["class"]]
    if version < "v0.6":
        assert ours == steps[: len(ours)]  # QuPath adds steps for type and stains while reading
    assert {name for name, _ in ours} <= {name for name, _ in steps}


@pytest.mark.parametrize("version", VERSIONS)
def test_many_objects_are_all_read(shared: Path, version: str) -> None:
    folder = shared / "fixtures/qupath" / version / "many"
    objects = read(folder / "data.qpdata.gz").objects()
    expected = oracle(folder / "expected.oracle.geojson.gz")["features"]
    assert len(objects) == len(expected)
    for found, feature in zip(objects, expected, strict=True):
        assert_same_object(found, feature, version)


def test_twenty_thousand_objects_are_read_in_seconds(shared: Path) -> None:
    content = gzip.decompress((shared / "fixtures/qupath/v0.5.1/many/data.qpdata.gz").read_bytes())
    start = time.perf_counter()
    assert len(QpData.parse(content, source="many").objects()) == 20_001
    assert time.perf_counter() - start < 20  # 1.5 s on one core of 2024


@pytest.mark.parametrize("project", ["qupath-0.3.2", "qupath-0.5.1", "qupath-0.7.0"])
def test_real_annotations_equal_qupaths_own_export(shared: Path, project: str) -> None:
    base = shared / "data/projects/composed-train"
    for export in sorted((base / "expected" / project).glob("*.geojson")):
        entry = export.name.split("-")[1].split(".")[0]
        objects = read(base / project / "data" / entry / "data.qpdata").objects()
        exported = read_geojson(export)
        assert len(objects) == len(exported)
        for ours, theirs in zip(objects, exported, strict=True):
            assert (ours.kind, ours.class_name, ours.name) == (theirs.kind, theirs.class_name, theirs.name)
            assert ours.id == theirs.id
            assert shapely.hausdorff_distance(ours.geometry, theirs.geometry) < (
                0.3 if ours.shape == "ellipse" else 0.02
            )


def test_a_foreign_users_cells_equal_their_own_export(shared: Path) -> None:
    base = shared / "data/qupath/CosciaLab-Qupath_to_LMD/demo_Qupath_project"
    objects = read(base / "data/1/data.qpdata").objects()
    exported = {item.id: item for item in read_geojson(base / "Single_cells.geojson")}
    assert Counter(item.kind for item in objects) == {"annotation": 10, "cell": 121}
    assert Counter(item.class_name for item in objects if item.kind == "annotation") == {
        "circles": 4,
        "two_circles": 2,
        "class_1": 1,
        None: 3,
    }
    for ours in objects:
        theirs = exported[ours.id]
        assert (ours.kind, ours.class_name, ours.name) == (theirs.kind, theirs.class_name, theirs.name)
        assert dict(ours.measurements) == pytest.approx(dict(theirs.measurements), rel=1e-6, nan_ok=True)
        assert shapely.hausdorff_distance(ours.geometry, theirs.geometry) < 0.5


def test_an_ellipse_is_recoverable_from_its_bounds(shared: Path) -> None:
    for path, content in data_files(shared):
        if "many" in str(path):
            continue
        data = QpData.parse(content, source=path.name)
        tape = Tape(content)
        views = [tape.view(int(row)) for row in np.flatnonzero(tape.kind == TC_OBJECT)]
        stored = [view.fields() for view in views if "EllipseROI" in view.class_name]
        bounds = [item.geometry.bounds for item in data.objects() if item.shape == "ellipse"]
        assert sorted(bounds) == sorted((f["x"], f["y"], f["x2"], f["y2"]) for f in stored)


# Editing


def around(content: bytes) -> list[str]:
    """All top-level nodes but the hierarchy, as their own bytes."""
    stream = parse(content)
    return [write(Stream([item])).hex() for item in stream.contents if not _is_hierarchy(item)]


def _is_hierarchy(item: object) -> bool:
    return isinstance(item, Obj) and item.class_name.endswith("PathObjectHierarchy")


def small(identity: str | None = None) -> Annotation:
    return Annotation(geometry=shapely.Point(50, 50).buffer(20), id=identity, path_class=PathClass(("A", "B"), -5))


@pytest.mark.parametrize("version", VERSIONS)
def test_adding_and_removing_leaves_everything_else_equal(shared: Path, version: str) -> None:
    for path in sorted((shared / "fixtures/qupath" / version / "project").rglob("data.qpdata")):
        content = path.read_bytes()
        data = QpData.parse(content, source=path.name)
        before = data.objects()
        data.add([small(), small()])
        more = QpData.parse(data.to_bytes(), source=path.name)
        assert [comparable(a, parent=True) for a in more.objects()[:-2]] == [comparable(a, parent=True) for a in before]
        if path.parent.name != "11":  # its connections refer to the objects
            assert around(data.to_bytes()) == around(content)
        new = [str(a.id) for a in more.objects()[-2:]]
        assert more.remove(new) == 2
        back = QpData.parse(more.to_bytes(), source=path.name)
        assert [comparable(a, parent=True) for a in back.objects()] == [comparable(a, parent=True) for a in before]
        if path.parent.name != "11":
            assert back.to_bytes() == content


def test_removing_a_parent_moves_its_children_up(shared: Path) -> None:
    data = read(shared / "fixtures/qupath/v0.5.1/project/data/3/data.qpdata")
    before = data.objects()
    outer = next(a for a in before if a.name == "outer")
    inner = next(a for a in before if a.name == "inner")
    assert data.remove([str(outer.id), "not there"]) + data.remove(str(inner.id)) == 2
    after = QpData.parse(data.to_bytes(), source="after").objects()
    assert [a.id for a in after] == [a.id for a in before if a not in (outer, inner)]
    assert all(a.parent is None for a in after if a.kind == "cell")
    assert [comparable(a) for a in after] == [comparable(a) for a in before if a not in (outer, inner)]


def test_connections_go_with_removed_objects_but_other_properties_stay(shared: Path) -> None:
    data = read(shared / "fixtures/qupath/v0.5.1/project/data/11/data.qpdata")
    before = data.properties
    data.add([small()])
    assert "OBJECT_CONNECTIONS" in data.properties
    data.remove([str(data.objects()[0].id)])
    after = QpData.parse(data.to_bytes(), source="after").properties
    assert after == {key: value for key, value in before.items() if key != "OBJECT_CONNECTIONS"}


def test_a_tma_core_is_not_removed(shared: Path) -> None:
    data = read(shared / "fixtures/qupath/v0.5.1/project/data/4/data.qpdata")
    with pytest.raises(FormatError, match="TMA core"):
        data.remove([str(data.objects()[0].id)])


def test_an_id_that_is_there_already_is_refused() -> None:
    data = new_qpdata(image_type="OTHER")
    data.add([small("11111111-2222-3333-4444-555555555555")])
    with pytest.raises(FormatError, match="already"):
        data.add([small("11111111-2222-3333-4444-555555555555")])


def test_equal_objects_without_ids_get_different_ones_every_time_the_same() -> None:
    made = [new_qpdata(image_type="OTHER", objects=[small(), small()]) for _ in range(2)]
    assert made[0].to_bytes() == made[1].to_bytes()
    made[0].add([small()])
    assert len({a.id for a in made[0].objects()}) == 3


def test_a_geometry_collection_is_refused() -> None:
    mixed = shapely.GeometryCollection([shapely.Point(1, 1), shapely.box(0, 0, 1, 1)])
    with pytest.raises(GeometryError, match="split"):
        new_qpdata(image_type="OTHER", objects=[Annotation(geometry=mixed)])


def test_an_edited_rectangle_is_no_rectangle_any_more() -> None:
    lie = Annotation(geometry=shapely.Polygon([(0, 0), (4, 0), (4, 4)]), shape="rectangle")
    assert new_qpdata(image_type="OTHER", objects=[lie]).objects()[0].shape == "polygon"


@settings(max_examples=60, deadline=None)
@given(lists())
def test_annotations_survive_a_data_file(objects: list[Annotation]) -> None:
    content = new_qpdata(image_type="BRIGHTFIELD_H_E", objects=objects, server={"builderType": "uri"}).to_bytes()
    data = QpData.parse(content, source="made")
    assert [comparable(a) for a in data.objects()] == [comparable(a) for a in objects]
    assert (data.image_type, data.data_version, data.server) == ("BRIGHTFIELD_H_E", 3, {"builderType": "uri"})
    assert write(parse(content)) == content


def test_a_new_file_has_qupaths_layout(shared: Path) -> None:
    """Same top-level nodes and same class descriptions as QuPath 0.5.1 writes."""
    theirs = parse((shared / "fixtures/qupath/v0.5.1/project/data/3/data.qpdata").read_bytes())
    cell = dataclasses.replace(small(), kind="cell", nucleus=shapely.Point(50, 50).buffer(5), measurements={"a": 1.0})
    ours = parse(new_qpdata(image_type="OTHER", objects=[cell, small()], stains="{}", properties={"k": "v"}).to_bytes())
    known = {desc.name: desc for desc in theirs.classes}
    checked = 0
    for desc in ours.classes:
        if desc.name in known:
            mine, original = (
                (d.suid, d.flags, [(f.code, f.name, f.signature) for f in d.fields], [c.name for c in d.chain])
                for d in (desc, known[desc.name])
            )
            assert mine == original
            checked += 1
    assert checked >= 15


# Files that are not understood


def edited(content: bytes, change: Any) -> bytes:
    stream = parse(content, until="EOF")
    change(stream)
    return write(stream)


def simple(shared: Path) -> bytes:
    return (shared / "fixtures/qupath/v0.5.1/project/data/4/data.qpdata").read_bytes()


def rename_tiles(stream: Stream) -> None:
    for desc in stream.classes:
        if desc.name.endswith("PathAnnotationObject"):
            desc.name = "qupath.lib.objects.PathFutureObject"


def new_header(stream: Stream) -> None:
    stream.contents[0] = Block(struct.pack(">H", 19) + b"Data file version 4")


def add_tail(stream: Stream) -> None:
    stream.tail = b"more"


def add_string(stream: Stream) -> None:
    stream.contents.insert(-1, JavaString("what is this?"))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (rename_tiles, "PathFutureObject"),
        (new_header, "version 4"),
        (add_tail, "4 bytes"),
        (add_string, "a string beside"),
    ],
)
def test_a_file_that_is_not_understood_is_read_but_never_rewritten(shared: Path, change: Any, named: str) -> None:
    content = edited(simple(shared), change)
    data = QpData.parse(content, source="slide")
    assert len(data.objects()) >= 6
    assert data.to_bytes() == content
    with pytest.raises(FormatError, match=named):
        data.add([small()])
    assert data.to_bytes() == content


def test_an_unknown_roi_is_named_with_its_byte(shared: Path) -> None:
    def rename(stream: Stream) -> None:
        for desc in stream.classes:
            desc.name = desc.name.replace("EllipseROI", "FooROI")

    with pytest.raises(FormatError, match=r"slide: unknown ROI type .*FooROI.* at byte \d+"):
        QpData.parse(edited(simple(shared), rename), source="slide")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\xac\xed\x00\x05", b"\xac\xed\x00\x05\x70"])
def test_foreign_files_are_refused_in_one_line(content: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        QpData.parse(content, source="slide")
    assert str(caught.value).startswith("slide: ") and "\n" not in str(caught.value)


def test_every_truncation_of_a_data_file_is_refused_or_right(shared: Path) -> None:
    content = (shared / "fixtures/qupath/v0.5.1/project/data/10/data.qpdata").read_bytes()
    expected = [comparable(a, parent=True) for a in QpData.parse(content, source="x").objects()]
    for length in range(len(content)):
        try:
            data = QpData.parse(content[:length], source="x")
        except FormatError:
            continue
        assert [comparable(a, parent=True) for a in data.objects()] == expected


@pytest.mark.parametrize(("version", "entry"), [("v0.2.3", 11), ("v0.5.1", 4), ("v0.7.0", 3)])
def test_random_damage_ends_in_a_format_error_or_a_reading(shared: Path, version: str, entry: int) -> None:
    content = (shared / f"fixtures/qupath/{version}/project/data/{entry}/data.qpdata").read_bytes()
    rng = random.Random(entry)
    for _ in range(500):
        damaged = bytearray(content)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.choice([0, 0x70, 0x71, 0x7F, 0xFF, rng.randrange(256)])
        try:
            data = QpData.parse(bytes(damaged), source="x")
            _ = data.properties, data.workflow, data.stains, data.server, data.tma_grid
            data.add([small()])
        except FormatError:
            continue


def test_the_shared_files_are_where_the_tests_look() -> None:
    if not SHARED.is_dir():
        pytest.skip("the shared QuPath files (../shared) are not here")
    assert (SHARED / "fixtures/qupath/README.md").is_file()


# Old and odd hierarchies


def _oldest(stream: Stream) -> None:
    """Take out what the first versions did not write: the lock and the metadata."""
    waiting = [item for item in stream.contents if _is_hierarchy(item)]
    while waiting:
        node = waiting.pop()
        assert isinstance(node, Obj)
        children = [item for part in node.parts for item in [*part.objects, *part.annotation] if isinstance(item, Obj)]
        waiting += [child for child in children if ".objects.Path" in child.class_name or "TMACore" in child.class_name]
        if "lib.objects.Path" in node.class_name or "TMACore" in node.class_name:
            node.annotation[:] = [
                item
                for item in node.annotation
                if not (isinstance(item, Obj) and item.class_name.endswith(("MetadataMap", "lang.Boolean")))
            ]


@pytest.mark.parametrize("entry", [1, 2, 3, 4])
def test_the_oldest_bodies_are_read(shared: Path, entry: int) -> None:
    content = (shared / f"fixtures/qupath/v0.5.1/project/data/{entry}/data.qpdata").read_bytes()
    expected = QpData.parse(content, source="x").objects()
    found = QpData.parse(edited(content, _oldest), source="x").objects()
    bare = [dataclasses.replace(a, id=None, metadata={}, locked=False) for a in expected]
    assert [comparable(a, parent=True) for a in found] == [comparable(a, parent=True) for a in bare]


def test_a_very_deep_hierarchy_is_read_edited_and_written() -> None:
    depth = 3000
    chain = [dataclasses.replace(small(), parent=n - 1 if n else None) for n in range(depth)]
    again = QpData.parse(new_qpdata(image_type="OTHER", objects=chain, nested=True).to_bytes(), source="deep")
    assert [a.parent for a in again.objects()] == [None, *range(depth - 1)]
    assert again.remove([str(a.id) for a in again.objects()[::2]]) == depth // 2
    assert [a.parent for a in again.objects()] == [None, *range(depth // 2 - 1)]


def test_the_same_object_twice_in_a_hierarchy_is_refused() -> None:
    stream = parse(new_qpdata(image_type="OTHER", objects=[small()]).to_bytes(), until="EOF")
    hierarchy = next(item for item in stream.contents if _is_hierarchy(item))
    assert isinstance(hierarchy, Obj)
    root = hierarchy.fields()["rootObject"]
    assert isinstance(root, Obj)
    root.annotation[-2:] = [Block(struct.pack(">i", 2)), root.annotation[-1], root.annotation[-1]]
    with pytest.raises(FormatError, match="twice"):
        QpData.parse(write(stream), source="x")
