"""qpkit edit: what is selected changes, in every entry, and nothing else does."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import shapely
from qupath_files import comparable

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.provenance import provenance
from qpkit.errors import ConfigError
from qpkit.qupath import open_project
from qpkit.workflows.edit import Change


def everything(project: Path) -> dict[str, list[Annotation]]:
    return {entry.name: entry.objects() for entry in open_project(project).entries}


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expect(before: dict[str, list[Annotation]], after: dict[str, list[Annotation]], **changes: object) -> int:
    """All tumours have these changes, all other objects none; gives how many tumours there are."""
    count = 0
    for name, objects in before.items():
        wanted = [dataclasses.replace(o, **changes) if o.class_name == "Tumor" else o for o in objects]  # type: ignore[arg-type]
        assert [comparable(o, parent=True) for o in after[name]] == [comparable(o, parent=True) for o in wanted]
        count += sum(o.class_name == "Tumor" for o in objects)
    return count


def test_objects_of_a_class_are_renamed_locked_coloured_measured_and_described(study: Path) -> None:
    before = everything(study)
    options = ["--set-name", "lesion", "--lock", "--set-color", "#ff8000", "--set-metadata", "Reader=AB"]
    assert run("edit", study, "--class", "Tumor", *options) == 0
    changes = {"name": "lesion", "locked": True, "color": -32768, "metadata": {"Reader": "AB"}}
    assert expect(before, everything(study), **changes) > 3
    before = everything(study)
    assert run("edit", study, "--class", "Tumor", "--measure", "Score=2.5", "--unlock", "--set-name", "") == 0
    expect(before, everything(study), locked=False, name=None, measurements={"Score": 2.5})


def test_a_class_that_only_objects_have_keeps_their_colour(study: Path) -> None:
    """QuPath gives every object of a class the colour that the class list has."""
    hidden, color = PathClass(("Odd",), -12345678), -12345678
    last = open_project(study).entries[-1]
    objects = last.objects()
    last.edit(lambda data: data.update({0: dataclasses.replace(objects[0], path_class=hidden)}))
    listed = study / "classifiers/classes.json"
    listed.write_text(json.dumps({"pathClasses": [{"name": "Tumor", "color": -3670016}]}), encoding="utf-8")
    assert open_project(study).known_classes({"Odd", "Nowhere", "Tumor"}) == {
        "Odd": hidden,
        "Tumor": PathClass(("Tumor",), -3670016),
    }
    assert run("edit", study, "--class", "Tumor", "--set-class", "Odd", "--entry", "patient_A.tif") == 0
    assert {o.path_class for o in everything(study)["patient_A.tif"] if o.class_name == "Odd"} == {hidden}
    assert [c.color for c in open_project(study).classes if str(c) == "Odd"] == [color]
    listed.write_text(json.dumps({"pathClasses": []}), encoding="utf-8")
    plain = dataclasses.replace(objects[0], path_class=PathClass(("Odd",)), id=None)
    open_project(study).entries[-1].replace_objects(remove=(), add=[plain])
    assert [c.color for c in open_project(study).classes if str(c) == "Odd"] == [color]


def test_objects_are_reclassified_with_the_colour_that_the_project_knows(study: Path) -> None:
    before, project = everything(study), open_project(study)
    other = next(item for item in project.classes if str(item) != "Tumor")
    assert run("edit", study, "--class", "Tumor", "--set-class", str(other)) == 0
    expect(before, everything(study), path_class=other)
    assert open_project(study).classes == project.classes
    assert run("edit", study, "--class", str(other), "--set-class", "New: Class", "--entry", "patient_A.tif") == 0
    assert str(open_project(study).classes[-1]) == "New: Class"
    after = everything(study)
    assert {o.class_name for o in after["patient_A.tif"]} & {"New: Class"}
    assert not any(
        o.class_name == "New: Class" for name, list_ in after.items() if name != "patient_A.tif" for o in list_
    )
    assert run("edit", study, "--class", "New: Class", "--set-class", "") == 0
    assert any(o.path_class is None for o in everything(study)["patient_A.tif"])


def test_objects_are_removed_and_the_first_file_stays(study: Path) -> None:
    before = everything(study)
    original = {entry.id: entry.files.data.read_bytes() for entry in open_project(study).entries}
    assert run("edit", study, "--class", "Tumor", "--remove") == 0
    for entry in open_project(study).entries:
        assert [o.id for o in entry.objects()] == [o.id for o in before[entry.name] if o.class_name != "Tumor"]
        assert entry.files.backup.read_bytes() == original[entry.id]


def test_objects_are_moved_below_another_and_back(project_copy: Callable[[str], Path]) -> None:
    project = project_copy("v0.5.1")
    objects = everything(project)["hierarchy"]
    top = next(o for n, o in enumerate(objects) if any(other.parent == n for other in objects))
    loose = next(o for o in objects if o.parent is None and o.id != top.id)
    assert run("edit", project, "--id", loose.id, "--move-to", top.id) == 0
    after = everything(project)["hierarchy"]
    moved = next(o for o in after if o.id == loose.id)
    assert moved.parent is not None and after[moved.parent].id == top.id
    assert run("edit", project, "--all", "--entry", "hierarchy", "--move-to", "root") == 0
    flat = everything(project)["hierarchy"]
    assert sorted(str(o.id) for o in flat) == sorted(str(o.id) for o in objects)


def test_a_selection_that_fits_nothing_is_noted_and_a_misspelt_one_refused(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("edit", study, "--class", "tumor", "--set-name", "x") == 1
    assert "no object has it; did you mean 'Tumor'?" in capsys.readouterr().err
    assert run("edit", study, "--class", "Tumor", "--kind", "cell", "--set-name", "x") == 0
    assert "no object fits" in capsys.readouterr().err
    assert run("edit", study, "--class", "Tumor", "--set-name", "x") == 0
    assert "no object fits" not in capsys.readouterr().err


def test_objects_are_selected_by_where_they_come_from(study: Path) -> None:
    before = everything(study)["patient_A.tif"]
    box = shapely.box(30, 30, 60, 60)
    made = [
        Annotation(
            geometry=box, path_class=PathClass(("Tumor",)), metadata=provenance(name, "m", "Tumor", box), name=name
        )
        for name in ("run-1", "run-2")
    ]
    open_project(study).entries[0].replace_objects(remove=(), add=made)
    assert run("edit", study, "--run", "run-1", "--set-metadata", "Seen=yes") == 0
    assert [o.name for o in everything(study)["patient_A.tif"] if o.metadata.get("Seen")] == ["run-1"]
    assert run("edit", study, "--imported", "--lock") == 0
    assert {o.name for o in everything(study)["patient_A.tif"] if o.locked} == {"run-1", "run-2"}
    assert run("edit", study, "--drawn", "--set-metadata", "Drawn=yes") == 0
    assert sum("Drawn" in o.metadata for o in everything(study)["patient_A.tif"]) == len(before)
    assert run("edit", study, "--run", "run-3", "--lock") == run("edit", study, "--drawn", "--imported", "--lock") == 1


def test_a_dry_run_and_an_edit_that_changes_nothing_touch_no_byte(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(study)
    assert run("edit", study, "--class", "Tumor", "--set-name", "x", "--dry-run") == 0
    assert "would change" in capsys.readouterr().err
    assert run("edit", study, "--class", "Tumor", "--set-class", "Tumor") == 0
    assert run("edit", study, "--class", "Nothing", "--remove") == 1
    assert snapshot(study) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--class", "Tumor"],
        ["--set-name", "x"],
        ["--all", "--class", "Tumor", "--set-name", "x"],
        ["--all", "--remove", "--set-name", "x"],
        ["--all", "--remove", "--move-to", "root"],
        ["--kind", "banana", "--remove"],
        ["--all", "--set-color", "red"],
        ["--all", "--measure", "a=b"],
        ["--all", "--measure", "a"],
        ["--all", "--set-class", " : "],
        ["--all", "--set-name", "x", "--entry", "nobody"],
        ["--all", "--move-to", "00000000-0000-0000-0000-000000000000"],
    ],
)
def test_bad_arguments_are_one_line_and_change_nothing(
    study: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    before = snapshot(study)
    assert run("edit", study, *arguments) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert snapshot(study) == before


def test_a_change_is_one_thing() -> None:
    with pytest.raises(ConfigError):
        Change()
    assert Change(class_name="").class_name == ""
