"""qpkit info."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli._console import table


def command(
    path: Path = typer.Argument(..., help="Project, slide, .qpdata, GeoJSON, tiles, run or predictions."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show what a path holds."""
    import msgspec

    from qpkit.workflows.info import describe

    info = describe(path)
    if as_json:
        typer.echo(msgspec.json.encode({"kind": info.kind, **info.facts, "rows": info.rows}).decode())
        return
    table(info.kind, ("", ""), [(name, value) for name, value in info.facts.items()])
    if info.rows:
        table("", tuple(info.rows[0]), [tuple(row.values()) for row in info.rows])
