from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from predictions_made_up import predict_truth
from sklearn.metrics import average_precision_score, roc_auc_score

from qpkit.core.labels import LabelClass, LabelMap
from qpkit.core.tiles import Tile
from qpkit.errors import ConfigError, LabelError, OutputError, ProjectError
from qpkit.ops.masks.rasterize import Painting
from qpkit.predictions import PredictionSet
from qpkit.predictions.store import read_strips
from qpkit.qupath import open_project
from qpkit.workflows.edit import Change, Selection, edit_objects
from qpkit.workflows.evaluate import slide as evaluate_slide
from qpkit.workflows.evaluate.files import evaluation_to_builtins
from qpkit.workflows.evaluate.predictions import evaluate
from qpkit.workflows.evaluate.result import Scope
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.imports.project import import_predictions
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.project import write_metadata

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


def test_a_model_is_not_judged_by_what_it_said_itself(study: Path, tmp_path: Path) -> None:
    """Junk that somebody accepted is neither truth nor a false alarm; what was edited and other runs' count, and are
    said."""

    def junk(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = labels.copy()
        changed[:100, :200] = 1
        return changed

    made = predict_truth(study, tmp_path / "pred", LABELS, change=junk)
    plain = evaluate(made, slide_inputs([study]))
    import_predictions(made, open_project(study), ImportSettings())
    unreviewed = evaluate(made, slide_inputs([study]))
    assert unreviewed.pooled.confusion == plain.pooled.confusion
    edit_objects(open_project(study), Selection(names=("Tumor 1 (predicted by run-1)",)), Change(locked=True))
    left_out = evaluate(made, slide_inputs([study]))
    assert any("1 accepted from run run-1, left out" in note for note in left_out.notes)
    wrong = np.array(plain.pooled.confusion) - np.array(left_out.pooled.confusion)
    assert wrong.tolist() == [[0, 100 * 200], [0, 0]]
    counted = evaluate(made, slide_inputs([study]), settings=EvaluateSettings(accepted="truth"))
    assert counted.pooled.scores["Tumor"].dice == 1.0
    assert any("1 accepted from run run-1," in f"{note}," for note in counted.notes)
    other = evaluate(replace(made, run="another"), slide_inputs([study]))
    assert other.pooled.confusion == counted.pooled.confusion


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
        evaluate(made, slide_inputs([study], SlideSettings(entries=["1"])))
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
    inputs = slide_inputs([study], SlideSettings(entries=["4"]))
    with pytest.raises(ProjectError, match="predicted one was 99 x 2048"):
        evaluate(replace(made, slides=(other,)), inputs)
    with pytest.raises(ProjectError, match="several predictions fit"):
        evaluate(replace(made, slides=(fields, fields)), inputs)


IMMUNE = LabelMap(
    classes=(LabelClass("Immune cells", 4, ("Immune cells",)), LabelClass("Tumor", 7, ("Tumor",))), ignored=("Ignore*",)
)


def sure(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Probability 1 of what the labels say; values 0, 4 and 7."""
    return np.stack([(labels == value) * np.uint8(255) for value in (0, 4, 7)])


def unsure(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Probabilities that often, not always, go with the labels."""
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 190, (3, *labels.shape))
    return (noise + sure(labels) // 4).astype(np.uint8)


def shifted(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.roll(labels, (9, -14), axis=(0, 1))


def without_names(scope: Scope) -> Scope:
    return replace(scope, kind="", name="", seconds=0.0)


def test_the_truth_scores_one_everywhere(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", IMMUNE, entries=(1, 3), made_up=sure)
    result = evaluate(made, slide_inputs([study]), settings=EvaluateSettings(by=("Split",)))
    scopes = (*result.slides, *result.groups["Split"], result.pooled)
    assert [scope.name for scope in scopes] == ["patient_A.tif", "patient_C.tif", "train", "val", "all"]
    for scope in scopes:
        assert (scope.accuracy, scope.mean_dice, scope.mean_iou, scope.confidence_error) == (1.0, 1.0, 1.0, 0.0)
        assert np.array_equal(scope.confusion_fractions, np.eye(3))
        assert scope.ranking is not None
        for name, score in scope.scores.items():
            assert score.support == score.predicted > 0
            ones = score.dice, score.iou, score.precision, score.recall, score.specificity
            assert ones == (1.0,) * 5
            rank = scope.ranking[name]
            assert (rank.auc, rank.average_precision, rank.best_dice, rank.calibration_error) == (1.0, 1.0, 1.0, 0.0)
        for lesions in scope.lesions.values():
            assert lesions.total == lesions.found == lesions.matched == lesions.predicted > 0
            assert (lesions.precision, lesions.recall, lesions.f1) == (1.0, 1.0, 1.0)
    for metrics in result.patients.classes.values():
        found = metrics["dice"]
        assert (found.mean, found.low, found.high, found.n) == (1.0, 1.0, 1.0, 2)


@pytest.fixture
def worn(study: Path, tmp_path: Path) -> PredictionSet:
    """Three slides, everything a little beside where it is, with probabilities."""
    return predict_truth(study, tmp_path / "worn", IMMUNE, entries=(1, 2, 3), change=shifted, made_up=unsure)


def test_the_size_of_the_strips_does_not_matter(
    study: Path, worn: PredictionSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = slide_inputs([study], SlideSettings(entries=["1"]))
    plain = evaluate(worn, inputs)
    for rows in (97, 5000):
        monkeypatch.setattr(evaluate_slide, "STRIP_PX", rows)
        other = evaluate(worn, inputs)
        assert without_names(other.pooled) == without_names(plain.pooled)
        assert other.curves == plain.curves
    assert 0.5 < plain.pooled.scores["Tumor"].dice < 0.95  # type: ignore[operator]


def test_slides_together_are_their_pixels_together(study: Path, worn: PredictionSet) -> None:
    whole = evaluate(worn, slide_inputs([study]), settings=EvaluateSettings(by=("Split",)))
    alone = [evaluate(worn, slide_inputs([study], SlideSettings(entries=[str(i)]))).pooled for i in (1, 2, 3)]
    assert [without_names(a) for a in alone] == [without_names(s) for s in whole.slides]
    assert np.array_equal(np.sum([a.confusion for a in alone], axis=0), whole.pooled.confusion)
    train, val = whole.groups["Split"]
    assert (train.name, train.slides) == ("train", ("patient_A.tif", "patient_B.tif"))
    two = evaluate(worn, slide_inputs([study], SlideSettings(entries=["1", "2"]))).pooled
    assert without_names(train) == without_names(two)
    assert without_names(val) == without_names(alone[2])
    errors = [a.confidence_error or 0 for a in alone]
    assert min(errors) < (whole.pooled.confidence_error or 0) < max(errors)
    assert whole.pooled.confidence_error not in errors


def test_ranking_is_scikit_learns_on_the_pixels_of_a_slide(study: Path, tmp_path: Path) -> None:
    rules = replace(IMMUNE, ignored=())
    made = predict_truth(study, tmp_path / "pred", rules, entries=(1,), made_up=unsure)
    result = evaluate(made, slide_inputs([study], SlideSettings(entries=["1"])))
    assert result.pooled.ranking is not None
    (labels, probabilities) = (
        next(read_strips(tmp_path / "pred" / f"1.{kind}.tif", rows=5000))[1] for kind in ("labels", "probabilities")
    )
    for band, (name, value) in enumerate({"background": 0, "Immune cells": 4, "Tumor": 7}.items()):
        is_class, score = (labels[0] == value).ravel(), probabilities[band].ravel()
        rank = result.pooled.ranking[name]
        assert 0.6 < rank.auc < 0.999  # type: ignore[operator]
        assert rank.auc == pytest.approx(roc_auc_score(is_class, score))
        assert rank.average_precision == pytest.approx(average_precision_score(is_class, score))


def test_what_is_predicted_where_nothing_is_known_changes_no_score(study: Path, tmp_path: Path) -> None:
    rules = replace(LABELS, regions=("Immune cells",), unannotated="ignore")
    objects = open_project(study).entry("patient_A.tif").objects()

    def spoiled(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        rows, columns = labels.shape
        tile = Tile(col=0, row=0, x=0, y=0, width=columns, height=rows, downsample=2.0)
        return np.where(Painting(objects, rules, downsample=2.0).draw(tile) == 255, np.uint8(1), shifted(labels))

    def probabilities(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return unsure(labels * np.uint8(7))[[0, 2]]

    results = [
        evaluate(
            predict_truth(
                study,
                tmp_path / f"pred{change.__name__}",
                rules,
                entries=(1,),
                change=change,
                probabilities=probabilities,
            ),
            slide_inputs([study], SlideSettings(entries=["1"])),
        ).pooled
        for change in (shifted, spoiled)
    ]
    plain, worse = (replace(scope, seconds=0.0, outside_mm2=None) for scope in results)
    assert plain == worse
    assert 0 < np.sum(plain.confusion) < 300_000
    areas = [(scope.outside_mm2 or {})["Tumor"] for scope in results]
    assert areas[0] < 0.1 < 1 < areas[1]


def test_other_values_for_the_classes_give_the_same_scores(study: Path, tmp_path: Path) -> None:
    swapped = replace(
        IMMUNE,
        background=9,
        classes=(LabelClass("Immune cells", 200, ("Immune cells",)), LabelClass("Tumor", 3, ("Tumor",))),
    )
    found = [
        evaluate(
            predict_truth(study, tmp_path / str(rules.background), rules, entries=(1,), change=shifted),
            slide_inputs([study], SlideSettings(entries=["1"])),
        ).pooled
        for rules in (IMMUNE, swapped)
    ]
    assert found[0].scores == found[1].scores
    assert found[0].lesions == found[1].lesions
    assert found[0].baselines == found[1].baselines


def test_means_over_patients_count_every_patient_once(study: Path, worn: PredictionSet) -> None:
    write_metadata(open_project(study), {"patient_B.tif": {"Patient": "A"}})
    result = evaluate(worn, slide_inputs([study]), settings=EvaluateSettings(by=("Patient",)))
    assert (result.patients.unit, result.patients.units) == ("Patient", 2)
    first, second = result.groups["Patient"]
    assert first.slides == ("patient_A.tif", "patient_B.tif")
    dice = [scope.scores["Tumor"].dice or math.nan for scope in (first, second)]
    found = result.patients.classes["Tumor"]["dice"]
    assert found.mean == pytest.approx(np.mean(dice))
    assert found.mean != pytest.approx(result.pooled.scores["Tumor"].dice, abs=1e-6)
    assert (found.low, found.high) == (pytest.approx(min(dice)), pytest.approx(max(dice)))
    again = evaluate(worn, slide_inputs([study]), settings=EvaluateSettings(by=("Patient",)))
    assert again.patients == result.patients


def test_one_patient_has_no_interval_and_it_is_said(study: Path, worn: PredictionSet) -> None:
    result = evaluate(worn, slide_inputs([study], SlideSettings(entries=["1"])))
    found = result.patients.classes["Tumor"]["dice"]
    assert (found.mean, found.low, found.high, found.n) == (result.pooled.scores["Tumor"].dice, None, None, 1)
    assert any("no interval can be given" in note for note in result.notes)


def test_keys_that_no_slide_has_are_refused_and_missing_ones_make_a_group(study: Path, worn: PredictionSet) -> None:
    inputs = slide_inputs([study])
    for settings in (EvaluateSettings(by=("Stain",)), EvaluateSettings(patient="Stain")):
        with pytest.raises(ConfigError, match=r"Stain.*there are 'Patient', 'Split'"):
            evaluate(worn, inputs, settings=settings)
    first, *others = inputs
    some = [replace(first, metadata={"Stain": "PAS"}), *others]
    result = evaluate(worn, some, settings=EvaluateSettings(by=("Stain",)))
    assert [(s.name, len(s.slides)) for s in result.groups["Stain"]] == [("PAS", 1), ("(not stated)", 2)]
    assert result.patients.unit == "slide"
    assert any("not all name a patient" in note for note in result.notes)


def test_what_nobody_annotated_counts_where_the_user_says_so(study: Path, tmp_path: Path) -> None:
    rules = LabelMap(classes=LABELS.classes, unannotated="ignore")
    made = predict_truth(study, tmp_path / "pred", rules, change=np.ones_like)
    inputs = slide_inputs([study])
    known = evaluate(made, inputs).pooled
    assert known.scores["Tumor"].specificity is None
    assert (known.unannotated_px, known.scores["Tumor"].precision) == (0, 1.0)
    found = evaluate(made, inputs, settings=EvaluateSettings(unannotated="background"))
    tumour, px = known.scores["Tumor"].support, 1408 * 1024
    assert found.unannotated == "background"
    assert found.pooled.unannotated_px == px - tumour
    assert found.pooled.scores["Tumor"].precision == pytest.approx(tumour / px)
    assert found.pooled.scores["Tumor"].dice == found.pooled.baselines["Tumor"]["all this class"].dice
    assert any(f"{px - tumour:,} of {px:,} px were annotated by nobody" in note for note in found.notes)
    # Of a prediction inside regions only what was predicted is told of.
    half = np.ones((1024, 1408), np.uint8)
    half[:, 700:] = rules.ignore
    inside = predict_truth(study, tmp_path / "inside", rules, change=lambda labels: half, probabilities=False)
    (slide,) = inside.slides
    inside = replace(inside, slides=(msgspec.structs.replace(slide, within="Region*"),))
    some = evaluate(inside, inputs, settings=EvaluateSettings(unannotated="background"))
    judged = int(np.sum(some.pooled.confusion))
    tumour_inside = some.pooled.scores["Tumor"].support
    assert (judged, some.pooled.unannotated_px) == (1024 * 700, 1024 * 700 - tumour_inside)
    assert 0 < tumour_inside < tumour
    assert any(f"{tumour - tumour_inside:,} annotated px were not predicted" in note for note in some.notes)
    tissue = evaluate(made, inputs, settings=EvaluateSettings(unannotated="background", only_tissue=True)).pooled
    assert tissue.glass_px > 0.2 * px
    assert tissue.glass_px + np.sum(tissue.confusion) == px
    assert tissue.scores["Tumor"].support == tumour
    back = evaluate(
        made, inputs, labels=replace(rules, unannotated="background"), settings=EvaluateSettings(unannotated="ignore")
    )
    assert without_names(back.pooled) == without_names(known)


def test_the_smallest_lesion_is_stated_in_um2(study: Path, tmp_path: Path) -> None:
    def speckled(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        changed = labels.copy()
        changed[2:5, 2:5] = 1
        return changed

    made = predict_truth(study, tmp_path / "pred", LABELS, change=speckled, downsample=4.0)
    found = {}
    for um2 in (0, 35, 37):
        settings = EvaluateSettings(min_lesion_um2=um2)
        lesions = evaluate(made, slide_inputs([study]), settings=settings).pooled.lesions["Tumor"]
        found[um2] = lesions.predicted, lesions.too_small
    assert found == {0: (4, 0), 35: (4, 0), 37: (3, 1)}
    bare = replace(made, slides=(msgspec.structs.replace(made.slides[0], mpp=None),))
    result = evaluate(bare, slide_inputs([study]), settings=EvaluateSettings(min_lesion_um2=37))
    assert result.pooled.lesions["Tumor"].too_small == 0
    assert result.pooled.outside_mm2 is None
    assert any("without um per px" in note for note in result.notes)


def test_without_probabilities_it_says_how_to_get_them(study: Path, tmp_path: Path) -> None:
    made = predict_truth(study, tmp_path / "pred", LABELS, probabilities=False)
    result = evaluate(made, slide_inputs([study]), out=tmp_path / "out")
    assert result.pooled.ranking is None
    assert result.pooled.confidence_error is None
    assert result.patients.classes["Tumor"]["auc"].n == 0
    assert any("qpkit predict --probabilities" in note for note in result.notes)
    assert not (tmp_path / "out/thresholds.png").exists()


def test_settings_out_of_range_are_refused_together() -> None:
    with pytest.raises(ConfigError, match=r"lesion-overlap.*min-lesion-um2.*resamples.*twice"):
        EvaluateSettings(lesion_overlap=0, min_lesion_um2=-1, resamples=0, by=("A", "A"))
    with pytest.raises(ConfigError, match="ignore or background"):
        EvaluateSettings(unannotated="negative")  # type: ignore[arg-type]


def test_tables_and_pictures_hold_the_same_figures(study: Path, worn: PredictionSet, tmp_path: Path) -> None:
    settings = EvaluateSettings(by=("Split",), min_lesion_um2=50)
    result = evaluate(worn, slide_inputs([study]), settings=settings, out=tmp_path / "out")
    stored = msgspec.json.decode((tmp_path / "out/evaluation.json").read_bytes())
    assert stored == msgspec.json.decode(msgspec.json.encode(evaluation_to_builtins(result)))
    with (tmp_path / "out/metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    scopes = 3 + 2 + 1
    assert len(rows) == scopes * 3 * 4 + 3 * 4
    (pooled,) = [r for r in rows if (r["scope"], r["class"], r["predictor"]) == ("all", "Tumor", "run")]
    assert result.pooled.ranking is not None
    assert float(pooled["auc"]) == pytest.approx(result.pooled.ranking["Tumor"].auc, rel=1e-5)
    assert float(pooled["lesion_f1"]) == pytest.approx(result.pooled.lesions["Tumor"].f1, rel=1e-5)
    (low,) = [r for r in rows if (r["scope"], r["name"], r["class"]) == ("over Patient", "low", "Tumor")]
    assert float(low["dice"]) == pytest.approx(result.patients.classes["Tumor"]["dice"].low, rel=1e-5)
    with (tmp_path / "out/thresholds.csv").open(encoding="utf-8") as file:
        thresholds = list(csv.DictReader(file))
    assert len(thresholds) == 3 * 256
    best = max(float(r["dice"]) for r in thresholds if r["class"] == "Tumor")
    assert best == pytest.approx(result.pooled.ranking["Tumor"].best_dice, rel=1e-5)
    for name, width in (("confusion.png", 800), ("thresholds.png", 1200)):
        with Image.open(tmp_path / "out" / name) as picture:
            assert picture.width > width
            assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50
