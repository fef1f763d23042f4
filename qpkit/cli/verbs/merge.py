"""qpkit merge: the projects of several readers as one project of what they say together."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, table, took
from qpkit.errors import listed
from qpkit.workflows.compare.merge import MergeSettings, merge
from qpkit.workflows.inputs.label_maps import read_label_map


def command(
    sources: list[str] = typer.Argument(
        ...,
        metavar="SOURCE...",
        help="QuPath projects, PATH or NAME=PATH, the most trusted first; or a hand-out.",
    ),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make, with the new project."),
    *,
    settings: MergeSettings,
    labels: Path | None = typer.Option(None, help="Label map (TOML). Default: all classes of the projects."),
) -> None:
    """Make the consensus project of several readers, with who agreed in each object's metadata.

    A slide that one of them has read is taken as it is.
    """
    start = time.perf_counter()
    rules = None if labels is None else read_label_map(labels)
    with progress("merge") as update:
        report = merge(sources, out, settings, labels=rules, on_progress=update)
    rows: list[tuple[str, str, int | None]] = [(name, "several", count) for name, count in report.merged.items()]
    rows += [(name, who, None) for name, who in report.single.items()]
    rows += [(name, "nobody", None) for name in report.unread]
    table(f"Merged by {settings.rule}", ("slide", "read by", "objects"), rows)
    if report.elsewhere:
        say(f"note: LEFT OUT, not in the first project: {listed(report.elsewhere)}; name a project first that has all")
    for name, count in report.left_out.items():
        if count:
            say(f"note: {name}: {count:,} object(s) are left out: points, lines, or of no class that is drawn")
    say(f"{report.project.path} ({took(start)})")
