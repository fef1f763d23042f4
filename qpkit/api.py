"""The loop as functions: export, train, predict, import_predictions, evaluate. The command line calls the same ones.

Each takes paths, a verb's settings and an `on_progress`, and gives the verb's report; nothing is printed. Training and
predicting need `pip install 'qpkit[train]'`, which is imported when they are called.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from qpkit.core.labels import LabelMap
from qpkit.errors import ConfigError, listed
from qpkit.extras import extra
from qpkit.files import require_free
from qpkit.predictions import PredictionSet, read_predictions
from qpkit.predictions.store import INFO_NAME as PREDICTIONS
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import open_project
from qpkit.workflows.evaluate.files import INFO_NAME as EVALUATION
from qpkit.workflows.evaluate.images import evaluate_images
from qpkit.workflows.evaluate.placed_images import evaluate_placed_images
from qpkit.workflows.evaluate.predictions import evaluate as evaluate_predictions
from qpkit.workflows.evaluate.result import Evaluation
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.export.settings import ExportSettings
from qpkit.workflows.export.shard import ShardReport
from qpkit.workflows.export.shard import export_shard as export_part
from qpkit.workflows.export.tiles import ExportReport, export_tiles
from qpkit.workflows.imports.as_they_come import ImportedSlides, SlideImporter, require_importable
from qpkit.workflows.imports.geojson import predictions_to_geojson
from qpkit.workflows.imports.project import import_predictions as import_into_project
from qpkit.workflows.imports.project import undo_import as undo_imported
from qpkit.workflows.imports.result import SlideImport
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.label_images import masks_as_predictions
from qpkit.workflows.inputs.numbered_images import instances_as_predictions
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import SlideInput, project_classes, slide_inputs
from qpkit.workflows.inputs.training_slides import test_slides
from qpkit.workflows.inputs.within import areas_within

if TYPE_CHECKING:
    from qpkit_train.inference.predict import OnSlide
    from qpkit_train.inference.report import PredictReport
    from qpkit_train.inference.settings import PredictSettings
    from qpkit_train.recipe.settings import Recipe
    from qpkit_train.run_folder.fit_report import FitReport

AnyPath = str | os.PathLike[str]

DEFAULT_RECIPE: Final = "unet-resnet34"


def export(
    paths: Sequence[AnyPath],
    out: AnyPath,
    settings: ExportSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    annotations: AnyPath | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> ExportReport:
    """Write annotations as tiles and masks at a stated resolution.

    A slide that breaks off while it is read is left out and named in the report. If the process is killed, the same
    call goes on where it was.

    Args:
        paths: QuPath projects or slide files.
        out: Folder to make: tiles, tiles.parquet, export.json.
        settings: What is written.
        slides: Which slides, and how they are read.
        annotations: GeoJSON with the annotations of the one slide.
        workers: Slides exported side by side, each in a process of its own.
        scheduler: Do the slides on a Dask cluster, such as tcp://node1:8786.
        overwrite: Replace an export that is there.
        on_progress: Called with (tiles done, tiles in all, slide).

    Raises:
        QpkitError: As `qpkit.workflows.export.tiles.export_tiles` and `slide_inputs` say.
    """
    broken: dict[str, str] = {}
    places = [Path(path) for path in paths]
    inputs = slide_inputs(places, slides, annotations=_path(annotations), broken=broken)
    return export_tiles(
        inputs,
        Path(out),
        settings or ExportSettings(),
        classes=project_classes(places),
        overwrite=overwrite,
        workers=workers,
        scheduler=scheduler,
        broken=broken,
        on_progress=on_progress,
    )


def export_shard(
    paths: Sequence[AnyPath],
    out: AnyPath,
    settings: ExportSettings | None = None,
    *,
    shard: tuple[int, int],
    slides: SlideSettings = ALL_SLIDES,
    annotations: AnyPath | None = None,
    workers: int = 1,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> ShardReport:
    """Do the `shard[0]`-th of `shard[1]` parts of an export, for array jobs; the last one that ends makes `out`.

    Args:
        paths, out, settings, slides, annotations, workers, overwrite, on_progress: As in `export`.
        shard: (number, count), the first is 1.

    Raises:
        QpkitError: As `export`.
    """
    broken: dict[str, str] = {}
    places = [Path(path) for path in paths]
    inputs = slide_inputs(places, slides, annotations=_path(annotations), broken=broken)
    return export_part(
        inputs,
        Path(out),
        settings or ExportSettings(),
        shard,
        classes=project_classes(places),
        overwrite=overwrite,
        workers=workers,
        broken=broken,
        on_progress=on_progress,
    )


def train(
    tiles: AnyPath,
    out: AnyPath,
    recipe: Recipe | str = DEFAULT_RECIPE,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> FitReport:
    """Train a segmentation model on exported tiles.

    Args:
        tiles: What `export` wrote.
        out: Run folder to make, or to resume.
        recipe: A recipe, the name of one that comes with qpkit, or a TOML file.
        overrides: "optim.lr=3e-4" each; changes a recipe that is named.
        resume: Go on where the run in `out` stopped; with another seed, recipe or tiles it is refused.
        on_progress: Called with (steps done, steps in all, text).

    Raises:
        MissingExtraError: torch is not installed.
        QpkitError: As `qpkit_train.loop.fit` says.
    """
    with extra("train"):
        from qpkit_train.loop import fit
        from qpkit_train.recipe.load import load_recipe

    if not isinstance(recipe, str):
        if overrides:
            raise ConfigError("overrides change a recipe that is named; change the recipe itself")
        return fit(Path(tiles), Path(out), recipe, resume=resume, on_progress=on_progress)
    chosen = load_recipe(recipe, overrides)
    if chosen.classifies_tiles:
        raise ConfigError(f"recipe {chosen.name} classifies tiles; train it with qpkit train-classifier")
    return fit(Path(tiles), Path(out), chosen, resume=resume, on_progress=on_progress)


def predict(
    run: AnyPath,
    paths: Sequence[AnyPath],
    out: AnyPath,
    settings: PredictSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    shard: tuple[int, int] | None = None,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> PredictReport:
    """Predict whole slides with a trained model.

    If the process is killed, the same call goes on where it was. Several processes that make the same call share the
    slides; the last one makes `out`.

    Args:
        run: Run folder of `train`; or an .onnx file of qpkit export-model or a .toml file that describes another ONNX
            model, which need no torch.
        paths: QuPath projects or slide files.
        out: Folder to make: rasters and predictions.json.
        settings: How they are predicted.
        slides: Which slides, and how they are read.
        shard: (number, count), the first is 1: do only this part of the slides, for array jobs.
        devices: A process for each of these, "cpu", "mps" or the number of a GPU; slides go to whichever is free.
        scheduler: Do the slides on a Dask cluster, such as tcp://node1:8786.
        overwrite: Replace predictions that are there.
        on_progress: Called with (tiles done, tiles in all, slide).

    Raises:
        MissingExtraError: torch is not installed, or onnxruntime.
        QpkitError: As `qpkit_train.inference.predict.predict` says.
    """
    with extra("train"):
        from qpkit_train.inference.settings import PredictSettings

    inputs = slide_inputs([Path(path) for path in paths], slides)
    return _predict_inputs(
        Path(run),
        inputs,
        Path(out),
        settings or PredictSettings(),
        shard=shard,
        devices=devices,
        scheduler=scheduler,
        overwrite=overwrite,
        on_progress=on_progress,
    )


def predict_into_project(
    run: AnyPath,
    project: AnyPath,
    out: AnyPath,
    settings: PredictSettings | None = None,
    imports: ImportSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> tuple[PredictReport, ImportedSlides]:
    """Predict the slides of a project, and put each into it while the next is predicted.

    Args:
        run, out, settings, slides, devices, scheduler, overwrite, on_progress: As in `predict`.
        project: QuPath project; it must be closed in QuPath.
        imports: How rasters become objects.

    Returns:
        The reports of the prediction and of the import. What could not be imported is in the second one's `failed`; the
        predictions are whole then, and `import_predictions` may try again.

    Raises:
        MissingExtraError: torch is not installed, or onnxruntime.
        QpkitError: As `predict`; or the import could not work, which is said before anything is predicted.
    """
    with extra("train"):
        from qpkit_train.inference.running.opening import card_of
        from qpkit_train.inference.settings import PredictSettings

    opened, settings, imports = open_project(project), settings or PredictSettings(), imports or ImportSettings()
    inputs = slide_inputs([opened.path], slides)
    require_importable(inputs, card_of(Path(run), settings).labels, opened, imports)
    with SlideImporter(opened, imports) as importer:
        report = _predict_inputs(
            Path(run),
            inputs,
            Path(out),
            settings,
            devices=devices,
            scheduler=scheduler,
            overwrite=overwrite,
            on_slide=importer.put,
            on_progress=on_progress,
        )
    return report, importer.imported()


def _predict_inputs(
    run: Path,
    inputs: Sequence[SlideInput],
    out: Path,
    settings: PredictSettings,
    *,
    shard: tuple[int, int] | None = None,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    overwrite: bool,
    on_slide: OnSlide | None = None,
    on_progress: OnProgress,
) -> PredictReport:
    """Predict slides, where `settings.within` says so only inside their annotations."""
    with extra("train"):
        from qpkit_train.inference.predict import predict as predict_sources

    within = None if settings.within is None else areas_within(inputs, settings.within)
    report = predict_sources(
        run,
        [item.source for item in (inputs if within is None else within.inputs)],
        out,
        settings,
        areas=None if within is None else within.areas,
        shard=shard,
        devices=devices,
        scheduler=scheduler,
        overwrite=overwrite,
        on_slide=on_slide,
        on_progress=on_progress,
    )
    return report if within is None else replace(report, notes=(*within.notes, *report.notes))


def import_predictions(
    predictions: AnyPath,
    project: AnyPath,
    settings: ImportSettings | None = None,
    *,
    masks: LabelMap | None = None,
    masks_table: AnyPath | None = None,
    instances: str | None = None,
    geojson: AnyPath | None = None,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> list[SlideImport]:
    """Turn predictions into polygons in the QuPath project, ready to review.

    Args:
        predictions: Folder of `predict`, or of label images if `masks` says what their values mean.
        project: QuPath project to put the objects into; it must be closed in QuPath.
        settings: How rasters become objects.
        masks: The label map of another program's label images.
        masks_table: CSV with file,slide,x,y[,downsample] where names of label images do not say where they lie.
        instances: Each number of the label images is one object: the class of all, a CSV of numbers and classes, or a
            folder with such a CSV for each image; `masks` may say more about the classes.
        geojson: Write GeoJSON files into this folder instead.
        overwrite: Replace GeoJSON files that are there.
        on_progress: Called with (strips done, strips in all, slide).

    Raises:
        QpkitError: As `qpkit.workflows.imports.project.import_predictions` says.
    """
    opened, settings = open_project(project), settings or ImportSettings()
    with _predictions(
        Path(predictions), [Path(project)], masks, _path(masks_table), on_progress, instances=instances
    ) as found:
        if geojson is not None:
            return predictions_to_geojson(found, Path(geojson), settings, overwrite=overwrite, on_progress=on_progress)
        return import_into_project(found, opened, settings, on_progress=on_progress)


def undo_import(project: AnyPath, run: str, *, dry_run: bool = False) -> list[SlideImport]:
    """Take what a run put into a project out again; what a person has changed since stays and is counted.

    Args:
        project: QuPath project; it must be closed in QuPath.
        run: Id of the run.
        dry_run: Change nothing; say what would be.

    Raises:
        QpkitError: As `qpkit.workflows.imports.project.undo_import` says.
    """
    return undo_imported(open_project(project), run, dry_run=dry_run)


def evaluate(
    predictions: AnyPath,
    paths: Sequence[AnyPath],
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
        paths: QuPath projects or slide files with the annotations.
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
    folder, places, target = Path(predictions), [Path(path) for path in paths], _path(out)
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
            table=_path(masks_table),
            settings=settings,
            out=target,
            overwrite=overwrite,
            on_progress=on_progress,
        )
    if true_instances is not None:
        raise ConfigError("--true-instances goes with --instances")
    inputs = slide_inputs(places, slides, annotations=_path(annotations))
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
        raise ConfigError(f"--threshold: {folder} is no run, and labels that are there stay; give it to qpkit predict")
    with _predictions(folder, places, labels if from_masks else None, _path(masks_table), on_progress) as found:
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


def _path(path: AnyPath | None) -> Path | None:
    return None if path is None else Path(path)


@contextmanager
def _predictions(
    folder: Path,
    paths: Sequence[Path],
    masks: LabelMap | None,
    table: Path | None,
    on_progress: OnProgress,
    *,
    instances: str | None = None,
) -> Iterator[PredictionSet]:
    """Open predictions; label images are put together into rasters that are gone after the block."""
    if masks is None and instances is None:
        yield read_predictions(folder)
        return
    if len(paths) != 1 or not is_project(paths[0]):
        raise ConfigError("--from-masks goes with exactly one QuPath project: it says how large the slides are")
    with TemporaryDirectory(prefix="qpkit-") as made:
        project = open_project(paths[0])
        if instances is not None:
            yield instances_as_predictions(
                folder, project, instances, Path(made), labels=masks, table=table, on_progress=on_progress
            )
        else:
            assert masks is not None
            yield masks_as_predictions(folder, project, masks, Path(made), table=table, on_progress=on_progress)


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
    report = _predict_inputs(run, slides, folder, how, overwrite=overwrite, on_progress=on_progress)
    if report.missing:
        raise ConfigError(f"{folder}: another process predicts {report.missing} slide(s); evaluate when it is done")
    skipped = [f"skipped {name}: {reason}" for name, reason in report.skipped]
    return folder, (*skipped, *report.notes, f"predictions on {report.device} in {folder}")
