"""qpkit suggest: the regions worth annotating next, as rectangles in the project."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from qpkit.cli.shared.console import progress, say, say_all, table_of, took
from qpkit.errors import ConfigError, OutputError
from qpkit.extras import extra
from qpkit.files import csv_bytes, replace_file
from qpkit.predictions import read_predictions
from qpkit.qupath import open_project
from qpkit.workflows.inputs.slides import slide_inputs
from qpkit.workflows.pages.suggestions import suggestions_picture
from qpkit.workflows.suggest.choose import suggest
from qpkit.workflows.suggest.project import remove_suggestions, write_suggestions
from qpkit.workflows.suggest.result import Suggestion
from qpkit.workflows.suggest.settings import SuggestSettings


def command(
    project: Path = typer.Argument(..., help="QuPath project. Close it in QuPath first."),
    *,
    settings: SuggestSettings,
    predictions: list[Path] = typer.Option(
        [], help="Folder that qpkit predict made; a second one of another run tells where they disagree (repeatable)."
    ),
    encoder: str | None = typer.Option(
        None,
        metavar="RUN|NAME:WEIGHTS",
        help="Compare squares by what an encoder sees in them, of a run or with published or local weights, "
        "instead of by colour and texture.",
    ),
    undo: bool = typer.Option(False, "--undo", help="Take the suggestions out that are still there."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Write nothing into the project."),
    csv: Path | None = typer.Option(None, help="CSV file to write: one row per region."),
    out: Path | None = typer.Option(None, "-o", "--out", help="PNG file to write: the regions side by side."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that are there."),
) -> None:
    """Suggest regions to annotate next, as Suggested* rectangles whose names say why; earlier ones are replaced.

    Without predictions: what looks least like the rest and like what is annotated. With predictions: where the model is
    unsure, where rare classes are predicted, where two runs disagree; and not the same twenty times.
    """
    start = time.perf_counter()
    opened = open_project(project)
    if undo:
        slides = SuggestSettings(entries=settings.entries, where=settings.where)
        if csv or out or predictions or encoder or settings != slides:
            raise ConfigError("--undo goes with --entry, --where and --dry-run alone")
        count = remove_suggestions(opened, slides, dry_run=dry_run)
        said = "would be taken out of" if dry_run else "taken out of"
        say(f"{count:,} suggestion(s) {said} {project}")
        return
    if out is not None and out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: the picture is PNG; its name has to end in .png")
    for path in (csv, out):
        if path is not None and path.exists() and not overwrite:
            raise OutputError(f"{path}: is there already; choose another name or pass --overwrite")
    look = None
    if encoder is not None:
        with extra("train"):
            from qpkit_train.encoder_look import encoder_look

        look = encoder_look(encoder)
    items = slide_inputs([project], settings)
    with progress("suggest") as update:
        sets = [read_predictions(path) for path in predictions]
        report = suggest(items, settings, predictions=sets, look=look, on_progress=update)
    rows = [_row(one) for one in report.suggestions]
    if csv is not None:
        replace_file(csv, csv_bytes([list(rows[0]), *([row.get(key, "") for key in rows[0]] for row in rows)]))
    if out is not None:
        replace_file(out, suggestions_picture(report.suggestions))
    written, replaced = (0, 0) if dry_run else write_suggestions(opened, report)
    table_of("Suggested regions", rows)
    say_all("note: ", report.notes)
    share = report.mm2 / report.tissue_mm2 if report.tissue_mm2 else 0.0
    say(
        f"{len(rows)} of {report.candidates:,} squares, {report.mm2:.2f} mm2 ({share:.1%} of the tissue); "
        f"{report.annotated:,} more are annotated"
    )
    done = (
        "nothing written (--dry-run)"
        if dry_run
        else f"{written} written into {project}, {replaced} earlier ones taken out"
    )
    say(f"{done} ({took(start)})")


def _row(one: Suggestion) -> dict[str, Any]:
    region = one.candidate.region
    return {
        "rank": one.rank,
        "slide": one.candidate.item.source.name,
        "x": int(region.x),
        "y": int(region.y),
        "side_px": int(region.width),
        "mm2": round(one.candidate.mm2, 4),
        "why": ", ".join(one.reasons),
        **{name.lower(): value for name, value in one.scores.items()},
    }
