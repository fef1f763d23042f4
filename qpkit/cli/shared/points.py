"""qpkit predict --prompts: what does not go with it, and what is said of the points."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from qpkit.api.import_predictions import import_predictions
from qpkit.api.predict_points import AnsweredPoints, predict_points
from qpkit.cli.shared.console import progress, say, say_all, table, took
from qpkit.cli.shared.imports import show_imports
from qpkit.errors import ConfigError
from qpkit.files import require_free
from qpkit.predictions.store import INFO_NAME
from qpkit.workflows.imports.settings import ImportSettings
from qpkit.workflows.inputs.settings import SlideSettings

if TYPE_CHECKING:
    from qpkit_train.inference.prompts.settings import PromptSettings


def answer_points(
    run: Path,
    paths: Sequence[Path],
    out: Path,
    settings: PromptSettings,
    *,
    slides: SlideSettings,
    imports: ImportSettings | None,
    overwrite: bool,
) -> None:
    """Answer the points of projects, import the objects if `imports` says how, and say what became of them.

    Raises:
        ConfigError: There is no such model, or it takes no clicks.
    """
    start = time.perf_counter()
    require_free(out, marker=INFO_NAME, overwrite=overwrite)
    with progress("points") as update:
        found = predict_points(run, paths, out, settings, slides=slides, overwrite=overwrite, on_progress=update)
    _show(found, out, start)
    if imports is not None:
        with progress("import") as update:
            reports = import_predictions(out, paths[0], imports, on_progress=update)
        show_imports(reports, paths[0], start)


def require_alone(given: Sequence[tuple[str, bool]]) -> None:
    """Refuse what does not go with points.

    Args:
        given: Options, and whether they were said.

    Raises:
        ConfigError: One was.
    """
    for option, is_given in given:
        if is_given:
            raise ConfigError(f"{option} does not go with --prompts, which answers point by point; leave it out")


def _show(found: AnsweredPoints, out: Path, start: float) -> None:
    report = found.report
    rows = [
        (
            slide.name,
            slide.points,
            ", ".join(f"{name} {count:,}" for name, count in slide.objects.items()) or "none",
            slide.merged,
            slide.empty,
            slide.cut,
            slide.hidden,
            slide.seconds,
        )
        for slide in report.slides
    ]
    say_all("", found.notes)
    heads = ("slide", "points", "objects", "on an object with another", "on nothing", "cut", "hidden", "s")
    table(f"Run {report.run}", heads, rows)
    if cut := sum(slide.cut for slide in report.slides):
        say(f"note: {cut} object(s) reach the edge of what the model was shown; more with --prompt-largest")
    say(f"objects by {report.model} on {report.device} in {out} ({took(start)})")
