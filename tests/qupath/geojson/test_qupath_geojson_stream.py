"""GeoJSON is cut into pieces without changing it, and hostile files end in one clear line in bounded memory."""

from __future__ import annotations

import gzip
import json
import random
import tracemalloc
import zipfile
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from qupath_strategies import lists

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError, OutputError
from qpkit.qupath.geojson import stream as geojson_stream
from qpkit.qupath.geojson.checks.diagnosis import diagnose_geojson
from qpkit.qupath.geojson.geometry_reader import COLLECTION_CUT, read_shape
from qpkit.qupath.geojson.reader import GeoJsonWriter, iter_geojson, read_geojson, write_geojson
from qpkit.qupath.geojson.simple_polygons import read_simple_polygons
from qpkit.qupath.geojson.source import Document
from qpkit.qupath.geojson.stream import read_batches

_TEXT = st.text(st.sampled_from('ab"\\{}[],:\n µ😀'), max_size=6)
_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=8,
)
_OBJECT = st.dictionaries(_TEXT | st.just("features"), _VALUE, max_size=4)


def pieces(text: bytes, size: int) -> Document:
    return Document("a.json", (text[at : at + size] for at in range(0, len(text), size)))


def elements(text: bytes, size: int) -> tuple[list[Any], list[Any]]:
    inner, outer = [], []
    for batch in read_batches(pieces(text, size)):
        (inner if batch.place in ("features", "array") else outer).extend(batch.values)
    return inner, outer


@given(
    st.lists(_OBJECT, max_size=6),
    st.dictionaries(_TEXT, _VALUE, max_size=2),
    st.dictionaries(_TEXT, _VALUE, max_size=2),
    st.integers(1, 40),
    st.sampled_from([None, 1]),
)
def test_the_size_of_the_pieces_does_not_matter(
    features: list[Any], before: dict[str, Any], after: dict[str, Any], size: int, indent: int | None
) -> None:
    document = {"type": "FeatureCollection", **before, "features": features, **after}
    text = json.dumps(document, indent=indent, ensure_ascii=False).encode()
    inner, outer = elements(text, size)
    assert inner == features
    assert outer == [{**document, "features": []}]


@given(st.lists(_VALUE | _OBJECT | st.lists(_OBJECT, max_size=2), max_size=5), st.integers(1, 30))
def test_an_array_of_anything_is_read_in_pieces_too(values: list[Any], size: int) -> None:
    assert elements(json.dumps(values).encode(), size) == (values, [])
    document = {"features": values, "type": [values]}
    assert elements(json.dumps(document).encode(), size) == (values, [{**document, "features": []}])


@given(_VALUE, st.integers(1, 30), st.integers(0, 200))
def test_a_cut_file_is_never_read_as_whole(value: Any, size: int, cut: int) -> None:
    text = json.dumps({"type": "FeatureCollection", "features": [{"a": value}, {"b": value}], "c": value}).encode()
    if cut < len(text):
        with pytest.raises(FormatError):
            list(read_batches(pieces(text[: cut or 1], size)))


@given(lists())
def test_reading_one_by_one_gives_the_same_objects(
    tmp_path_factory: pytest.TempPathFactory, objects: list[Annotation]
) -> None:
    path = tmp_path_factory.mktemp("geojson") / "a.geojson.gz"
    write_geojson(path, iter(objects))
    assert list(map(repr, iter_geojson(path))) == list(map(repr, read_geojson(path)))


@pytest.mark.parametrize(
    "ring",
    [
        [[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]],
        [[0, 0], [1, 0], [2, 0], [1, 0], [0, 0]],
        [[0, 0], [4, 1], [4, 4], [0, 0]],
        [[0, 0], [4, 4], [4, 0], [0, 4], [0, 0]],
        [[1.5, 2.25], [1.5, 7], [9, 7], [9, 2.25], [1.5, 2.25]],
    ],
)
def test_many_at_once_are_read_as_one_at_a_time(ring: list[list[float]]) -> None:
    record = {"type": "Polygon", "coordinates": [ring]}
    other = {"type": "Point", "coordinates": [1, 2]}
    bulk, _ = read_simple_polygons([other, record, None, record])
    alone = read_shape(record)
    assert [roi is None for roi in bulk] == [True, False, True, False]
    assert bulk[1] is not None and bulk[1].shape == alone.shape and bulk[1].geometry.equals_exact(alone.geometry)


