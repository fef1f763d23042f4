"""qpkit train: trains a segmentation model on exported tiles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from qpkit.cli.shared.comparison import run_comparison
from qpkit.cli.shared.console import progress, say, say_all, table, took
from qpkit.cli.shared.trainer import measured_on, report_after_training, say_how_it_ran, show_draws, start_processes
from qpkit.dataset.manifest import INFO_NAME, require_tile_set
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.files import replace_file, require_run_folder

if TYPE_CHECKING:
    from qpkit_train.data.training_tiles import TrainingTiles
    from qpkit_train.recipe.settings import Recipe
    from qpkit_train.run_folder.fit_report import FitReport

_DEFAULT: Final = "unet-resnet34"
_PROMPTS: Final = "prompts-unet-resnet18"
_CLICKS: Final = ("model.click_px=5", "sampler.ratio=[1, 0]")
"""What makes a recipe one of a network that answers clicks."""


def command(
    tiles: Path | None = typer.Argument(
        None,
        help="Folder that qpkit export or import-tiles made, or a plain folder of images and masks, of which tiles are "
        "made beside the run; with --resume those of the run.",
    ),
    out: Path | None = typer.Option(None, "-o", "--out", help="Run folder to make (or to resume)."),
    recipe: str = typer.Option(
        "", help=f"Name of a shipped recipe (see: qpkit recipes) or a TOML file; {_DEFAULT} if not given."
    ),
    prompts: bool = typer.Option(
        False,
        "--prompts",
        help=f"Train a network that answers clicks (docs/prompts.md): the recipe {_PROMPTS}, or clicks for --recipe.",
    ),
    setting: list[str] = typer.Option([], "--set", metavar="KEY=VALUE", help="Change a setting, e.g. optim.lr=3e-4."),
    resume: bool = typer.Option(
        False,
        "--resume",
        help="Go on with the run in --out and its settings; --set optim.epochs=N prolongs it.",
    ),
    find_lr: bool = typer.Option(
        False, "--find-lr", help="Try learning rates for 100 steps, suggest one, and stop; -o then names a PNG."
    ),
    compare: str = typer.Option(
        "", metavar="A,B,...", help="Train these recipes, each in OUT/NAME, and compare them; run again to go on."
    ),
    devices: int = typer.Option(1, min=1, help="Processes on this machine that train together, one per GPU."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what an epoch would show the model, and stop."),
) -> None:
    """Train a segmentation model on exported tiles."""
    start = time.perf_counter()
    # Before torch, whose import takes seconds.
    if out is not None and not (compare or dry_run or find_lr):
        require_run_folder(out, resume=resume)
    if tiles is not None:
        tiles = _tiles_of(tiles, None if dry_run or find_lr else out)
    if compare:
        if recipe or prompts or dry_run or find_lr or devices > 1 or out is None:
            raise ConfigError("--compare needs -o/--out, the folder of the comparison, and goes with --set alone")
        if tiles is None:
            raise ConfigError("TILES is missing: the folder that qpkit export or import-tiles made")
        run_comparison(tiles, compare.split(","), out, setting)
        return
    if find_lr and devices > 1:
        raise ConfigError("--find-lr runs in a single process; leave out --devices")
    with extra("train"):
        from qpkit_train.run_folder.resuming import tiles_and_recipe

    default = _PROMPTS if prompts else _DEFAULT
    changes = [*_CLICKS, *setting] if prompts and recipe else setting
    tiles, chosen = tiles_and_recipe(out, tiles, recipe, changes, resume=resume, default=default)
    if prompts and not chosen.model.click_px:
        raise ConfigError(
            f"--prompts: recipe {chosen.name} has model.click_px = 0; set it to 5, or leave out --prompts"
        )
    if dry_run:
        with extra("train"):
            from qpkit.dataset import read_tile_set
            from qpkit_train.data.training_tiles import training_tiles_of
            from qpkit_train.planning.plan import planned

        tile_set = read_tile_set(tiles)
        found = planned(tile_set, chosen)
        say_all("", found.notes)
        _show_epoch(training_tiles_of(tile_set, found.recipe))
        return
    if find_lr:
        _find_lr(tiles, chosen, out, start)
        return
    if out is None:
        raise ConfigError("-o/--out is missing: the run folder to make")
    if chosen.classifies_tiles:
        raise ConfigError(f"recipe {chosen.name} classifies tiles; train it with qpkit train-classifier")
    with extra("train"):
        from qpkit_train.loop import fit

    if not start_processes(devices):
        fit(tiles, out, chosen, resume=resume)
        return
    said: list[str] = []

    def warn(text: str) -> None:
        say(f"note: {text}")
        said.append(text)

    with progress("train") as update:
        report = fit(tiles, out, chosen, resume=resume, on_note=warn, on_progress=update)
    _show(report, out, start, said)
    report_after_training(out)


def _tiles_of(place: Path, out: Path | None) -> Path:
    """Tiles as they are; those of a plain folder of images and masks, which are made beside the run."""
    if (place / INFO_NAME).exists() or not place.is_dir():
        require_tile_set(place)
        return place
    from qpkit.api.import_tiles import is_folder_of_pictures, tiles_of
    from qpkit.cli.shared.folder_report import show_folder

    if out is None and is_folder_of_pictures(place):
        raise ConfigError(f"{place}: is a folder of images; make tiles of it with: qpkit import-tiles {place} -o TILES")
    with progress("import") as update:
        tiles, report = tiles_of(place, out or place, on_progress=update)
    if report is not None:
        show_folder(report)
        say(f"{report.tiles_written:,} tiles of {place} in {tiles}")
    elif tiles != place:
        say(f"note: the tiles of {place} are in {tiles} already")
    return tiles


def _find_lr(tiles: Path, recipe: Recipe, out: Path | None, start: float) -> None:
    if out is not None and out.suffix.lower() != ".png":
        raise ConfigError(f"{out}: with --find-lr the output is a picture; its name has to end in .png")
    from qpkit.report.figures.curves import range_test_png

    with extra("train"):
        from qpkit_train.find_lr import find_learning_rate

    with progress("range test") as update:
        found = find_learning_rate(tiles, recipe, on_progress=update)
    shown = list(zip(found.rates, found.losses, strict=True))
    rows = [(f"{rate:.1e}", round(loss, 4)) for rate, loss in shown[:: max(1, len(shown) // 12)]]
    table("Loss at rising learning rates", ("learning rate", "loss (smoothed)"), rows)
    if out is not None:
        replace_file(out, range_test_png(found.rates, found.losses, found.suggestion))
        say(f"picture: {out}")
    say(
        f"the loss falls fastest at optim.lr={found.suggestion:.1e}; "
        f"the recipe has {recipe.optim.lr:.1e} ({took(start)})"
    )


def _show_epoch(data: TrainingTiles) -> None:
    """Show what the first epoch holds: kinds of tiles, classes, patients."""
    drawn = data.sampler.describe()
    show_draws(drawn)
    pixels, total = drawn["pixels_per_epoch"], sum(drawn["pixels_per_epoch"].values())
    classes = [(name, drawn["tiles_with_class"][name], n, f"{n / max(total, 1):.2%}") for name, n in pixels.items()]
    table("Classes in an epoch (whole tiles)", ("class", "tiles", "pixels", "of labelled"), classes)
    kinds = [g["name"] for g in drawn["groups"]]
    groups = [(name, row["tiles"], *(row[kind] for kind in kinds)) for name, row in drawn["by_group"].items()]
    table("Patients (or slides) in an epoch", ("group", "tiles", *(f"{kind} drawn" for kind in kinds)), groups)
    say_all("note: ", data.notes)
    say(
        f"{drawn['batches']:,} batches, {drawn['tiles_per_epoch']:,} tiles an epoch; left out: "
        f"{drawn['unlabelled_tiles_left_out']:,} without a label, {drawn['other_tiles_left_out']:,} that the "
        f"ratio does not ask for; {len(data.measured):,} tiles of the {data.validated_on} split choose the best epoch"
    )


def _show(report: FitReport, out: Path, start: float, said: Sequence[str]) -> None:
    show_draws(report.sampler)
    scores = [(s.name, s.support, s.dice, s.iou, s.precision, s.recall) for s in report.scores]
    title = f"Epoch {report.best_epoch} of {report.epochs}, best on the {measured_on(report)} tiles"
    table(title, ("class", "pixels", "Dice", "IoU", "precision", "recall"), scores)
    probabilities = ", ".join(f"{name} {probability:g}" for name, probability in report.thresholds.items())
    if probabilities:
        say(f"highest Dice there at probabilities {probabilities}: qpkit predict --threshold validated takes them")
    for line in report.notes:
        if line not in said:
            say(f"note: {line}")
    say_how_it_ran(report)
    say(f"run {report.run} in {out} ({took(start)})")
