"""qpkit rounds: a network labels what nobody annotated, and the next one learns from both."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from qpkit.cli.shared.console import progress, say, say_all, table, table_of, took
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.rounds.pseudo_labels.ledger import summed
from qpkit.rounds.pseudo_labels.settings import read_rounds, shipped_rounds, shipped_text


def command(
    file: Path | None = typer.Argument(
        None, metavar="[ROUNDS.TOML]", help="Which tiles, which rounds, when to stop; see --example."
    ),
    setting: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change a setting of the recipes of all rounds, e.g. seed=1."
    ),
    example: str | None = typer.Option(
        None, "--example", metavar="NAME", help="Print a file to start from: small or published."
    ),
    as_json: bool = typer.Option(False, "--json", help="Print the result as JSON."),
) -> None:
    """Play rounds of pseudo-labels; the same command goes on where an earlier one stopped.

    Round 0 learns from the annotations. In each later round the last network that helped labels what nobody annotated,
    and the next network learns from both. Annotations are never changed.
    """
    start = time.perf_counter()
    if example is not None:
        typer.echo(shipped_text(example), nl=False)
        return
    if file is None:
        raise ConfigError(
            f"ROUNDS.TOML is missing; start from one: qpkit rounds --example {shipped_rounds()[-1]} > rounds.toml"
        )
    settings = read_rounds(file, setting)
    with extra("train"):
        from qpkit.rounds.pseudo_labels.play import RESULT_NAME, RoundsReport, pseudo_label_rounds, table_rows

    with progress("rounds") as update:
        report: RoundsReport = pseudo_label_rounds(settings, on_progress=update)
    if as_json:
        typer.echo((settings.out / RESULT_NAME).read_text(encoding="utf-8"), nl=False)
        return
    for item in report.rounds:
        if item.added:
            rows = [_added(row) for row in summed(item.added).values()]
            table_of(f"Round {item.number}: labelled by round {item.teacher}", rows)
    shown = [
        [
            row["round"],
            row["recipe"],
            _number(row["added_mm2"], ".3f"),
            _number(row["precision"], ".3f"),
            _number(row["dice"], ".3f"),
            _number(row["difference"], "+.3f"),
            "-" if row["low"] is None else f"{row['low']:+.3f} to {row['high']:+.3f}",
            ("base" if row["teacher"] is None else "yes" if row["accepted"] else "no")
            + (", best" if row["round"] == report.best else ""),
        ]
        for row in table_rows(report)
    ]
    over = report.rounds[0].scores.unit
    columns = ("round", "recipe", "added mm2", "precision", "Dice", "difference", f"95 % over {over}", "helped")
    table("Rounds, on the validation tiles", columns, shown)
    say_all("note: ", report.notes)
    say(f"best: round {report.best}, {report.run}; tables and rounds.png in {report.root} ({took(start)})")


def _added(row: Any) -> dict[str, Any]:
    return {
        "class": row.class_name,
        "candidates px": row.candidates_px,
        "added px": row.px,
        "mm2": row.mm2,
        "least probability": row.least_probability,
        "precision": row.precision,
    }


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
