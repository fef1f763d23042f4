"""qpkit import-predictions."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.errors import ConfigError

if TYPE_CHECKING:
    from qpkit.workflows.import_predictions import SlideImport


def command(
    predictions: Path = typer.Argument(..., metavar="DIR", help="Folder that qpkit predict made, or masks."),
    project: Path = typer.Argument(..., help="QuPath project to put the objects into. Close it in QuPath first."),
    kind: str = typer.Option("annotations", "--as", help="annotations or detections."),
    min_area_um2: float = typer.Option(0.0, help="Leave out smaller polygons."),
    simplify_um: float = typer.Option(0.0, help="Smooth outlines by about this much, without gaps between classes."),
    geojson_only: Path | None = typer.Option(None, metavar="DIR", help="Write GeoJSON files there instead."),
    from_masks: bool = typer.Option(False, "--from-masks", help="DIR holds label images of another program."),
    labels: Path | None = typer.Option(None, help="With --from-masks: labels.toml, what the values mean."),
    table_file: Path | None = typer.Option(
        None, "--table", help="With --from-masks: CSV with file,slide,x,y[,downsample] where names do not say it."
    ),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace GeoJSON files that are there."),
) -> None:
    """Turn predictions into polygons in the QuPath project, ready to review."""
    from qpkit.predictions import read_predictions
    from qpkit.qupath import open_project
    from qpkit.workflows.import_predictions import ImportSettings, import_predictions, predictions_to_geojson
    from qpkit.workflows.inputs.label_images import masks_as_predictions
    from qpkit.workflows.inputs.slides import read_label_map

    start = time.perf_counter()
    if kind not in ("annotations", "detections"):
        raise ConfigError(f"--as {kind!r}: has to be annotations or detections")
    settings = ImportSettings(
        kind="annotation" if kind == "annotations" else "detection",
        min_area_um2=min_area_um2,
        simplify_um=simplify_um,
    )
    opened = open_project(project)
    if not from_masks and (labels or table_file):
        raise ConfigError("--labels and --table go with --from-masks")
    if from_masks and labels is None:
        raise ConfigError("--from-masks needs --labels labels.toml: what the values mean")
    with progress("import") as update, TemporaryDirectory(prefix="qpkit-") as folder:
        if labels is not None:
            rules = read_label_map(labels)
            found = masks_as_predictions(predictions, opened, rules, Path(folder), table=table_file, on_progress=update)
        else:
            found = read_predictions(predictions)
        if geojson_only is not None:
            reports = predictions_to_geojson(found, geojson_only, settings, overwrite=overwrite, on_progress=update)
        else:
            reports = import_predictions(found, opened, settings, on_progress=update)
    _show(reports, geojson_only or project, start)


def _show(reports: list[SlideImport], target: Path, start: float) -> None:
    rows = []
    for r in reports:
        objects = ", ".join(f"{name} {count:,}" for name, count in r.objects.items()) or "none"
        area = "-" if r.area_mm2 is None else ", ".join(f"{n} {a:.4f}" for n, a in r.area_mm2.items())
        rows.append((r.name, objects, area, r.too_small, r.mended, r.added, r.removed, r.unchanged, r.kept_edited))
    columns = ("slide", "objects", "mm2", "too small", "mended", "added", "removed", "unchanged", "edited, kept")
    table("Imported", columns, rows)
    say(f"{target} ({took(start)})")
