from __future__ import annotations

import math
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import shapely
from format_strategies import CLASSES, IMAGE, PLAIN, drawings, left_of, runnable
from hypothesis import given, settings

from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import default_label_map
from qpkit.formats.format import Format, NothingHeldError
from qpkit.formats.plugins.shapefile import BESIDE, READ_BESIDE
from qpkit.formats.registry import FORMATS, format_of, named
from qpkit.formats.shared.cannot_hold import count_losses, features_of
from qpkit.formats.shared.dicom_slides import MADE_UP
from qpkit.formats.shared.drawing import Choices, Drawing
from qpkit.formats.shared.xml_files import printable

VECTOR = runnable(item for item in FORMATS if not item.needs_labels)
AS_POLYGONS = Choices(segmentation="polygon")


def round_trip(format_: Format, objects: Sequence[Annotation]) -> tuple[Drawing, Counter[str]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"x{format_.suffixes[0]}"
        try:
            losses = format_.write(path, [Drawing(objects=tuple(objects), image=IMAGE)], AS_POLYGONS)
        except NothingHeldError as err:
            return Drawing(objects=()), err.losses
        (found,) = format_.read(path, IMAGE, AS_POLYGONS)
    return found, losses


def as_seen(item: Annotation, format_: Format) -> tuple[Any, ...]:
    """Everything about an object that can be compared, in the precision that the format has."""
    lost = format_.cannot_hold
    text = "" if item.name is None else item.name
    name = printable(text) if "control characters" in lost else text
    name = name.strip(" ") if "padded name" in lost else name
    color = None if item.path_class is None else item.path_class.color
    finite = {k: round(v, 12) + 0.0 for k, v in item.measurements.items() if math.isfinite(v)}
    odd = {k: repr(v) for k, v in item.measurements.items() if not math.isfinite(v)}
    measured = sorted({**finite, **odd}.items(), key=repr)
    return (
        item.geometry.normalize().wkt if format_.name != "ndpa" else item.geometry.geom_type,
        "area" if item.shape in ("polygon", "geometry") else item.shape,
        str(item.path_class),
        color,
        item.kind,
        item.id,
        item.plane,
        (name or None) if "blank name" in lost else (item.name and name),
        item.color,
        measured,
        sorted(item.metadata.items()),
        item.locked,
        None if item.nucleus is None else item.nucleus.wkt,
        item.is_missing,
    )


def in_order(objects: Sequence[Annotation], format_: Format) -> list[str]:
    """Objects as text, in an order of their own: some formats group them by class."""
    return sorted(repr(as_seen(item, format_)) for item in objects)


@pytest.mark.parametrize("format_", VECTOR, ids=lambda item: item.name)
@settings(max_examples=30)
@given(drawings())
def test_what_comes_back_differs_only_in_what_the_format_says_it_cannot_hold(
    format_: Format, objects: list[Annotation]
) -> None:
    if format_.name == "shapefile":  # dBase numbers have 15 decimals and no room for very large ones
        objects = [replace(o, measurements={}) for o in objects]
    found, losses = round_trip(format_, objects)
    expected = [part for item in objects for part in left_of(item, format_.cannot_hold)]
    assert in_order(found.objects, format_) == in_order(expected, format_)
    declared = count_losses(objects, format_.cannot_hold)
    assert {key: losses[key] for key in declared} == dict(declared)


@pytest.mark.parametrize("format_", VECTOR, ids=lambda item: item.name)
@settings(max_examples=20)
@given(drawings())
def test_an_object_of_which_nothing_is_lost_comes_back_as_it_was(format_: Format, objects: list[Annotation]) -> None:
    kept = [
        replace(o, parent=None)
        for o in objects
        if not set(features_of(replace(o, parent=None))) & set(format_.cannot_hold)
    ]
    found, losses = round_trip(format_, kept)
    assert set(losses) <= {BESIDE, MADE_UP}
    assert set(found.notes) <= {READ_BESIDE}
    both = zip(sorted(found.objects, key=_order), sorted(kept, key=_order), strict=True)
    for read, written in both:
        assert shapely.normalize(read.geometry).equals_exact(shapely.normalize(written.geometry), 0.01)
        as_written = replace(written, geometry=read.geometry, shape=read.shape, nucleus=read.nucleus)
        assert repr(_without_order(read)) == repr(_without_order(as_written))


def _without_order(item: Annotation) -> Annotation:
    return replace(item, measurements={}, metadata=dict(sorted(item.metadata.items())))


def _order(item: Annotation) -> tuple[str, str, str, str]:
    return (
        str(item.path_class),
        item.geometry.geom_type,
        repr([round(v, 1) for v in item.geometry.bounds]),
        repr(item.id),
    )


@pytest.mark.parametrize("format_", runnable(FORMATS), ids=lambda item: item.name)
def test_a_format_holds_metadata_or_counts_that_it_does_not(format_: Format, tmp_path: Path) -> None:
    item = Annotation(geometry=shapely.box(9, 9, 50, 50), path_class=CLASSES[1], metadata={"by\x00": "A", "odd": ""})
    choices = Choices(labels=default_label_map(CLASSES[1:2]), downsample=1.0, offset=(0.0, 0.0))
    path = tmp_path / f"x{format_.suffixes[0]}"
    losses = format_.write(path, [Drawing(objects=(item,), image=IMAGE)], choices)
    (found,) = format_.read(path, IMAGE, choices)
    is_held = found.objects[0].metadata == item.metadata
    assert is_held != any("metadata" in loss for loss in losses)


def test_hierarchy_survives_where_the_format_holds_it() -> None:
    objects = [
        PLAIN,
        Annotation(geometry=shapely.Polygon(), parent=0),
        Annotation(geometry=shapely.box(0, 0, 1, 1), parent=1),
        Annotation(geometry=shapely.Point(1, 1), parent=2),
    ]
    found, losses = round_trip(named("gpkg", FORMATS), objects)
    assert [o.parent for o in found.objects] == [None, 0, 1]
    assert losses == {"objects without a shape left out": 1}


@pytest.mark.parametrize("format_", VECTOR, ids=lambda item: item.name)
def test_a_written_file_is_recognized_by_its_content(format_: Format, tmp_path: Path) -> None:
    path = tmp_path / f"x{format_.suffixes[0]}"
    format_.write(path, [Drawing(objects=(replace(PLAIN, geometry=shapely.box(0, 0, 9, 9)),), image=IMAGE)], Choices())
    assert format_of(path, FORMATS, reading=True) is format_


@pytest.mark.parametrize("format_", VECTOR, ids=lambda item: item.name)
def test_no_objects_make_a_file_that_reads_as_none(format_: Format) -> None:
    found, losses = round_trip(format_, [])
    assert (found.objects, losses - Counter({MADE_UP: 1}), dict(found.notes)) == ((), Counter(), {})


@pytest.mark.parametrize("name", [" ", "a ", " a", "  two  words "])
def test_blanks_around_a_name_in_a_shapefile_are_declared_lost(name: str) -> None:
    """dBase fills its fields up with blanks."""
    shapefile = named("shapefile", FORMATS)
    found, losses = round_trip(shapefile, [Annotation(geometry=shapely.box(1, 1, 50, 50), name=name)])
    assert [item.name for item in found.objects] == [name.strip() or None]
    assert losses["blanks at the ends of names left out"] == 1


@pytest.mark.parametrize("name", ["gpkg", "parquet", "shapefile"])
def test_a_class_called_unclassified_is_one_in_tables(name: str) -> None:
    square = shapely.box(10, 10, 20, 20)
    objects = [
        Annotation(geometry=square, path_class=path_class) for path_class in (PathClass(("Unclassified",)), None)
    ]
    found, losses = round_trip(named(name, FORMATS), objects)
    assert [item.class_name for item in found.objects] == ["Unclassified", None]
    assert not losses
