"""Rows of a table hold objects whole; rows of other programs are understood by their columns."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import pyarrow.parquet as pq
import pytest
import shapely
from format_strategies import drawings
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.formats.plugins import parquet
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.formats.shared.table_rows import OWN, columns_of, foreign_object, object_of
from qpkit.formats.shared.xml_files import printable


def kept(item: Annotation) -> Annotation:
    """What of an object's texts a table holds: names of classes are read from one text again."""
    found = item.path_class
    parts = [] if found is None else [part.strip() for part in printable(str(found)).split(":") if part.strip()]
    path_class = None if found is None or not parts else PathClass(tuple(parts), found.color)
    return replace(item, path_class=path_class, name=None if item.name is None else printable(item.name))


@given(drawings())
def test_objects_are_read_from_their_rows_as_they_were(objects: list[Annotation]) -> None:
    columns = columns_of(objects)
    assert all(len(values) == len(objects) for values in columns.values())
    folded = [name.casefold() for name in columns]
    assert len(set(folded)) == len(folded) and set(OWN) <= set(columns)
    assert all(name.isprintable() and name.strip() == name and name for name in columns)
    for index, item in enumerate(objects):
        row = {name: values[index] for name, values in columns.items()}
        found = object_of(row, item.geometry)
        same = replace(found, measurements=item.measurements, metadata=item.metadata, nucleus=item.nucleus)
        assert same == kept(item)
        assert {k: repr(v) for k, v in found.measurements.items()} == {
            k: repr(float(v)) for k, v in item.measurements.items()
        }
        assert found.metadata == item.metadata
        assert found.nucleus == item.nucleus


BOX = Annotation(geometry=shapely.box(0, 0, 2, 1), shape="rectangle")
cells = st.none() | st.booleans() | st.integers(-9, 9) | st.floats() | st.text(max_size=5)


@given(st.dictionaries(st.sampled_from(["area", "who", "count", "NAME"]), cells), st.none() | st.just("Nerve"))
def test_numbers_of_another_program_are_measurements_and_texts_metadata(row: dict[str, Any], layer: str | None) -> None:
    found = foreign_object(row, shapely.box(0, 0, 2, 1), layer)
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    assert found.measurements == {k: float(v) for k, v in numbers.items() if not math.isnan(v)}
    assert found.metadata == {k: str(v) for k, v in row.items() if k not in numbers and v is not None}
    assert (found.class_name, found.shape) == (layer, "rectangle")


@given(st.dictionaries(st.sampled_from(["fid2", "who", "Area", "when"]), cells))
def test_columns_that_somebody_added_to_our_tables_are_kept(row: dict[str, Any]) -> None:
    (columns,) = [{name: values[0] for name, values in columns_of([BOX]).items()}]
    found = object_of({**columns, **row}, BOX.geometry)
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float) and not isinstance(v, bool)}
    assert found.measurements == {k: float(v) for k, v in numbers.items() if not math.isnan(v)}
    assert found.metadata == {k: str(v) for k, v in row.items() if k not in numbers and v is not None}


def test_names_that_are_numbers_and_classes_that_cannot_be_read_are_kept() -> None:
    found = foreign_object({"name": 7, "classification": '{"color": [1, 2, 3]}', "color": "odd"}, BOX.geometry, None)
    assert (found.name, found.path_class) == ("7", None)
    assert found.metadata == {"classification": '{"color": [1, 2, 3]}', "color": "odd"}


@pytest.mark.parametrize("column", ["class", "Classification", "LABEL", "category", "group"])
def test_a_class_is_found_by_the_name_of_its_column(column: str) -> None:
    found = foreign_object({"n": 1, column: "Tumor: Positive", "color": "#0a0b0c"}, shapely.Point(1, 2), "layer")
    assert found.path_class == PathClass(("Tumor", "Positive"), argb(10, 11, 12))
    assert (found.measurements, found.metadata, found.shape) == ({"n": 1.0}, {}, "points")


