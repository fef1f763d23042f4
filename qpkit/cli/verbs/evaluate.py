"""qpkit evaluate: Dice, IoU, AUC, lesion F1, PQ and AJI of objects per slide, group and patient, beside baselines."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import typer

from qpkit.api.evaluate import evaluate
from qpkit.cli.shared import evaluation_tables
from qpkit.cli.shared.console import progress, say, say_all, took
from qpkit.extras import extra
from qpkit.workflows.evaluate.files import evaluation_to_builtins
from qpkit.workflows.evaluate.settings import EvaluateSettings
from qpkit.workflows.inputs.label_maps import read_label_map
from qpkit.workflows.inputs.settings import SlideSettings


def command(
    predictions: Path = typer.Argument(
        ..., metavar="DIR", help="Predictions folder, or a run folder (its test slides are predicted first)."
    ),
    paths: list[Path] = typer.Argument(
        ...,
        metavar="PROJECT|SLIDE|FOLDER...",
        help="Where the annotations are; a folder of images and masks; with --instances one of true label images.",
    ),
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of the one SLIDE."),
    *,
    settings: EvaluateSettings,
    slides: SlideSettings,
    labels: Path | None = typer.Option(
        None, help="labels.toml with other rules than the run's (same values); what masks mean."
    ),
    threshold: list[str] = typer.Option(
        [],
        metavar="CLASS=PROBABILITY|natural|validated",
        help="Of a run: background where a class is less probable than this, as in qpkit predict.",
    ),
    from_masks: bool = typer.Option(False, "--from-masks", help="DIR holds label images of another program."),
    table_file: Path | None = typer.Option(
        None, "--table", help="With --from-masks: CSV with file,slide,x,y[,downsample] where names do not say it."
    ),
    instances: str | None = typer.Option(
        None,
        metavar="CLASS|TABLE|DIR",
        help="DIR holds label images in which each number is one object: the class of all of them, a CSV of numbers "
        "and classes, or a folder with such a CSV for each image (NAME.csv).",
    ),
    true_instances: str | None = typer.Option(
        None, metavar="CLASS|TABLE|DIR", help="The same of the true label images, if it is not as --instances."
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder for tables, figures and overlay pictures."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an evaluation that is there."),
) -> None:
    """Compare predictions with the annotations: pixels, lesions, patients, and what baselines would score."""
    start = time.perf_counter()
    prediction = None
    if threshold:
        with extra("train"):
            from qpkit_train.inference.settings import PredictSettings
            from qpkit_train.inference.thresholds import parse_thresholds

        prediction = PredictSettings(thresholds=parse_thresholds(threshold))
    with progress("evaluate") as update:
        result = evaluate(
            predictions,
            paths,
            settings,
            slides=slides,
            annotations=annotations,
            labels=read_label_map(labels) if labels else None,
            prediction=prediction,
            from_masks=from_masks,
            masks_table=table_file,
            instances=instances,
            true_instances=true_instances,
            out=out,
            overwrite=overwrite,
            on_progress=update,
        )
    if as_json:
        typer.echo(msgspec.json.encode(evaluation_to_builtins(result)).decode())
    else:
        evaluation_tables.show(result)
    say_all("note: ", result.notes)
    say(f"{f'{out} ' if out else ''}({took(start)})")
