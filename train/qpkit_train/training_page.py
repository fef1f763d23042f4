"""The report of a run on one page: what its folder says, and its best weights measured tile by tile."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from qpkit.dataset.manifest import require_tile_set
from qpkit.errors import FormatError, QpkitError
from qpkit.progress import OnProgress, no_progress
from qpkit.report.pages.training import TrainingFacts, write_training_report
from qpkit.report.values.tiles import RunEvaluation
from qpkit_train.evaluation import evaluate_run
from qpkit_train.run_folder.records import read_state, status_of
from qpkit_train.run_folder.run import Run, load_run

PAGE_NAME: Final = "report.html"
"""In every run folder."""


def write_training_page(
    run: Path, page: Path, *, tiles: Path | None = None, on_progress: OnProgress = no_progress
) -> str:
    """Measure a run's best weights on its tiles and write the page.

    Args:
        run: Run folder.
        page: HTML file to write.
        tiles: Where the run's tiles are now, if they were moved.
        on_progress: Called with (tiles done, tiles in all, text).

    Returns:
        What the user has to know, or "": without the tiles the page shows no tiles and no thresholds.

    Raises:
        FormatError: Not a run folder, or no epoch of it is finished.
        OutputError: The page cannot be written.
    """
    opened = load_run(run)
    state = read_state(run, run=opened.id)
    if state is None:
        raise FormatError(f"{run}: no epoch is finished yet; go on with qpkit train --resume")
    if tiles is not None:
        require_tile_set(tiles)
    evaluation, missing = _evaluated(opened, tiles, on_progress)
    facts = TrainingFacts(
        run=msgspec.to_builtins(opened.file) | {"status": status_of(opened.file)},
        history=state.history,
        confusion=np.array(state.confusion, np.int64),
        labels=opened.labels,
        names=tuple(opened.labels.name_of(value) for value in opened.labels.trained_values),
        evaluation=evaluation,
        missing=missing,
    )
    write_training_report(facts, page)
    return missing


def _evaluated(run: Run, tiles: Path | None, on_progress: OnProgress) -> tuple[RunEvaluation | None, str]:
    try:
        return evaluate_run(run, tiles=tiles, on_progress=on_progress), ""
    except QpkitError as err:
        return None, f"the report shows no tiles and no thresholds: {err}"
