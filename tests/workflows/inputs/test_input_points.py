"""Points annotations as prompts: which count, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import shapely
from small_project import CLASSES, TUMOR, small_project

from qpkit.core.annotation import Annotation, PathClass, Plane
from qpkit.core.points import PointPrompt
from qpkit.errors import ConfigError, FormatError
from qpkit.workflows.inputs.points import points_of_slides
from qpkit.workflows.inputs.slides import slide_inputs


def points(*places: tuple[float, float], name: str | None = "Tumor", z: int = 0) -> Annotation:
    path_class = None if name is None else PathClass((name,))
    return Annotation(geometry=shapely.MultiPoint(places), shape="points", path_class=path_class, plane=Plane(z=z))


def test_each_point_of_a_class_is_a_prompt_and_those_of_ignore_say_no(tmp_path: Path) -> None:
    objects = (points((3, 4), (10.5, 20)), points((50, 60), name="Ignore*"), points((7, 8), name="Stroma"), TUMOR)
    project = small_project(tmp_path, (objects, (TUMOR,)))
    found = points_of_slides(slide_inputs([project.path]))
    (own,) = found.prompts.values()
    assert [(p.x, p.y, str(p.path_class)) for p in own.inside] == [
        (3, 4, "Tumor"), (10.5, 20, "Tumor"), (7, 8, "Stroma")
    ]  # fmt: skip
    assert isinstance(own.inside[0], PointPrompt) and own.outside == ((50, 60),)
    assert [item.source.name for item in found.inputs] == ["a.tif"]
    assert found.notes[0] == "3 points on objects and 1 of class Ignore* on 1 slide(s)"
    assert found.notes[-1] == "1 slide(s) without points on objects were left out"


def test_points_that_say_nothing_are_counted(tmp_path: Path) -> None:
    objects = (points((3, 4)), points((1, 1), (2, 2), name=None), points((5, 5), name="Region*"), points((6, 6), z=2))
    found = points_of_slides(slide_inputs([small_project(tmp_path, (objects,)).path]))
    assert found.notes[1].startswith("points left out: ")
    for part in ("2 without a class", "1 of class Region*", "1 on other planes than the first"):
        assert part in found.notes[1]


@pytest.mark.parametrize("place", [(-1.0, 4.0), (320.0, 4.0), (5.0, 256.5)])
def test_a_point_outside_of_its_slide_is_one_line_that_names_both(tmp_path: Path, place: tuple[float, float]) -> None:
    project = small_project(tmp_path, ((points((3, 4), place),),))
    with pytest.raises(FormatError, match=rf"entry 'a.tif': a point at {place[0]:g}, {place[1]:g} lies outside"):
        points_of_slides(slide_inputs([project.path]))


def test_a_project_without_points_is_one_line(tmp_path: Path) -> None:
    project = small_project(tmp_path, ((TUMOR, points((1, 1), name=None)),))
    with pytest.raises(ConfigError, match=r"no slide has points with a class \(left out: 1 without a class\)"):
        points_of_slides(slide_inputs([project.path]))
    assert CLASSES
