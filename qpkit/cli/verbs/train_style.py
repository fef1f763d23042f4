"""qpkit train-style: a network that gives training tiles the staining of another laboratory."""

from __future__ import annotations

import time
from pathlib import Path

import typer

from qpkit.cli.shared.console import progress, say, took
from qpkit.dataset.manifest import require_tile_set
from qpkit.extras import extra

with extra("train"):
    from qpkit_train.style_settings import StyleSettings


def command(
    tiles: Path = typer.Argument(..., help="Folder of tiles; those for training are restained."),
    target: Path = typer.Argument(
        ..., help="Tiles, or a folder of PNG, JPEG or TIFF pictures, of the other staining, at about the same um/px."
    ),
    out: Path = typer.Option(..., "-o", "--out", help="Folder to make: the network, and a picture before and after."),
    *,
    settings: StyleSettings,
    overwrite: bool = typer.Option(False, "--overwrite", help="Replace what an earlier call made."),
) -> None:
    """Train a small network that gives tiles another staining, for augmentation; nothing has to be annotated there.

    Train with it: qpkit train tiles -o run --set augment.style=1 --set 'augment.style_way="network"' --set
    'augment.style_from="OUT"'.
    """
    require_tile_set(tiles)
    with extra("train"):
        from qpkit_train.train_style import PICTURE_NAME, train_style

    start = time.perf_counter()
    with progress("style") as update:
        report = train_style(tiles, target, out, settings, overwrite=overwrite, on_progress=update)
    say(
        f"{report.tiles} tiles, {report.targets} pictures of the target; mean colour {report.before:g} from the target "
        f"before, {report.after:g} after (CIE Lab); SSIM {report.ssim:.3f}"
    )
    say(f"{out}: look at {PICTURE_NAME} ({took(start)})")
