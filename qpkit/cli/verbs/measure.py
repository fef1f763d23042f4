"""qpkit measure: area, number and fraction of each class, per region, slide and patient."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, table
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.errors import OutputError
from qpkit.files import replace_file
from qpkit.qupath import open_project
from qpkit.workflows.tables.measure import MeasureSettings, measure, write_measurements
from qpkit.workflows.tables.places import Measured


def command(
    project: Path = typer.Argument(..., help="QuPath project."),
    *,
    settings: MeasureSettings,
    csv: Path | None = typer.Option(None, help="CSV file to write."),
    write: bool = typer.Option(
        False, "--write", help="Write area and fraction of each class onto the regions, as measurements in QuPath."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace a CSV that is there."),
) -> None:
    """Measure annotations, predictions or rasters: areas in which overlaps count once, numbers, fractions."""
    import msgspec

    if csv is not None and csv.exists() and not overwrite:
        raise OutputError(f"{csv}: is there already; choose another name or pass --overwrite")
    opened = open_project(project)
    if write:
        warn_of_stamps(opened)
    with progress("measure") as update:
        report = measure(opened, settings, on_progress=update)
    changed = write_measurements(opened, report, settings) if write else 0
    if csv is not None:
        replace_file(csv, report.to_csv().encode())
    if as_json:
        typer.echo(msgspec.json.encode([asdict(row) for row in report.rows]).decode())
    else:
        columns = ("", "class", "objects", "mm2", "added up", "of mm2", "fraction")
        table(f"Areas of {settings.what}", columns, [_row(row) for row in report.rows])
    for note in report.notes:
        say(f"note: {note}")
    if csv is not None:
        say(f"table: {csv}")
    if write:
        say(f"{changed:,} region(s) of {project} have new measurements")


def _row(row: Measured) -> tuple[object, ...]:
    place = {"region": f"{row.slide}: {row.region}", "slide": row.slide, "patient": f"patient {row.patient}"}
    fraction = None if row.fraction is None else round(row.fraction, 4)
    return place.get(row.level, "all"), row.class_name, row.objects, row.area_mm2, row.sum_mm2, row.of_mm2, fraction
