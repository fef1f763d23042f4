"""qpkit measure: unions, not sums; fractions of regions; rasters as annotations; patients and all."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import shapely
from predictions_made_up import predict_truth
from small_project import MPP, small_project

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import ConfigError, ProjectError
from qpkit.qupath import open_project
from qpkit.qupath.project.edits import write_project
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.tables.measure import MeasureSettings, measure, write_measurements
from qpkit.workflows.tables.places import Measured

UM2 = MPP**2


def box(class_name: str, x: float, y: float, side: float, *, name: str | None = None) -> Annotation:
    return Annotation(geometry=shapely.box(x, y, x + side, y + side), path_class=PathClass((class_name,)), name=name)


OBJECTS = (
    box("Tumor", 10, 10, 40),
    box("Tumor", 30, 10, 40),
    box("Stroma", 200, 100, 20),
    box("Region*", 0, 0, 100, name="A"),
    box("Region*", 190, 90, 100),
)


def rows(report_rows: tuple[Measured, ...], **wanted: str) -> list[Measured]:
    return [row for row in report_rows if all(getattr(row, key) == value for key, value in wanted.items())]


def test_overlaps_count_once_and_fractions_are_of_the_regions(tmp_path: Path) -> None:
    project = small_project(tmp_path, [OBJECTS, (OBJECTS[0],)])
    report = measure(project, MeasureSettings())
    tumor, none = rows(report.rows, level="region", region="A")[::-1]
    assert (none.class_name, none.objects, none.area_px2, none.fraction) == ("Stroma", 0, 0, 0)
    assert (tumor.class_name, tumor.objects, tumor.area_px2) == ("Tumor", 2, 60 * 40)
    assert (tumor.area_mm2, tumor.sum_mm2) == pytest.approx((2400 * UM2 / 1e6, 3200 * UM2 / 1e6))
    assert (tumor.of_mm2, tumor.fraction) == pytest.approx((1e4 * UM2 / 1e6, 0.24))
    stroma, _ = rows(report.rows, level="region", region="Region* 2")
    assert (stroma.class_name, stroma.fraction) == ("Stroma", pytest.approx(0.04))
    slide = {row.class_name: row for row in rows(report.rows, level="slide", slide="a.tif")}
    assert {name: row.fraction for name, row in slide.items()} == pytest.approx({"Tumor": 0.12, "Stroma": 0.02})
    (other,) = rows(report.rows, level="slide", slide="b.tif")  # no regions there: of all that was measured
    assert other.fraction == 1.0
    every = {row.class_name: row for row in rows(report.rows, level="all")}
    assert every["Tumor"].objects == 3 and every["Tumor"].area_px2 == 2400 + 1600
    patients = rows(report.rows, level="patient")
    assert {(row.patient, row.class_name) for row in patients} == {
        ("a.tif", "Tumor"), ("a.tif", "Stroma"), ("b.tif", "Tumor"),
    }  # fmt: skip


def test_regions_in_which_nothing_was_found_count(tmp_path: Path) -> None:
    project = small_project(tmp_path, [OBJECTS, OBJECTS[3:]])
    report = measure(project, MeasureSettings())
    (empty,) = rows(report.rows, level="slide", slide="b.tif", class_name="Tumor")
    assert (empty.objects, empty.area_mm2, empty.fraction) == (0, 0, 0)
    (every,) = rows(report.rows, level="all", class_name="Tumor")
    assert every.fraction == pytest.approx(2400 / 4e4)
    assert not report.notes


def test_what_was_written_follows_what_is_there_in_entries_of_one_name(tmp_path: Path) -> None:
    project = small_project(tmp_path, [OBJECTS, (OBJECTS[0], *OBJECTS[3:])])
    record = {**project.record, "images": [{**image, "imageName": "one name"} for image in project.record["images"]]}
    write_project(project, record)

    def written() -> list[dict[str, float]]:
        opened = open_project(project.path)
        write_measurements(opened, measure(opened, MeasureSettings()), MeasureSettings())
        found = [entry.objects() for entry in open_project(project.path).entries]
        return [dict(next(o for o in objects if o.name == "A").measurements) for objects in found]

    others = {"Nuclei: Fraction": 0.3, "Cells: Area µm^2": 7.0}
    for entry in open_project(project.path).entries:
        number, region = next((n, o) for n, o in enumerate(entry.objects()) if o.name == "A")
        entry.replace_objects(remove={number}, add=[replace(region, measurements=others)])
    assert [one["Tumor: Fraction"] for one in written()] == [0.24, 0.16]
    for class_name in ("Tumor", "Stroma"):
        for entry in open_project(project.path).entries:
            gone = {number for number, o in enumerate(entry.objects()) if o.class_name == class_name}
            entry.replace_objects(remove=gone, add=())
        for one in written():
            own = {key: value for key, value in one.items() if key not in others}
            assert set(own.values()) == {0.0} and "Tumor: Area µm^2" in own
            assert {key: one[key] for key in others} == others


@pytest.mark.parametrize("option", [("--region", "Regoin*"), ("--patient", "Foo")])
def test_a_misspelt_region_or_patient_is_refused(
    option: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = small_project(tmp_path, [OBJECTS])
    assert run("measure", project.path, *option) == 1
    assert option[1] in capsys.readouterr().err


def test_predictions_and_their_rasters_measure_the_same(study: Path, tmp_path: Path) -> None:
    labels = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),))
    made = predict_truth(study, tmp_path / "pred", labels)
    import_predictions(made, open_project(study), ImportSettings())
    drawn = measure(open_project(study), MeasureSettings(what="predictions"))
    raster = measure(open_project(study), MeasureSettings(what=str(made.root)))
    (one,), (other,) = (rows(r.rows, level="slide", slide="patient_D.tif", class_name="Tumor") for r in (drawn, raster))
    assert one.area_mm2 == pytest.approx(other.area_mm2) and other.objects is None
    (annotated,) = rows(
        measure(open_project(study), MeasureSettings(entries=("patient_D.tif",))).rows, level="all", class_name="Tumor"
    )
    assert annotated.area_mm2 == pytest.approx(one.area_mm2, rel=0.01)  # the predictions in the project do not count


def test_the_command_writes_what_it_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = small_project(tmp_path, [OBJECTS])
    assert run("measure", project.path, "--csv", tmp_path / "m.csv", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    with (tmp_path / "m.csv").open(newline="") as file:
        stored = list(csv.DictReader(file))
    assert [row["class_name"] for row in shown] == [row["class_name"] for row in stored]
    assert float(stored[0]["area_mm2"]) == shown[0]["area_mm2"]
    assert run("measure", project.path, "--csv", tmp_path / "m.csv") == 1
    assert "--overwrite" in capsys.readouterr().err


def test_regions_get_what_was_measured_in_them_and_nothing_else_changes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = small_project(tmp_path, [OBJECTS, (OBJECTS[0],)])
    before = project.entries[0].objects()
    other = project.entries[1].files.data.read_bytes()
    assert run("measure", project.path, "--write") == 0
    assert "2 region(s) of" in capsys.readouterr().err
    after = open_project(project.path).entries[0].objects()
    assert after[3].measurements == {
        "Tumor: Area µm^2": pytest.approx(2400 * UM2, abs=0.01), "Tumor: Fraction": pytest.approx(0.24),
        "Stroma: Area µm^2": 0, "Stroma: Fraction": 0,
    }  # fmt: skip
    assert after[4].measurements["Stroma: Fraction"] == pytest.approx(0.04)
    plain = [replace(o, measurements={}).comparable() for o in after]
    assert plain == [replace(o, measurements={}).comparable() for o in before]
    assert project.entries[1].files.data.read_bytes() == other
    written = project.entries[0].files.data.read_bytes()
    run("measure", project.path, "--write")
    assert "0 region(s)" in capsys.readouterr().err
    assert project.entries[0].files.data.read_bytes() == written


def test_what_cannot_be_measured_is_one_line(tmp_path: Path) -> None:
    project = small_project(tmp_path, [()])
    with pytest.raises(ConfigError, match="did you mean 'annotations'"):
        measure(project, MeasureSettings(what="annotation"))
    with pytest.raises(ProjectError, match="no entry has annotations"):
        measure(project, MeasureSettings())
