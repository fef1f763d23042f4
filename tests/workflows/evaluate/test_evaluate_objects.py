"""qpkit evaluate with objects: areas of rasters, objects of a project by themselves, label images on its slides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from numpy.typing import NDArray
from PIL import Image
from predictions_made_up import predict_truth
from small_project import HEIGHT, WIDTH, small_project

import qpkit
from qpkit.core.annotation import Annotation, PathClass
from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import QpkitError
from qpkit.qupath import Project
from qpkit.workflows.evaluate import slide as evaluate_slide
from qpkit.workflows.evaluate.predictions import evaluate
from qpkit.workflows.evaluate.result import Evaluation
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.inputs.slides import slide_inputs

pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LABELS = LabelMap(
    classes=(LabelClass("Tumor", 1, ("Tumor",)), LabelClass("Stroma", 2, ("Stroma",))), ignored=("Ignore*",)
)


def box(name: str, *corners: float, kind: str = "annotation") -> Annotation:
    found = Annotation(geometry=shapely.box(*corners), path_class=PathClass((name,)))
    return replace(found, kind=kind)  # type: ignore[arg-type]


def nuclei(*names: str) -> list[Annotation]:
    """Detections of 20 x 20 px, two of which touch."""
    places = [(20, 20), (40, 20), (100, 100), (200, 150)]
    return [box(name, x, y, x + 20, y + 20, kind="detection") for name, (x, y) in zip(names, places, strict=False)]


def judged(project: Project, out: Path, settings: EvaluateSettings, labels: LabelMap = LABELS) -> Evaluation:
    made = predict_truth(project.path, out, labels, entries=tuple(e.id for e in project.entries), downsample=1)
    return evaluate(made, slide_inputs([project.path]), settings=settings)


def test_areas_and_objects_of_the_truth_score_one(tmp_path: Path) -> None:
    objects = [box("Tumor", 20, 20, 90, 90), box("Stroma", 90, 20, 150, 90), box("Tumor", 200, 20, 260, 90)]
    project = small_project(tmp_path, [objects, objects[:1]])
    for rule in ("components", "drawn"):
        result = judged(project, tmp_path / rule, EvaluateSettings(objects=rule))  # type: ignore[arg-type]
        assert result.pooled.objects is not None
        assert [s.total for s in result.pooled.objects.classes.values()] == [3, 1]
        for scope in (*result.slides, result.pooled):
            assert scope.objects is not None and scope.objects.every.pq == scope.objects.every.aji == 1.0
        assert result.pooled.objects.confusion == [[3, 0, 0], [0, 1, 0], [0, 0, 0]]
        interval = result.patients.objects["object_pq"]
        assert (interval.mean, interval.n) == (1.0, 2)
        assert result.patients.classes["Stroma"]["object_f1"].n == 1
    assert judged(project, tmp_path / "none", EvaluateSettings()).pooled.objects is None


def test_objects_that_touch_are_one_area_and_two_drawn_objects(tmp_path: Path) -> None:
    project = small_project(tmp_path, [[box("Tumor", 20, 20, 60, 60), box("Tumor", 60, 20, 90, 60)]])
    areas = judged(project, tmp_path / "a", EvaluateSettings(objects="components")).pooled.objects
    drawn = judged(project, tmp_path / "b", EvaluateSettings(objects="drawn")).pooled.objects
    assert areas is not None and areas.every.total == 1 and areas.every.f1 == 1.0
    assert drawn is not None and (drawn.every.total, drawn.every.predicted, drawn.every.matched) == (2, 1, 1)
    assert drawn.every.sq == pytest.approx(40 / 70)


def test_overlapping_and_hidden_objects_are_said(tmp_path: Path) -> None:
    """A pixel belongs to the object that is drawn last; one that is covered whole is left out."""
    objects = [box("Tumor", 20, 20, 60, 60), box("Stroma", 50, 20, 90, 60), box("Tumor", 60, 30, 70, 40)]
    project = small_project(tmp_path, [objects])
    result = judged(project, tmp_path / "pred", EvaluateSettings(objects="drawn"))
    assert result.pooled.objects is not None and result.pooled.objects.every.total == 2
    assert any("true objects overlap on 500 px" in note for note in result.notes)
    assert any("1 true objects are hidden" in note for note in result.notes)
    assert result.pooled.objects.every.sq == 1.0  # of what is seen


def test_areas_of_one_slide_are_its_lesions_whatever_the_strips(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = LabelMap(classes=LABELS.classes[:1], ignored=("Ignore*",))

    def moved(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.roll(labels, (9, -14), axis=(0, 1))

    made = predict_truth(study, tmp_path / "pred", labels, entries=(3,), change=moved)
    for rule in ("components", "drawn"):
        settings = EvaluateSettings(objects=rule)  # type: ignore[arg-type]
        plain = evaluate(made, slide_inputs([study]), settings=settings).pooled
        monkeypatch.setattr(evaluate_slide, "STRIP_PX", 97)
        other = evaluate(made, slide_inputs([study]), settings=settings).pooled
        monkeypatch.undo()
        assert plain.objects == other.objects and plain.objects is not None
        found, lesions = plain.objects.classes["Tumor"], plain.lesions["Tumor"]
        assert (found.total, found.predicted, found.matched) == (lesions.total, lesions.predicted, lesions.matched)


@pytest.fixture
def tiles(tmp_path: Path) -> tuple[Project, Path]:
    """A project of nuclei, and what they are as label images of four tiles that each number anew."""
    project = small_project(
        tmp_path, [[*nuclei("Nucleus", "Nucleus", "Nucleus", "Lymphocyte"), box("Tumor", 0, 0, 9, 9)]]
    )
    field = np.zeros((HEIGHT, WIDTH), np.int64)
    for number, item in enumerate(nuclei("a", "b", "c", "d"), start=1):
        x, y = (int(v) for v in item.geometry.bounds[:2])
        field[y : y + 20, x : x + 20] = number
    folder = tmp_path / "tiles"
    folder.mkdir()
    for x in (0, 110):
        for y in (0, 110):
            part = field[y : y + (110 if y == 0 else 999), x : x + (110 if x == 0 else 999)]
            height, width = part.shape
            renumbered = np.unique(np.append(part, 0), return_inverse=True)[1][:-1].reshape(part.shape)
            Image.fromarray(renumbered.astype(np.uint16)).save(folder / f"a [x={x},y={y},w={width},h={height}].png")
    return project, folder


def test_label_images_of_tiles_are_joined_and_compared_with_a_project(
    tiles: tuple[Project, Path], tmp_path: Path
) -> None:
    project, folder = tiles
    result = qpkit.evaluate(folder, [project.path], instances="Nucleus", out=tmp_path / "out")
    (slide,) = result.slides
    assert slide.objects is not None
    nucleus = slide.objects.classes["Nucleus"]
    assert (nucleus.total, nucleus.predicted, nucleus.matched, nucleus.sq) == (3, 4, 3, 1.0)
    assert any("7 predicted objects are 4" in note for note in result.notes)
    assert (tmp_path / "out/objects.csv").is_file()
    again = qpkit.evaluate(folder, [project.path], instances="Nucleus")
    assert again.run == result.run


def test_what_lies_beside_the_images_is_left_out_and_said(tiles: tuple[Project, Path]) -> None:
    """Of four nuclei one lies below y = 110, and one is cut there, in both."""
    project, folder = tiles
    for path in folder.glob("*y=110*"):
        path.unlink()
    rules = LabelMap(classes=(LabelClass("Nucleus", 1, ("Nucleus", "Lymphocyte")),), objects=("detection",))
    result = qpkit.evaluate(folder, [project.path], instances="Nucleus", labels=rules)
    assert result.pooled.objects is not None and result.pooled.objects.every.total == 3
    assert result.pooled.objects.every.pq == 1.0
    assert any("1 of 4 true objects lie beside" in note for note in result.notes)


def test_classes_come_from_a_table_for_each_image_or_from_a_label_map(
    tiles: tuple[Project, Path], tmp_path: Path
) -> None:
    project, folder = tiles
    tables = tmp_path / "tables"
    tables.mkdir()
    for path in folder.iterdir():
        with Image.open(path) as image:
            numbers = np.unique(np.asarray(image))
        last = "Lymphocyte" if "x=110,y=110" in path.name else "Nucleus"
        rows = [f"{n},{last if n == numbers.max() else 'Nucleus'}" for n in numbers if n]
        (tables / f"{path.stem}.csv").write_text("\n".join(["number,class", *rows]) + "\n")
    result = qpkit.evaluate(folder, [project.path], instances=str(tables))
    assert result.pooled.objects is not None
    assert result.names == ("background", "Lymphocyte", "Nucleus")
    assert result.pooled.objects.confusion == [[1, 0, 0], [0, 3, 0], [0, 0, 0]]
    rules = LabelMap(
        classes=(LabelClass("Nucleus", 4, ("Nucleus", "Lymphocyte")),), background=2, objects=("detection",)
    )
    merged = qpkit.evaluate(folder, [project.path], instances="Nucleus", labels=rules)
    assert merged.pooled.objects is not None and merged.pooled.objects.every.pq == 1.0
    assert merged.pooled.scores["Nucleus"].dice == 1.0
    with pytest.raises(QpkitError, match="names no class Cell"):
        qpkit.evaluate(folder, [project.path], instances="Cell", labels=rules)


def test_label_images_that_lie_over_each_other_or_nowhere_are_refused(tiles: tuple[Project, Path]) -> None:
    project, folder = tiles
    first = folder / "a [x=0,y=0,w=110,h=110].png"
    over = first.with_name("a [x=50,y=0,w=110,h=110].png")
    over.write_bytes(first.read_bytes())
    with pytest.raises(QpkitError, match="lie over each other"):
        qpkit.evaluate(folder, [project.path], instances="Nucleus")
    over.rename(first.with_name("z [x=0,y=0,w=110,h=110].png"))
    with pytest.raises(QpkitError, match="0 entries are called 'z'"):
        qpkit.evaluate(folder, [project.path], instances="Nucleus")


def test_what_is_predicted_where_nothing_is_known_is_no_object(tmp_path: Path) -> None:
    project = small_project(tmp_path, [[box("Tumor", 20, 20, 60, 60), box("Ignore*", 200, 100, 300, 200)]])

    def junk(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = labels.copy()
        changed[110:190:20, 210:290] = 1
        return changed

    made = predict_truth(project.path, tmp_path / "pred", LABELS, entries=(1,), downsample=1, change=junk)
    for rule in ("components", "drawn"):
        settings = EvaluateSettings(objects=rule)  # type: ignore[arg-type]
        found = evaluate(made, slide_inputs([project.path]), settings=settings).pooled.objects
        assert found is not None and (found.every.predicted, found.every.pq) == (1, 1.0)
