"""qpkit cross-validate: trains a model for every fold, judges it on slides it has not seen, compares recipes."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from qpkit.api.train import DEFAULT_RECIPE
from qpkit.cli.shared.console import progress, say, say_all, table, took
from qpkit.cluster import parse_shard
from qpkit.errors import ConfigError, about
from qpkit.extras import extra
from qpkit.rounds.cross_validation.page import number, with_ends
from qpkit.rounds.cross_validation.play import CrossValidation, cross_validate
from qpkit.rounds.cross_validation.settings import CrossValidationSettings
from qpkit.slides import ReaderName
from qpkit.workflows.inputs.settings import SlideSettings

with extra("train"):
    from qpkit_train.inference.settings import PredictSettings


def command(
    tiles: Path = typer.Argument(
        ..., help="Folder that qpkit export or import-tiles made, or a plain folder of images and masks."
    ),
    places: list[Path] | None = typer.Argument(
        None,
        metavar="[PROJECT|SLIDES|FOLDER]...",
        help="Where the annotations are: QuPath projects, or the folder of images and masks. Default: where the tiles "
        "were made from.",
    ),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make, or to go on in."),
    *,
    settings: CrossValidationSettings,
    prediction: PredictSettings,
    recipe: str = typer.Option(DEFAULT_RECIPE, help="Name of a shipped recipe (see: qpkit recipes) or a TOML file."),
    compare: str = typer.Option("", metavar="A,B,...", help="Several recipes on the same folds, compared in pairs."),
    setting: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Change a setting, e.g. optim.lr=3e-4."),
    metadata: Path | None = typer.Option(
        None, help="QuPath project, or CSV (first column the slide), that knows the KEY of --by."
    ),
    slide_mpp: float | None = typer.Option(None, help="um per px of slides that do not state theirs."),
    reader: ReaderName = typer.Option("auto", help="What reads slides: auto, tiff, openslide, raster or zarr."),
    shard: str | None = typer.Option(None, help="3/8: do the 3rd of 8 parts, for array jobs; the last one finishes."),
) -> None:
    """Train a model for every fold and judge it on the slides that it has not seen.

    Out come scores with means over patients and intervals, the differences between recipes patient by patient, one
    folder of predictions of all slides, and the ensemble of the folds for qpkit predict. If the process is killed, the
    same command goes on where it was; any number of processes may run it at the same time, and share the folds.
    """
    start = time.perf_counter()
    if prediction.others:
        raise ConfigError("--with: each fold is judged by its own model; leave it out")
    names = [name.strip() for name in compare.split(",") if name.strip()]
    if names and recipe != DEFAULT_RECIPE:
        raise ConfigError("--compare names all recipes; leave out --recipe")
    with progress("cross-validate") as update:
        result = cross_validate(
            tiles,
            out,
            names or [recipe],
            settings,
            places=places or (),
            overrides=setting,
            metadata=metadata,
            slides=SlideSettings(slide_mpp=slide_mpp, reader=reader),
            prediction=prediction,
            shard=parse_shard(shard) if shard else None,
            on_progress=update,
        )
    _show(result)
    for name, reason in result.failed:
        say(f"failed: {about(name, reason)}")
    if result.missing:
        say(f"{result.missing} fold(s) are left to other processes; the last one writes the tables ({took(start)})")
    else:
        say(f"scores.csv and cross-validation.html in {out} ({took(start)})")
    for each in result.recipes:
        say(f"the mean of its folds as one model: qpkit predict {out / each.recipe} PROJECT -o PREDICTIONS")
    if result.failed:
        raise typer.Exit(2)


def _show(result: CrossValidation) -> None:
    for each in result.recipes:
        rows: list[tuple[Any, ...]] = []
        for name in each.classes:
            dice, spread = each.means[name]["dice"], each.spread(name, "dice")
            over_folds = "-" if spread is None else f"{spread[0]:.3f} ± {spread[1]:.3f}"
            iou = number(each.means[name]["iou"].mean)
            baseline = number(each.baselines.get(name))
            rows.append((name, with_ends(dice.mean, dice.low, dice.high), over_folds, iou, baseline))
        columns = ("class", "Dice [95 %]", "folds, ± sd", "IoU", "baseline")
        table(f"{each.recipe}, {len(each.patients)} x {each.unit}", columns, rows)
        say_all(f"note: {each.recipe}: ", each.notes)
    for pair in result.comparisons:
        rows = [
            (
                name,
                with_ends(found.difference.mean, found.difference.low, found.difference.high, signed=True),
                found.better,
                found.worse,
                number(found.p),
            )
            for name, found in pair.classes.items()
        ]
        title = f"{pair.recipe} minus {pair.against}"
        table(title, ("class", "Dice [95 %]", "better on", "worse on", "Wilcoxon p"), rows)
    say_all("note: ", result.notes)
