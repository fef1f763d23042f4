"""Entries by their metadata, and the annotations inside which slides are predicted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from small_project import STROMA, TUMOR, small_project

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import ConfigError, ProjectError
from qpkit.qupath import write_geojson
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.inputs.within import areas_within

REGION = Annotation(geometry=shapely.box(10, 10, 90, 90), path_class=PathClass(("Region*",)), name="core 1")
LINE = Annotation(geometry=shapely.LineString([(0, 0), (9, 9)]), path_class=PathClass(("Region*",)))


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return small_project(tmp_path, ((TUMOR, REGION, LINE), (TUMOR, STROMA), (REGION, REGION))).path


def named(study: Path, **where: str) -> list[str]:
    return [item.source.name for item in slide_inputs([study], SlideSettings(where=where))]


def test_entries_are_chosen_by_their_metadata(study: Path) -> None:
    assert named(study, Split="test") == ["c.tif"]
    assert named(study, Split="t*") == ["a.tif", "c.tif"]
    assert named(study, Split="t*", Patient="?.tif") == ["a.tif", "c.tif"]
    assert named(study, Split="t*", Patient="a.tif") == ["a.tif"]


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ({"split": "test"}, "no entry has such metadata, did you mean 'Split'"),
        ({"Split": "tests"}, "no entry has this value, did you mean 'test'"),
        ({"Split": "test", "Patient": "a.tif"}, "--where Split=test, Patient=a.tif: no entry has all of it"),
    ],
)
def test_metadata_that_no_entry_has_are_named(study: Path, where: dict[str, str], said: str) -> None:
    with pytest.raises(ProjectError, match=said):
        named(study, **where)


def test_slides_without_such_an_annotation_are_left_out_and_named(study: Path) -> None:
    inputs = slide_inputs([study])
    for pattern in ("Region*", "core ?"):
        found = areas_within(inputs, pattern)
        assert [item.source.name for item in found.inputs] == ["a.tif", "c.tif"]
        assert {name: len(areas) for name, areas in found.areas.items()} == {"a.tif": 1, "c.tif": 2}
        assert found.notes[0].endswith("3 annotation(s) on 2 slide(s): Region* 3")
        assert found.notes[1].endswith("1 slide(s) without such an annotation left out: b.tif")
    with pytest.raises(ConfigError, match="did you mean 'Tumor'"):
        areas_within(inputs, "Tumour")


def test_a_geojson_file_goes_with_one_slide(study: Path, tmp_path: Path) -> None:
    inputs, path = slide_inputs([study]), tmp_path / "areas.geojson"
    write_geojson(path, [REGION, replace(TUMOR, path_class=None), LINE])
    found = areas_within(inputs[1:2], str(path))
    assert [a.geometry.bounds for a in found.areas["b.tif"]] == [REGION.geometry.bounds, TUMOR.geometry.bounds]
    assert found.notes[0].endswith("on 1 slide(s): Region* 1, unclassified 1")
    with pytest.raises(ConfigError, match="goes with one slide"):
        areas_within(inputs, str(path))
    with pytest.raises(ConfigError, match="there is no such file"):
        areas_within(inputs[:1], "gone.geojson")
