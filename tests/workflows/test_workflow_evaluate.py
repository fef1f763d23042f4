from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from predictions_made_up import predict_truth

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.errors import LabelError, OutputError, ProjectError
from qpkit.workflows.evaluate import evaluate
from qpkit.workflows.info import describe
from qpkit.workflows.sources import slide_inputs

LABELS = LabelMap(classes=(LabelClass("Tumor", 1, ("Tumor",)),), ignored=("Ignore*",))


def without_left_half(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    changed = labels.copy()
    changed[:, : labels.shape[1] // 2] = 0
    return changed


def test_predicting_the_truth_is_perfect(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, entries=(3, 4))
    result = evaluate(made, slide_inputs([study]))
    assert [s.name for s in result.slides] == ["patient_C.tif", "patient_D.tif"]
    assert result.pooled.scores["Tumor"].dice == 1.0
    assert result.pooled.lesions["Tumor"].found == result.pooled.lesions["Tumor"].total == 6
    assert result.pooled.outside_mm2 == {"Tumor": 0.0}


def test_scores_lesions_and_pictures_follow_the_pixels(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, change=without_left_half)
    result = evaluate(made, slide_inputs([study]), out=tmp_path / "out")
    (slide,) = result.slides
    matrix = np.array(slide.confusion)
    assert slide.scores["Tumor"].recall == pytest.approx(matrix[1, 1] / matrix[1].sum())
    assert slide.scores["Tumor"].precision == 1.0
    assert slide.lesions["Tumor"].found < slide.lesions["Tumor"].total == 3
    stored = msgspec.json.decode((tmp_path / "out/evaluation.json").read_bytes())
    assert stored["pooled"]["confusion"] == matrix.tolist()
    with Image.open(tmp_path / "out/patient_D.tif.png") as picture:
        assert picture.width > 800
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 1000


def test_area_outside_regions_counts_neither_way_and_is_reported(study: Path, tmp_path: Path) -> None:
    def everywhere(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return np.ones_like(labels)

    rules = LabelMap(classes=LABELS.classes, unannotated="ignore")
    made = predict_truth(study, tmp_path / "pred", rules, change=everywhere)
    result = evaluate(made, slide_inputs([study]))
    (slide,) = result.slides
    assert slide.scores["Tumor"].dice == 1.0
    tumour = slide.scores["Tumor"].support
    assert slide.outside_mm2 is not None
    assert slide.outside_mm2["Tumor"] == pytest.approx((1408 * 1024 - tumour) * 1e-6, rel=1e-3)


def test_slides_and_labels_that_do_not_fit_are_refused(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    with pytest.raises(ProjectError, match="none of its slides"):
        evaluate(made, slide_inputs([study], entries=["1"]))
    other = LabelMap(classes=(LabelClass("Tumor", 5, ("Tumor",)),))
    with pytest.raises(LabelError, match="5: 'Tumor'"):
        evaluate(made, slide_inputs([study]), labels=other)


def test_a_folder_that_is_taken_is_refused_before_the_work(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine.txt").write_text("mine")
    steps: list[int] = []
    with pytest.raises(OutputError, match="not of this kind"):
        evaluate(made, slide_inputs([study]), out=tmp_path / "out", on_progress=lambda done, *_: steps.append(done))
    assert steps == []


def test_predictions_of_another_slide_are_not_compared(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    fields = made.slides[0]
    other = type(fields)(**{f: getattr(fields, f) for f in fields.__struct_fields__} | {"width": 99, "name": "x"})
    inputs = slide_inputs([study], entries=["4"])
    with pytest.raises(ProjectError, match="predicted one was 99 x 2048"):
        evaluate(replace(made, slides=(other,)), inputs)
    with pytest.raises(ProjectError, match="several predictions fit"):
        evaluate(replace(made, slides=(fields, fields)), inputs)


def test_info_tells_what_a_path_holds(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS)
    project = describe(study)
    assert project.kind == "QuPath project"
    assert [row["name"] for row in project.rows] == [f"patient_{p}.tif" for p in "ABCD"]
    assert project.rows[0]["classes"] == "Ignore* 1, Immune cells 4, Tumor 4"
    assert describe(study / "slides/patient_A.tif").facts["px"] == "2816 x 2048"
    data = describe(study / "data/1/data.qpdata")
    assert data.kind == "QuPath data"
    assert data.facts["image type"] == "BRIGHTFIELD_H_E"
    assert sum(row["objects"] for row in data.rows) == 9
    assert describe(made.root).facts["run"] == "run-1"
