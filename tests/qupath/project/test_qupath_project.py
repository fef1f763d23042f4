from __future__ import annotations

import dataclasses
import json
import os
import pickle
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import shapely
from qupath_files import VERSIONS, comparable, oracle

import qpkit.files
from qpkit.core.annotation import Annotation, PathClass, argb
from qpkit.errors import FormatError, OutputError, ProjectError, UnsupportedVersionError
from qpkit.qupath import Entry, Project, QpData, add_image, create_project, open_project
from qpkit.qupath.project.images.server import parse_server

NEW = PathClass(("Predicted", "Tumor"), argb(10, 20, 30))
Copy = Callable[[str], Path]


def predictions(count: int = 3) -> list[Annotation]:
    return [Annotation(geometry=shapely.box(10 * k, 0, 10 * k + 5, 5), path_class=NEW) for k in range(count)]


def snapshot(folder: Path) -> dict[str, tuple[bytes, int]]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def entry(project: Project, number: int) -> Entry:
    return next(item for item in project.entries if item.id == number)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_project_is_what_qupath_says_it_is(shared: Path, version: str) -> None:
    base = shared / "fixtures/qupath" / version
    theirs = oracle(base / "expected/project.json")
    project = open_project(base / "project")
    assert project.version == theirs["version"]
    assert [str(item) for item in project.classes] == [item["class"] for item in theirs["pathClasses"]]
    assert [item.color for item in project.classes] == [item["colorRGB"] for item in theirs["pathClasses"]]
    assert len(project.entries) == len(theirs["entries"])
    for ours, item in zip(project.entries, theirs["entries"], strict=True):
        assert (str(ours.id), ours.name, ours.description) == (item["id"], item["name"], item.get("description"))
        assert dict(ours.metadata) == item["metadata"]
        assert ours.has_data == item["hasImageData"]
        assert [ours.server.innermost.uri] == item["uris"]
        assert ours.server.type == item["serverBuilder"]["builderType"]
        assert ours.image_path() == base / "project/images" / str(item["uris"][0]).rsplit("/", 1)[1]
        size = item.get("server", {}).get("pixelWidthMicrons", "NaN")
        assert ours.mpp() == (None if size == "NaN" else pytest.approx(size, rel=0.01))
        assert len(ours.objects()) == item.get("readImageDataObjects", 0)


@pytest.mark.parametrize("name", ["qupath-0.3.2", "qupath-0.5.1", "qupath-0.7.0"])
def test_images_of_a_moved_project_are_found_beside_it(shared: Path, name: str) -> None:
    base = shared / "data/projects/composed-train"
    project = open_project(base / name / "project.qpproj")
    found = [item.image_path() for item in project.entries]
    assert found == sorted(found) and all(path.parent == base / "slides" for path in found)
    assert [item.mpp() for item in project.entries] == [0.5] * len(found)
    if name == "qupath-0.7.0":
        assert [item.tags for item in project.entries] == [("train",), ("train",), ("val",), ("test",)]


def test_a_missing_image_names_entry_uri_places_and_remedy(shared: Path) -> None:
    project = open_project(shared / "data/qupath/CosciaLab-Qupath_to_LMD/demo_Qupath_project")
    with pytest.raises(ProjectError) as caught:
        project.entries[0].image_path()
    message = str(caught.value)
    assert "\n" not in message
    for part in ("TD_01_verysmall_mIF.ome.tif", "/Volumes/", "looked for", "qpkit doctor PROJECT --search"):
        assert part in message


def test_a_foreign_users_counts_equal_their_summary(shared: Path) -> None:
    base = shared / "data/qupath/CosciaLab-Qupath_to_LMD/demo_Qupath_project"
    summary = json.loads((base / "data/1/summary.json").read_text())["hierarchy"]
    objects = open_project(base).entries[0].objects()
    assert summary["nObjects"] == len(objects) + 1
    assert summary["objectTypeCounts"]["Cells"] == sum(item.kind == "cell" for item in objects)


