"""Darwin JSON and vector files as other programs write them."""

from __future__ import annotations

import builtins
import json
import math
from pathlib import Path
from typing import Any

import geopandas
import pytest
import shapely
from fields_samples import SAMPLES

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import FormatError, MissingExtraError, OutputError, ProjectError
from qpkit.formats.plugins import darwin, gpkg, shapefile
from qpkit.formats.registry import FORMATS, format_of
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.vector_files import CRS, HEIGHTS


def path_of(*points: tuple[float, float]) -> list[dict[str, float]]:
    return [{"x": x, "y": y} for x, y in points]


OUTER = path_of((0, 0), (100, 0), (100, 100), (0, 100))
HOLE = path_of((10, 10), (60, 10), (60, 60), (10, 60))
ISLAND = path_of((20, 20), (30, 20), (30, 30), (20, 30))
DARWIN: dict[str, Any] = {
    "version": "2.0",
    "item": {"name": "a.svs", "path": "/", "slots": [{"type": "image", "slot_name": "0", "width": 500, "height": 400}]},
    "annotations": [
        {
            "id": "7a0ad6fc-9a4a-4a55-a3a9-fc1a1f8b6a9a",
            "name": "Tumor",
            "polygon": {"paths": [ISLAND, OUTER, HOLE]},
            "bounding_box": {"x": 0, "y": 0, "w": 100, "h": 100},
            "text": {"text": "mine"},
        },
        {
            "id": "x",
            "name": "Cell",
            "ellipse": {"center": {"x": 50, "y": 60}, "radius": {"x": 20, "y": 10}, "angle": 0},
        },
        {"name": "Cell", "ellipse": {"center": {"x": 50, "y": 60}, "radius": {"x": 20, "y": 10}, "angle": 1.0}},
        {"name": "Box", "bounding_box": {"x": 1, "y": 2, "w": 3, "h": 4}},
        {"name": "Line", "line": {"path": path_of((0, 0), (3, 4))}},
        {"name": "Unclassified", "keypoint": {"x": 5, "y": 6}},
        {"name": "Artefact", "tag": {}},
        {
            "name": "Bow",
            "polygon": {"paths": [path_of((0, 0), (4, 4), (4, 0), (0, 4)), path_of((9, 9), (10, 9), (9, 10))]},
        },
    ],
}


def read_darwin(folder: Path, record: Any) -> Drawing:
    path = folder / "a.json"
    path.write_text(json.dumps(record))
    (found,) = darwin.read(path, ImageFacts(), Choices())
    return found


def test_darwin_paths_are_nested_by_the_even_odd_rule(tmp_path: Path) -> None:
    found = read_darwin(tmp_path, DARWIN)
    area, oval, turned, box, line, point, bow = found.objects
    assert area.geometry.area == 100 * 100 - 50 * 50 + 10 * 10
    assert (area.id, area.name, area.shape) == ("7a0ad6fc-9a4a-4a55-a3a9-fc1a1f8b6a9a", "mine", "geometry")
    assert (oval.shape, oval.geometry.bounds, oval.id) == ("ellipse", (30, 50, 70, 70), None)
    assert turned.shape == "polygon"
    assert math.isclose(turned.geometry.area, oval.geometry.area)
    assert (box.shape, box.geometry.bounds) == ("rectangle", (1, 2, 4, 6))
    assert (line.shape, point.shape, point.path_class) == ("line", "points", None)
    assert bow.geometry.area == 4 * 4 / 2 + 0.5
    assert (found.image.name, found.image.width, found.image.height) == ("a.svs", 500, 400)
    assert found.notes == {darwin.TURNED: 1, darwin.MENDED: 1, "annotations without a shape (tag) left out": 1}


