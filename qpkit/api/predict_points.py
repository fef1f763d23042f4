"""Points that people drew, as objects of what they point at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qpkit.extras import extra
from qpkit.files import AnyPath
from qpkit.progress import OnProgress, no_progress
from qpkit.workflows.inputs.points import points_of_slides
from qpkit.workflows.inputs.settings import ALL_SLIDES, SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs

if TYPE_CHECKING:
    from qpkit_train.inference.prompts.predict import PromptReport
    from qpkit_train.inference.prompts.settings import PromptSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class AnsweredPoints:
    """What became of the points of slides.

    Args:
        report: Of those that were answered, slide by slide.
        notes: What was found, and what was left out.
    """

    report: PromptReport
    notes: tuple[str, ...]


def predict_points(
    run: AnyPath,
    paths: AnyPath | Sequence[AnyPath],
    out: AnyPath,
    settings: PromptSettings | None = None,
    *,
    slides: SlideSettings = ALL_SLIDES,
    overwrite: bool = False,
    on_progress: OnProgress = no_progress,
) -> AnsweredPoints:
    """Turn the points annotations of projects into objects of what they point at.

    `import_predictions` puts them into the project.

    Args:
        run: Run folder of a network that answers clicks (recipe prompts-unet-resnet18), its .onnx file, or "sam:FOLDER"
            for a SAM that transformers reads.
        paths: QuPath projects. The class of a point is that of the object; points of class Ignore* say where none is.
        out: Folder to make: rasters and predictions.json.
        settings: How much of the slide the model sees.
        slides: Which slides, and how they are read.
        overwrite: Replace predictions that are there.
        on_progress: Called with (points answered, points in all, slide).

    Raises:
        MissingExtraError: What runs the model is not installed.
        QpkitError: As `points_of_slides` and `qpkit_train.inference.prompts.predict.predict_points` say.
    """
    with extra("train"):
        from qpkit_train.inference.prompts.predict import predict_points as predict_sources
        from qpkit_train.inference.prompts.settings import PromptSettings

    points = points_of_slides(slide_inputs(paths, slides))
    report = predict_sources(
        Path(run),
        [item.source for item in points.inputs],
        points.prompts,
        Path(out),
        settings or PromptSettings(),
        overwrite=overwrite,
        on_progress=on_progress,
    )
    return AnsweredPoints(report=report, notes=points.notes)
