"""Annotations in columns are the annotations that they stand for, and few of them exist at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
import shapely
import shapely.affinity
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qpkit.core.annotation import Annotation
from qpkit.core.annotation_fields import AnnotationFields
from qpkit.core.lazy_annotations import (
    AnnotationColumns,
    LazyAnnotations,
    ids_of,
    kinds_of,
    measured_of,
    path_classes_of,
    shapes_of,
)
from qpkit.core.shape_columns import AT_ONCE, ShapeColumns
from qpkit.predictions.ledger import Ledger, alike
from strategies import annotations, shapes


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    """Three at a time."""
    for module in ("shape_columns", "lazy_annotations"):
        monkeypatch.setattr(f"qpkit.core.{module}.AT_ONCE", 3)
    return 3


few_at_once = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)


@few_at_once
@given(st.lists(shapes(), min_size=1, max_size=10), st.data())
def test_shapes_come_out_of_columns_as_they_went_in(
    few: int, drawn: list[shapely.Geometry], data: st.DataObject
) -> None:
    before = np.array(drawn, object)
    taken = before.copy()
    columns = ShapeColumns.taken_from(taken)
    assert not any(taken)
    numbers = np.array(data.draw(st.lists(st.integers(0, len(drawn) - 1), max_size=12)), np.int64)
    assert shapely.equals_identical(columns.take(numbers), before[numbers]).all()
    assert texts_of(columns.wkb(numbers)) == shapely.to_wkb(before[numbers], byte_order=1).tolist()
    assert texts_of(columns.normal_wkb()) == shapely.to_wkb(shapely.normalize(before), byte_order=1).tolist()


def test_the_normal_form_of_what_touches_or_mirrors_is_that_of_geos() -> None:
    ground = shapely.box(0, 0, 20, 20)
    triangles = [[(2, 5), (6, 7), (6, 9)], [(2, 5), (6, 3), (6, 1)], [(9, 9), (9, 8), (8, 9)]]
    holed = ground.difference(shapely.MultiPolygon([shapely.Polygon(corners) for corners in triangles]))
    parts = [shapely.box(x, y, x + 1, y + 1) for x, y in ((4, 0), (0, 9), (0, 4))]
    islands = shapely.MultiPolygon([parts[0], holed, *parts[1:]])
    twice = shapely.Polygon([(3, 3), (1, 1), (1, 1), (1, 1), (1, 4), (1, 4)])
    again = shapely.Polygon([(1, 1), (1, 4), (3, 3), (1, 1)])  # its first corner three times in a row, round the end
    discs = [shapely.Point(x, 5).buffer(1, quad_segs=n) for x, n in ((3, 1), (9, 4), (15, 2))]
    unlike = [again, again.reverse(), shapely.Polygon(ground.exterior, [d.exterior for d in discs])]
    unlike.append(shapely.MultiPolygon(discs))
    made = [
        *unlike,
        holed,
        holed.reverse(),
        islands,
        twice,
        twice.reverse(),
        *(shapely.affinity.rotate(islands, angle) for angle in range(0, 360, 15)),
    ]
    columns = ShapeColumns.taken_from(np.array(made, object))
    assert texts_of(columns.normal_wkb()) == shapely.to_wkb(shapely.normalize(made), byte_order=1).tolist()


def texts_of(pieces: Iterable[tuple[NDArray[np.uint8], NDArray[np.int64]]]) -> list[bytes]:
    """Each shape's own bytes."""
    return [bytes(content[a:b]) for content, starts in pieces for a, b in itertools.pairwise(starts.tolist())]


def lazy(objects: list[Annotation]) -> LazyAnnotations:
    """The objects, made when they are asked for."""
    columns = AnnotationColumns(
        numbers=np.arange(len(objects)),
        ids=np.array([item.id for item in objects], object),
        path_classes=np.array([item.path_class for item in objects], object),
        kind="annotation",
        shapes=ShapeColumns.taken_from(np.array([item.geometry for item in objects], object)),
        measurements={"Mean probability": np.array([item.measurements["Mean probability"] for item in objects])},
    )
    return LazyAnnotations(columns, lambda some: fields_of([objects[number] for number in some.numbers.tolist()]))


