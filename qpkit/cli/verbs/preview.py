"""qpkit preview: one HTML page about a project or an export, or about augmented tiles."""

from __future__ import annotations

from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, say_all
from qpkit.dataset.manifest import INFO_NAME
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.report.pages.augmentations import AugmentedSettings, preview_augmented
from qpkit.workflows.inputs.label_maps import read_label_map
from qpkit.workflows.inputs.paths import is_project
from qpkit.workflows.pages.preview import preview_tiles
from qpkit.workflows.pages.project import preview_project
from qpkit.workflows.pages.tile_map import MapSettings
from qpkit.workflows.suggest.candidates import Look

_MOST_NOTES = 10


def command(
    source: Path = typer.Argument(
        ..., metavar="PROJECT|TILES|RUN|RECIPE", help="QuPath project, folder of tiles; or run or recipe, before TILES."
    ),
    tiles: Path | None = typer.Argument(None, metavar="[TILES]", help="Tiles to show augmented."),
    out: Path = typer.Option(..., "-o", "--out", help="HTML file to write."),
    labels: Path | None = typer.Option(None, help="labels.toml; of a project, which classes are drawn."),
    setting: list[str] = typer.Option(
        [], "--set", metavar="KEY=VALUE", help="Change a setting, e.g. augment.stain=0.2."
    ),
    *,
    settings: AugmentedSettings,
    drawn: MapSettings,
    encoder: str | None = typer.Option(
        None,
        help="Compare tiles on the map by what an encoder sees in them, of a run or with published or local weights, "
        "instead of colour and texture.",
        metavar="RUN|NAME:WEIGHTS",
    ),
) -> None:
    """Show a project, an export, or augmented tiles, on one page.

    PROJECT or TILES alone: slides, classes, tiles of every class, audit, split and leakage. RUN or RECIPE with TILES:
    the first tiles that a training draws, each beside its augmentation.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"{out}: the page is HTML; its name has to end in .html")
    if tiles is not None:
        _augmented(source, tiles, out, setting, settings)
        return
    if setting:
        raise ConfigError(f"--set changes a recipe; write: qpkit preview RECIPE {source} -o {out} --set ...")
    with progress("preview") as update:
        if (source / INFO_NAME).is_file():
            if labels:
                raise ConfigError("--labels is for projects; tiles have the label map that they were exported with")
            report = preview_tiles(source, out, drawn, None if encoder is None else _look(encoder), on_progress=update)
        elif is_project(source):
            rules = read_label_map(labels) if labels else None
            report = preview_project(source, out, labels=rules, on_progress=update)
        else:
            raise ConfigError(
                f"{source}: neither a QuPath project nor a folder that qpkit export made; "
                "for a run or a recipe name its tiles, too"
            )
    say_all("note: ", report.notes[:_MOST_NOTES])
    if len(report.notes) > _MOST_NOTES:
        say(f"note: and {len(report.notes) - _MOST_NOTES} more like these; the page has them all")
    shown = f", {report.tiles} tiles" if report.tiles else ""
    say(f"{report.slides} slide(s){shown} on {out}")


def _look(encoder: str) -> Look:
    with extra("train"):
        from qpkit_train.encoder_look import encoder_look

    return encoder_look(encoder)


def _augmented(source: Path, tiles: Path, out: Path, setting: list[str], settings: AugmentedSettings) -> None:
    with extra("train"):
        from qpkit_train.preview import augmented_batches
        from qpkit_train.recipe.load import load_recipe, recipe_from_builtins
        from qpkit_train.run_folder.records import read_run_file

    if (source / "run.json").is_file():
        tables = read_run_file(source).recipe
        recipe = recipe_from_builtins(tables, source=f"{source}/run.json", overrides=setting)
    else:
        recipe = load_recipe(str(source), setting)
    shown = augmented_batches(tiles, recipe, count=settings.count, versions=settings.versions)
    with progress("preview") as update:
        preview_augmented(shown, out, on_progress=update)
    say_all("note: ", shown.notes)
    if len(shown.tiles) < settings.count:
        say(f"note: an epoch shows {len(shown.tiles)} tiles, not {settings.count}")
    on = ", ".join(name for name, *_ in shown.settings) or "no change"
    say(f"{len(shown.tiles)} tiles, {settings.versions} version(s) each ({on}), on {out}")