def good(**properties: Any) -> dict[str, Any]:
    geometry = {"type": "Polygon", "coordinates": [[[0, 0], [9, 0], [9, 9], [0, 0]]]}
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def test_all_files_of_a_zip_are_read_in_its_order(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/one.geojson", json.dumps([good(name="1", childObjects=[good(name="2")])]))
        archive.writestr("readme.txt", "no GeoJSON")
        archive.writestr("__MACOSX/b/._one.geojson", b"\0\1")
        archive.writestr("a.json.gz", gzip.compress(json.dumps(good(name="3", childObjects=[good(name="4")])).encode()))
    objects = read_geojson(path)
    assert [item.name for item in objects] == ["1", "2", "3", "4"]
    assert [item.parent for item in objects] == [None, 0, None, 2]


def test_a_bad_file_in_a_zip_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.geojson", "[1]")
    with pytest.raises(FormatError, match=r"a\.zip/b\.geojson: no FeatureCollection"):
        read_geojson(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.txt", "[]")
    with pytest.raises(FormatError, match=r"the zip holds no \.geojson or \.json file"):
        read_geojson(path)
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(FormatError, match="not a whole zip"):
        read_geojson(path)


def test_a_collection_keeps_its_highest_dimension_and_is_counted(tmp_path: Path) -> None:
    box = {"type": "Polygon", "coordinates": [[[0, 0], [4, 0], [4, 4], [0, 4], [0, 0]]]}
    parts = [{"type": "Point", "coordinates": [1, 2]}, {"type": "GeometryCollection", "geometries": [box]}]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"type": "GeometryCollection", "geometries": parts}))
    notes: Counter[str] = Counter()
    (found,) = iter_geojson(path, notes=notes)
    assert found.geometry.equals(shapely.box(0, 0, 4, 4)) and notes == {COLLECTION_CUT: 1}