def fields_of(objects: list[Annotation]) -> AnnotationFields:
    return AnnotationFields(
        geometries=np.array([item.geometry for item in objects], object),
        shapes=[item.shape for item in objects],
        path_classes=[item.path_class for item in objects],
        ids=[str(item.id) for item in objects],
        names=[str(item.name) for item in objects],
        colors=[item.color for item in objects],
        measurements={"Mean probability": np.array([item.measurements["Mean probability"] for item in objects])},
        metadata={"class": [str(item.metadata["class"]) for item in objects]},
        kind="annotation",
        locked=False,
    )


def numbered(objects: list[Annotation]) -> list[Annotation]:
    return [
        replace(item, id=str(n), name=f"{n}", measurements={"Mean probability": n / 8}, metadata={"class": f"c{n}"})
        for n, item in enumerate(objects)
    ]


@few_at_once
@given(st.lists(annotations(), min_size=1, max_size=10).map(numbered), st.data())
def test_a_lazy_list_is_the_list(few: int, objects: list[Annotation], data: st.DataObject) -> None:
    places = data.draw(st.lists(st.sampled_from(range(len(objects))), unique=True))
    for found, expected in (
        (lazy(objects), objects),
        (lazy(objects).chosen(places), [objects[place] for place in places]),
        (lazy(objects).chosen(places).chosen(range(len(places))[::-1]), [objects[place] for place in places[::-1]]),
    ):
        assert len(found) == len(expected) and list(found) == expected == found[:] and found[1:-1:2] == expected[1:-1:2]
        assert [found[place - len(expected)] for place in range(len(expected))] == expected
        assert list(ids_of(found)) == list(ids_of(expected))
        assert list(path_classes_of(found)) == list(path_classes_of(expected))
        assert list(kinds_of(found)) == list(kinds_of(expected))
        assert measured_of(found, "Mean probability") == measured_of(expected, "Mean probability")
        pairs = zip(shapes_of(found), shapes_of(expected), strict=True)
        assert all(shapely.equals_identical(one, other).all() for one, other in pairs)
        with pytest.raises(IndexError):
            found[len(expected)]


def test_few_of_many_annotations_exist_at_a_time_and_each_is_made_once() -> None:
    objects = numbered([Annotation(geometry=shapely.Point(0, 0).buffer(1))] * (2 * AT_ONCE + 3))
    sizes: list[int] = []

    def make(some: AnnotationColumns) -> AnnotationFields:
        sizes.append(len(some.numbers))
        return fields_of([objects[number] for number in some.numbers.tolist()])

    many = LazyAnnotations(lazy(objects).columns, make)
    assert sum(1 for _ in many) == len(objects)
    assert sizes == [AT_ONCE, AT_ONCE, 3]


def test_a_corner_of_a_polygon_takes_eight_bytes_where_float32_is_enough() -> None:
    rings = np.float32(np.random.default_rng(0).uniform(0, 90_000, (50, 3, 2))).astype(np.float64)
    (packed,) = ShapeColumns.taken_from(shapely.polygons(rings))._packed
    assert packed.corners.nbytes == 50 * 4 * 8
    (packed,) = ShapeColumns.taken_from(shapely.polygons(rings + 1e-9))._packed
    assert packed.corners.nbytes == 50 * 4 * 16


@few_at_once
@given(st.lists(annotations(), max_size=8).map(numbered), st.data())
def test_a_ledger_of_lazy_objects_is_that_of_the_objects(
    few: int, objects: list[Annotation], data: st.DataObject
) -> None:
    valid = [replace(item, geometry=shapely.make_valid(item.geometry).buffer(0)) for item in objects]
    empty = Ledger("run")
    books = [empty.after_import("1", "slide", some, empty.table, {}) for some in (valid, lazy(valid))]
    tables = [book.table.drop_columns(["when"]).combine_chunks() for book in books]
    assert tables[0].equals(tables[1])
    places = [place for place in range(len(objects)) if data.draw(st.booleans())]
    gone = tables[0].take(np.array(places, np.int64))
    renamed = [replace(item, id=f"new {item.id}") for item in valid]  # known by their places alone
    for known in (valid, renamed):
        assert alike(known, gone).tolist() == alike(lazy(known), gone).tolist()
