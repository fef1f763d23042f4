"""Tiles as a trained model."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from qpkit.api.import_tiles import tiles_of
from qpkit.errors import ConfigError
from qpkit.extras import extra
from qpkit.files import AnyPath, require_run_folder
from qpkit.progress import OnProgress, no_progress

if TYPE_CHECKING:
    from qpkit_train.recipe.settings import Recipe
    from qpkit_train.run_folder.fit_report import FitReport

DEFAULT_RECIPE: Final = "unet-resnet34"


def train(
    tiles: AnyPath,
    out: AnyPath,
    recipe: Recipe | AnyPath = DEFAULT_RECIPE,
    *,
    overrides: Sequence[str] = (),
    resume: bool = False,
    on_progress: OnProgress = no_progress,
) -> FitReport:
    """Train a segmentation model on exported tiles.

    Args:
        tiles: What `export` or `import_tiles` wrote; or a folder of images and masks, of which tiles are made beside
            `out`, as its dataset.toml says.
        out: Run folder to make, or to resume.
        recipe: A recipe, the name of one that comes with qpkit, or a TOML file.
        overrides: "optim.lr=3e-4" each; changes a recipe that is named.
        resume: Go on where the run in `out` stopped; with another seed, recipe or tiles it is refused.
        on_progress: Called with (steps done, steps in all, text).

    Raises:
        MissingExtraError: torch is not installed.
        QpkitError: As `qpkit_train.loop.fit` says.
    """
    with extra("train"):
        from qpkit_train.loop import fit
        from qpkit_train.recipe.load import load_recipe

    if not isinstance(recipe, str | os.PathLike):
        if overrides:
            raise ConfigError("overrides change a recipe that is named; change the recipe itself")
        chosen = recipe
    else:
        chosen = load_recipe(recipe, overrides)
        if chosen.classifies_tiles:
            raise ConfigError(f"recipe {chosen.name} classifies tiles; train it with qpkit train-classifier")
    require_run_folder(Path(out), resume=resume)
    place, made = tiles_of(Path(tiles), Path(out), on_progress=on_progress)
    report = fit(place, Path(out), chosen, resume=resume, on_progress=on_progress)
    return report if made is None else replace(report, notes=(*made.notes, *report.notes))
