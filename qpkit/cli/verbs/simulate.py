"""qpkit simulate: plays the review loop with the annotations that are there: how many would have been enough?"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from qpkit.api.train import DEFAULT_RECIPE
from qpkit.cli.shared.console import progress, say, say_all, table_of, took
from qpkit.extras import extra
from qpkit.rounds.simulate.result import Point, Simulation, baselines_of, points_of, verdicts
from qpkit.rounds.simulate.settings import SimulateSettings
from qpkit.rounds.simulate.simulate import simulate
from qpkit.workflows.export.settings import ExportSettings


def command(
    project: Path = typer.Argument(..., help="QuPath project with annotations; it is only read."),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make, or to go on in."),
    *,
    settings: SimulateSettings,
    export: ExportSettings,
    recipe: str = typer.Option(DEFAULT_RECIPE, help="Name of a shipped recipe (see: qpkit recipes) or a TOML file."),
    setting: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Change a setting, e.g. optim.lr=3e-4."),
    encoder: str | None = typer.Option(
        None, metavar="RUN|NAME:WEIGHTS", help="Compare squares by what an encoder sees in them, as qpkit suggest does."
    ),
) -> None:
    """Play rounds of suggest, annotate, train, predict and evaluate, with the project's annotations as the pathologist.

    --split says which slides train, choose the best epoch (val) and are held out (test). Dice on held-out slides is
    stated beside the mm2 and the minutes that the annotations would have cost; random regions are the floor, everything
    annotated is the ceiling. If the process is killed, the same command goes on where it was; more --rounds, --seeds
    and strategies may be asked for later.
    """
    start = time.perf_counter()
    look = None
    if encoder is not None:
        with extra("train"):
            from qpkit_train.encoder_look import encoder_look

        look = encoder_look(encoder)
    with progress("simulate") as update:
        result = simulate(
            project, out, settings, export, recipe=recipe, overrides=setting, look=look, on_progress=update
        )
    _show(result)
    say(f"simulate.json, simulate.csv and simulate.png in {out} ({took(start)})")


def _show(result: Simulation) -> None:
    points = points_of(result.scores)
    table_of("Dice on held-out slides (mean over seeds)", [_row(point, result) for point in points])
    baselines = ", ".join(f"{name} {dice:.3f}" for name, dice in baselines_of(result.scores).items())
    say(f"Dice of calling all held-out pixels one class: {baselines or 'not known'}")
    say_all("note: ", result.notes)
    for line in verdicts(points):
        say(line)
    slides = ", ".join(f"{split} {len(names)}" for split, names in result.slides.items())
    say(
        f"slides: {slides}; {result.regions} squares to choose from; annotated on training slides: "
        f"{result.annotated_mm2:.3g} mm2, {result.annotated_minutes:.0f} min by hand"
    )


def _row(point: Point, result: Simulation) -> dict[str, Any]:
    dice = {name: point.dice.get(name) for name in ("mean", *result.classes)}
    lowest = [f"{spread[1]:.3f}..{spread[2]:.3f}" for spread in (dice["mean"],) if spread is not None]
    return {
        "strategy": point.strategy,
        "round": point.round or "-",
        "regions": round(point.regions, 1),
        "mm2": round(point.mm2, 4),
        "of all": f"{point.fraction:.1%}",
        "minutes": round(point.minutes, 1),
        **{name: None if spread is None else round(spread[0], 3) for name, spread in dice.items()},
        **({"seeds": point.seeds, "mean, range": lowest[0] if lowest else "-"} if point.seeds > 1 else {}),
    }
