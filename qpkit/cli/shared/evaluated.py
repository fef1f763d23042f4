"""What qpkit evaluate judges: a predictions folder, a run (its test slides are predicted first), label images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from qpkit.cli.shared.console import progress, say
from qpkit.errors import ConfigError
from qpkit.extras import extra

if TYPE_CHECKING:
    from qpkit.core.labels import LabelMap
    from qpkit.predictions import PredictionSet
    from qpkit.workflows.inputs.slides import SlideInput


@contextmanager
def label_images(
    folder: Path, paths: Sequence[Path], rules: LabelMap | None, table: Path | None
) -> Iterator[PredictionSet]:
    """Put label images of another program together into rasters that are gone after the block.

    Raises:
        ConfigError: There is no label map, or not exactly one project.
    """
    from qpkit.qupath import open_project
    from qpkit.workflows.inputs.label_images import masks_as_predictions
    from qpkit.workflows.inputs.slides import is_project

    if rules is None:
        raise ConfigError("--from-masks needs --labels labels.toml: what the values mean")
    if len(paths) != 1 or not is_project(paths[0]):
        raise ConfigError("--from-masks goes with exactly one QuPath project: it says how large the slides are")
    with progress("masks") as update, TemporaryDirectory(prefix="qpkit-") as made:
        project = open_project(paths[0])
        yield masks_as_predictions(folder, project, rules, Path(made), table=table, on_progress=update)


def open_predictions(
    path: Path,
    inputs: list[SlideInput],
    *,
    entries: list[str],
    threshold: list[str],
    out: Path | None,
    overwrite: bool,
) -> PredictionSet:
    """Open predictions; a run's are made first, of its test slides (or the entries named), beside `out`."""
    from qpkit.cli.shared.trainer import BATCH_SIZE, HALO_PX, TILE_PX, say_thresholds
    from qpkit.files import require_free
    from qpkit.predictions import read_predictions
    from qpkit.predictions.store import INFO_NAME as PREDICTIONS
    from qpkit.workflows.evaluate.files import INFO_NAME
    from qpkit.workflows.inputs.training_slides import test_slides

    if not (path / "run.json").is_file():
        if threshold:
            raise ConfigError(
                f"--threshold: {path} is no run, and labels that are there stay; give it to qpkit predict"
            )
        return read_predictions(path)
    if out is None:
        raise ConfigError(f"{path}: is a run; its predictions need a place beside the evaluation, so give -o OUT")
    folder = out.with_name(f"{out.name}-predictions")
    require_free(out, marker=INFO_NAME, overwrite=overwrite)
    require_free(folder, marker=PREDICTIONS, overwrite=overwrite)
    with extra("train"):
        from qpkit_train.inference.predict import predict
        from qpkit_train.inference.thresholds import parse_thresholds
        from qpkit_train.run_folder.checkpoint import load_run

    run = load_run(path)
    chosen = inputs if entries else test_slides(Path(run.file.tiles["path"]), inputs)
    with progress("predict") as update:
        report = predict(
            path,
            [item.source for item in chosen],
            folder,
            probabilities=True,
            halo_px=HALO_PX,
            tile_px=TILE_PX,
            batch_size=BATCH_SIZE,
            thresholds=parse_thresholds(threshold),
            overwrite=overwrite,
            on_progress=update,
        )
    for name, reason in report.skipped:
        say(f"skipped {name}: {reason}")
    say_thresholds(report)
    say(f"predictions on {report.device} in {folder}")
    return read_predictions(folder)
