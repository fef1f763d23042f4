"""Predictions into their project while others are still being made: each slide when it is whole, in a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from qpkit.core.labels import LabelMap
from qpkit.errors import QpkitError, listed
from qpkit.files import one_at_a_time
from qpkit.predictions import PredictionSet, SlidePrediction
from qpkit.qupath import Project
from qpkit.workflows.imports.objects import renamed
from qpkit.workflows.imports.project import entries_of, import_predictions
from qpkit.workflows.imports.result import SlideImport
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.slides import SlideInput


def require_importable(
    inputs: Sequence[SlideInput], labels: LabelMap, project: Project, settings: ImportSettings
) -> None:
    """Look at everything that could keep predictions from their project, before they are made.

    Args:
        inputs: Slides to be predicted.
        labels: Of the model.
        project, settings: As for `import_predictions`.

    Raises:
        ProjectError: A slide is not in the project, or is of another size there.
        ConfigError: A name, a colour or a parent is for a class that is not there.
    """
    renamed(labels, settings)
    slides = [
        SlidePrediction(
            name=item.source.name, image=str(item.source.path), entry=item.source.entry, width=item.info.width,
            height=item.info.height, downsample=1.0, labels="",
        )
        for item in inputs
    ]  # fmt: skip
    entries_of(slides, project, settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedSlides:
    """What became of slides that were imported while others were predicted.

    Args:
        reports: Of the slides that are in the project.
        failed: (slide, reason) of those that could not be put there.
        seconds_after: From when the rasters of the last slide were whole until it was in the project.
    """

    reports: tuple[SlideImport, ...]
    failed: tuple[tuple[str, str], ...]
    seconds_after: float


class SlideImporter:
    """Puts slides into a project one after the other, in a thread of its own; use as a context manager.

    Args:
        project, settings: As for `import_predictions`.
    """

    def __init__(self, project: Project, settings: ImportSettings) -> None:
        self._project, self._settings = project, settings
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="qpkit-import")
        self._reports: list[SlideImport] = []
        self._failed: list[tuple[str, str]] = []
        self._seconds_after = 0.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(cancel_futures=True)

    def put(self, predictions: PredictionSet) -> Future[None]:
        """Import one slide's predictions when those before it are imported."""
        return self._thread.submit(self._import, predictions, time.perf_counter())

    def imported(self) -> ImportedSlides:
        """What became of the slides so far."""
        return ImportedSlides(
            reports=tuple(self._reports), failed=tuple(self._failed), seconds_after=self._seconds_after
        )

    def _import(self, predictions: PredictionSet, handed_over: float) -> None:
        name = listed(slide.name for slide in predictions.slides)
        try:
            # Several commands may fill one project; its ledger is one file.
            with one_at_a_time(self._project.path.parent):
                self._reports += import_predictions(predictions, self._project, self._settings)
        except QpkitError as err:
            self._failed.append((name, str(err)))
        self._seconds_after = time.perf_counter() - handed_over
