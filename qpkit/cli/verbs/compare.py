"""qpkit compare: readers, or a reader and a model, against each other."""

from __future__ import annotations

import time
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import typer

from qpkit.cli.shared.console import progress, say, say_all, table_of, took
from qpkit.errors import OutputError
from qpkit.files import csv_bytes, pretty_json, replace_file
from qpkit.qupath import open_project
from qpkit.workflows.compare.compare import compare
from qpkit.workflows.compare.disagreements import write_disagreements
from qpkit.workflows.compare.readers import readers_of
from qpkit.workflows.compare.result import Comparison, Row
from qpkit.workflows.compare.settings import CompareSettings
from qpkit.workflows.inputs.label_maps import read_label_map

_MOST_ROWS = 60


def command(
    sources: list[str] = typer.Argument(
        ..., metavar="SOURCE...", help="QuPath projects and predictions folders, PATH or NAME=PATH; one with --by."
    ),
    *,
    settings: CompareSettings,
    labels: Path | None = typer.Option(None, help="Label map (TOML). Default: a model's, or all classes there are."),
    csv: Path | None = typer.Option(None, help="CSV file to write: all rows."),
    json: Path | None = typer.Option(None, help="JSON file to write: the same."),
    write_into: Path | None = typer.Option(
        None, "--write-disagreements", metavar="PROJECT", help="Put the places where two disagree into this project."
    ),
    min_area_um2: float = typer.Option(0.0, min=0, help="Smaller places of disagreement are left out."),
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace files that are there."),
) -> None:
    """Compare readers: Dice, IoU, kappa and F1 of areas, for each class, region and slide.

    Slides are found by their names in the projects. Only pixels that both of a pair have judged count.
    """
    start = time.perf_counter()
    for path in (csv, json):
        if path is not None and path.exists() and not overwrite:
            raise OutputError(f"{path}: is there already; choose another name or pass --overwrite")
    rules = None if labels is None else read_label_map(labels)
    readers = readers_of(sources, settings)
    into = None if write_into is None else open_project(write_into)
    with progress("compare") as update:
        found = compare(readers, settings, labels=rules, on_progress=update)
    if csv is not None:
        names = [field.name for field in fields(Row)]
        replace_file(csv, csv_bytes([names, *([_cell(getattr(row, n)) for n in names] for row in found.rows)]))
    if json is not None:
        replace_file(json, pretty_json(asdict(found)))
    _show(found)
    say_all("note: ", found.notes)
    if into is not None:
        with progress("disagreements") as update:
            written, replaced = write_disagreements(
                into, readers, settings, labels=rules, min_area_um2=min_area_um2, on_progress=update
            )
        say(f"{written:,} disagreement(s) written into {write_into}, {replaced:,} earlier ones taken out")
    say(f"{len(found.readers)} readers, {len(found.slides)} slide(s) at {settings.mpp:g} um per px ({took(start)})")


def _show(found: Comparison) -> None:
    rows = [_shown(row) for row in found.rows if row.level == "all"]
    table_of("All slides, with 95 % intervals over slides", rows)
    rows = [{"place": row.region or row.slide, **_shown(row)} for row in found.rows if row.level != "all"]
    more = f", first {_MOST_ROWS} of {len(rows)} (all: --csv)" if len(rows) > _MOST_ROWS else ""
    table_of(f"By slide and region{more}", [_without_interval(row) for row in rows[:_MOST_ROWS]])


def _shown(row: Row) -> dict[str, Any]:
    interval = "" if row.low is None or row.high is None else f"{row.low:.3f} to {row.high:.3f} (n={row.n})"
    return {
        "readers": f"{row.first} / {row.second}" if row.second else row.first,
        "class": row.class_name,
        "dice": row.dice,
        "iou": row.iou,
        "kappa": row.kappa,
        "interval": interval,
        "areas": "" if row.areas_first is None else f"{row.areas_first} / {row.areas_second}",
        "F1": row.f1,
        "Hausdorff, um": row.hausdorff_um,
    }


def _without_interval(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "interval"}


def _cell(value: object) -> object:
    return "" if value is None else value
