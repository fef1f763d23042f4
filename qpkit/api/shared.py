"""What the verbs take alike: paths, and predictions that may be label images of another program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from qpkit.core.labels import LabelMap
from qpkit.errors import ConfigError
from qpkit.predictions import PredictionSet, read_predictions
from qpkit.progress import OnProgress
from qpkit.qupath import open_project
from qpkit.workflows.inputs.label_images import masks_as_predictions
from qpkit.workflows.inputs.numbered_images import instances_as_predictions
from qpkit.workflows.inputs.paths import is_project


@contextmanager
def opened_predictions(
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
