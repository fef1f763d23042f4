"""qpkit preview."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli._console import progress, say
from qpkit.errors import ConfigError

_MOST_NOTES = 10


def command(
    source: Path = typer.Argument(
        ..., metavar="PROJECT|TILES", help="QuPath project, or folder that qpkit export made."
    ),
    out: Path = typer.Option(..., "-o", "--out", help="HTML file to write."),
    labels: Path | None = typer.Option(None, help="labels.toml; of a project, which classes are drawn."),
) -> None:
    """Show a project or an export on one page: slides, classes, tiles of every class, audit, split and leakage."""
    from qpkit.dataset.manifest import INFO_NAME
    from qpkit.workflows.preview import preview_tiles
    from qpkit.workflows.preview_project import preview_project
    from qpkit.workflows.sources import is_project, read_label_map

    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: the page is HTML; its name has to end in .html")
    with progress("preview") as update:
        if (source / INFO_NAME).is_file():
            if labels:
                raise ConfigError("--labels is for projects; tiles have the label map that they were exported with")
            report = preview_tiles(source, out, on_progress=update)
        elif is_project(source):
            rules = read_label_map(labels) if labels else None
            report = preview_project(source, out, labels=rules, on_progress=update)
        else:
            raise ConfigError(f"{source}: neither a QuPath project nor a folder that qpkit export made")
    for note in report.notes[:_MOST_NOTES]:
        say(f"note: {note}")
    if len(report.notes) > _MOST_NOTES:
        say(f"note: and {len(report.notes) - _MOST_NOTES} more like these; the page has them all")
    tiles = f", {report.tiles} tiles" if report.tiles else ""
    say(f"{report.slides} slide(s){tiles} on {out}")
