"""qpkit evaluate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qpkit.cli._console import progress, say, table, took

if TYPE_CHECKING:
    from qpkit.workflows.evaluate import Evaluation


def command(
    predictions: Path = typer.Argument(..., metavar="DIR", help="Folder that qpkit predict made."),
    paths: list[Path] = typer.Argument(..., metavar="PROJECT|SLIDE...", help="Where the annotations are."),
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of the one SLIDE."),
    entry: list[str] = typer.Option([], help="Only this entry of the project (name or id; repeatable)."),
    labels: Path | None = typer.Option(None, help="labels.toml with other rules than the run's (same values)."),
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder for evaluation.json and overlay pictures."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an evaluation that is there."),
) -> None:
    """Compare predictions with the annotations: Dice, IoU, lesions found, area outside."""
    import msgspec

    from qpkit.predictions import read_predictions
    from qpkit.workflows.evaluate import evaluate, evaluation_to_builtins
    from qpkit.workflows.sources import read_label_map, slide_inputs

    start = time.perf_counter()
    inputs = slide_inputs(paths, annotations=annotations, entries=entry)
    with progress("evaluate") as update:
        result = evaluate(
            read_predictions(predictions),
            inputs,
            labels=read_label_map(labels) if labels else None,
            out=out,
            overwrite=overwrite,
            on_progress=update,
        )
    if as_json:
        typer.echo(msgspec.json.encode(evaluation_to_builtins(result)).decode())
    else:
        _show(result)
    say(f"{f'{out} ' if out else ''}({took(start)})")


def _show(result: Evaluation) -> None:
    rows = []
    slides = result.slides if len(result.slides) == 1 else (*result.slides, result.pooled)
    for slide in slides:
        for name, s in slide.scores.items():
            lesions = slide.lesions.get(name)
            found = f"{lesions.found} of {lesions.total}" if lesions else "-"
            outside = None if slide.outside_mm2 is None else slide.outside_mm2.get(name)
            rows.append((slide.name, name, s.support, s.dice, s.iou, s.precision, s.recall, found, outside))
    columns = ("slide", "class", "pixels", "Dice", "IoU", "precision", "recall", "lesions found", "mm2 outside regions")
    table(f"Run {result.run} against the annotations", columns, rows)
