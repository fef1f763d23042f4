from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pytest
import shapely
from numpy.typing import NDArray
from predictions_made_up import predict_truth
from rasterio.features import rasterize as gdal_rasterize

from qpkit.cli import main
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.geometry import polygons_of
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import is_prediction, is_untouched
from qpkit.errors import ConfigError, FormatError, LabelError, OutputError, ProjectError
from qpkit.predictions import read_predictions
from qpkit.predictions.ledger import read_ledger
from qpkit.predictions.store import read_strips
from qpkit.qupath import open_project, read_geojson
from qpkit.workflows.imports.geojson import predictions_to_geojson
from qpkit.workflows.imports.project import import_predictions, undo_import
from qpkit.workflows.imports.settings import ImportSettings

LABELS = LabelMap(
    classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Immune cells", 2, ("Immune cells",))),
    ignored=("Ignore*",),
)


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def predicted(project: Path, entry: int = 4) -> list[Annotation]:
    return [o for o in open_project(project).entry(name(entry)).objects() if is_prediction(o)]


def name(entry: int) -> str:
    return f"patient_{' ABCD'[entry]}.tif"


def specks(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    worn = labels.copy()
    worn[100:102, 700:703] = 1
    return worn


def test_drawing_the_imported_objects_gives_the_predicted_raster(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, entries=(3, 4))
    import_predictions(made, open_project(study), ImportSettings())
    for slide in made.slides:
        ((_, bands),) = read_strips(made.root / slide.labels, rows=10_000)
        objects = [o for o in open_project(study).entry(slide.name).objects() if is_prediction(o)]
        values = {"Tumor": 1, "Immune cells": 2}
        shapes = [(shapely.transform(o.geometry, lambda xy: xy / 2), values[str(o.path_class)]) for o in objects]
        assert np.array_equal(gdal_rasterize(shapes, out_shape=bands[0].shape), bands[0])


def test_objects_carry_class_colour_name_measurements_and_the_run(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    (report,) = import_predictions(made, open_project(study), ImportSettings())
    objects = predicted(study)
    assert report.objects == {"Tumor": 3, "Immune cells": 4}
    assert len(objects) == report.added == 7
    human = [
        o for o in open_project(study).entry(name(4)).objects() if o.class_name == "Tumor" and not is_prediction(o)
    ]
    area = sum(o.measurements["Area µm^2"] for o in objects if o.class_name == "Tumor")
    assert area == pytest.approx(sum(o.geometry.area for o in human) * 0.25, rel=0.01)
    assert report.area_mm2 is not None
    assert report.area_mm2["Tumor"] == pytest.approx(area / 1e6)
    for item in objects:
        assert item.kind == "annotation"
        assert item.geometry.is_valid
        assert item.measurements["Mean probability"] == pytest.approx(0.8)
        assert item.metadata["qpkit run"] == "run-1"
        assert "run-1" in (item.name or "")
    assert {o.path_class for o in objects if o.class_name == "Tumor"} == {PathClass(("Tumor",), -3670016)}
    assert sum(len(p.interiors) for o in objects for p in shapely.get_parts(o.geometry)) == 1


def test_human_objects_and_the_rest_of_the_file_stay_equal_in_every_field(study: Path, tmp_path: Path) -> None:
    before = open_project(study).entry(name(4)).read()
    objects = before.objects()
    made = predict_truth(study, tmp_path / "pred", LABELS)
    import_predictions(made, open_project(study), ImportSettings())
    after = open_project(study).entry(name(4)).read()
    assert [o for o in after.objects() if not is_prediction(o)] == objects
    for part in ("data_version", "server", "image_type", "stains", "workflow", "properties", "tma_grid"):
        assert getattr(after, part) == getattr(before, part)


def test_the_same_run_imported_twice_changes_no_byte(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, entries=(3, 4))
    import_predictions(made, open_project(study), ImportSettings(simplify_um=1.0))
    before = files(study)
    reports = import_predictions(read_predictions(made.root), open_project(study), ImportSettings(simplify_um=1.0))
    assert files(study) == before
    assert [(r.added, r.removed) for r in reports] == [(0, 0), (0, 0)]
    assert sum(r.unchanged for r in reports) == 6 + 7


def test_a_new_run_replaces_what_an_earlier_run_put_there_and_nothing_else(study: Path, tmp_path: Path) -> None:
    first = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    import_predictions(first, open_project(study), ImportSettings())
    human = [o for o in open_project(study).entry(name(4)).objects() if not is_prediction(o)]
    second = predict_truth(study, tmp_path / "b", LABELS, run="run-2", change=specks)
    (report,) = import_predictions(second, open_project(study), ImportSettings())
    assert (report.added, report.removed, report.unchanged) == (8, 7, 0)
    assert {o.metadata["qpkit run"] for o in predicted(study)} == {"run-2"}
    assert [o for o in open_project(study).entry(name(4)).objects() if not is_prediction(o)] == human


def test_what_a_reviewer_changed_is_kept(study: Path, tmp_path: Path) -> None:
    first = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    import_predictions(first, open_project(study), ImportSettings())
    entry = open_project(study).entry(name(4))
    touched = next(o for o in predicted(study) if o.class_name == "Tumor")
    corrected = replace(touched, path_class=PathClass(("Necrosis",), -1))
    entry.replace_objects(remove={touched.id or ""}, add=[corrected])
    for made in (first, predict_truth(study, tmp_path / "b", LABELS, run="run-2")):
        (report,) = import_predictions(made, open_project(study), ImportSettings())
        assert report.kept_edited == 1
        assert [o.id for o in predicted(study) if o.class_name == "Necrosis"] == [touched.id]
        # What was predicted there stays written down.
        rows = read_ledger(study, "run-1").table.filter(pc.field("id") == touched.id)
        assert rows["class"].to_pylist() == ["Tumor"] and rows["state"].to_pylist() == ["imported"]


@pytest.mark.parametrize("kept", ["id and name", "id"])
def test_predictions_that_lost_their_metadata_are_brought_up_to_date_not_refused(
    study: Path, tmp_path: Path, kept: str
) -> None:
    """QuPath's own GeoJSON importer drops metadata; a person has changed one of them."""
    made = predict_truth(study, tmp_path / "a", LABELS)
    import_predictions(made, open_project(study), ImportSettings())
    entry, there = open_project(study).entry(name(4)), predicted(study)
    lost = [replace(o, metadata={}, name=o.name if kept == "id and name" else None) for o in there]
    lost[0] = replace(lost[0], path_class=PathClass(("Necrosis",), -1))
    entry.replace_objects(remove={o.id or "" for o in there}, add=lost)
    (report,) = import_predictions(made, open_project(study), ImportSettings())
    assert (report.added, report.removed, report.kept_edited, report.recognised) == (6, 6, 1, 7)
    after = {o.id: o for o in open_project(study).entry(name(4)).objects()}
    assert [after[o.id] for o in there[1:]] == there[1:] and after[there[0].id].class_name == "Necrosis"
    before = files(study)
    import_predictions(made, open_project(study), ImportSettings())
    assert files(study) == before


def test_small_polygons_are_left_out_and_counted(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, change=specks)
    (report,) = import_predictions(made, open_project(study), ImportSettings(min_area_um2=6.1))
    assert report.too_small == 1
    assert report.objects["Tumor"] == 3
    (report,) = import_predictions(made, open_project(study), ImportSettings(min_area_um2=5.9))
    assert (report.too_small, report.added, report.objects["Tumor"]) == (0, 1, 4)


def test_detections_can_be_asked_for(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    import_predictions(made, open_project(study), ImportSettings(kind="detection"))
    assert {o.kind for o in predicted(study)} == {"detection"}


def test_the_same_run_with_other_settings_is_brought_up_to_date(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    import_predictions(made, open_project(study), ImportSettings())
    (report,) = import_predictions(made, open_project(study), ImportSettings(kind="detection"))
    assert (report.added, report.removed) == (7, 7)
    assert {o.kind for o in predicted(study)} == {"detection"}


def test_entries_of_one_name_are_told_apart_by_their_id(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    file = study / "project.qpproj"
    data = json.loads(file.read_text(encoding="utf-8"))
    for image in data["images"][2:]:
        image["imageName"] = "same"
        image["serverBuilder"]["uri"] = data["images"][3]["serverBuilder"]["uri"]
    file.write_text(json.dumps(data), encoding="utf-8")
    fields = made.slides[0]
    named = type(fields)(**{f: getattr(fields, f) for f in fields.__struct_fields__} | {"name": "same (4)"})
    import_predictions(replace(made, slides=(named,)), open_project(study), ImportSettings())
    counts = [sum(map(is_prediction, e.objects())) for e in open_project(study).entries]
    assert counts == [0, 0, 0, 7]


def test_an_entry_that_quPath_shows_in_a_way_unknown_here_is_refused(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    file = study / "project.qpproj"
    data = json.loads(file.read_text(encoding="utf-8"))
    inner = data["images"][3]["serverBuilder"]
    turned = {"builderType": "affine", "builder": inner, "metadata": inner["metadata"]}
    data["images"][3]["serverBuilder"] = turned
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ProjectError, match="affine"):
        import_predictions(made, open_project(study), ImportSettings())


def test_rasters_that_do_not_fit_their_table_are_refused(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    info = made.root / "predictions.json"
    info.write_text(
        info.read_text(encoding="utf-8").replace('"downsample": 2.0', '"downsample": 4.0'), encoding="utf-8"
    )
    with pytest.raises(FormatError, match="1408 x 1024 px with 1 band"):
        read_predictions(made.root)


def test_values_outside_the_label_map_are_refused(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, change=lambda labels: labels * 9)
    with pytest.raises(LabelError, match="9"):
        import_predictions(made, open_project(study), ImportSettings())


def test_new_classes_reach_the_projects_class_list(study: Path, tmp_path: Path) -> None:
    labels = LabelMap(classes=(LabelClass("Lesion", 1, ("Tumor",), -16711936),))
    made = predict_truth(study, tmp_path / "pred", labels)
    import_predictions(made, open_project(study), ImportSettings())
    assert PathClass(("Lesion",), -16711936) in open_project(study).classes
    assert [str(c) for c in open_project(study).classes][:3] == ["Tumor", "Immune cells", "Ignore*"]


def test_the_projects_own_colours_are_taken(study: Path, tmp_path: Path) -> None:
    """Of classes that are listed, and of those that only objects have."""
    last = open_project(study).entry(name(3))
    objects = last.objects()
    odd = PathClass(("Odd",), -12345678)
    last.edit(lambda data: data.update({0: replace(objects[0], path_class=odd)}))
    (study / "classifiers/classes.json").write_text('{"pathClasses": [{"name": "Tumor", "color": -3670016}]}')
    labels = LabelMap(classes=(LabelClass("Odd", 1, ("Immune cells",), -1), LabelClass("Tumor", 2, ("Tumor",), -1)))
    import_predictions(predict_truth(study, tmp_path / "pred", labels), open_project(study), ImportSettings())
    assert {o.path_class for o in predicted(study)} == {odd, PathClass(("Tumor",), -3670016)}
    assert set(open_project(study).classes) >= {odd, PathClass(("Tumor",), -3670016)}


def test_geojson_files_hold_the_same_objects_and_touch_no_project(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    before = files(study)
    predictions_to_geojson(made, tmp_path / "out", ImportSettings())
    assert files(study) == before
    written = read_geojson(tmp_path / "out" / f"{name(4)}.geojson")
    import_predictions(made, open_project(study), ImportSettings())
    inside = predicted(study)
    assert {o.id for o in written} == {o.id for o in inside}
    by_id = {o.id: o.geometry for o in inside}
    assert all(shapely.hausdorff_distance(o.geometry, by_id[o.id]) < 0.011 for o in written)
    record = json.loads((tmp_path / "out" / "import.json").read_text(encoding="utf-8"))
    assert [(f["slide"], f["width"], f["height"]) for f in record["files"]] == [
        (s.name, s.width, s.height) for s in made.slides
    ]
    assert all((tmp_path / "out" / f["file"]).is_file() for f in record["files"])
    with pytest.raises(OutputError):
        predictions_to_geojson(made, tmp_path / "out", ImportSettings())


def test_predictions_for_another_project_are_refused_before_anything_is_written(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    before = files(study)
    strange = replace(made, slides=(*made.slides, type(made.slides[0])(
        name="other.svs", image="/x/other.svs", width=10, height=10, downsample=1.0, labels=made.slides[0].labels,
    )))  # fmt: skip
    with pytest.raises(ProjectError, match=r"no entry for predicted slide 'other\.svs'"):
        import_predictions(strange, open_project(study), ImportSettings())
    assert files(study) == before


def test_predictions_of_another_image_size_are_refused(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    fields = made.slides[0]
    wrong = type(fields)(**{f: getattr(fields, f) for f in fields.__struct_fields__} | {"width": 99})
    with pytest.raises(ProjectError, match="99 x 2048"):
        import_predictions(replace(made, slides=(wrong,)), open_project(study), ImportSettings())


def test_a_truncated_qpdata_is_refused_and_left_alone(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    data = open_project(study).entry(name(4)).files.data
    data.write_bytes(data.read_bytes()[:-500])
    before = files(study)
    with pytest.raises(FormatError):
        import_predictions(made, open_project(study), ImportSettings())
    assert files(study) == before


@pytest.mark.parametrize("bad", [{"min_area_um2": -1.0}, {"simplify_um": float("nan")}])
def test_impossible_settings_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        ImportSettings(**bad)  # type: ignore[arg-type]


def test_memory_does_not_grow_with_the_strips(study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    seen: list[int] = []

    def watched(path: Path, *, rows: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        for y, bands in read_strips(path, rows=100):
            seen.append(bands.shape[1])
            yield y, bands

    monkeypatch.setattr("qpkit.workflows.imports.rasters.read_strips", watched)
    (report,) = import_predictions(made, open_project(study), ImportSettings())
    assert report.objects == {"Tumor": 3, "Immune cells": 4}
    assert max(seen) == 100
    assert len(seen) > 20


@pytest.mark.parametrize("version", ["0.5.1", "0.7.0"])
def test_composed_train_keeps_every_object_quPath_wrote(composed: Path, tmp_path: Path, version: str) -> None:
    import shutil

    project = tmp_path / "composed" / "project"
    shutil.copytree(composed / f"qupath-{version}", project, copy_function=shutil.copyfile)
    (tmp_path / "composed" / "slides").symlink_to(composed / "slides")
    for folder in [project, *(p for p in project.rglob("*") if p.is_dir())]:
        folder.chmod(0o755)
    labels = LabelMap(classes=(LabelClass("Stroma", 2, ("Stroma",)), LabelClass("Tumor", 1, ("Tumor",))))
    made = predict_truth(project, tmp_path / "pred", labels, downsample=3.7, entries=(3,))
    before = open_project(project).entries[2].read()
    (report,) = import_predictions(made, open_project(project), ImportSettings(simplify_um=2.0, min_area_um2=50))
    after = open_project(project).entries[2].read()
    assert report.added > 10
    assert [o for o in after.objects() if not is_prediction(o)] == before.objects()
    assert all(o.geometry.is_valid for o in after.objects() if is_prediction(o))
    for part in ("server", "image_type", "stains", "workflow", "properties"):
        assert getattr(after, part) == getattr(before, part)
    once = files(project)
    import_predictions(made, open_project(project), ImportSettings(simplify_um=2.0, min_area_um2=50))
    assert files(project) == once


# The ledger


def test_what_a_reviewer_deleted_does_not_come_back_unless_it_is_asked_for(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    import_predictions(made, open_project(study), ImportSettings())
    gone, *stay = predicted(study)
    open_project(study).entry(name(4)).replace_objects(remove={gone.id or ""}, add=[])
    for settings in (ImportSettings(), ImportSettings(simplify_um=1.0), ImportSettings()):
        (report,) = import_predictions(made, open_project(study), settings)
        assert report.deleted == 1
        assert len(predicted(study)) == len(stay)
    before = files(study)
    (report,) = import_predictions(made, open_project(study), ImportSettings(restore=True, dry_run=True))
    assert (report.added, report.deleted, files(study)) == (1, 0, before)
    import_predictions(made, open_project(study), ImportSettings(restore=True))
    assert {o.id for o in predicted(study)} == {gone.id, *(o.id for o in stay)}


def test_another_run_takes_out_and_that_is_no_deletion(study: Path, tmp_path: Path) -> None:
    first = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    second = predict_truth(study, tmp_path / "b", LABELS, run="run-2")
    import_predictions(first, open_project(study), ImportSettings())
    import_predictions(second, open_project(study), ImportSettings())
    (report,) = import_predictions(first, open_project(study), ImportSettings())
    assert (report.added, report.deleted, report.removed) == (7, 0, 7)
    (report,) = import_predictions(second, open_project(study), ImportSettings(append=True))
    assert (report.added, report.removed, len(predicted(study))) == (7, 0, 14)
    (report,) = import_predictions(second, open_project(study), ImportSettings(append=True))
    assert (report.unchanged, len(predicted(study))) == (7, 14)


def test_an_import_is_taken_back_but_for_what_people_changed(
    study: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = open_project(study).entry(name(4))
    human = [o.comparable() for o in entry.objects()]
    made = predict_truth(study, tmp_path / "a", LABELS, run="run-1", entries=(3, 4))
    import_predictions(made, open_project(study), ImportSettings())
    first, *_ = predicted(study)
    entry = open_project(study).entry(name(4))
    entry.replace_objects(remove={first.id or ""}, add=[replace(first, locked=True)])
    before = files(study)
    with pytest.raises(SystemExit, match="0"):
        main(["import-predictions", "--undo", "run-1", str(study), "--dry-run"])
    assert "nothing was changed" in capsys.readouterr().err
    assert files(study) == before
    for option in (("--restore",), ("--geojson-only", str(tmp_path / "out")), ("--append",)):
        with pytest.raises(SystemExit, match="1"):
            main(["import-predictions", "--undo", "run-1", str(study), *option])
        assert "--dry-run alone" in capsys.readouterr().err
    with pytest.raises(SystemExit, match="1"):
        main(["import-predictions", str(made.root), str(study), "--geojson-only", str(tmp_path / "out"), "--dry-run"])
    assert "leave out --geojson-only" in capsys.readouterr().err
    assert files(study) == before and not (tmp_path / "out").exists()
    reports = undo_import(open_project(study), "run-1")
    assert [(r.removed, r.kept_edited) for r in reports] == [(6, 0), (6, 1)]
    assert [o.comparable() for o in open_project(study).entry(name(4)).objects()][: len(human)] == human
    assert [o.id for o in predicted(study)] == [first.id]
    # What was taken back was not deleted.
    import_predictions(made, open_project(study), ImportSettings())
    assert len(predicted(study)) == 7
    with pytest.raises(ProjectError, match="no object of run 'run-2' is there, did you mean 'run-1'"):
        undo_import(open_project(study), "run-2")


def test_a_damaged_ledger_is_left_alone_and_named(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    import_predictions(made, open_project(study), ImportSettings())
    ledger = study / "qpkit/imports/run-1.parquet"
    rows = read_ledger(study, "run-1").table
    assert rows.num_rows == 7 and set(rows["state"].to_pylist()) == {"imported"}
    ledger.write_bytes(b"not parquet")
    (report,) = import_predictions(made, open_project(study), ImportSettings())
    assert (report.unchanged, report.deleted) == (7, 0)
    assert any("what reviewers deleted is not known" in note for note in report.notes)
    assert ledger.read_bytes() == b"not parquet"
    ledger.unlink()
    import_predictions(made, open_project(study), ImportSettings())
    assert read_ledger(study, "run-1").table.num_rows == 7


def test_the_ledger_is_geoparquet(study: Path, tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    made = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    import_predictions(made, open_project(study), ImportSettings())
    table = geopandas.read_parquet(study / "qpkit/imports/run-1.parquet")
    objects = {o.id: o for o in predicted(study)}
    assert table.crs is None and set(table["id"]) == set(objects)
    for row in table.itertuples():
        assert row.geometry.equals(objects[row.id].geometry)
        assert row.probability == pytest.approx(0.8, abs=0.001)


def test_classes_may_have_another_name_in_the_project(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "a", LABELS, run="run-1")
    settings = ImportSettings(classes={"Tumor": "Tumor: Predicted"})
    (report,) = import_predictions(made, open_project(study), settings)
    assert report.objects == {"Tumor: Predicted": 3, "Immune cells": 4}
    assert {o.class_name for o in predicted(study)} == {"Tumor: Predicted", "Immune cells"}
    assert all(is_untouched(o) for o in predicted(study))
    with pytest.raises(ConfigError, match="no class 'Tumour', did you mean 'Tumor'"):
        import_predictions(made, open_project(study), ImportSettings(classes={"Tumour": "x"}))


def test_holes_are_filled_where_it_is_asked_for(study: Path, tmp_path: Path) -> None:
    def pierced(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        worn = labels.copy()
        rows, columns = np.nonzero(worn == 1)
        middle = len(rows) // 2
        worn[rows[middle], columns[middle]] = 0
        return worn

    made = predict_truth(study, tmp_path / "a", LABELS, run="run-1", change=pierced)
    counts = []
    for um2 in (0.0, 50.0):
        import_predictions(made, open_project(study), ImportSettings(fill_holes_um2=um2))
        counts.append(sum(len(p.interiors) for o in predicted(study) for p in polygons_of(o.geometry)))
    assert counts[0] == counts[1] + 1
