"""qpkit evaluate."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, took
from qpkit.cli.shared.evaluated import label_images, open_predictions
from qpkit.cli.verbs.predict import THRESHOLD
from qpkit.errors import ConfigError


def command(
    predictions: Path = typer.Argument(
        ..., metavar="DIR", help="Predictions folder, or a run folder (its test slides are predicted first)."
    ),
    paths: list[Path] = typer.Argument(..., metavar="PROJECT|SLIDE...", help="Where the annotations are."),
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of the one SLIDE."),
    entry: list[str] = typer.Option([], help="Only this entry of the project (name or id; repeatable)."),
    labels: Path | None = typer.Option(
        None, help="labels.toml with other rules than the run's (same values); what masks mean."
    ),
    by: list[str] = typer.Option([], help="Figures for every value of a metadata key, e.g. Stain (repeatable)."),
    patient: str | None = typer.Option(
        None, help="Metadata key over which means are taken ('Patient' if all slides have it, else the slide)."
    ),
    unannotated: str | None = typer.Option(
        None, help="Count what nobody annotated as background, or ignore it (the label map's rule)."
    ),
    only_tissue: bool = typer.Option(False, "--only-tissue", help="Leave out glass that nobody annotated."),
    lesion_overlap: float = typer.Option(0.5, help="IoU from which a predicted lesion is a true one."),
    min_lesion_um2: float = typer.Option(0.0, help="Smaller predicted lesions are no false alarms."),
    resamples: int = typer.Option(2000, help="Of the bootstrap over patients."),
    seed: int = typer.Option(0, help="Of the bootstrap."),
    threshold: list[str] = THRESHOLD,
    from_masks: bool = typer.Option(False, "--from-masks", help="DIR holds label images of another program."),
    table_file: Path | None = typer.Option(
        None, "--table", help="With --from-masks: CSV with file,slide,x,y[,downsample] where names do not say it."
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder for tables, figures and overlay pictures."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an evaluation that is there."),
) -> None:
    """Compare predictions with the annotations: pixels, lesions, patients, and what guessing would score."""
    import msgspec

    from qpkit.cli.shared import evaluation_tables as _evaluation_tables
    from qpkit.workflows.evaluate.files import evaluation_to_builtins
    from qpkit.workflows.evaluate.predictions import evaluate
    from qpkit.workflows.evaluate.settings import EvaluateSettings, parse_unannotated
    from qpkit.workflows.inputs.slides import read_label_map, slide_inputs

    start = time.perf_counter()
    settings = EvaluateSettings(
        by=tuple(by),
        patient=patient,
        unannotated=parse_unannotated(unannotated),
        only_tissue=only_tissue,
        lesion_overlap=lesion_overlap,
        min_lesion_um2=min_lesion_um2,
        resamples=resamples,
        seed=seed,
    )
    if table_file and not from_masks:
        raise ConfigError("--table goes with --from-masks")
    if threshold and from_masks:
        raise ConfigError("--threshold goes with a run, and --from-masks takes label images as they are")
    rules = read_label_map(labels) if labels else None
    inputs = slide_inputs(paths, annotations=annotations, entries=entry)
    with ExitStack() as stack:
        if from_masks:
            judged = stack.enter_context(label_images(predictions, paths, rules, table_file))
        else:
            judged = open_predictions(
                predictions, inputs, entries=entry, threshold=threshold, out=out, overwrite=overwrite
            )
        update = stack.enter_context(progress("evaluate"))
        result = evaluate(
            judged, inputs, labels=rules, settings=settings, out=out, overwrite=overwrite, on_progress=update
        )
    if as_json:
        typer.echo(msgspec.json.encode(evaluation_to_builtins(result)).decode())
    else:
        _evaluation_tables.show(result)
    for note in result.notes:
        say(f"note: {note}")
    say(f"{f'{out} ' if out else ''}({took(start)})")
