"""qpkit report of predictions and of projects: the areas of qpkit measure, what predictions.json tells, the slides."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import shapely
from predictions_made_up import predict_truth
from small_project import HEIGHT, MPP, STROMA, TUMOR, WIDTH, small_project

from browser import opened
from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import FormatError, ProjectError
from qpkit.predictions import PredictionSet, create_raster, read_predictions, write_predictions
from qpkit.qupath import Project, open_project
from qpkit.workflows.pages.predictions import ReportSettings, report_predictions
from qpkit.workflows.tables.measure import MeasureSettings, measure

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))))
REGION = Annotation(geometry=shapely.box(0, 0, 160, 128), path_class=PathClass(("Region*",)), name="<north>")
SPEED = {
    "readers": 2, "loop_seconds": 4.0, "reading_seconds": 1.5, "predicting_seconds": 3.25, "writing_seconds": 0.5,
    "slowest": "predicting", "device_busy_in_loop": 0.8125, "device_busy": 0.75, "tiles_per_second": 12.5,
    "megapixels_per_second": 7.5, "mm2_per_second": 0.625,
}  # fmt: skip


def told(name: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "tiles": 9, "predicted": 7, "tissue": 0.5, "seconds": 6.5, "notes": ["a <note>"], "speed": SPEED,
        "distance": {"slide": 1.25, "stripes": {"0": 1.0, "128": 4.5}, "training": [0.5, 2.0], "strangest": "contrast"},
        "seams": {"at_borders": 0.0021, "elsewhere": 0.0019}, "uncertainty": {"entropy": 0.125}, "pixels": {}, **more,
    }  # fmt: skip


def predicted(folder: Path, project: Project) -> PredictionSet:
    """The annotations as predictions, with a raster of uncertainty of the first slide, and what a run tells."""
    made = predict_truth(project.path, folder / "predictions", LABELS, entries=(1, 2))
    first, second = made.slides
    columns, rows = WIDTH // 2, HEIGHT // 2
    with create_raster(made.root / "u.tif", width=columns, height=rows, downsample=2.0, mpp=1.0) as raster:
        raster.write(np.full((rows, columns), 128, np.uint8), x=0, y=0)
    info = {
        "device": "cpu", "precision": "32-true", "seconds": 13.0, "device_busy": 0.5, "settings": {"tile_px": 64},
        "slides": [told(first.name), told(second.name, broken={"0, 64": "torn"})], "skipped": [["c.tif", "no um/px"]],
    }  # fmt: skip
    made = replace(made, slides=(msgspec.structs.replace(first, uncertainty="u.tif"), second), info=info)
    write_predictions(made)
    return read_predictions(made.root)


def test_a_page_has_the_areas_the_telling_and_the_slides(tmp_path: Path) -> None:
    project = small_project(tmp_path, [(TUMOR, STROMA, REGION), (TUMOR,)])
    predictions = predicted(tmp_path, project)
    arguments = ["report", predictions.root, project.path, "-o", tmp_path / "a.html", "--csv", tmp_path / "a.csv"]
    assert run(*arguments) == 0
    text = (tmp_path / "a.html").read_text()
    for row in measure(project, MeasureSettings(what=str(predictions.root))).rows:
        assert row.area_mm2 is not None and row.fraction is not None
        assert f"{row.area_mm2:.4f} mm²" in text and f"{row.fraction:.2%}" in text
    for words in ("a.tif: &lt;north&gt;", "a &lt;note&gt;", "skipped c.tif: no um/px", "b.tif: 1 tile(s) could not",
                  "12.5", "81.2%", "contrast", "0.0021", "bright 4.5", "patient a.tif", "device busy 50%"):  # fmt: skip
        assert words in text, words
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)", text)
    with (tmp_path / "a.csv").open() as file:
        a, b = csv.DictReader(file)
    tissue = 0.5 * WIDTH * HEIGHT * MPP**2 / 1e6
    assert (float(a["tissue mm2"]), float(a["Tumor mm2"])) == pytest.approx((tissue, 8000 * MPP**2 / 1e6))
    assert float(a["Tumor fraction of tissue"]) == pytest.approx(8000 * MPP**2 / 1e6 / tissue)
    assert (a["distance of farthest stripe"], a["its y"], b["broken tiles"]) == ("4.5", "128", "1")
    assert float(b["Stroma mm2"]) == 0
    assert run(*arguments) == 1  # the table is there
    found = opened(tmp_path / "a.html")
    # A scale, two slides, one raster of uncertainty, two maps of distance.
    assert found == {"images": 1 + 2 + 1 + 2, "broken": 0, "fetched": 0, "overflow": found["overflow"]}
    assert found["overflow"] <= 0


def test_without_a_project_whole_slides_are_measured_and_lost_ones_are_white(tmp_path: Path) -> None:
    project = small_project(tmp_path)
    predictions = predict_truth(project.path, tmp_path / "predictions", LABELS, entries=(1, 2))
    Path(predictions.slides[0].image).unlink()
    told_by = report_predictions(predictions, tmp_path / "a.html", ReportSettings())
    assert len(told_by.notes) == 1 and told_by.notes[0].startswith("a.tif: shown without its pixels: ")
    text = (tmp_path / "a.html").read_text()
    assert f"{8000 * MPP**2 / 1e6:.4f} mm²" in text and f"{8000 / (WIDTH * HEIGHT):.2%}" in text
    assert "Speed" not in text and text.count("data:image/jpeg") == 2
    assert run("report", predictions.root) == 0 and (predictions.root / "report.html").is_file()


def test_the_predictions_in_a_project_are_reported_and_the_project_stays(tmp_path: Path) -> None:
    project = small_project(tmp_path, [(REGION,), ()])
    with_objects = small_project(tmp_path / "other")
    predictions = predict_truth(with_objects.path, tmp_path / "predictions", LABELS, entries=(1,))
    assert run("report", project.path, "-o", tmp_path / "a.html") == 1  # nothing was imported yet
    assert run("import-predictions", predictions.root, project.path) == 0
    before = {path: path.read_bytes() for path in project.path.parent.rglob("*") if path.is_file()}
    assert run("report", project.path) == 1  # not into the project
    assert run("report", project.path, "-o", tmp_path / "a.html", "--csv", tmp_path / "a.csv") == 0
    assert before == {path: path.read_bytes() for path in project.path.parent.rglob("*") if path.is_file()}
    rows = measure(open_project(project.path), MeasureSettings(what="predictions")).rows
    text = (tmp_path / "a.html").read_text()
    assert all(f"{row.area_mm2:.4f} mm²" in text for row in rows) and "run-1" in text
    with (tmp_path / "a.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["runs"], row["objects"], row["slide"]) == ("run-1", "2", "a.tif")
    assert opened(tmp_path / "a.html")["broken"] == 0


def test_what_does_not_go_together_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project = small_project(tmp_path / "a")
    other = small_project(tmp_path / "b", [(TUMOR,)])
    predictions = predict_truth(project.path, tmp_path / "predictions", LABELS, entries=(2,))
    with pytest.raises(ProjectError, match="has no slide of"):
        report_predictions(predictions, tmp_path / "a.html", ReportSettings(), project=open_project(other.path))
    damaged = replace(predictions, info={"slides": [{"name": 3}]})
    with pytest.raises(FormatError, match=r"predictions\.json: damaged"):
        report_predictions(damaged, tmp_path / "a.html", ReportSettings())
    for arguments in (
        (predictions.root, "-o", "a.txt"),
        (predictions.root, "--tiles", tmp_path),
        (predictions.root, "--region", "Core"),
        (project.path, other.path, "-o", tmp_path / "a.html"),
        (tmp_path / "none", "--csv", tmp_path / "a.csv"),
    ):
        capsys.readouterr()
        assert run("report", *arguments) == 1
        said = capsys.readouterr().err.strip()
        assert said.startswith("qpkit: ") and "\n" not in said
    assert not list(tmp_path.glob("*.html")) and not list(tmp_path.glob("*.csv"))