@pytest.mark.parametrize(
    ("geometry", "shape"),
    [
        (shapely.LineString([(0, 0), (1, 1)]), "line"),
        (shapely.LineString([(0, 0), (1, 1), (2, 0)]), "polyline"),
        (shapely.MultiPoint([(0, 0), (1, 1)]), "points"),
        (shapely.Polygon([(0, 0), (4, 0), (2, 3)]), "polygon"),
        (shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]), "geometry"),
        (shapely.MultiLineString([[(0, 0), (1, 1)], [(2, 2), (3, 4)]]), "geometry"),
    ],
)
def test_the_shape_of_a_foreign_object_is_what_qupath_would_call_it(geometry: Any, shape: str) -> None:
    assert foreign_object({}, geometry, None).shape == shape


def test_a_classification_that_is_no_record_is_a_name() -> None:
    for text, name in (("{broken", "{broken"), ('{"name": 3}', None), ('{"name": "A", "color": "red"}', "A")):
        assert foreign_object({"class": text}, shapely.Point(0, 0), None).class_name == name


@pytest.mark.parametrize(
    ("record", "name", "color", "kept"),
    [
        ('{"name": "Tumor", "color": [1, 2, 3]}', "Tumor", argb(1, 2, 3), False),
        ('{"names": ["Tumor", "Positive"], "color": [1, 2, 3, 255]}', "Tumor: Positive", argb(1, 2, 3), False),
        ('{"name": "Tumor", "colorRGB": -3670016}', "Tumor", -3670016, False),
        ('{"name": "Tumor", "color": [1, 2, 3], "stage": 4}', "Tumor", argb(1, 2, 3), True),
        ('{"name": "Tumor", "color": [1, 2, 3, 9]}', "Tumor", None, True),
        ('{"name": "Tumor", "names": ["Else"]}', "Tumor", None, True),
        ('{"name": "Tumor", "color": "red"}', "Tumor", None, True),
        ('{"name": 3}', None, None, True),
    ],
)
def test_what_a_classification_says_beside_name_and_colour_is_kept(
    record: str, name: str | None, color: int | None, kept: bool
) -> None:
    found = foreign_object({"classification": record}, BOX.geometry, None)
    assert found.class_name == name
    assert (found.path_class.color if found.path_class else None) == color
    assert found.metadata == ({"classification": record} if kept else {})


def test_what_a_geoparquet_file_says_of_itself_is_counted(tmp_path: Path) -> None:
    geopandas.GeoDataFrame({"n": [1]}, geometry=[BOX.geometry]).to_parquet(tmp_path / "a.parquet")
    (plain,) = parquet.read(tmp_path / "a.parquet", ImageFacts(), Choices())
    table = pq.read_table(tmp_path / "a.parquet")
    more = {**(table.schema.metadata or {}), b"scanner": b"X1"}
    pq.write_table(table.replace_schema_metadata(more), tmp_path / "b.parquet")
    (found,) = parquet.read(tmp_path / "b.parquet", ImageFacts(), Choices())
    assert (dict(plain.notes), dict(found.notes)) == ({}, {"fields not read (file/scanner)": 1})


@given(drawings())
@settings(max_examples=15)
def test_a_geoparquet_file_is_one_that_geopandas_and_pyarrow_read(objects: list[Annotation]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        parquet.write(path, [Drawing(objects=tuple(objects))], Choices())
        geometries, crs = geopandas.read_parquet(path).geometry.to_list(), geopandas.read_parquet(path).crs
        rows = pq.read_table(path).to_pylist()
        (found,) = parquet.read(path, ImageFacts(), Choices())
    shown = [item for item in objects if not item.geometry.is_empty]
    assert crs is None and len(rows) == len(geometries) == len(found.objects) == len(shown)
    for row, geometry, item, read in zip(rows, geometries, shown, found.objects, strict=True):
        assert geometry.equals_exact(item.geometry) and read.geometry.equals_exact(item.geometry)
        assert (row["kind"], row["id"], row["shape"], row["z"]) == (item.kind, item.id, item.shape, item.plane.z)
        assert (read.kind, read.id, read.shape, read.plane) == (item.kind, item.id, item.shape, item.plane)
        assert (read.locked, read.color) == (item.locked, item.color)
