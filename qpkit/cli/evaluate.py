"""qpkit evaluate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from qpkit.cli._console import progress, say, took

if TYPE_CHECKING:
    from qpkit.predictions import PredictionSet
    from qpkit.workflows.sources import SlideInput


def command(
    predictions: Path = typer.Argument(
        ..., metavar="DIR", help="Predictions folder, or a run folder (its test slides are predicted first)."
    ),
    paths: list[Path] = typer.Argument(..., metavar="PROJECT|SLIDE...", help="Where the annotations are."),
    annotations: Path | None = typer.Option(None, help="GeoJSON with the annotations of the one SLIDE."),
    entry: list[str] = typer.Option([], help="Only this entry of the project (name or id; repeatable)."),
    labels: Path | None = typer.Option(None, help="labels.toml with other rules than the run's (same values)."),
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
    out: Path | None = typer.Option(None, "-o", "--out", help="Folder for tables, figures and overlay pictures."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON instead of tables."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace an evaluation that is there."),
) -> None:
    """Compare predictions with the annotations: pixels, lesions, patients, and what guessing would score."""
    import msgspec

    from qpkit.cli import _evaluation_tables
    from qpkit.workflows.evaluate import evaluate
    from qpkit.workflows.evaluate_settings import EvaluateSettings, parse_unannotated
    from qpkit.workflows.evaluation_files import evaluation_to_builtins
    from qpkit.workflows.sources import read_label_map, slide_inputs

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
    rules = read_label_map(labels) if labels else None
    inputs = slide_inputs(paths, annotations=annotations, entries=entry)
    opened = _open(predictions, inputs, entries=entry, out=out, overwrite=overwrite)
    with progress("evaluate") as update:
        result = evaluate(
            opened, inputs, labels=rules, settings=settings, out=out, overwrite=overwrite, on_progress=update
        )
    if as_json:
        typer.echo(msgspec.json.encode(evaluation_to_builtins(result)).decode())
    else:
        _evaluation_tables.show(result)
    for note in result.notes:
        say(f"note: {note}")
    say(f"{f'{out} ' if out else ''}({took(start)})")


def _open(
    path: Path, inputs: list[SlideInput], *, entries: list[str], out: Path | None, overwrite: bool
) -> PredictionSet:
    """Open predictions; a run's are made first, of its test slides (or the entries named), beside `out`."""
    from qpkit.cli.predict import BATCH_SIZE, HALO_PX, TILE_PX
    from qpkit.cli.train import trainer
    from qpkit.errors import ConfigError
    from qpkit.files import require_free
    from qpkit.predictions import read_predictions
    from qpkit.predictions.store import INFO_NAME as PREDICTIONS
    from qpkit.workflows.evaluation_files import INFO_NAME
    from qpkit.workflows.training_slides import test_slides

    if not (path / "run.json").is_file():
        return read_predictions(path)
    if out is None:
        raise ConfigError(f"{path}: is a run; its predictions need a place beside the evaluation, so give -o OUT")
    folder = out.with_name(f"{out.name}-predictions")
    require_free(out, marker=INFO_NAME, overwrite=overwrite)
    require_free(folder, marker=PREDICTIONS, overwrite=overwrite)
    module, checkpoint = trainer("predict"), trainer("checkpoint")
    run = checkpoint.load_run(path)
    chosen = inputs if entries else test_slides(Path(run.file.tiles["path"]), inputs)
    with progress("predict") as update:
        report = module.predict(
            path,
            [item.source for item in chosen],
            folder,
            probabilities=True,
            halo_px=HALO_PX,
            tile_px=TILE_PX,
            batch_size=BATCH_SIZE,
            overwrite=overwrite,
            on_progress=update,
        )
    for name, reason in report.skipped:
        say(f"skipped {name}: {reason}")
    say(f"predictions on {report.device} in {folder}")
    return read_predictions(folder)
