"""Objects instead of areas, and where they go."""

from __future__ import annotations

import gzip
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from predictions_made_up import predict_truth
from small_project import CLASSES, TUMOR, small_project

from command_line import run
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.provenance import is_prediction, is_untouched, origin_of
from qpkit.errors import ConfigError
from qpkit.predictions import PredictionSet
from qpkit.qupath import Project, open_project
from qpkit.workflows.imports.project import import_predictions, undo_import
from qpkit.workflows.imports.settings import ImportSettings

LABELS = LabelMap(classes=tuple(LabelClass(str(c), i, (str(c),)) for i, c in enumerate(CLASSES, start=1)))


def discs(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Two that touch each other, one alone, one pixel beside it, and one of the other class."""
    rows, columns = np.mgrid[: labels.shape[0], : labels.shape[1]]
    made = np.zeros_like(labels)
    for x, y, radius, value in ((30, 40, 10, 1), (48, 40, 10, 1), (90, 30, 8, 1), (90, 80, 8, 2)):
        made[(columns - x) ** 2 + (rows - y) ** 2 <= radius**2] = value
    made[30, 105] = 1
    return made


@pytest.fixture
def project(tmp_path: Path) -> Project:
    region = Annotation(geometry=shapely.box(20, 20, 140, 120), path_class=PathClass(("Region*",), -1))
    inner = Annotation(geometry=shapely.box(70, 30, 120, 110), path_class=PathClass(("Region*",), -1), name="inner")
    return small_project(tmp_path, [(region, inner, TUMOR)])


@pytest.fixture
def made(project: Project, tmp_path: Path) -> PredictionSet:
    return predict_truth(project.path.parent, tmp_path / "pred", LABELS, downsample=1.0, entries=(1,), change=discs)


def predicted(project: Project) -> list[Annotation]:
    return [o for o in open_project(project.path).entries[0].objects() if is_prediction(o)]


@pytest.mark.parametrize(("objects", "tumor"), [("areas", 3), ("components", 3), ("watershed", 4)])
def test_touching_objects_are_cut_apart_where_it_is_asked_for(
    made: PredictionSet, project: Project, objects: str, tumor: int
) -> None:
    (report,) = import_predictions(made, project, ImportSettings(objects=objects, marker_um=4))  # type: ignore[arg-type]
    assert report.objects == {"Tumor": tumor, "Stroma": 1}
    there = predicted(project)
    drawn = Counter[str]()
    for item in there:
        assert item.kind == ("annotation" if objects == "areas" else "detection")
        assert ("Circularity" in item.measurements) == (objects != "areas")
        drawn[item.class_name or ""] += round(item.geometry.area)
    truth = discs(np.zeros((256, 320), np.uint8))
    assert drawn == {"Tumor": (truth == 1).sum(), "Stroma": (truth == 2).sum()}
    assert shapely.union_all([o.geometry for o in there]).area == (truth > 0).sum()


def test_a_round_object_says_so(made: PredictionSet, project: Project) -> None:
    import_predictions(made, project, ImportSettings(objects="components"))
    (stroma,) = [o for o in predicted(project) if o.class_name == "Stroma"]
    assert stroma.measurements["Max diameter µm"] == pytest.approx(17 * 0.5, rel=0.05)
    assert stroma.measurements["Solidity"] > 0.85
    assert stroma.measurements["Mean probability"] == pytest.approx(0.8)


@pytest.mark.parametrize("objects", ["components", "watershed"])
def test_an_object_that_is_too_small_is_none_and_gives_its_pixels_to_nobody(
    made: PredictionSet, project: Project, objects: str
) -> None:
    settings = ImportSettings(objects=objects, min_area_um2=1.0, marker_um=4)  # type: ignore[arg-type]
    (report,) = import_predictions(made, project, settings)
    assert report.too_small == 1
    truth = discs(np.zeros((256, 320), np.uint8))
    assert sum(o.geometry.area for o in predicted(project)) == (truth > 0).sum() - 1


def test_the_same_objects_imported_twice_change_no_byte(made: PredictionSet, project: Project) -> None:
    settings = ImportSettings(objects="watershed", parent="Region*", locked=True, colors={"Tumor": -65536})
    import_predictions(made, project, settings)
    before = project.entries[0].files.data.read_bytes()
    (report,) = import_predictions(made, open_project(project.path), settings)
    assert (report.added, report.removed, report.unchanged) == (0, 0, 5)
    assert project.entries[0].files.data.read_bytes() == before


def test_cells_have_a_boundary_and_no_nucleus(made: PredictionSet, project: Project) -> None:
    import_predictions(made, project, ImportSettings(objects="watershed", kind="cell"))
    assert {(o.kind, o.nucleus) for o in predicted(project)} == {("cell", None)}


def test_objects_go_below_the_smallest_annotation_that_they_lie_in(made: PredictionSet, project: Project) -> None:
    before = [(o.geometry, o.class_name) for o in project.entries[0].objects()]
    (report,) = import_predictions(made, project, ImportSettings(parent="Region*"))
    objects = open_project(project.path).entries[0].objects()
    parents = Counter(
        "root" if o.parent is None else objects[o.parent].name or "outer" for o in objects if is_prediction(o)
    )
    assert parents == {"outer": 1, "inner": 3}
    assert report.outside_parents == 0
    assert [(o.geometry, o.class_name) for o in objects if not is_prediction(o)] == before
    (report,) = import_predictions(made, open_project(project.path), ImportSettings(parent="inner", kind="detection"))
    assert report.outside_parents == 1


def test_a_parent_that_is_not_there_changes_nothing(made: PredictionSet, project: Project) -> None:
    before = project.entries[0].files.data.read_bytes()
    with pytest.raises(ConfigError, match=r"--parent Regions: .*has no such annotation, did you mean 'Region\*'"):
        import_predictions(made, project, ImportSettings(parent="Regions"))
    assert project.entries[0].files.data.read_bytes() == before


def test_locked_and_coloured_objects_count_as_untouched(made: PredictionSet, project: Project) -> None:
    import_predictions(made, project, ImportSettings(locked=True, colors={"Tumor": -65536}))
    there = predicted(project)
    assert all(o.locked and is_untouched(o) and origin_of(o) == "untouched" for o in there)
    assert {(o.class_name, o.color) for o in there} == {("Tumor", -65536), ("Stroma", None)}
    (report,) = undo_import(open_project(project.path), made.run)
    assert (report.removed, report.kept_edited) == (4, 0)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--color", "Tumor=crimson"), "not a colour; write it as Tumor=#ff8800"),
        (("--color", "Tumour=#ff0000"), "no class 'Tumour', did you mean 'Tumor'?"),
        (("--as", "nuclei"), "has to be annotations, detections, cells"),
        (("--marker-um", "0"), "positive number"),
    ],
)
def test_wrong_options_are_named(
    made: PredictionSet, project: Project, option: tuple[str, str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("import-predictions", made.root, project.path, *option) != 0
    assert said in capsys.readouterr().err.replace("\n", " ")


def test_gaps_are_joined_outlines_smoothed_and_large_objects_cut_where_it_is_asked_for(
    made: PredictionSet, project: Project
) -> None:
    (report,) = import_predictions(made, project, ImportSettings(merge_gap_um=4.0))
    assert report.objects == {"Tumor": 3, "Stroma": 1}  # the notches where two discs touch are filled
    assert report.area_mm2 and report.raster_mm2
    assert report.area_mm2["Tumor"] > report.raster_mm2["Tumor"]
    (report,) = import_predictions(made, open_project(project.path), ImportSettings(smooth_um=1.0))
    truth = discs(np.zeros((256, 320), np.uint8))
    assert sum(o.geometry.area for o in predicted(project)) == pytest.approx((truth > 0).sum(), rel=0.05)
    assert any(not float(x).is_integer() for o in predicted(project) for x, _ in o.geometry.exterior.coords)
    (report,) = import_predictions(made, open_project(project.path), ImportSettings(max_vertices=30))
    there = predicted(project)
    assert max(shapely.get_num_coordinates(o.geometry) for o in there) <= 30
    assert (report.cut, len(there)) == (len(there) - 4, sum(report.objects.values()))
    assert sum(o.geometry.area for o in there) == (truth > 0).sum()


def test_geojson_files_may_be_compressed(made: PredictionSet, project: Project, tmp_path: Path) -> None:
    for name, more in (("plain", ()), ("packed", ("--gzip",))):
        assert run("import-predictions", made.root, project.path, "--geojson-only", tmp_path / name, *more) == 0
    (plain,), (packed,) = ((tmp_path / "plain").glob("*.geojson"), (tmp_path / "packed").glob("*.geojson.gz"))
    assert gzip.decompress(packed.read_bytes()) == plain.read_bytes()
    assert run("import-predictions", made.root, project.path, "--gzip") == 1
