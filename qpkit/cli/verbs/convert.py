"""qpkit convert: between QuPath and GeoPackage, GeoParquet, Shapefile, COCO, ASAP, ImageScope, NDPA, HALO, Darwin and
label images; lists what is lost.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import typer

from qpkit.cli.shared.console import progress, say, table
from qpkit.cli.shared.stamps import warn_of_stamps
from qpkit.formats.tables import HEAD
from qpkit.qupath import open_project
from qpkit.workflows.convert.convert import ConvertReport, convert
from qpkit.workflows.convert.formats import format_rows
from qpkit.workflows.convert.settings import ConvertSettings
from qpkit.workflows.inputs.paths import is_project


def command(
    source: Path | None = typer.Argument(
        None, metavar="A", help="File of any format, folder of files, project, or predictions."
    ),
    target: Path | None = typer.Argument(None, metavar="B", help="File, folder (for several images) or project."),
    *,
    settings: ConvertSettings,
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
    show_list: bool = typer.Option(False, "--list", help="Show the formats and what each cannot hold."),
) -> None:
    """Convert annotations between QuPath and other programs' formats; lists what the target cannot hold."""
    if show_list:
        _list()
        return
    if source is None or target is None:
        raise typer.BadParameter("A and B are needed (or --list)")
    if is_project(target):
        warn_of_stamps(open_project(target))
    with progress("convert") as update:
        report = convert(source, target, settings, on_progress=update)
    _show(report, as_json=as_json)


def _show(report: ConvertReport, *, as_json: bool) -> None:
    if as_json:
        typer.echo(msgspec.json.encode(report.to_builtins()).decode())
        return
    rows = [
        (i.image, ", ".join(f"{name} {count:,}" for name, count in sorted(i.objects.items())) or "none", i.target)
        for i in report.images
    ]
    table(f"Converted {report.source_format} to {report.target_format}", ("image", "objects", "to"), rows)
    for text, count in report.notes.items():
        say(f"read: {text}: {count:,}")
    for text, count in report.losses.items():
        say(f"lost: {text}: {count:,}")


def _list() -> None:
    table("Formats (all are read and written)", HEAD, format_rows())
