"""Whole slides through a trained model, on request straight into the project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from qpkit.extras import extra
from qpkit.files import AnyPath
from qpkit.progress import OnProgress, no_progress
from qpkit.qupath import open_project
from qpkit.workflows.imports.as_they_come import ImportedSlides, SlideImporter, require_importable
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import SlideInput, slide_inputs
from qpkit.workflows.inputs.within import areas_within

if TYPE_CHECKING:
    from qpkit_train.inference.predict import OnSlide
    from qpkit_train.inference.report import PredictReport
    from qpkit_train.inference.settings import PredictSettings


def predict(
    run: AnyPath,
    paths: AnyPath | Sequence[AnyPath],
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
            model, which need no torch; or a folder of export-model --for huggingface, or hf:OWNER/NAME.
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
        from qpkit_train.publishing.hub import local_model

    model = local_model(Path(run))
    broken: dict[str, str] = {}
    inputs = slide_inputs(paths, slides, broken=broken)
    return predict_inputs(
        model,
        inputs,
        Path(out),
        settings or PredictSettings(),
        shard=shard,
        devices=devices,
        scheduler=scheduler,
        broken=broken,
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
        from qpkit_train.inference.running.ensemble import with_members
        from qpkit_train.inference.running.opening import card_of
        from qpkit_train.inference.settings import PredictSettings
        from qpkit_train.publishing.hub import local_model

    model = local_model(Path(run))
    opened, settings, imports = open_project(project), settings or PredictSettings(), imports or ImportSettings()
    broken: dict[str, str] = {}
    inputs = slide_inputs([opened.path], slides, broken=broken)
    require_importable(inputs, card_of(*with_members(model, settings)).labels, opened, imports)
    with SlideImporter(opened, imports) as importer:
        report = predict_inputs(
            model,
            inputs,
            Path(out),
            settings,
            devices=devices,
            scheduler=scheduler,
            broken=broken,
            overwrite=overwrite,
            on_slide=importer.put,
            on_progress=on_progress,
        )
    return report, importer.imported()


def predict_inputs(
    run: Path,
    inputs: Sequence[SlideInput],
    out: Path,
    settings: PredictSettings,
    *,
    shard: tuple[int, int] | None = None,
    devices: Sequence[str] = (),
    scheduler: str | None = None,
    broken: Mapping[str, str] = MappingProxyType({}),
    overwrite: bool,
    on_slide: OnSlide | None = None,
    on_progress: OnProgress,
) -> PredictReport:
    """Predict slides, where `settings.within` says so only inside their annotations; `broken` ones are reported."""
    with extra("train"):
        from qpkit_train.inference.predict import predict as predict_sources
        from qpkit_train.inference.running.ensemble import with_members

    run, settings = with_members(run, settings)
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
        unopened=broken,
        overwrite=overwrite,
        on_slide=on_slide,
        on_progress=on_progress,
    )
    return report if within is None else replace(report, notes=(*within.notes, *report.notes))