def test_hundreds_of_windows_entries_are_read(shared: Path) -> None:
    project = open_project(shared / "data/qupath/nedaghohabi-Histopathology-Image-Tiling")
    assert len(project.entries) == 434
    with pytest.raises(ProjectError, match=r"[A-Z]:\\"):
        project.entries[0].image_path()


def test_a_project_of_qupath_0_1_is_refused_by_its_name(shared: Path) -> None:
    with pytest.raises(UnsupportedVersionError, match=r"0\.1"):
        open_project(next((shared / "data/qupath/rcasero-cytometer").rglob("project.qpproj")))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "5", "{}", '{"version":"0.5.1","images":5}', '{"version":"0.5.1","images":[5]}', "\xff"]
)
def test_a_damaged_project_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "project.qpproj"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(FormatError) as caught:
        open_project(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("change", [{"entryID": "x"}, {"entryID": True}, {"serverBuilder": None}, {"entryID": 2}])
def test_a_damaged_entry_is_refused(project_copy: Copy, change: dict[str, Any]) -> None:
    path = project_copy("v0.5.1") / "project.qpproj"
    record = json.loads(path.read_text())
    record["images"][0].update(change)
    path.write_text(json.dumps(record))
    with pytest.raises(FormatError):
        open_project(path)


def test_a_folder_needs_exactly_one_project(tmp_path: Path) -> None:
    with pytest.raises(ProjectError, match="found none"):
        open_project(tmp_path)
    with pytest.raises(ProjectError, match="no such project"):
        open_project(tmp_path / "no")
    for name in ("a.qpproj", "b.qpproj"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(ProjectError, match=r"a\.qpproj, b\.qpproj"):
        open_project(tmp_path)


def test_mpp_needs_micrometres_that_agree() -> None:
    def mpp(x: float, y: float, unit: str = "µm") -> float | None:
        size = {"pixelWidth": {"value": x, "unit": unit}, "pixelHeight": {"value": y, "unit": unit}}
        record = {"builderType": "uri", "uri": "file:/a", "metadata": {"pixelCalibration": size}}
        return parse_server({"builderType": "rotated", "builder": record}, "x").mpp()

    assert mpp(0.25, 0.252) == pytest.approx(0.251)
    assert mpp(0.25, 0.26) is None and mpp(1, 1, "px") is None and mpp(0, 0) is None


# Writing


@pytest.mark.parametrize("version", VERSIONS)
def test_predictions_come_and_go_and_nothing_else_changes(project_copy: Copy, version: str) -> None:
    folder = project_copy(version)
    before = snapshot(folder)
    target = entry(open_project(folder), 3)
    old = target.objects()
    target.replace_objects(remove=[], add=predictions())
    again = entry(open_project(folder), 3)
    now = again.objects()
    assert [comparable(a, parent=True) for a in now[:-3]] == [comparable(a, parent=True) for a in old]
    assert [a.class_name for a in now[-3:]] == ["Predicted: Tumor"] * 3
    after = snapshot(folder)
    changed = {name for name in {*before, *after} if before.get(name, (b"",))[0] != after.get(name, (b"",))[0]}
    assert changed == {
        "data/3/data.qpdata",
        "data/3/data.qpdata.qpkit-backup",
        "data/3/summary.json",
        "classifiers/classes.json",
    }
    again.replace_objects(remove=[str(a.id) for a in now[-3:]], add=[])
    assert [comparable(a, parent=True) for a in again.objects()] == [comparable(a, parent=True) for a in old]


def test_summary_and_classes_are_true_after_a_write(project_copy: Copy) -> None:
    folder = project_copy("v0.5.1")
    original = json.loads((folder / "data/3/summary.json").read_text())
    listed = json.loads((folder / "classifiers/classes.json").read_text())["pathClasses"]
    target = entry(open_project(folder), 3)
    target.replace_objects(remove=[], add=predictions())
    summary = json.loads((folder / "data/3/summary.json").read_text())
    assert summary["timestamp"] == (folder / "data/3/data.qpdata").stat().st_mtime_ns // 1_000_000
    assert {k: v for k, v in summary.items() if k not in ("timestamp", "hierarchy")} == {
        k: v for k, v in original.items() if k not in ("timestamp", "hierarchy")
    }
    counts = original["hierarchy"]
    assert summary["hierarchy"]["nObjects"] == counts["nObjects"] + 3
    assert summary["hierarchy"]["objectTypeCounts"] == {
        **counts["objectTypeCounts"],
        "Annotations": counts["objectTypeCounts"]["Annotations"] + 3,
    }
    assert summary["hierarchy"]["annotationClassificationCounts"] == {
        **counts["annotationClassificationCounts"],
        "Predicted: Tumor": 3,
    }
    assert summary["hierarchy"]["detectionClassificationCounts"] == counts["detectionClassificationCounts"]
    classes = json.loads((folder / "classifiers/classes.json").read_text())["pathClasses"]
    assert classes == [*listed, {"name": "Predicted: Tumor", "color": NEW.color}]


@pytest.mark.parametrize("version", VERSIONS)
def test_our_counts_are_qupaths_counts(project_copy: Copy, version: str) -> None:
    """Adding and removing again leaves the summary that QuPath wrote, but for its time."""
    folder = project_copy(version)
    project = open_project(folder)
    for target in project.entries:
        if not target.has_data:
            continue
        original = json.loads(target.files.summary.read_text())
        target.replace_objects(remove=[], add=predictions(1))
        target.replace_objects(remove=[str(target.objects()[-1].id)], add=[])
        summary = json.loads(target.files.summary.read_text())
        assert {**summary, "timestamp": 0} == {**original, "timestamp": 0}


def test_nothing_to_do_touches_no_byte(project_copy: Copy) -> None:
    folder = project_copy("v0.7.0")
    before = snapshot(folder)
    for target in open_project(folder).entries:
        target.replace_objects(remove=[], add=[])
        target.replace_objects(remove=["no such id"], add=[])
    assert snapshot(folder) == before


def test_importing_the_same_predictions_twice_changes_nothing(project_copy: Copy) -> None:
    folder = project_copy("v0.5.1")
    target = entry(open_project(folder), 1)
    target.replace_objects(remove=[], add=predictions())
    before = snapshot(folder)
    ids = [str(item.id) for item in target.objects()[-3:]]
    target.replace_objects(remove=ids, add=predictions())
    assert snapshot(folder) == before


def test_the_first_backup_is_kept(project_copy: Copy) -> None:
    folder = project_copy("v0.5.1")
    pristine = (folder / "data/1/data.qpdata").read_bytes()
    target = entry(open_project(folder), 1)
    for k in range(3):
        target.replace_objects(remove=[], add=predictions(k + 1)[-1:])
    assert (folder / "data/1/data.qpdata.qpkit-backup").read_bytes() == pristine


@pytest.mark.parametrize("name", ["project.qpproj", "data/1/data.qpdata"])
def test_a_file_that_changed_in_between_stops_the_write(project_copy: Copy, name: str) -> None:
    folder = project_copy("v0.5.1")
    target = entry(open_project(folder), 1)
    target.read()
    stat = (folder / name).stat()
    os.utime(folder / name, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    before = snapshot(folder)
    with pytest.raises(ProjectError, match="close QuPath"):
        target.replace_objects(remove=[], add=predictions())
    assert {k: v for k, v in snapshot(folder).items() if "backup" not in k or k in before} == before


@pytest.mark.parametrize("step", ["data.qpdata.qpkit-backup", "data.qpdata"])
def test_a_write_that_fails_leaves_the_old_file(project_copy: Copy, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    folder = project_copy("v0.5.1")
    target = entry(open_project(folder), 1)
    old = (folder / "data/1/data.qpdata").read_bytes()
    replace = Path.replace

    def full(path: Path, other: Path) -> Path:
        if Path(other).name == step:
            raise OSError(28, "No space left on device")
        return replace(path, other)

    monkeypatch.setattr(qpkit.files.Path, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        target.replace_objects(remove=[], add=predictions())
    assert (folder / "data/1/data.qpdata").read_bytes() == old
    assert not list(folder.rglob("*.tmp"))
    monkeypatch.undo()
    target.replace_objects(remove=[], add=predictions())


def test_an_entry_without_data_gets_some(project_copy: Copy) -> None:
    folder = project_copy("v0.5.1")
    target = entry(open_project(folder), 6)
    assert not target.has_data and target.objects() == []
    with pytest.raises(ProjectError, match="no data yet"):
        target.read()
    target.replace_objects(remove=["x"], add=predictions())
    data = entry(open_project(folder), 6).read()
    assert (len(data.objects()), data.image_type, data.server) == (3, "UNSET", dict(target.server.record))
    assert data.properties == {"PROJECT_ENTRY_ID": f"{folder / 'project.qpproj'}::6"}
    assert not target.files.backup.exists()


def test_a_damaged_data_file_is_never_touched(project_copy: Copy) -> None:
    folder = project_copy("v0.5.1")
    path = folder / "data/1/data.qpdata"
    path.write_bytes(path.read_bytes()[:-100])
    before = snapshot(folder)
    with pytest.raises(FormatError, match=r"data.qpdata: .* at byte"):
        entry(open_project(folder), 1).replace_objects(remove=[], add=predictions())
    assert snapshot(folder) == before


# New projects


def test_a_new_project_is_read_back_and_always_the_same(shared: Path, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for name in ("he.tif", "he.png"):
        shutil.copyfile(shared / "fixtures/qupath/v0.5.1/project/images" / name, images / name)
    project = create_project(tmp_path / "p", timestamp_ms=1_700_000_000_000, classes=[PathClass(("Tumor",), -5)])
    assert (project.entries, project.classes, project.version) == ((), (PathClass(("Tumor",), -5),), "0.5.1")
    levels = [(1, 1200, 900), (4, 300, 225)]
    first = add_image(project, images / "he.tif", width=1200, height=900, mpp=0.5, levels=levels, name="A b")
    second = add_image(
        project, images / "he.png", width=400, height=400, mpp=None, objects=predictions(), metadata={"k": "v"}
    )
    again = open_project(tmp_path / "p")
    assert [(item.id, item.name, item.mpp()) for item in again.entries] == [(1, "A b", 0.5), (2, "he.png", None)]
    assert [item.image_path() for item in again.entries] == [images / "he.tif", images / "he.png"]
    assert [len(item.objects()) for item in again.entries] == [0, 3]
    assert again.classes == (PathClass(("Tumor",), -5), NEW)
    assert dict(again.entries[1].metadata) == {"k": "v"} == dict(second.metadata)
    data = first.read()
    assert data.image_type == "BRIGHTFIELD_H_E" and data.stains is not None and data.server == first.server.record
    record = json.loads((tmp_path / "p/project.qpproj").read_text())
    assert record["lastID"] == 2 and record["createTimestamp"] == record["modifyTimestamp"] == 1_700_000_000_000
    assert record["images"][0]["metadata"] == {} and record["images"][0]["serverBuilder"]["args"] == []
    assert record["images"][0]["serverBuilder"]["metadata"]["levels"][1] == {
        "downsample": 4.0,
        "width": 300,
        "height": 225,
    }
    assert json.loads((tmp_path / "p/project.qpproj.backup").read_text())["lastID"] == 1
    content = snapshot(tmp_path / "p")
    shutil.rmtree(tmp_path / "p")
    project = create_project(tmp_path / "p", timestamp_ms=1_700_000_000_000, classes=[PathClass(("Tumor",), -5)])
    add_image(project, images / "he.tif", width=1200, height=900, mpp=0.5, levels=levels, name="A b")
    add_image(project, images / "he.png", width=400, height=400, mpp=None, objects=predictions(), metadata={"k": "v"})
    for name, (expected, _) in content.items():
        if not name.endswith("summary.json"):  # holds the time of writing
            assert (tmp_path / "p" / name).read_bytes() == expected, name


def test_a_new_project_has_the_keys_of_qupaths_own(shared: Path, tmp_path: Path) -> None:
    theirs = json.loads((shared / "fixtures/qupath/v0.5.1/project/project.qpproj").read_text())
    image = shared / "fixtures/qupath/v0.5.1/project/images/he.tif"
    project = create_project(tmp_path / "p")
    add_image(project, image, width=1200, height=900, mpp=None)
    ours = json.loads((tmp_path / "p/project.qpproj").read_text())
    assert list(ours) == list(theirs)
    assert set(ours["images"][0]) == set(theirs["images"][0]) - {"description"}
    builder, original = (item["images"][0]["serverBuilder"] for item in (ours, theirs))
    assert list(builder) == list(original)
    assert list(builder["metadata"]) == list(original["metadata"])
    assert builder["metadata"]["pixelCalibration"] == original["metadata"]["pixelCalibration"]
    assert builder["metadata"]["channels"] == original["metadata"]["channels"]


def test_unknown_keys_and_the_old_place_survive_adding_an_image(project_copy: Copy) -> None:
    folder = project_copy("v0.7.0")
    path = folder / "project.qpproj"
    record = json.loads(path.read_text())
    record["future"] = {"a": [1]}
    record["images"][0]["alsoNew"] = 5
    path.write_text(json.dumps(record))
    add_image(open_project(folder), folder / "images/he.png", width=400, height=400, mpp=None)
    now = json.loads(path.read_text())
    assert now["future"] == {"a": [1]} and now["uri"] == record["uri"]
    assert now["images"][:-1] == record["images"]
    assert now["images"][-1]["entryID"] == now["lastID"] == record["lastID"] + 1
    assert open_project(folder).entries[0].image_path() == folder / "images/he.tif"


def test_a_project_is_not_made_over_another(tmp_path: Path) -> None:
    create_project(tmp_path / "p")
    with pytest.raises(OutputError, match="already"):
        create_project(tmp_path / "p")
    with pytest.raises(ProjectError, match="no such image"):
        add_image(open_project(tmp_path / "p"), tmp_path / "no.svs", width=1, height=1, mpp=None)


def test_a_copied_object_keeps_its_fields_through_a_project(project_copy: Copy) -> None:
    folder = project_copy("v0.6.0")
    project = open_project(folder)
    source = [item for item in entry(project, 2).objects() if item.kind != "tma_core"]
    target = entry(project, 7)
    target.replace_objects(remove=[], add=source)
    found = entry(open_project(folder), 7).objects()
    assert [comparable(a) for a in found] == [comparable(a) for a in source]
    assert QpData.parse(target.files.read(), source="x").unknown == []
    assert dataclasses.replace(found[0]) == found[0]


def test_random_damage_of_a_project_ends_in_a_format_error_or_a_reading(project_copy: Copy) -> None:
    folder = project_copy("v0.7.0")
    path = folder / "project.qpproj"
    record = json.loads(path.read_text())
    record["images"] = [record["images"][0], record["images"][8]]
    rng = random.Random(9)
    odd: list[Any] = [None, True, -1, 1e300, "x", "", "file:/a b", "file:/%00", [], {}, [[]], [None], {"a": 1}]
    for _ in range(800):
        damaged = json.loads(json.dumps(record))
        place: Any = damaged
        while isinstance(place, dict | list) and place:
            key = rng.choice(list(place)) if isinstance(place, dict) else rng.randrange(len(place))
            if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2:
                place[key] = rng.choice(odd)
                break
            place = place[key]
        path.write_text(json.dumps(damaged))
        try:
            for item in open_project(path).entries:
                _ = item.mpp(), item.has_data, item.image_path()
        except (FormatError, ProjectError) as err:
            assert "\n" not in str(err)


def test_entries_travel_to_other_processes(project_copy: Copy) -> None:
    target = pickle.loads(pickle.dumps(open_project(project_copy("v0.5.1")))).entries[0]
    assert len(target.objects()) == 24


def test_classes_of_a_new_project_may_be_names(tmp_path: Path) -> None:
    made = create_project(tmp_path / "p", classes=["Tumor: High grade", PathClass(("Stroma",), -5)])
    assert [str(one) for one in made.classes] == ["Tumor: High grade", "Stroma"]