HOSTILE = {
    "deep arrays": b"[" * 200_000,
    "deep objects": b'{"a":' * 100_000,
    "deep shape": b'{"type":"Polygon","coordinates":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep collection": b'{"type":"GeometryCollection","geometries":[' * 900 + b"]}" * 900,
    "deep children": b'[{"type":"Feature","properties":{"childObjects":' * 300 + b"[]" + b"}}]" * 300,
    "NaN in the first point": b'{"type":"Polygon","coordinates":[[[NaN,0],[1,0],[1,1],[NaN,0]]]}',
    "no geometry": b'[{"type":"Feature","properties":{"name":"\\ud800"}}]',
    "two lists": b'{"type":"FeatureCollection","features":[],"features":[]}',
    "comma too many": b'{"type":"FeatureCollection","features":[{"type":"Feature"},]}',
    "no comma": b'{"type":"FeatureCollection","features":[{} {}]}',
    "no closing bracket": b'{"type":"FeatureCollection","features":[{}}',
    "text behind": b'{"type":"FeatureCollection","features":[]} x',
    "wrong type": b'{"type":"Topology","features":[]}',
    "only blanks": b" \n" * 9,
    "UTF-16": '{"type":"FeatureCollection","features":[]}'.encode("utf-16"),
    "cut gzip": gzip.compress(b'{"type":"FeatureCollection","features":[' + b" " * 10_000)[:-9],
    "not gzip": b"\x1f\x8b\x08 no gzip at all",
    "backslashes": b'{"features":["' + b"\\" * 10_001 + b'"]',
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_ends_in_one_line_that_names_it(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(FormatError) as caught:
        read_geojson(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and "\n" not in message and len(message) < 400 + len(str(path))


def test_random_bytes_end_in_a_format_error_or_a_reading(shared: Path, tmp_path: Path) -> None:
    """Of a plain, a gzipped and a zipped file."""
    text = (shared / "fixtures/qupath/v0.5.1/expected/entry-3.export.geojson").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.geojson", text)
    rng = random.Random(3)
    for whole in (text, gzip.compress(text), (tmp_path / "a.zip").read_bytes()):
        for _ in range(250):
            damaged = bytearray(whole)
            for _ in range(rng.randint(1, 3)):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            path = tmp_path / "a.geojson"
            path.write_bytes(damaged[: rng.choice([None, rng.randrange(len(damaged))])])
            diagnose_geojson(path)
            try:
                read_geojson(path)
            except FormatError as err:
                assert str(err).startswith(str(path)) and "\n" not in str(err)


def test_equal_keys_the_last_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(good(name="n")).replace('"name": "n"', '"name": "a", "name": "b"'))
    assert read_geojson(path)[0].name == "b"


def test_a_bomb_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """1 GB of numbers, and 1 GB of blanks, from small files."""
    monkeypatch.setattr(geojson_stream, "MAX_VALUE_BYTES", 1 << 22)
    bomb = tmp_path / "a.geojson.gz"
    for filler, reason in ((b"1," * (1 << 19), "a single value of more than 4 MB"), (b" " * (1 << 20), "ends inside")):
        packer = zlib.compressobj(9, wbits=31)
        text = [b'{"type":"FeatureCollection","features":[', *([filler] * 200)]
        bomb.write_bytes(b"".join(map(packer.compress, text)) + packer.flush())
        tracemalloc.start()
        with pytest.raises(FormatError, match=reason):
            read_geojson(bomb)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 << 20


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    ring = np.stack([10 * np.cos(np.linspace(0, 6, 30)), 10 * np.sin(np.linspace(0, 6, 30))], axis=1)
    item = Annotation(geometry=shapely.Polygon(ring), kind="detection", path_class=PathClass(("Tumor",), -3670016))
    peaks = []
    for count in (3_000, 15_000):
        tracemalloc.start()
        report = write_geojson(tmp_path / "a.geojson", (item for _ in range(count)))
        assert report.written == count
        assert sum(1 for _ in iter_geojson(tmp_path / "a.geojson")) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_text_is_ascii_and_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson"
    text = 'µm² 😀 "\\u00b5"'
    write_geojson(path, [Annotation(geometry=shapely.Point(1, 2), name=text, measurements={text: 1.0})])
    assert path.read_bytes().isascii() and orjson.loads(path.read_bytes())["features"][0]["properties"]["name"] == text
    assert read_geojson(path)[0].measurements == {text: 1.0}


def test_a_broken_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.geojson.gz"
    write_geojson(path, [Annotation(geometry=shapely.Point(1, 2))])
    old = path.read_bytes()
    with pytest.raises(RuntimeError), GeoJsonWriter(path) as writer:
        writer.add([Annotation(geometry=shapely.Point(3, 4))])
        raise RuntimeError
    with pytest.raises(FormatError, match="that GeoJSON cannot"):
        write_geojson(path, [Annotation(geometry=shapely.Point(1, 2), name="\ud800")])
    assert path.read_bytes() == old and list(tmp_path.iterdir()) == [path]
    with pytest.raises(OutputError, match="zip"):
        write_geojson(tmp_path / "a.zip", [])


def test_what_has_no_extent_is_left_out(tmp_path: Path) -> None:
    ring = shapely.LinearRing([(0, 0), (5, 0), (5, 5)])
    point = shapely.LineString([(1, 1), (1.001, 1.001)])
    parts = shapely.MultiPolygon([shapely.box(0, 0, 0.001, 5), shapely.box(9, 9, 12, 12)])
    with GeoJsonWriter(tmp_path / "a.geojson") as writer:
        left_out = writer.add([Annotation(geometry=shape) for shape in (point, ring, parts, shapely.MultiPoint())])
    assert left_out == [0, 3]
    line, box = read_geojson(tmp_path / "a.geojson")
    assert (line.geometry.geom_type, box.geometry.geom_type) == ("LineString", "Polygon")
