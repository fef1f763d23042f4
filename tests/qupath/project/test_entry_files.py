"""A data file is replaced only where nobody else wrote, its first state is kept, and counts follow the objects."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from qupath_files import comparable
from qupath_strategies import lists

from qpkit.core.annotation import Annotation, PathClass
from qpkit.errors import FormatError, ProjectError
from qpkit.qupath.project.class_list import read_classes
from qpkit.qupath.project.entry_files import EntryFiles, Stamp
from qpkit.qupath.project.entry_update import edit_data, project_entry_id, replace_objects, write_new_data
from qpkit.qupath.project.images.server import Server, parse_server
from qpkit.qupath.project.summary import write_summary
from qpkit.qupath.qpdata.file import QpData
from qpkit.qupath.qpdata.new_file import new_qpdata

RECORD = {"builderType": "uri", "uri": "file:/a.tif", "args": [], "metadata": {"width": 40, "height": 30}}
SERVER: Server = parse_server(RECORD, "here")


def files_in(folder: Path) -> EntryFiles:
    project = folder / "project.qpproj"
    project.write_text("{}")
    return EntryFiles(folder / "data" / "1", project, Stamp.of(project))


def box(x: float, **more: object) -> Annotation:
    return Annotation(geometry=shapely.box(x, 0, x + 5, 5), path_class=PathClass(("Tumor",), -5), **more)  # type: ignore[arg-type]


def test_a_stamp_tells_a_file_that_is_not_there_and_one_that_was_touched(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert Stamp.of(path) == Stamp(-1, -1)
    path.write_bytes(b"abc")
    before = Stamp.of(path)
    assert before == Stamp.of(path) and before.size == 3
    os.utime(path, ns=(0, before.mtime_ns + 1))
    assert Stamp.of(path) != before


def test_the_first_data_file_is_kept_whatever_comes_later(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    for content in (b"first", b"second", b"third"):
        files.replace_data(content)
        assert files.read() == content
    assert files.backup.read_bytes() == b"first"
    assert {path.name for path in files.folder.iterdir()} == {files.data.name, files.backup.name}


def test_a_file_that_somebody_else_wrote_is_not_replaced(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    files.replace_data(b"first")
    files.data.write_bytes(b"QuPath was here")
    with pytest.raises(ProjectError, match=r"data\.qpdata: changed since it was read"):
        files.replace_data(b"second")
    assert files.data.read_bytes() == b"QuPath was here"
    files.read()
    files.project.write_text("{ }")
    with pytest.raises(ProjectError, match=r"project\.qpproj: changed since"):
        files.replace_data(b"second")
    unread = EntryFiles(files.folder, files.project, Stamp.of(files.project))
    with pytest.raises(ProjectError, match="changed since it was read"):
        unread.replace_data(b"second")
    files.data.unlink()
    with pytest.raises(ProjectError, match="cannot be read"):
        files.read()


@given(lists(), lists(), st.data())
@settings(max_examples=20)
def test_objects_are_replaced_and_the_rest_is_kept(
    tmp_path_factory: pytest.TempPathFactory, first: list[Annotation], second: list[Annotation], draw: st.DataObject
) -> None:
    files = files_in(tmp_path_factory.mktemp("entry"))
    second = [item for item in second if item.id not in {other.id for other in first}]
    replace_objects(files, remove=["x"], add=first, server=SERVER, entry_id=1)
    assert files.data.exists() == bool(first)
    gone = draw.draw(st.lists(st.sampled_from(first), unique_by=lambda a: a.id)) if first else []
    replace_objects(files, remove=[str(a.id) for a in gone], add=second, server=SERVER, entry_id=1)
    kept = [item for item in first if item.id not in {other.id for other in gone}]
    if not files.data.exists():
        assert not first and not second
        return
    found = QpData.parse(files.read(), source="a")
    assert [comparable(item) for item in found.objects()] == [comparable(item) for item in [*kept, *second]]
    assert (found.server, found.image_type) == (RECORD, "UNSET")
    assert found.properties == {"PROJECT_ENTRY_ID": project_entry_id(files.project, 1)}
    before = files.data.read_bytes()
    replace_objects(files, remove=[], add=[], server=SERVER, entry_id=1)
    assert files.data.read_bytes() == before
    listed = {item.names for item in read_classes(files.project.parent)}
    assert listed == {PathClass.parse(str(a.path_class)).names for a in [*first, *second] if a.path_class}


def test_an_edit_that_changes_nothing_writes_nothing_and_one_that_raises_neither(tmp_path: Path) -> None:
    files = files_in(tmp_path)
    write_new_data(files, new_qpdata(image_type="OTHER", objects=[box(0), box(9)], server=RECORD), SERVER)
    before, stamp = files.data.read_bytes(), Stamp.of(files.data)
    assert not edit_data(files, lambda data: data.update({0: data.objects()[0]}), server=SERVER, entry_id=1)

    def fails(data: QpData) -> None:
        data.remove([0])
        raise FormatError("no")

    with pytest.raises(FormatError, match="no"):
        edit_data(files, fails, server=SERVER, entry_id=1)
    assert (files.data.read_bytes(), Stamp.of(files.data)) == (before, stamp)
    assert edit_data(files, lambda data: data.remove([0]), server=SERVER, entry_id=1)
    assert len(QpData.parse(files.read(), source="a").objects()) == 1
    assert files.backup.read_bytes() == before
    assert json.loads(files.summary.read_bytes())["hierarchy"]["nObjects"] == 2


@given(lists())
@settings(max_examples=20)
def test_a_summary_counts_every_object_once(
    tmp_path_factory: pytest.TempPathFactory, objects: list[Annotation]
) -> None:
    folder = tmp_path_factory.mktemp("summary")
    objects = [*objects, replace(box(0), kind="tma_core", path_class=None)]
    data, path = folder / "data.qpdata", folder / "summary.json"
    data.write_bytes(b"x")
    path.write_text('{"future": 5, "hierarchy": {"more": [1]}, "server": {"width": 7}, "imageType": "OLD"}')
    metadata = {"width": 40, "height": 30, "channels": [1, 2]}
    counted = Counter((item.kind, item.path_class) for item in objects)
    write_summary(path, counts=counted, image_type=None, server=metadata, data=data)
    found = json.loads(path.read_bytes())
    assert (found["future"], found["server"], found["imageType"]) == (5, {"width": 7}, "OLD")
    assert found["timestamp"] == data.stat().st_mtime_ns // 1_000_000
    counts = found["hierarchy"]
    assert counts["more"] == [1] and counts["nObjects"] == len(objects) + 1 == sum(counts["objectTypeCounts"].values())
    by_class = counts["annotationClassificationCounts"], counts["detectionClassificationCounts"]
    assert sum(map(sum, (part.values() for part in by_class))) == len(objects) - 1
    annotations = Counter(str(a.path_class or "Unclassified") for a in objects if a.kind == "annotation")
    assert by_class[0] == annotations
    path.write_text("[damaged")
    write_summary(path, counts=counted, image_type="OTHER", server=metadata, data=data)
    anew = json.loads(path.read_bytes())
    assert anew["server"] == {"width": 40, "height": 30, "sizeC": 2, "sizeZ": 1, "sizeT": 1}
    assert (anew["imageType"], anew["hierarchy"]["objectTypeCounts"]) == ("OTHER", counts["objectTypeCounts"])
