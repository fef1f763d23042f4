"""Entries of a project: found by name, and their images found where they are now."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from small_project import HEIGHT, MPP, TUMOR, WIDTH, small_project

from qpkit.errors import ProjectError
from qpkit.qupath.project.opening import open_project
from qpkit.qupath.project.project import Entry, Project


def rewritten(project: Project, **changes: object) -> Project:
    """The project as if QuPath had saved other values for its first entry."""
    record = msgspec.json.decode(project.path.read_bytes())
    record["images"][0].update(changes)
    project.path.write_bytes(msgspec.json.encode(record))
    return open_project(project.path)


def test_an_entry_has_the_size_the_resolution_and_the_name_of_its_image(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    entry = project.entry("a.tif")
    assert isinstance(entry, Entry) and entry is project.entries[0]
    assert (entry.image_size, entry.mpp(), entry.image_name) == ((WIDTH, HEIGHT), MPP, "a.tif")
    assert entry.image_path() == tmp_path / "slides/a.tif"
    assert entry.metadata == {"Split": "train", "Patient": "a.tif"}
    assert entry.has_data and [item.geometry.area for item in entry.objects()] == [80 * 100, 180 * 150]
    assert project.folder == tmp_path / "project"


def test_a_name_stands_for_exactly_one_entry(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    with pytest.raises(ProjectError, match=r"0 entries are called 'c\.tif'; exactly one"):
        project.entry("c.tif")
    twice = rewritten(project, imageName="b.tif")
    with pytest.raises(ProjectError, match=r"2 entries are called 'b\.tif'"):
        twice.entry("b.tif")
    assert [entry.id for entry in twice.chosen(["b.tif"])] == [1, 2]
    assert twice.chosen(["2"]) == [twice.entries[1]]


def test_a_name_that_is_not_there_is_answered_with_ten_that_are(tmp_path: Path) -> None:
    project = small_project(tmp_path, objects=[()] * 12)
    with pytest.raises(ProjectError, match=r"no entry 'x', 'y'; there are 'a\.tif', .*'j\.tif' and 2 more$"):
        project.chosen(["x", "a.tif", "y"])
    assert project.chosen([]) == list(project.entries)


def test_a_folder_that_moves_as_a_whole_takes_its_images_along(tmp_path: Path) -> None:
    small_project(tmp_path / "before")
    moved = (tmp_path / "before").rename(tmp_path / "after")
    entry = open_project(moved / "project").entry("a.tif")
    assert entry.image_path() == moved / "slides/a.tif"
    # An image that is still where it was counts, too.
    (tmp_path / "before/slides").mkdir(parents=True)
    (moved / "slides/a.tif").rename(tmp_path / "before/slides/a.tif")
    assert entry.image_path() == tmp_path / "before/slides/a.tif"
    (tmp_path / "before/slides/a.tif").unlink()
    with pytest.raises(ProjectError, match=r"before/slides/a\.tif and .*after/slides/a\.tif"):
        entry.image_path()


def test_an_image_that_is_no_file_says_so(tmp_path: Path) -> None:
    server = {"builderType": "uri", "uri": "https://some.where/image", "args": []}
    entry = rewritten(small_project(tmp_path), serverBuilder=server).entries[0]
    assert (entry.image_size, entry.image_name, entry.mpp()) == (None, "", None)
    with pytest.raises(ProjectError, match=r"its image is no file \(https://some\.where/image\)"):
        entry.image_path()


def test_an_entry_without_data_has_no_objects_until_it_gets_some(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    entry = project.entries[0]
    entry.files.data.unlink()
    entry = open_project(project.path).entries[0]
    assert not entry.has_data and entry.objects() == []
    with pytest.raises(ProjectError, match="has no data yet"):
        entry.read()
    entry.replace_objects(remove=(), add=[TUMOR])
    (drawn,) = open_project(project.path).entries[0].objects()
    assert drawn.geometry.equals(TUMOR.geometry)
    again = open_project(project.path).entries[0]
    assert not again.edit(lambda data: None)
    assert again.edit(lambda data: data.set_property("key", "value"))
