"""QuPath's own formats behind the door of all formats: what they lose is what they say that they lose."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError, ProjectError
from qpkit.formats.format import Format
from qpkit.formats.shared.cannot_hold import count_losses
from qpkit.formats.shared.drawing import Choices, Drawing, ImageFacts
from qpkit.qupath import new_qpdata, read_geojson, read_qpdata
from qpkit.workflows.convert.qupath_formats import geojson, qpdata

FORMATS = [geojson.FORMAT, qpdata.FORMAT]

shapes = st.sampled_from(
    [
        (shapely.box(1, 2, 30, 40), "rectangle"),
        (shapely.Polygon([(0, 0), (5, 0), (2.5, 7)]), "polygon"),
        (shapely.LineString([(0, 0), (5, 5)]), "line"),
        (shapely.MultiPoint([(1, 1), (2, 2)]), "points"),
    ]
)
objects = st.builds(
    lambda shape, name, measured, locked: Annotation(
        geometry=shape[0], shape=shape[1], path_class=None if name is None else PathClass((name,), -5), locked=locked,
        measurements=measured,
    ),
    shapes,
    st.sampled_from(["Tumor", None]),
    st.dictionaries(st.sampled_from("ab"), st.sampled_from([1.5, math.nan])),
    st.booleans(),
)  # fmt: skip


def written(folder: Path, kind: Format, drawn: list[Annotation]) -> tuple[Path, dict[str, int]]:
    path = folder / f"a{kind.suffixes[0]}"
    return path, dict(kind.write(path, [Drawing(objects=tuple(drawn))], Choices()))


@pytest.mark.parametrize("kind", FORMATS, ids=lambda kind: kind.name)
@given(st.lists(objects, max_size=4))
@settings(max_examples=20)
def test_objects_come_back_but_for_what_was_declared_lost(
    tmp_path_factory: pytest.TempPathFactory, kind: Format, drawn: list[Annotation]
) -> None:
    path, losses = written(tmp_path_factory.mktemp("convert"), kind, drawn)
    facts = ImageFacts(name="mine", width=7)
    (found,) = kind.read(path, facts, Choices())
    assert found.image == facts
    assert losses == count_losses(drawn, kind.cannot_hold)
    is_lost = "not finite measurements" in kind.cannot_hold
    for read, item in zip(found.objects, drawn, strict=True):
        kept = {k: v for k, v in item.measurements.items() if math.isfinite(v) or not is_lost}
        assert repr(dict(read.measurements)) == repr(kept)
        assert shapely.normalize(read.geometry).equals_exact(shapely.normalize(item.geometry), 0.005)
        assert (read.path_class, read.locked, read.shape) == (item.path_class, item.locked, item.shape)


def test_geojson_says_which_objects_it_rounds_and_mends_and_qpdata_keeps_the_hierarchy(tmp_path: Path) -> None:
    outer = Annotation(geometry=shapely.box(0, 0, 90, 90))
    inner = Annotation(geometry=shapely.box(1.2345, 2, 30, 40), parent=0)
    bow = Annotation(geometry=shapely.Polygon([(0, 0), (9, 9), (9, 0), (0, 9)]))
    path, losses = written(tmp_path, geojson.FORMAT, [outer, inner, bow])
    assert losses[geojson.ROUNDED] == losses[geojson.MENDED] == 1
    assert losses["places in the hierarchy left out"] == 1
    assert [item.parent for item in read_geojson(path)] == [None] * 3
    path, losses = written(tmp_path, qpdata.FORMAT, [outer, inner, bow])
    assert "places in the hierarchy left out" not in losses
    assert [item.parent for item in read_qpdata(path).objects()] == [None, 0, None]


def test_a_mixed_shape_is_split_into_its_parts_by_both(tmp_path: Path) -> None:
    mixed = shapely.GeometryCollection([shapely.box(0, 0, 9, 9), shapely.Point(20, 20)])
    for kind in FORMATS:
        path, losses = written(tmp_path, kind, [Annotation(geometry=mixed)])
        assert losses["objects of mixed shapes split into their parts"] == 1
        (found,) = kind.read(path, ImageFacts(), Choices())
        assert sorted(item.geometry.geom_type for item in found.objects) == ["Point", "Polygon"]


@pytest.mark.parametrize(
    ("record", "is_one"),
    [
        ([], True),
        ({"type": "FeatureCollection"}, True),
        ({"type": "Feature"}, True),
        ({"type": "Point", "coordinates": []}, True),
        ({"images": []}, False),
        (5, False),
    ],
)
def test_geojson_is_told_by_its_content(tmp_path: Path, record: object, is_one: bool) -> None:
    assert geojson.FORMAT.recognises_json is not None
    assert geojson.FORMAT.recognises_json(record, tmp_path) == is_one


def test_a_data_file_says_what_it_knows_of_its_image_and_what_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.qpdata"
    server = {"metadata": {"name": "slide", "width": 40, "height": "x"}}
    path.write_bytes(new_qpdata(image_type="OTHER", server=server).to_bytes())
    (found,) = qpdata.read(path, ImageFacts(width=9), Choices())
    assert found.image == replace(ImageFacts(), name="slide", width=9)
    path.write_bytes(b"no")
    with pytest.raises(FormatError, match=r"a\.qpdata"):
        qpdata.read(path, ImageFacts(), Choices())
    with pytest.raises(ProjectError, match=r"gone\.qpdata"):
        qpdata.read(tmp_path / "gone.qpdata", ImageFacts(), Choices())
    (tmp_path / "a.geojson").write_text(json.dumps({"type": "Topology"}))
    with pytest.raises(FormatError, match=r"a\.geojson"):
        geojson.read(tmp_path / "a.geojson", ImageFacts(), Choices())
