"""A run without what must not be published: names of slides and patients, paths, the machine. Weights and metrics stay.

What a run says is listed here field by field where it may name something: what is not known to be harmless goes.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PureWindowsPath
from typing import Any, Final

import msgspec

from qpkit_train.appearance import Appearance
from qpkit_train.recipe.load import recipe_from_builtins
from qpkit_train.run_folder.records import RunFile
from qpkit_train.run_folder.run import Run

_OF_SAMPLER: Final = ("batches", "tiles_per_epoch", "pixels_per_epoch", "pixels_of_tiles", "tiles_with_class")
"""What is kept of the sampler: numbers, by class. Groups are patients, notes name slides."""

_OF_TILES: Final = ("sha256", "train", "val", "validated_on")


def anonymous(run: Run) -> Run:
    """Take out of a run what says on whose slides, where and by which machine it was trained.

    Slides are numbered; notes, which may name slides, go. So do paths: of tiles, of other runs, of files of weights, of
    slides whose style was taken; of colour profiles the names of their files stay.
    """
    file = anonymous_file(run.file)
    return replace(run, file=file, recipe=recipe_from_builtins(file.recipe, source=str(run.root)))


def anonymous_file(file: RunFile) -> RunFile:
    """As `anonymous`, for run.json alone."""
    tiles: dict[str, Any] = {key: file.tiles[key] for key in _OF_TILES if key in file.tiles}
    if "colors" in file.tiles:
        tiles["colors"] = [_colors(shown) for shown in file.tiles["colors"]]
    return msgspec.structs.replace(
        file,
        recipe=_recipe(file.recipe),
        tiles={"path": "", **tiles},
        sampler={key: file.sampler[key] for key in _OF_SAMPLER if key in file.sampler},
        origins={key: {**value, "folder": ""} for key, value in file.origins.items()},
        appearance=None if file.appearance is None else _numbered(file.appearance),
        plan={},
        process="",
        notes=[],
    )


def _recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    """The same network without the places that its first weights and its styles came from."""
    model, augment = dict(recipe.get("model", {})), dict(recipe.get("augment", {}))
    if "encoder_weights" in model:
        model["encoder_weights"] = publishable(str(model["encoder_weights"]))
    model |= {"weights": ""} if "weights" in model else {}
    augment |= {"style_from": ""} if "style_from" in augment else {}
    own = {"source": recipe["source"] if recipe.get("source") == "qpkit" else ""} if "source" in recipe else {}
    return {**recipe, "model": model, "augment": augment, **own}


def publishable(weights: str) -> str:
    """The name of published weights as it is; of a run or a file, which are places, "none"."""
    return "none" if set(weights) & set(":/\\.") else weights


def _colors(shown: dict[str, Any]) -> dict[str, Any]:
    # Its names are taken for those of Windows: these have '/' and '\' between their parts.
    return {key: PureWindowsPath(value).name if isinstance(value, str) else value for key, value in shown.items()}


def _numbered(appearance: Appearance) -> Appearance:
    names = {name: f"slide {number}" for number, name in enumerate(appearance.slides, start=1)}
    return msgspec.structs.replace(
        appearance,
        slides={names[name]: look for name, look in appearance.slides.items()},
        fractions={names[name]: found for name, found in appearance.fractions.items() if name in names},
    )
