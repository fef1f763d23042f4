"""qpkit evaluate: label rasters against what the pathologist drew, pixel by pixel and lesion by lesion."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qpkit.core.labels import LabelMap
from qpkit.errors import LabelError, ProjectError, listed
from qpkit.files import new_folder, require_free, safe_names
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.predictions.store import strip_count
from qpkit.progress import OnProgress, Ticker, no_progress
from qpkit.workflows.evaluate.files import INFO_NAME, write_evaluation
from qpkit.workflows.evaluate.groups import group_values, patients_of
from qpkit.workflows.evaluate.overlay import write_overlay
from qpkit.workflows.evaluate.result import Counted, Evaluation, evaluation_of, patient_notes
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.evaluate.slide import STRIP_PX, SlideCounts, add_up, count_slide
from qpkit.workflows.evaluate.truth import origins_note
from qpkit.workflows.inputs.slides import SlideInput
from qpkit.workflows.inputs.training_slides import training_notes


def evaluate(
    predictions: PredictionSet,
    inputs: Sequence[SlideInput],
    *,
    labels: LabelMap | None = None,
    settings: EvaluateSettings | None = None,
    notes: Sequence[str] = (),
    out: Path | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Evaluation:
    """Compare predictions with the annotations of the same slides.

    Pixels that the label map leaves unknown (outside regions, ignored classes) count neither way; what is predicted
    there is reported as an area of its own.

    Args:
        predictions: Opened predictions folder.
        inputs: Slides with their annotations; those without a prediction are left out.
        labels: Other rules than the run's own label map (it has to have the same classes and values).
        settings: How they are judged; None for the defaults.
        notes: What the user has to know beside what is found here.
        out: Folder for evaluation.json, tables, figures and one overlay PNG per slide; None writes nothing.

    Raises:
        ProjectError: No slide has a prediction.
        LabelError: The label maps do not have the same classes and values, or a raster has others.
        ConfigError: No slide has a metadata key of `by`, or one lacks the patient's.
        OutputError: `out` holds something.
    """
    settings = settings or EvaluateSettings()
    if out is not None:
        require_free(out, marker=INFO_NAME, overwrite=overwrite)
    rules = labels or predictions.label_map
    if _meaning(rules) != _meaning(predictions.label_map):
        raise LabelError(f"label map has {_meaning(rules)}, the predictions have {_meaning(predictions.label_map)}")
    rules = replace(rules, unannotated=settings.unannotated or rules.unannotated)
    pairs = _pairs(predictions, inputs)
    items = [item for _, item in pairs]
    unit, patients = patients_of(items, settings.patient)
    groups = {key: group_values(items, key) for key in settings.by}
    slides = _count(predictions, pairs, rules, settings, on_progress)
    pooled = add_up([slide.counts for slide in slides])
    result = evaluation_of(predictions.run, slides, rules, settings, unit=unit, patients=patients, groups=groups)
    found = (*notes, *_notes(predictions, pairs, inputs, pooled, rules), *patient_notes(result.patients))
    result = replace(result, notes=found)
    if out is not None:
        with new_folder(out, marker=INFO_NAME, overwrite=overwrite) as root:
            write_evaluation(result, root)
            for (slide, item), stem in zip(pairs, safe_names([s.name for s, _ in pairs]), strict=True):
                write_overlay(predictions, slide, item, rules, root / f"{stem}.png", accepted=settings.accepted)
    return result


def _count(
    predictions: PredictionSet,
    pairs: Sequence[tuple[SlidePrediction, SlideInput]],
    rules: LabelMap,
    settings: EvaluateSettings,
    on_progress: OnProgress,
) -> list[Counted]:
    tick = Ticker(sum(strip_count(slide, rows=STRIP_PX) for slide, _ in pairs), on_progress)
    counted = []
    for slide, item in pairs:
        start = time.perf_counter()
        counts = count_slide(predictions, slide, item, rules, settings, tick)
        counted.append(Counted(slide.name, counts, time.perf_counter() - start))
    return counted


def _notes(
    predictions: PredictionSet,
    pairs: Sequence[tuple[SlidePrediction, SlideInput]],
    inputs: Sequence[SlideInput],
    pooled: SlideCounts,
    rules: LabelMap,
) -> tuple[str, ...]:
    """What the figures do not say by themselves."""
    compared = {item.source.name for _, item in pairs}
    left_out = [item.source.name for item in inputs if item.source.name not in compared]
    found = [f"no prediction for {listed(left_out)}: left out"] if left_out else []
    if pooled.levels is None:
        without = listed(slide.name for slide, _ in pairs if slide.probabilities is None)
        found.append(
            f"no probabilities for {without}: no AUC, average precision, calibration and thresholds; "
            "get them with qpkit predict --probabilities"
        )
    thresholds = predictions.info.get("settings", {}).get("thresholds")
    if thresholds:
        probabilities = ", ".join(f"{name} {probability:g}" for name, probability in thresholds.items())
        found.append(
            f"labels were predicted as background below these probabilities: {probabilities} (their rasters were "
            "not changed)"
        )
    if rules.unannotated == "background":
        glass = f"{pooled.glass_px:,} px of glass left out" if pooled.glass_px else "glass included"
        known = int(pooled.confusion.sum())
        found.append(
            f"{pooled.unannotated_px:,} of {known:,} px were annotated by nobody and count as background ({glass})"
        )
    return (
        *predictions.notes,
        *origins_note(pooled.origins),
        *found,
        *pooled.notes,
        *training_notes(predictions, [slide for slide, _ in pairs]),
    )


def _pairs(predictions: PredictionSet, inputs: Sequence[SlideInput]) -> list[tuple[SlidePrediction, SlideInput]]:
    found = [(_prediction_of(item, predictions), item) for item in inputs]
    pairs = [(slide, item) for slide, item in found if slide is not None]
    if not pairs:
        names = listed(slide.name for slide in predictions.slides)
        raise ProjectError(f"{predictions.root}: none of its slides ({names}) is among those given")
    return pairs


def _prediction_of(item: SlideInput, predictions: PredictionSet) -> SlidePrediction | None:
    """The prediction of a slide: by name, else by path, else by the file's name.

    Raises:
        ProjectError: Several fit, or its slide was of another size.
    """
    source, every = item.source, predictions.slides
    same_name = [s for s in every if s.name == source.name]
    same_path = [s for s in every if Path(s.image).resolve() == source.path.resolve()]
    same_file = [s for s in every if Path(s.image).name == source.path.name]
    both = [s for s in same_name if s in same_path]
    fits = both or same_name or same_path or same_file
    if len(fits) > 1:
        names = listed(s.name for s in fits)
        raise ProjectError(f"{predictions.root}: several predictions fit slide {source.name!r}: {names}")
    if fits and (fits[0].width, fits[0].height) != (item.info.width, item.info.height):
        raise ProjectError(
            f"slide {source.name!r} is {item.info.width} x {item.info.height} px, the predicted one was "
            f"{fits[0].width} x {fits[0].height}"
        )
    return fits[0] if fits else None


def _meaning(labels: LabelMap) -> dict[int, str]:
    return {value: labels.name_of(value) for value in labels.trained_values}