def test_darwin_1_0_is_read_too(tmp_path: Path) -> None:
    old = {
        "image": {"filename": "b.svs", "width": 9, "height": 8},
        "annotations": [
            {"name": "A", "polygon": {"path": OUTER, "additional_paths": [HOLE]}},
            {"name": "B", "complex_polygon": {"path": [OUTER, HOLE]}},
        ],
    }
    found = read_darwin(tmp_path, old)
    assert [o.geometry.area for o in found.objects] == [7500, 7500]
    assert found.image.name == "b.svs"


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"name": "A", "polygon": {"paths": [[{"x": 1}]]}}, "annotation 0: y: None is not a number"),
        ({"name": "A", "polygon": {}}, "no paths"),
        ({"name": "A", "polygon": 3}, "not an object"),
        ({"name": None, "keypoint": {"x": 1, "y": 2}}, "its name, the class, is None"),
        ({"name": "A", "ellipse": {"center": 3, "radius": 4}}, "is not an object with x"),
    ],
)
def test_bad_darwin_is_said_with_its_place(tmp_path: Path, annotation: dict[str, Any], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        read_darwin(tmp_path, {"item": {}, "annotations": [annotation]})


def test_json_is_told_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for record, expected in ((DARWIN, "darwin"), ({"images": [], "annotations": [], "categories": []}, "coco")):
        path.write_text(json.dumps(record))
        assert format_of(path, FORMATS, reading=True).name == expected
    for bad in ("{", '{"a": 1}', "3"):
        path.write_text(bad)
        with pytest.raises((FormatError, ValueError)):
            format_of(path, FORMATS, reading=True)


def test_a_table_of_another_program_has_numbers_as_measurements_and_texts_as_metadata(tmp_path: Path) -> None:
    table = geopandas.GeoDataFrame(
        {"label": ["Tumor", "Stroma"], "area": [1.5, math.nan], "who": ["A", None], "count": [1, 2]},
        geometry=[shapely.box(0, 0, 1, 1), shapely.Point(1, 2, 3)],
        crs="EPSG:3857",
    )
    table.to_file(tmp_path / "a.gpkg", layer="x")
    (found,) = gpkg.read(tmp_path / "a.gpkg", ImageFacts(), Choices())
    box, point = found.objects
    assert (str(box.path_class), box.shape, box.metadata) == ("Tumor", "rectangle", {"who": "A", "layer": "x"})
    assert box.measurements == {"area": 1.5, "count": 1.0}
    assert (str(point.path_class), point.shape, point.measurements) == ("Stroma", "points", {"count": 2.0})
    assert not point.geometry.has_z
    assert found.notes == {CRS: 1, HEIGHTS: 1}


def test_layers_name_the_class_where_no_column_does_and_quspaths_classification_is_understood(tmp_path: Path) -> None:
    path = tmp_path / "a.gpkg"
    area = [shapely.box(0, 0, 1, 1)]
    geopandas.GeoDataFrame({"n": [1]}, geometry=area, crs="EPSG:3857").to_file(path, layer="Nerve")
    text = '{"name": "Tumor: Positive", "color": [1, 2, 3]}'
    geopandas.GeoDataFrame({"classification": [text]}, geometry=area, crs="EPSG:3857").to_file(path, layer="Q")
    (found,) = gpkg.read(path, ImageFacts(), Choices())
    classes = {o.path_class: o.metadata for o in found.objects}
    assert classes == {PathClass(("Nerve",)): {}, PathClass(("Tumor", "Positive"), argb(1, 2, 3)): {"layer": "Q"}}


def test_a_shapefile_shortens_names_without_mixing_them_up(tmp_path: Path) -> None:
    measured = {"huge": -1e300, "Nucleus: Area": 1.0, "Nucleus: Perimeter": 2.0, "Nucleus: A": 3.0}
    item = Annotation(geometry=shapely.box(0, 0, 1, 1), shape="rectangle", measurements=measured, name="ä" * 200)
    losses = shapefile.write(tmp_path / "a.shp", [Drawing(objects=(item,))], Choices())
    (found,) = shapefile.read(tmp_path / "a.shp", ImageFacts(), Choices())
    assert sorted(found.objects[0].measurements.values()) == [1.0, 2.0, 3.0]
    assert found.objects[0].name == "ä" * 127
    assert (losses[shapefile.CUT_TEXT], losses[shapefile.TOO_LARGE]) == (1, 1)


def test_a_shapefile_does_not_write_over_what_is_beside_it(tmp_path: Path) -> None:
    line = Annotation(geometry=shapely.LineString([(0, 0), (1, 1)]), shape="line")
    drawing = Drawing(objects=(line,))
    shapefile.write(tmp_path / "a.shp", [drawing], Choices())
    (tmp_path / "a.shp").unlink()
    with pytest.raises(OutputError, match=r"a_lines\.shp"):
        shapefile.write(tmp_path / "a.shp", [drawing], Choices())


def test_damaged_and_missing_files_are_errors_with_their_name(tmp_path: Path) -> None:
    for name in ("a.gpkg", "a.parquet", "a.shp"):
        (tmp_path / name).write_bytes(b"no")
        with pytest.raises(FormatError, match=name):
            format_of(tmp_path / name, FORMATS, reading=True).read(tmp_path / name, ImageFacts(), Choices())
    with pytest.raises(ProjectError):
        gpkg.read(tmp_path / "gone.gpkg", ImageFacts(), Choices())


def test_without_geopandas_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "geopandas":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"qpkit\[vector\]"):
        gpkg.write(tmp_path / "a.gpkg", [Drawing(objects=())], Choices())


def test_other_fields_of_darwin_annotations_are_metadata(tmp_path: Path) -> None:
    record = json.loads({(name, what): text for name, what, text in SAMPLES}["darwin", "all fields"])
    (tmp_path / "a.json").write_text(json.dumps(record))
    one, two = darwin.read(tmp_path / "a.json", ImageFacts(), Choices())
    assert one.objects[0].metadata == {
        "instance_id": "3",
        "attributes": "left, old",
        "Grade": "3",
        "Grade: frame_index": "0",
        "Grade 2": "4",
        "annotators": "a@example.org A",
        "inference.confidence": "0.9",
        "inference.model": '{"id": "m", "name": "n"}',
        "directional_vector.angle": "1.0",
        "directional_vector.length": "2.0",
    }
    assert two.objects[0].metadata == {"id": "not a UUID"}
    assert (one.image.name, two.image.name, two.image.width) == ("a.tif", "b.tif", 60)
    assert one.notes["fields not read (item/source_info)"] == 1
