"""qpkit pretrain: an encoder that learns from tissue that nobody has annotated."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, took
from qpkit.dataset import read_tile_set
from qpkit.dataset.manifest import INFO_NAME
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.workflows.inputs.settings import SlideSettings
from qpkit.workflows.inputs.slides import slide_inputs

with extra("train"):
    from qpkit_train.pretraining.settings import PretrainSettings


def command(
    sources: list[Path] = typer.Argument(
        ..., metavar="TILES|PROJECT|SLIDE...", help="One folder of tiles, or QuPath projects and slides."
    ),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make; it holds the encoder's weights."),
    *,
    settings: PretrainSettings,
    slides: SlideSettings,
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace what an earlier call made."),
) -> None:
    """Pre-train an encoder without labels; the same command goes on where it was interrupted.

    Of tiles only the training split is seen, of projects every slide, whatever is annotated: leave out those that test
    the model (--where Split=train). Start from it: qpkit train tiles -o run --set model.encoder=resnet18 --set
    model.encoder_weights=run:OUT.
    """
    start = time.perf_counter()
    is_tiles = (sources[0] / INFO_NAME).is_file()
    if is_tiles and len(sources) > 1:
        raise ConfigError(f"{sources[1]}: one folder of tiles at a time; or name projects and slides alone")
    given = read_tile_set(sources[0]) if is_tiles else [item.source for item in slide_inputs(sources, slides)]
    with extra("train"):
        from qpkit_train.pretraining.fit import pretrain

    with progress("pretrain") as update:
        report = pretrain(given, out, settings, overwrite=overwrite, on_progress=update)
    if report.resumed_from:
        say(f"went on after epoch {report.resumed_from}")
    if report.has_collapsed:
        say("warning: descriptions of all tiles are alike: the encoder has collapsed; raise --spread, or train longer")
    say(
        f"{report.pictures:,} tiles; loss {report.loss:.4f}; descriptions use {report.rank:.1f} directions, with a "
        f"deviation of {report.deviation:.2f}"
    )
    say(f"model.encoder = {settings.encoder}, model.encoder_weights = run:{out} ({took(start)})")
