"""Objects that come in columns are written byte for byte as the same objects one by one."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from qupath_strategies import path_classes, stars

from qpkit.core.annotation import Annotation
from qpkit.core.annotation_fields import AnnotationFields
from qpkit.core.lazy_annotations import AnnotationColumns, LazyAnnotations
from qpkit.core.shape_columns import ShapeColumns
from qpkit.qupath.java.emitter import Emitter
from qpkit.qupath.qpdata.java_classes import Vocabulary
from qpkit.qupath.qpdata.new_file import new_qpdata
from qpkit.qupath.qpdata.object_writer import ObjectWriter

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=9) | st.just("long " * 300)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three at a time."""
    for module in ("shape_columns", "lazy_annotations"):
        monkeypatch.setattr(f"qpkit.core.{module}.AT_ONCE", 3)


@st.composite
def fields(draw: st.DrawFn) -> AnnotationFields:
    """Up to 20 objects of two classes and colours, most of them alike."""
    count = draw(st.integers(1, 20))

    def column(values: st.SearchStrategy[Any]) -> list[Any]:
        return draw(st.lists(values, min_size=count, max_size=count))

    star = draw(stars())
    kinds_of_shape = [
        star,
        star,
        shapely.box(1, 2, 3, 4),
        star.buffer(40).difference(star.buffer(5)),
        shapely.Polygon(),
    ]
    names = draw(st.lists(_TEXT, max_size=3, unique=True))
    return AnnotationFields(
        geometries=np.array(column(st.sampled_from(kinds_of_shape)), object),
        shapes=column(st.sampled_from(["polygon", "polygon", "polygon", "geometry", None])),
        path_classes=column(st.sampled_from([None, *draw(st.lists(path_classes, min_size=1, max_size=2))])),
        ids=[f"id {number}" for number in range(count)],
        names=column(_TEXT),
        colors=column(st.sampled_from([None, -5])),
        measurements={name: np.array(column(st.sampled_from([0.1, 2.0, np.inf, -0.0, np.nan]))) for name in names},
        metadata={key: column(_TEXT) for key in draw(st.lists(_TEXT, max_size=2, unique=True)) if key != "Object ID"},
        kind=draw(st.sampled_from(["annotation", "detection", "cell", "tile"])),
        locked=draw(st.booleans()),
    )


def lazy(objects: AnnotationFields) -> LazyAnnotations:
    """The same, some at a time."""
    columns = AnnotationColumns(
        numbers=np.arange(len(objects.ids)),
        ids=np.array(objects.ids, object),
        path_classes=np.array(objects.path_classes, object),
        kind=objects.kind,
        shapes=ShapeColumns.taken_from(objects.geometries.copy()),
        measurements=objects.measurements,
    )
    return LazyAnnotations(columns, functools.partial(chosen, objects))


def chosen(objects: AnnotationFields, some: AnnotationColumns) -> AnnotationFields:
    def of(column: Any) -> list[Any]:
        return [column[number] for number in some.numbers.tolist()]

    lists = {name: of(getattr(objects, name)) for name in ("shapes", "path_classes", "ids", "names", "colors")}
    return replace(
        objects,
        geometries=objects.geometries[some.numbers],
        measurements={name: column[some.numbers] for name, column in objects.measurements.items()},
        metadata={key: of(column) for key, column in objects.metadata.items()},
        **lists,
    )


@given(fields(), fields())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_columns_are_written_as_the_objects_are(objects: AnnotationFields, more: AnnotationFields) -> None:
    more = replace(more, ids=[f"more {number}" for number in range(len(more.ids))])
    written = []
    for one, other in ((lazy(objects), lazy(more)), (objects.annotations(), more.annotations())):
        data = new_qpdata(image_type="OTHER")
        data.add(one)
        data.replace(remove=[0], add=other, verify=True)
        written.append(data.to_bytes())
    assert written[0] == written[1]


def test_what_is_alike_is_written_by_a_pattern() -> None:
    made = np.array([shapely.box(n, 0, n + 1, 1) for n in range(9)], object)
    objects = AnnotationFields(
        geometries=made, shapes=["polygon"] * 9, path_classes=[None] * 9, ids=[f"{n}" for n in range(9)],
        names=["a"] * 9, colors=[None] * 9, measurements={}, metadata={}, kind="annotation", locked=False,
    )  # fmt: skip
    wrote: list[Annotation] = []

    class Noted(ObjectWriter):
        def _begin(self, annotation: Annotation, children: int) -> None:
            wrote.append(annotation)
            super()._begin(annotation, children)

    Noted(Vocabulary(Emitter())).write_all(lazy(objects))
    assert wrote == objects.annotations(range(3))
