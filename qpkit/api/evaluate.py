"""Predictions against annotations: of slides, of a run, of label images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qpkit.api.import_tiles import is_folder_of_pictures
from qpkit.api.predict import predict_inputs
from qpkit.api.shared import opened_predictions
from qpkit.core.labels import LabelMap
from qpkit.dataset import TileSet, read_tile_set
from qpkit.errors import ConfigError, FormatError, ProjectError, about, listed
from qpkit.extras import extra
from qpkit.files import AnyPath, path_of, paths_of, require_free
from qpkit.predictions import read_predictions
from qpkit.predictions.store import INFO_NAME as PREDICTIONS
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import open_project
from qpkit.workflows.evaluate.files import INFO_NAME as EVALUATION
from qpkit.workflows.evaluate.images import evaluate_images
from qpkit.workflows.evaluate.placed_images import evaluate_placed_images
from qpkit.workflows.evaluate.predictions import evaluate as evaluate_predictions
from qpkit.workflows.evaluate.result import Evaluation
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.folders.pairing import find_pairs
from qpkit.workflows.folders.settings import FolderSettings, with_dataset_file
from qpkit.workflows.folders.truth import folder_truth
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import SlideInput, slide_inputs
from qpkit.workflows.inputs.training_slides import test_slides

if TYPE_CHECKING:
    from qpkit_train.inference.settings import PredictSettings

_NO_RUN: Final = "--threshold: {} is no run, and labels that are there stay; give it to qpkit predict"


def evaluate(
    predictions: AnyPath,
    paths: AnyPath | Sequence[AnyPath],
    settings: EvaluateSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    annotations: AnyPath | None = None,
    labels: LabelMap | None = None,
    prediction: PredictSettings | None = None,
    from_masks: bool = False,
    masks_table: AnyPath | None = None,
    instances: str | None = None,
    true_instances: str | None = None,
    out: AnyPath | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> Evaluation:
    """Compare predictions with the annotations: pixels, lesions, patients, and what baselines would score.

    Args:
        predictions: Folder of `predict`; a run folder (its test slides, or the entries named, are predicted first,
            beside `out`); or with `from_masks` a folder of another program's label images.
        paths: QuPath projects or slide files with the annotations; or one folder of images and masks, read as its
            dataset.toml or the run's tiles say: all images that the run was neither trained nor chosen on.
        settings: How predictions are judged.
        slides: Which slides, and how they are read.
        annotations: GeoJSON with the annotations of the one slide.
        labels: Other rules than the run's (same values); what label images mean.
        prediction: How the slides of a run are predicted; probabilities are written in any case.
        from_masks, masks_table: As in `import_predictions`.
        instances, true_instances: `predictions` (and the one folder in `paths`, if it is no project) holds label images
            in which each number is one object: the class of all, a CSV of numbers and classes, or a folder with such a
            CSV for each image.
        out: Folder for tables, figures and overlay pictures; None writes nothing.
        overwrite: Replace an evaluation that is there.
        on_progress: Called with (work done, work in all, slide).

    Raises:
        QpkitError: As `qpkit.workflows.evaluate.predictions.evaluate` says.
    """
    notes: tuple[str, ...] = ()
    folder, places, target = Path(predictions), paths_of(paths), path_of(out)
    if instances is not None:
        _refuse_with_instances(
            {
                "--objects": settings is not None and settings.objects is not None,
                "--threshold": prediction is not None,
                "--annotations": annotations is not None,
            }
        )
        return _evaluate_instances(
            folder,
            places,
            instances,
            true_instances,
            slides=slides,
            labels=labels,
            table=path_of(masks_table),
            settings=settings,
            out=target,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    if true_instances is not None:
        raise ConfigError("--true-instances goes with --instances")
    if not from_masks and annotations is None and len(places) == 1 and _holds_pairs(places[0]):
        if labels is not None or slides != SlideSettings(slide_mpp=slides.slide_mpp):
            raise ConfigError(
                "with a folder of images and masks, of --labels and options on slides only --slide-mpp goes"
            )
        return _evaluate_folder(
            folder,
            places[0],
            prediction,
            mpp=slides.slide_mpp,
            settings=settings,
            out=target,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    inputs = slide_inputs(places, slides, annotations=annotations)
    if from_masks and prediction is not None:
        raise ConfigError("--threshold goes with a run, and --from-masks takes label images as they are")
    if from_masks and labels is None:
        raise ConfigError("--from-masks needs --labels labels.toml: what the values mean")
    if not from_masks and masks_table is not None:
        raise ConfigError("--table goes with --from-masks")
    if (folder / "run.json").is_file() and not from_masks:
        chosen = inputs if slides.chooses_entries else None
        folder, notes = _predicted(
            folder, inputs, chosen, prediction, target, overwrite=overwrite, on_progress=on_progress
        )
    elif prediction is not None:
        raise ConfigError(_NO_RUN.format(folder))
    with opened_predictions(folder, places, labels if from_masks else None, path_of(masks_table), on_progress) as found:
        return evaluate_predictions(
            found,
            inputs,
            labels=labels,
            settings=settings,
            notes=notes,
            out=target,
            overwrite=overwrite,
            on_progress=on_progress,
        )


def _refuse_with_instances(stated: Mapping[str, bool]) -> None:
    said = [name for name, is_said in stated.items() if is_said]
    if said:
        raise ConfigError(f"{listed(said)} cannot go with these --instances (see docs/evaluation.md)")


def _evaluate_instances(
    folder: Path,
    places: Sequence[Path],
    instances: str,
    true_instances: str | None,
    *,
    slides: SlideSettings,
    labels: LabelMap | None,
    table: Path | None,
    settings: EvaluateSettings | None,
    out: Path | None,
    overwrite: bool,
    on_progress: OnProgress,
) -> Evaluation:
    """Evaluate label images of numbered objects: against a project, or against a folder of true label images."""
    if len(places) != 1:
        raise ConfigError(f"--instances goes with one project or one folder of true label images, not {len(places)}")
    if is_project(places[0]):
        if true_instances is not None:
            raise ConfigError("--true-instances goes with a folder of true label images; a project knows its classes")
        return evaluate_placed_images(
            folder,
            open_project(places[0]),
            slide_inputs(places, slides),
            instances=instances,
            labels=labels,
            table=table,
            settings=settings,
            out=out,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    of_projects = {"--labels": labels is not None, "--table": table is not None, "--entry": slides != ALL_SLIDES}
    _refuse_with_instances(of_projects)
    return evaluate_images(
        folder,
        places[0],
        instances=instances,
        true_instances=true_instances,
        settings=settings,
        out=out,
        overwrite=overwrite,
        on_progress=on_progress,
    )


def _holds_pairs(place: Path) -> bool:
    """Whether a folder holds images with masks, and is no project."""
    if not is_folder_of_pictures(place):
        return False
    settings = with_dataset_file(place, FolderSettings())
    try:
        return bool(find_pairs(place, images=settings.images, masks=settings.masks).pairs)
    except ProjectError:
        return False


def _evaluate_folder(
    folder: Path,
    pictures: Path,
    prediction: PredictSettings | None,
    *,
    mpp: float | None,
    settings: EvaluateSettings | None,
    out: Path | None,
    overwrite: bool,
    on_progress: OnProgress,
) -> Evaluation:
    """Evaluate a run, or predictions, on whole images of a folder that the run has not seen; masks are the truth."""
    with extra("train"):
        from qpkit_train.inference.settings import PredictSettings
        from qpkit_train.run_folder.run import load_run

    is_run = (folder / "run.json").is_file()
    if is_run:
        run = load_run(folder)
        labels, place = run.labels, str(run.file.tiles["path"])
    else:
        if prediction is not None:
            raise ConfigError(
                f"--threshold: {folder} is no run, and labels that are there stay; give it to qpkit predict"
            )
        there = read_predictions(folder)
        labels, place = there.label_map, str((there.info.get("trained") or {}).get("tiles", {}).get("path", ""))
    read = with_dataset_file(pictures, FolderSettings(mpp=mpp))
    truth = folder_truth(pictures, read, labels=labels, tiles=_tiles_there(Path(place)))
    inputs, notes = list(truth.inputs), truth.notes
    if is_run:
        # Every pixel of a mask counts, also where a thumbnail would take it for glass.
        how = replace(prediction or PredictSettings(), only_tissue=False)
        folder, told = _predicted(folder, inputs, inputs, how, out, overwrite=overwrite, on_progress=on_progress)
        notes = (*notes, *told)
    return evaluate_predictions(
        read_predictions(folder),
        inputs,
        labels=truth.labels,
        settings=settings,
        notes=notes,
        out=out,
        overwrite=overwrite,
        on_progress=on_progress,
    )


def _tiles_there(place: Path) -> TileSet | None:
    try:
        return read_tile_set(place)
    except FormatError:
        return None


def _predicted(
    run: Path,
    inputs: list[SlideInput],
    chosen: list[SlideInput] | None,
    settings: PredictSettings | None,
    out: Path | None,
    *,
    overwrite: bool,
    on_progress: OnProgress,
) -> tuple[Path, tuple[str, ...]]:
    """Predict a run's test slides, or those chosen, beside `out`; gives the folder and what the user has to know."""
    with extra("train"):
        from qpkit_train.inference.settings import PredictSettings
        from qpkit_train.run_folder.run import load_run

    if out is None:
        raise ConfigError(f"{run}: is a run; its predictions need a place beside the evaluation, so give -o OUT")
    folder = out.with_name(f"{out.name}-predictions")
    require_free(out, marker=EVALUATION, overwrite=overwrite)
    require_free(folder, marker=PREDICTIONS, overwrite=overwrite)
    slides = test_slides(Path(load_run(run).file.tiles["path"]), inputs) if chosen is None else chosen
    how = replace(settings or PredictSettings(), probabilities=True)
    report = predict_inputs(run, slides, folder, how, overwrite=overwrite, on_progress=on_progress)
    if report.missing:
        raise ConfigError(f"{folder}: another process predicts {report.missing} slide(s); evaluate when it is done")
    skipped = [f"skipped {about(name, reason)}" for name, reason in report.skipped]
    return folder, (*skipped, *report.notes, f"predictions on {report.device} in {folder}")
